"""One service with one Poisson source, against the laws of a single queue."""

import pytest

from tests.theory import laws
from tests.theory.queues import (
    agree,
    clients,
    edge_s,
    mean_times_s,
    mean_waits_s,
    runs_of,
    share_longer,
    spec,
    station,
)

SERVICE_S = 0.01


def queue(
    work: str, rho_times_c: float, requests: int, *, warmup: int = 2000, source: str = ""
) -> str:
    """So many requests a run, at this offered load with a mean service time of 10 ms."""
    per_s = rho_times_c / SERVICE_S
    return spec(
        station("station", work),
        to="station",
        per_s=per_s,
        seconds=round(requests / per_s, 3),
        warmup_s=round(warmup / per_s, 3),
        source=source,
    )


@pytest.mark.parametrize(("rho", "requests"), [(0.3, 50_000), (0.7, 100_000), (0.9, 600_000)])
def test_mm1(rho, requests):
    runs = runs_of(queue("time: exponential(mean=10ms), concurrency: 1", rho, requests))
    agree("wait", mean_waits_s(runs), laws.mmc_wait(rho, 1, SERVICE_S), within=0.1)
    agree("time", mean_times_s(runs), SERVICE_S / (1 - rho), within=0.1)
    for times in (1, 3):
        than = edge_s(times * SERVICE_S / (1 - rho))
        longer = [share_longer(flow.latency, than) for flow in clients(runs)]
        agree(f"longer than {than}", longer, laws.mm1_longer(rho, SERVICE_S, than), within=0.2)
    waited = [share_longer(flow.wait, edge_s(0)) for flow in clients(runs)]
    agree("waited", waited, rho, within=0.02)


@pytest.mark.parametrize(
    ("servers", "load", "requests"), [(2, 1.5, 150_000), (8, 6.4, 200_000), (50, 45.0, 300_000)]
)
def test_mmc(servers, load, requests):
    """Erlang C."""
    runs = runs_of(queue(f"time: exponential(mean=10ms), concurrency: {servers}", load, requests))
    agree("wait", mean_waits_s(runs), laws.mmc_wait(load, servers, SERVICE_S), within=0.1)
    waited = [share_longer(flow.wait, edge_s(0)) for flow in clients(runs)]
    agree("waited", waited, laws.erlang_c(load, servers), within=0.05)
    than = edge_s(SERVICE_S / (servers - load))
    longer = [share_longer(flow.wait, than) for flow in clients(runs)]
    right = laws.mmc_wait_longer(load, servers, SERVICE_S, than)
    agree(f"waited longer than {than}", longer, right, within=0.1)


@pytest.mark.parametrize(
    ("time", "cv", "requests"),
    [
        ("10ms", 0.0, 100_000),
        ("erlang(mean=10ms, k=4)", 0.5, 100_000),
        ("exponential(mean=10ms)", 1.0, 150_000),
        ("gamma(mean=10ms, cv=2)", 2.0, 500_000),
        # The mean is 10 ms: exp(sigma^2 / 2) is 1.25 where p99 is 4.7314 times the median.
        ("lognormal(p50=8ms, p99=37.851204ms)", 0.75, 150_000),
    ],
)
def test_mg1(time, cv, requests):
    """Pollaczek and Khinchine."""
    runs = runs_of(queue(f"time: '{time}', concurrency: 1", 0.7, requests))
    agree("wait", mean_waits_s(runs), laws.mg1_wait(0.7, SERVICE_S, cv), within=0.1)
    agree("time", mean_times_s(runs), laws.mg1_wait(0.7, SERVICE_S, cv) + SERVICE_S, within=0.1)


@pytest.mark.parametrize(("servers", "room", "load"), [(1, 3, 1.2), (4, 6, 3.6), (8, 0, 7.0)])
def test_mmck(servers, room, load):
    """A bounded queue refuses, and those that it takes wait the less."""
    work = f"time: exponential(mean=10ms), concurrency: {servers}, queue: {room}"
    runs = runs_of(queue(work, load, 60_000, warmup=500))
    blocked, wait = laws.mmck(load, servers, room)
    refused = [flow.rejected / flow.requests for flow in clients(runs)]
    agree("refused", refused, blocked, within=0.08)
    if room:
        agree("wait", mean_waits_s(runs), wait * SERVICE_S, within=0.05)


@pytest.mark.parametrize("time", ["exponential(mean=10ms)", "10ms", "gamma(mean=10ms, cv=2)"])
def test_erlang_b_whatever_the_service_time(time):
    runs = runs_of(queue(f"time: '{time}', concurrency: 10, queue: 0", 8.0, 80_000, warmup=1000))
    refused = [flow.rejected / flow.requests for flow in clients(runs)]
    agree("refused", refused, laws.erlang_b(8.0, 10), within=0.05)


@pytest.mark.parametrize(("servers", "load", "patience_ms"), [(1, 1.2, 10), (10, 11.0, 50)])
def test_erlang_a(servers, load, patience_ms):
    """Requests that have waited too long are refused."""
    work = f"time: exponential(mean=10ms), concurrency: {servers}"
    runs = runs_of(queue(f"{work}, queue_timeout: exponential(mean={patience_ms}ms)", load, 80_000))
    left, wait = laws.erlang_a(load, servers, 1e3 * SERVICE_S / patience_ms)
    refused = [flow.rejected / flow.requests for flow in clients(runs)]
    agree("refused", refused, left, within=0.05)
    queued = [float(run.loads["station", "here"].queued.mean()) for run in runs]
    agree("queued", queued, load * wait, within=0.15)


@pytest.mark.parametrize(("servers", "load", "patience_ms"), [(5, 5.5, 40), (10, 9.0, 100)])
def test_impatient_clients(servers, load, patience_ms):
    """Clients go away, and what they asked for is given up."""
    runs = runs_of(
        queue(
            f"time: exponential(mean=10ms), concurrency: {servers}, cancel: true",
            load,
            80_000,
            warmup=1000,
            source=f"patience: exponential(mean={patience_ms}ms)",
        )
    )
    left = laws.impatient_clients(load, servers, 1e3 * SERVICE_S / patience_ms)
    gone = [flow.timed_out / flow.requests for flow in clients(runs)]
    agree("gone", gone, left, within=0.05)
