"""Tries and tries again: retries, their budget, timeouts, hedges, ejection, breakers, shedding."""

from dataclasses import replace
from typing import Any

import pytest

from seakeep.engines.twin.world import Process, World
from seakeep.model.limits import LimitPer, LimitScope, Priority, RateLimit, Shed
from seakeep.model.system import Breaker, Call, Retries, Route
from seakeep.model.time import MILLISECOND, SECOND
from seakeep.model.work import Distribution
from tests.engines.twin.worlds import (
    constant,
    endpoint,
    exponential,
    locality,
    region,
    run,
    serve,
    service,
    source,
    system,
    work,
    world,
)


def tried(retries: Retries, *, time: Distribution, rate: float = 100.0, **more: Any) -> World:
    slots = more.pop("slots", 1000)
    served = service("web", work=work(time, slots, **more.pop("does", {})), retries=retries, **more)
    return world(system([served], [source(rate=rate)]), end=100 * SECOND)


NEVER = Retries(attempts=0)


def test_a_refused_try_goes_to_another_instance() -> None:
    one = tried(Retries(attempts=2), time=constant(MILLISECOND))
    serve(one, ["a", "b", "c", "d"])
    one.set_state("a", Process.DEAD)
    flow = run(one, 100 * SECOND).traffic()["clients"]
    assert flow.failed == 0
    assert flow.retried > 0


def test_without_retries_it_fails() -> None:
    one = tried(NEVER, time=constant(MILLISECOND))
    serve(one, ["a"])
    one.set_state("a", Process.DEAD)
    flow = run(one, 10 * SECOND).traffic()["clients"]
    assert flow.failed == flow.requests
    assert flow.retried == 0


def test_errors_of_the_service_are_not_retried_unless_asked() -> None:
    one = tried(Retries(attempts=2), time=constant(MILLISECOND), does={"errors": 0.5})
    serve(one, ["a", "b"])
    flow = run(one, 100 * SECOND).traffic()["clients"]
    assert flow.retried == 0
    assert flow.failed / flow.requests == pytest.approx(0.5, abs=0.03)


def test_back_off_is_at_most_ten_milliseconds_at_first() -> None:
    """A full queue is met by a retry, which waits 5 ms on average (Envoy draws it evenly)."""
    one = tried(
        Retries(attempts=1, budget_fraction=1.0),
        time=constant(MILLISECOND),
        does={"queue": 0},
        slots=1,
        rate=20,
    )
    serve(one, ["a"])
    one.start_traffic(0)
    one.advance(100 * SECOND)
    flow = one.traffic()["clients"]
    assert flow.ok + flow.rejected == flow.requests
    assert flow.latency.percentile_s(0.9999) < 0.0125


def test_the_budget_bounds_retries_under_way() -> None:
    """All tries hang for a second; at 20 % of some 400 requests in flight, 80 retries at once."""
    one = tried(
        Retries(attempts=1, budget_fraction=0.2, per_try_timeout=SECOND),
        time=constant(60 * SECOND),
        timeout=4 * SECOND,
        rate=200,
    )
    serve(one, ["a", "b"])
    flow = run(one, 100 * SECOND).traffic()["clients"]
    assert 10 / 200 < flow.retried / flow.requests < 0.35


def test_each_try_and_the_whole_have_their_time() -> None:
    one = tried(
        Retries(attempts=2, per_try_timeout=100 * MILLISECOND, budget_fraction=1.0),
        time=constant(SECOND),
        timeout=250 * MILLISECOND,
        rate=20,
    )
    serve(one, ["a", "b", "c"])
    flow = run(one, 100 * SECOND).traffic()["clients"]
    assert flow.ok == 0
    assert flow.timed_out == flow.requests - flow.in_flight
    assert flow.retried == pytest.approx(2 * flow.requests, rel=0.02)


def test_work_goes_on_for_nothing_unless_it_is_cancelled() -> None:
    def slots_busy(cancel: bool) -> int:
        one = tried(
            NEVER, time=constant(SECOND), timeout=100 * MILLISECOND, does={"cancel": cancel}
        )
        serve(one, ["a"])
        run(one, 50 * SECOND)
        return one.figures("a").busy

    assert slots_busy(False) == pytest.approx(100, abs=40)
    assert slots_busy(True) == pytest.approx(10, abs=10)


def test_a_cancelled_request_cancels_its_place_in_the_queue() -> None:
    one = tried(
        NEVER, time=constant(SECOND), timeout=100 * MILLISECOND, slots=1, does={"cancel": True}
    )
    serve(one, ["a"])
    run(one, 50 * SECOND)
    assert one.figures("a").queued < 40


