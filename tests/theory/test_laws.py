"""The formulas against one another and against published tables, before anything is tried with
them."""

import math

import numpy as np
import pytest

from tests.theory import laws


def test_one_server_is_every_formula_s_case():
    rho = 0.8
    assert laws.mmc_wait(rho, 1, 1.0) == pytest.approx(laws.mg1_wait(rho, 1.0, 1.0))
    assert laws.erlang_c(rho, 1) == pytest.approx(rho)
    assert laws.erlang_b(rho, 1) == pytest.approx(rho / (1 + rho))
    assert laws.mmc_wait_longer(rho, 1, 1.0, 2.0) == pytest.approx(rho * math.exp(-0.4))


def test_erlang_s_table():
    """Blocking and waiting in tables of teletraffic: 10 erlangs on 10 and 15 lines."""
    assert laws.erlang_b(10, 10) == pytest.approx(0.2146, abs=5e-5)
    assert laws.erlang_b(10, 15) == pytest.approx(0.0365, abs=5e-5)
    assert laws.erlang_c(8, 10) == pytest.approx(0.4092, abs=5e-5)


def test_bounded_queues_lie_between():
    assert laws.mmck(4.0, 5, 0)[0] == pytest.approx(laws.erlang_b(4.0, 5))
    blocked, wait = laws.mmck(4.0, 5, 400)
    assert blocked < 1e-12
    assert wait == pytest.approx(laws.mmc_wait(4.0, 5, 1.0))


def test_patience_lies_between_no_queue_and_no_bound():
    left, wait = laws.erlang_a(4.0, 5, 1e-5)
    assert left == pytest.approx(0.0, abs=1e-4)
    assert wait == pytest.approx(laws.mmc_wait(4.0, 5, 1.0), rel=1e-3)
    assert laws.erlang_a(4.0, 5, 1e4)[0] == pytest.approx(laws.erlang_b(4.0, 5), rel=1e-3)
    # Who leaves at the rate at which servers work makes as many servers as there are requests.
    assert laws.erlang_a(4.0, 1, 1.0)[0] == pytest.approx(1 - (1 - math.exp(-4.0)) / 4.0)
    # Without a bound on servers nobody waits: each is served at 1 and leaves at the other rate.
    assert laws.impatient_clients(4.0, 100, 0.5) == pytest.approx(0.5 / 1.5)


def test_two_choices_are_those_of_the_published_tables():
    """Mitzenmacher's limit at 0.9 is 2.6141; Gast and Van Houdt give the mean queue at 0.9 as
    2.3527 in the limit, refined 2.7513 for ten queues and 2.3925 for a hundred."""
    assert laws.two_choices_time(0.9, 10**9) == pytest.approx(2.6141, abs=1e-4)
    assert 0.9 * laws.two_choices_time(0.9, 10) == pytest.approx(2.7513, abs=1e-3)
    assert 0.9 * laws.two_choices_time(0.9, 100) == pytest.approx(2.3925, abs=1e-3)


def test_tries_and_hedges_end_where_they_must():
    assert laws.mean_tries(0.5, 0) == 1
    assert laws.mean_tries(0.5, 1) == 1.5
    assert laws.hedged_time(1.0, 0.0, 0.0) == 0.5
    assert laws.hedged_time(1.0, 50.0, 1.0) == pytest.approx(1.0)
    assert laws.fork_join_of_two(0.0, 1.0) == 1.5
    rng = np.random.default_rng(1)
    first, second = rng.exponential(1.0, 10**6), rng.exponential(1.0, 10**6)
    sent = 0.7 + rng.uniform(0.0, 0.5, 10**6)
    drawn = np.where(first < sent, first, np.minimum(first, sent + second))
    assert drawn.mean() == pytest.approx(laws.hedged_time(1.0, 0.7, 0.5), rel=0.005)
    assert (drawn > 2).mean() == pytest.approx(laws.hedged_longer(1.0, 0.7, 0.5, 2.0), rel=0.02)
