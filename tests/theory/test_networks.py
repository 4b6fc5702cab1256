"""Several services, against the laws of networks of queues.

A slot is held while an instance waits for the answers to its calls, so the caller here has slots
without bound and takes no time itself: all waiting is in what it calls.
"""

import pytest

from tests.theory import laws
from tests.theory.queues import agree, clients, mean_times_s, runs_of, spec, station

SERVICE_S = 0.01
ALL = "time: 0s, concurrency: 1000000"
ONE = "time: exponential(mean=10ms), concurrency: 1"


def network(calls: str, stations: int, per_s: float, requests: int) -> str:
    parts = [station("front", ALL, more=f"    calls: {calls}\n")]
    parts += [station(f"s{n}", ONE) for n in range(1, stations + 1)]
    return spec(
        "".join(parts),
        to="front",
        per_s=per_s,
        seconds=round(requests / per_s, 3),
        warmup_s=round(2000 / per_s, 3),
    )


@pytest.mark.parametrize(
    ("calls", "visits", "per_s"),
    [
        ("{s1: 1, s2: 1, s3: 1}", [1, 1, 1], 70),
        ("{s1: 2, s2: 1}", [2, 1], 38),
        ("{s1: 1, s2: 0.3, s3: 0.8}", [1, 0.3, 0.8], 75),
    ],
    ids=["one behind the other", "again", "some of them"],
)
def test_jackson(calls, visits, per_s):
    """Each queue is as if it stood alone (product form)."""
    runs = runs_of(network(calls, len(visits), per_s, 150_000))
    rates = [per_s * n for n in visits]
    right = laws.visits_time(rates, SERVICE_S, visits)
    agree("time", mean_times_s(runs), right, within=0.05)
    for place, rate in enumerate(rates, start=1):
        times = [run.services[f"s{place}"].latency.mean_s for run in runs]
        agree(f"time at s{place}", times, SERVICE_S / (1 - rate * SERVICE_S), within=0.1)


@pytest.mark.parametrize("rho", [0.3, 0.7])
def test_fork_join_of_two(rho):
    calls = "{s1: {parallel: true}, s2: {parallel: true}}"
    runs = runs_of(network(calls, 2, rho / SERVICE_S, 120_000))
    agree("time", mean_times_s(runs), laws.fork_join_of_two(rho, SERVICE_S), within=0.05)


def test_callers_are_as_busy_as_what_they_wait_for():
    """Little's law in all: requests there are arrivals times their time there."""
    runs = runs_of(network("{s1: 1, s2: 1}", 2, 60, 120_000))
    for name in ("front", "s1", "s2"):
        off = []
        for run in runs:
            load, flow = run.loads[name, "here"], run.services[name]
            there = float((load.busy + load.queued).mean())
            rate = flow.requests / (run.duration / 1e9)
            off.append(there / (rate * flow.latency.mean_s))
        agree(f"there at {name}, over rate x time", off, 1.0, within=0.15)
    assert all(flow.ok + flow.in_flight == flow.requests for flow in clients(runs))
