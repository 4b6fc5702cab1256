"""Many instances behind one balancer, against what is known of ways to choose among them."""

import pytest

from tests.theory import laws
from tests.theory.queues import agree, mean_times_s, runs_of, spec, station

SERVICE_S = 0.01


def many(instances: int, rho: float, policy: str, requests: int) -> str:
    per_s = instances * rho / SERVICE_S
    more = (
        f"    replicas: {instances}\n"
        f"    balance: {policy}\n"
        "    resources: {cpu: 1m, memory: 1MiB}\n"
    )
    return spec(
        station("station", "time: exponential(mean=10ms), concurrency: 1", more=more),
        to="station",
        per_s=per_s,
        seconds=round(requests / per_s, 3),
        warmup_s=1,
    )


@pytest.mark.parametrize(("rho", "requests"), [(0.7, 100_000), (0.9, 300_000)])
def test_power_of_two_choices(rho, requests):
    runs = runs_of(many(100, rho, "least_request", requests), seeds=16)
    right = SERVICE_S * laws.two_choices_time(rho, 100)
    agree("time", mean_times_s(runs), right, within=0.03)


def test_random_choice_is_so_many_queues_of_their_own():
    runs = runs_of(many(20, 0.7, "random", 100_000))
    agree("time", mean_times_s(runs), SERVICE_S * laws.random_time(0.7), within=0.05)


def test_taking_turns_makes_arrivals_even():
    """Each of `n` instances gets every n-th arrival: Erlang(n) between them (GI/M/1)."""
    runs = runs_of(many(5, 0.8, "round_robin", 100_000))
    right = SERVICE_S * laws.turns_time(0.8, 5)
    agree("time", mean_times_s(runs), right, within=0.05)
