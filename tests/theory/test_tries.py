"""Requests that are sent more than once, and those that nobody waits for any more."""

import math

import pytest

from tests.theory import laws
from tests.theory.queues import (
    agree,
    clients,
    edge_s,
    mean_times_s,
    runs_of,
    share_longer,
    spec,
    station,
)

BACK_OFF_S = 0.01
"""Before a first retry, evenly distributed, as it stands in the balancers' configuration."""


def tried(work: str, retries: str, timeout: str = "none") -> str:
    one = station("station", f"{work}, concurrency: 1000000", retries=retries, timeout=timeout)
    return spec(one, to="station", per_s=1000, seconds=40, warmup_s=1)


@pytest.mark.parametrize(("p", "attempts"), [(0.1, 1), (0.3, 2), (0.5, 3)])
def test_retries_amplify(p, attempts):
    """Each try fails by itself: how many tries there are, and how many requests fail in the end."""
    runs = runs_of(
        tried(f"time: 1ms, errors: {p:.0%}", f"{{attempts: {attempts}, budget: 100%, on: 5xx}}")
    )
    tries = [1 + flow.retried / flow.requests for flow in clients(runs)]
    agree("tries", tries, laws.mean_tries(p, attempts), within=0.02)
    failed = [flow.failed / flow.requests for flow in clients(runs)]
    agree("failed", failed, p ** (attempts + 1), within=0.15)


def test_a_timeout_ends_what_takes_longer():
    runs = runs_of(tried("time: exponential(mean=10ms)", "{attempts: 0}", timeout="15ms"))
    late = [flow.timed_out / flow.requests for flow in clients(runs)]
    agree("late", late, math.exp(-1.5), within=0.05)


@pytest.mark.parametrize("after_ms", [5, 10, 25])
def test_hedges_take_the_sooner_of_two(after_ms):
    retries = f"{{attempts: 1, per_try: {after_ms}ms, hedge: true, budget: 100%}}"
    runs = runs_of(tried("time: exponential(mean=10ms)", retries))
    after_s = after_ms / 1e3
    right = laws.hedged_time(0.01, after_s, BACK_OFF_S)
    agree("time", mean_times_s(runs), right, within=0.03)
    sent = [flow.retried / flow.requests for flow in clients(runs)]
    agree("hedges", sent, math.exp(-after_ms / 10), within=0.1)
    than = edge_s(after_s + BACK_OFF_S)
    longer = [share_longer(flow.latency, than) for flow in clients(runs)]
    right = laws.hedged_longer(0.01, after_s, BACK_OFF_S, than)
    agree(f"longer than {than}", longer, right, within=0.15)