def test_a_hedge_is_sent_beside_the_try_that_is_late() -> None:
    def flow_of(hedge: bool) -> Any:
        one = tried(
            Retries(attempts=1, per_try_timeout=50 * MILLISECOND, budget_fraction=1.0, hedge=hedge),
            time=constant(70 * MILLISECOND),
            timeout=SECOND,
            rate=50,
        )
        serve(one, ["a", "b"])
        return run(one, 100 * SECOND).traffic()["clients"]

    hedged, cut = flow_of(True), flow_of(False)
    assert hedged.timed_out == 0
    assert hedged.latency.max_s == pytest.approx(0.07, abs=0.001)
    assert hedged.retried == pytest.approx(hedged.requests, abs=3)
    assert cut.timed_out == cut.requests - cut.in_flight


# --- ejection ---------------------------------------------------------------


def failing(count: int, bad: int, attempts: int = 2) -> World:
    one = tried(Retries(attempts=attempts), time=constant(MILLISECOND), rate=200)
    names = [f"web-{i}" for i in range(count)]
    serve(one, names)
    for name in names[:bad]:
        one.set_state(name, Process.DEAD)
    one.start_traffic(0)
    return one


def test_five_failures_in_a_row_eject_for_five_seconds_and_then_ten() -> None:
    one = failing(4, 1)
    one.advance(2 * SECOND)
    (out,) = one.notices()
    assert out.out
    assert (out.region, out.service, out.target) == ("r", "web", "web-0")
    one.advance(40 * SECOND)
    notes = one.notices()
    assert [note.out for note in notes[:3]] == [False, True, False]
    assert notes[0].at % (SECOND // 2) == 0
    assert 5 * SECOND <= notes[0].at - out.at < 5.5 * SECOND
    assert 10 * SECOND <= notes[2].at - notes[1].at < 10.5 * SECOND
    asked = one.figures("web-0")
    assert asked.asked_at >= notes[0].at


def test_good_standing_is_forgotten_tick_by_tick() -> None:
    one = failing(4, 1)
    one.advance(2 * SECOND)
    (out,) = one.notices()
    one.set_state("web-0", Process.SERVING)
    one.advance(20 * SECOND)
    assert [note.out for note in one.notices()] == [False]
    one.set_state("web-0", Process.DEAD)
    one.advance(22 * SECOND)
    (again,) = one.notices()
    one.advance(40 * SECOND)
    back = one.notices()[0]
    assert out.out
    assert 5 * SECOND <= back.at - again.at < 5.5 * SECOND


def test_at_most_half_are_ejected_and_a_lone_endpoint_never() -> None:
    one = failing(4, 3)
    one.advance(4 * SECOND)
    assert len(one.notices()) == 2
    alone = failing(1, 1)
    alone.advance(4 * SECOND)
    assert alone.notices() == []


def test_errors_of_500_eject_nobody() -> None:
    one = tried(Retries(attempts=0), time=constant(MILLISECOND), does={"errors": 1.0})
    serve(one, ["a", "b", "c"])
    run(one, 10 * SECOND)
    assert one.notices() == []


def test_a_removed_endpoint_takes_its_ejection_with_it() -> None:
    one = failing(4, 1)
    one.advance(2 * SECOND)
    assert len(one.notices()) == 1
    one.set_endpoints("r", "web", [locality([endpoint(f"web-{i}") for i in (1, 2, 3)])])
    one.advance(10 * SECOND)
    assert one.notices() == []
    one.set_state("web-1", Process.DEAD)
    one.advance(12 * SECOND)
    assert [note.target for note in one.notices()] == ["web-1"]


# --- refusals ---------------------------------------------------------------


def test_a_breaker_bounds_what_is_under_way() -> None:
    one = tried(NEVER, time=constant(SECOND), breaker=Breaker(requests=10), rate=50)
    serve(one, ["a"])
    one.start_traffic(0)
    one.advance(50 * SECOND)
    flow = one.traffic()["clients"]
    assert one.figures("a").busy <= 10
    assert flow.ok / 50 == pytest.approx(10, rel=0.05)
    assert flow.rejected == flow.requests - flow.ok - flow.in_flight


def limited(*limits: RateLimit, regions: int = 1, rate: float = 100.0) -> World:
    served = service("web", limit=limits)
    places = [region(f"r{i}") for i in range(regions)]
    one = world(system([served], [source(rate=rate)], places), end=100 * SECOND)
    serve(one, ["a"], region="r0")
    return one


def test_a_limit_lets_its_rate_through_and_its_burst_before() -> None:
    one = limited(RateLimit(rate_per_s=20, burst=50))
    flow = run(one, 100 * SECOND).traffic()["clients"]
    assert flow.ok == pytest.approx(20 * 100 + 50, abs=3)
    assert flow.rejected == flow.requests - flow.ok
    (reading,) = one.readings()
    assert reading.limited == flow.rejected
    assert reading.requests == flow.ok


def test_a_limit_per_client_gives_each_group_its_own() -> None:
    one = limited(RateLimit(rate_per_s=2, burst=5, per=LimitPer.CLIENT))
    flow = run(one, 100 * SECOND).traffic()["clients"]
    assert flow.ok == pytest.approx(20 * (2 * 100 + 5), rel=0.01)


def test_a_shared_limit_is_divided_evenly_until_it_is_told_otherwise() -> None:
    one = limited(RateLimit(rate_per_s=40, burst=4, scope=LimitScope.SYSTEM), regions=2)
    one.start_traffic(0)
    one.advance(50 * SECOND)
    before = one.traffic()["clients"].ok
    assert before == pytest.approx(20 * 50, abs=5)
    one.set_limit("r0", "web:0", 35.0)
    one.advance(100 * SECOND)
    assert one.traffic()["clients"].ok - before == pytest.approx(35 * 50, abs=8)


def test_shedding_keeps_the_latency_near_its_target() -> None:
    """At twice what the service can do, most of what is let in is answered in time."""

    def run_of(shed: Shed | None, priority: Priority = Priority.SHEDDABLE) -> Any:
        one = tried(
            NEVER,
            time=exponential(10 * MILLISECOND),
            slots=4,
            rate=800,
            shed=shed,
            routes=(Route(priority=priority),),
        )
        serve(one, ["a"])
        return run(one, 60 * SECOND).traffic()["clients"]

    shed = Shed(latency=30 * MILLISECOND, at_least=4)
    kept, critical = run_of(shed), run_of(shed, Priority.CRITICAL)
    assert kept.rejected > 0.3 * kept.requests
    assert kept.latency.percentile_s(0.5) < 0.1
    assert critical.rejected == 0
    assert critical.latency.percentile_s(0.5) > 5


def test_a_failed_call_is_a_503_that_the_caller_retries() -> None:
    services = [
        service(
            "web",
            work=work(constant(MILLISECOND), 100),
            calls=(_call("db"),),
            retries=Retries(attempts=1),
        ),
        service("db", work=work(constant(MILLISECOND), 100), routes=()),
    ]
    one = world(system(services, [source(rate=50)]))
    serve(one, ["web-1", "web-2"])
    serve(one, ["db-1"], service="db")
    one.set_state("db-1", Process.DEAD)
    flow = run(one, 50 * SECOND).traffic()["clients"]
    assert flow.failed == flow.requests - flow.in_flight
    assert one.flows()["web"].retried > 0.15 * flow.requests
    assert one.flows()["db"].requests > flow.requests


def test_parallel_calls_take_as_long_as_the_longest() -> None:
    services = [
        service(
            "web",
            work=work(constant(10 * MILLISECOND), 100),
            calls=(
                replace(_call("one"), parallel=True),
                replace(_call("two"), parallel=True),
                _call("three"),
            ),
        ),
        *(
            service(name, work=work(constant(time * MILLISECOND), 100), routes=())
            for name, time in (("one", 20), ("two", 30), ("three", 40))
        ),
    ]
    one = world(system(services, [source(rate=10)]))
    for name in ("web", "one", "two", "three"):
        serve(one, [f"{name}-1"], service=name)
    flow = run(one, 60 * SECOND).traffic()["clients"]
    assert flow.latency.max_s == pytest.approx(0.08, abs=1e-6)
    assert flow.latency.mean_s == pytest.approx(0.08, abs=1e-6)


def test_a_fraction_of_a_call_is_a_call_now_and_then() -> None:
    services = [service("web", calls=(_call("db", 2.25),)), service("db", routes=())]
    one = world(system(services, [source(rate=500)]))
    serve(one, ["web-1"])
    serve(one, ["db-1"], service="db")
    flow = run(one, 60 * SECOND).traffic()["clients"]
    assert one.flows()["db"].requests / flow.requests == pytest.approx(2.25, abs=0.02)


def _call(name: str, times: float = 1.0) -> Call:
    return Call(service=name, per_request=times)
