"""A world by itself: queues, slots, and what they are counted as."""

import pytest

from seakeep.engines.twin.world import Process
from seakeep.model.system import Call
from seakeep.model.time import MILLISECOND, SECOND
from tests.engines.twin.worlds import (
    constant,
    exponential,
    run,
    serve,
    service,
    source,
    system,
    work,
    world,
)


def test_queue_of_eight_servers_waits_as_erlang_says() -> None:
    one = world(
        system([service("web", work=work(exponential(SECOND), 8))], [source(rate=6.4)]),
        end=300_000 * SECOND,
        bucket=1000 * SECOND,
    )
    serve(one, ["web-1"])
    flow = run(one, 300_000 * SECOND).traffic()["clients"]
    assert flow.wait.mean_s == pytest.approx(0.2866, rel=0.03)
    assert flow.latency.mean_s == pytest.approx(1.2866, rel=0.02)


def test_same_seed_gives_the_same_run_and_another_another() -> None:
    def once(seed: int) -> tuple[int, int, bytes]:
        one = world(
            system([service("web", work=work(exponential(10 * MILLISECOND), 2))], [source()]),
            seed=seed,
        )
        serve(one, ["web-1", "web-2"])
        flow = run(one, 60 * SECOND).traffic()["clients"]
        return flow.requests, flow.latency.sum_ns, flow.latency.counts.tobytes()

    assert once(7) == once(7)
    assert once(7) != once(8)


def test_a_full_queue_turns_away() -> None:
    one = world(
        system(
            [service("web", work=work(constant(SECOND), 1, queue=2))],
            [source(rate=10)],
        )
    )
    serve(one, ["web-1"])
    flow = run(one, 60 * SECOND).traffic()["clients"]
    assert flow.ok == pytest.approx(59, abs=1)
    assert flow.in_flight == 3
    assert flow.rejected == flow.requests - flow.ok - 3


def test_who_has_waited_too_long_is_turned_away_and_by_a_frozen_instance_later() -> None:
    bounded = work(constant(SECOND), 1, queue_timeout=constant(1500 * MILLISECOND))
    one = world(system([service("web", work=bounded)], [source(rate=10)]))
    serve(one, ["web-1"])
    run(one, 30 * SECOND)
    flow = one.traffic()["clients"]
    assert flow.ok == pytest.approx(29, abs=1)
    assert flow.wait.max_s is not None
    assert flow.wait.max_s <= 1.5
    one.set_state("web-1", Process.FROZEN)
    one.advance(40 * SECOND)
    assert one.traffic()["clients"].rejected <= flow.rejected + 1
    one.set_state("web-1", Process.SERVING)
    one.advance(41 * SECOND)
    assert one.traffic()["clients"].rejected == pytest.approx(flow.rejected + 100, abs=30)
    assert one.broken() == []


def test_calls_hold_the_slot_of_the_caller() -> None:
    services = [
        service("web", work=work(constant(10 * MILLISECOND), 1), calls=(_call("db", 2.0),)),
        service("db", work=work(constant(20 * MILLISECOND), 4), routes=()),
    ]
    one = world(system(services, [source(rate=1)]))
    serve(one, ["web-1"])
    serve(one, ["db-1"], service="db")
    run(one, 60 * SECOND)
    flow = one.traffic()["clients"]
    assert flow.latency.percentile_s(0.01) == pytest.approx(0.05, rel=0.01)
    assert one.flows()["db"].requests == 2 * one.flows()["web"].requests


def _call(name: str, times: float, parallel: bool = False) -> Call:
    return Call(service=name, per_request=times, parallel=parallel)


def test_a_dead_instance_resets_what_is_in_it() -> None:
    one = world(
        system([service("web", work=work(constant(SECOND), 100))], [source(rate=10)]),
    )
    serve(one, ["web-1"])
    one.start_traffic(0)
    one.advance(5 * SECOND)
    busy = one.figures("web-1").busy
    assert busy > 0
    one.set_state("web-1", Process.DEAD)
    one.advance(5 * SECOND)
    assert one.traffic()["clients"].failed == busy
    assert one.figures("web-1").busy == 0
    assert one.broken() == []
