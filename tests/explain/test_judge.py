"""What runs of a scenario say together: tables of made-up runs."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.explain.report import small

from seakeep.explain.judge import describe, estimate, judge, scalings
from seakeep.model.run import EventKind, Good, RunEvent
from seakeep.model.scenario import Scenario
from seakeep.model.time import DAY, HOUR, MINUTE, SECOND

SYSTEM = small.system()
LOSS = small.scenario(small.LOSS)
"""60 s; us-east is lost from 20 s to 40 s."""


def run_of(bad, *, seed=1, under=LOSS, total=1_000, events=None):
    """A run in which so many of the requests of each second were bad, for both objectives."""
    made = small.run(SYSTEM, under, seed)
    bad = np.array(bad, dtype=np.int64)
    good = Good(good=total - bad, total=np.full(len(bad), total, dtype=np.int64))
    made = replace(made, objectives=(good, good))
    return made if events is None else replace(made, events=tuple(events))


def bad_between(start, end, amount=500):
    return [amount if start <= second < end else 0 for second in range(60)]


def event(at_s, kind, code="x"):
    return RunEvent(at=round(at_s * SECOND), kind=kind, subject="web", code=code, text="")


# --- objectives ---


def test_an_objective_must_hold_in_every_run():
    fine = run_of([0] * 60, seed=1)
    poor = run_of(bad_between(20, 22), seed=2)
    (availability, latency) = judge(SYSTEM, LOSS, [poor, fine]).verdicts
    assert availability.what == "web availability 99.9%"
    assert latency.what == "web latency 95% < 300ms"
    assert not availability.held
    assert latency.held, "5 % may be slow, 1.7 % were"
    assert availability.worst_seed == 2
    assert availability.margin == pytest.approx(1 - 1_000 / 60_000 - 0.999)
    assert availability.measured.mean == pytest.approx(1 - 500 / 60_000)
    assert judge(SYSTEM, LOSS, [fine]).held


def test_how_much_of_the_budget_of_the_whole_window_is_used_up():
    (availability, _) = judge(SYSTEM, LOSS, [run_of(bad_between(20, 22))]).verdicts
    allowed = 1_000 * 30 * DAY / SECOND * 0.001
    assert availability.budget.mean == pytest.approx(1_000 / allowed)


@pytest.mark.parametrize(("budget", "held"), [(0.0004, True), (0.0003, False)])
def test_a_scenario_may_use_up_a_share_of_the_budget(budget, held):
    """1,000 of 2,592,000 allowed bad requests: 0.0386 %."""
    under = replace(LOSS, budget=budget)
    (availability, _) = judge(SYSTEM, under, [run_of(bad_between(20, 22), under=under)]).verdicts
    assert availability.held is held
    assert (availability.margin >= 0) is held


def test_without_requests_an_objective_is_neither_met_nor_missed():
    none = run_of([0] * 60, total=0)
    for verdict in judge(SYSTEM, LOSS, [none]).verdicts:
        assert verdict.held
        assert verdict.measured.runs == 0


def test_a_broken_invariant_breaks_the_proof():
    fine = run_of([0] * 60)
    assert not judge(SYSTEM, LOSS, [replace(fine, broken=("requests went missing",))]).held


def test_nothing_is_known_of_no_runs():
    proof = judge(SYSTEM, replace(LOSS, recovery=MINUTE), [])
    assert proof.verdicts == ()
    assert proof.runs == ()


# --- troubles ---


@pytest.mark.parametrize(
    ("bad", "recover_s"),
    [
        ([0] * 60, 0.0),
        (bad_between(20, 26), 6.0),
        (bad_between(25, 30), 10.0),
        (bad_between(0, 10), 0.0),
        (bad_between(20, 26, amount=1), 0.0),
        (bad_between(55, 60), None),
    ],
    ids=["fine", "6 s", "later", "before the fault", "no more than chance", "to the end"],
)
def test_the_time_to_recover_is_counted_from_the_first_fault(bad, recover_s):
    recover = judge(SYSTEM, LOSS, [run_of(bad)]).recover
    assert (recover and recover.mean) == recover_s


def test_one_bad_request_of_few_is_chance_and_a_second_is_not():
    """Ten requests in ten seconds, of which 0.01 may be bad: one comes once in a hundred times."""
    for bad, recover_s in ([0] * 20 + [1] + [0] * 39, 0.0), ([0] * 20 + [1, 1] + [0] * 38, 1.0):
        assert judge(SYSTEM, LOSS, [run_of(bad, total=1)]).recover.mean == recover_s


def test_times_are_of_the_runs_that_have_one():
    fine, poor = run_of([0] * 60, seed=1), run_of(bad_between(55, 60), seed=2)
    recover = judge(SYSTEM, LOSS, [fine, poor]).recover
    assert (recover.mean, recover.runs) == (0.0, 1)


@pytest.mark.parametrize(
    ("bad", "limit", "took_s"),
    [
        (bad_between(20, 30), MINUTE, 0.0),
        (bad_between(20, 46), MINUTE, 6.0),
        (bad_between(20, 46), 5 * SECOND, 6.0),
        (bad_between(20, 60), MINUTE, math.inf),
    ],
)
def test_recovery_is_counted_from_the_end_of_the_last_fault(bad, limit, took_s):
    under = replace(LOSS, recovery=limit)
    verdict = judge(SYSTEM, under, [run_of(bad, under=under)]).verdicts[-1]
    assert verdict.objective is None
    assert verdict.measured.mean == took_s
    assert verdict.held is (took_s <= limit / SECOND)
    assert verdict.margin == limit / SECOND - took_s


def test_a_fault_that_lasts_to_the_end_leaves_no_time_to_recover():
    under = replace(LOSS, recovery=MINUTE, steps=(replace(small.LOSS, lasts=None),))
    assert not judge(SYSTEM, under, [run_of([0] * 60, under=under)]).verdicts[-1].held


def test_trouble_is_noticed_by_whoever_does_something_first():
    events = [
        event(5, EventKind.ACTION),
        event(20, EventKind.FAULT),
        event(20.1, EventKind.ACTION, "rollout.begin"),
        event(20.2, EventKind.HEALTH, "ready"),
        event(20.3, EventKind.ACTION, "placement.start.replace"),
        event(20.4, EventKind.EJECT),
        event(21, EventKind.HEALTH, "failed"),
    ]
    proof = judge(SYSTEM, LOSS, [run_of([0] * 60, events=events)])
    assert proof.detect.mean == pytest.approx(0.4)
    assert judge(SYSTEM, LOSS, [run_of([0] * 60, events=events[:2])]).detect is None
    for kind, code in (
        (EventKind.HEALTH, "failed"),
        (EventKind.ACTION, "scaling.up"),
        (EventKind.ACTION, "rollout.rollback.errors"),
    ):
        noticed = [*events[:5], event(20.35, kind, code), *events[5:]]
        found = judge(SYSTEM, LOSS, [run_of([0] * 60, events=noticed)]).detect
        assert found.mean == pytest.approx(0.35)
    calm = Scenario(name="calm", duration=MINUTE)
    assert judge(SYSTEM, calm, [run_of([0] * 60, under=calm, events=events)]).detect is None


# --- figures ---


def test_scalings_are_counted_by_their_codes():
    codes = ["scaling.up", "scaling.down", "scaling.layout", "placement.start"]
    made = run_of([0] * 60, events=[event(1, EventKind.ACTION, code) for code in codes])
    assert scalings(made) == 2


def test_instance_hours_and_peaks():
    proof = judge(SYSTEM, LOSS, [run_of([0] * 60)])
    assert proof.instance_hours["web"].mean == pytest.approx(4 * MINUTE / HOUR)
    assert 0 < proof.peak_utilisation["web"].mean <= 1


def test_an_estimate_has_the_interval_of_student():
    found = estimate([1.0, 2.0, 3.0])
    assert found.mean == 2
    assert found.high - found.mean == pytest.approx(4.302653 * 1 / math.sqrt(3), rel=1e-6)
    assert found.low + found.high == pytest.approx(4)
    assert estimate([5.0]).low is None
    assert estimate([]).runs == 0


def test_an_objective_is_described_as_the_spec_writes_it():
    assert [describe(one) for one in SYSTEM.objectives] == [
        "web availability 99.9%",
        "web latency 95% < 300ms",
    ]
