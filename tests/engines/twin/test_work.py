"""Work on instances: shared CPU, stops, warm-up, being held, and tables that grow."""

from dataclasses import replace
from typing import Any

import pytest

from seakeep.engines.twin.world import Process, World
from seakeep.model.scale import Metric, Scale, ScaleTarget
from seakeep.model.system import Call, Replicas
from seakeep.model.time import MILLISECOND, SECOND
from seakeep.model.traffic import Shape
from seakeep.model.work import Pauses, Warmup, Work
from tests.engines.twin.audit import audit
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


def worked(does: Work, *, rate: float = 10.0, millicores: int = 4000, **more: Any) -> World:
    one = world(
        system(
            [service("web", work=does, **more)],
            [source(rate=rate, shape=Shape.CONSTANT)],
            [region("r", millicores=millicores)],
        ),
        end=1000 * SECOND,
    )
    serve(one, ["web-1"])
    return one


# --- shared CPU -------------------------------------------------------------


def test_slots_that_want_more_than_the_node_has_slow_down_alike() -> None:
    """One core, requests of 100 ms of it at 5/s each: an M/D/1 processor-sharing queue."""
    one = world(
        system(
            [service("web", work=work(constant(100 * MILLISECOND), 1000, cpu=1.0))],
            [source(rate=5.0)],
            [region("r", millicores=1000)],
        ),
        end=20_000 * SECOND,
        bucket=1000 * SECOND,
    )
    serve(one, ["web-1"])
    flow = run(one, 20_000 * SECOND).traffic()["clients"]
    assert flow.latency.mean_s == pytest.approx(0.1 / (1 - 0.5), rel=0.02)
    assert one.figures("web-1").cpu_ns == pytest.approx(flow.ok * 0.1 * SECOND, rel=0.01)


def test_a_node_with_less_cpu_is_slower_at_once() -> None:
    one = worked(work(constant(SECOND), 10, cpu=1.0), rate=1.0)
    one.start_traffic(0)
    one.advance(10 * SECOND + 500 * MILLISECOND)  # half of the request is done
    one.set_node("r/a/0", 500)
    one.advance(11 * SECOND + 600 * MILLISECOND)
    took = one.traffic()["clients"].latency.max_s
    assert took is None or took < 1.001
    one.advance(12 * SECOND)
    audit(one)
    assert one.traffic()["clients"].latency.max_s > 1.5


def test_instances_on_a_node_take_cpu_from_each_other() -> None:
    one = worked(work(constant(100 * MILLISECOND), 10, cpu=1.0), rate=20.0, millicores=1000)
    flow = run(one, 10 * SECOND).traffic()["clients"]
    assert flow.ok == pytest.approx(95, abs=2)  # a tenth of a second each, ten half done


# --- stops ------------------------------------------------------------------


def test_a_frozen_instance_goes_on_where_it_was() -> None:
    one = worked(work(constant(SECOND), 100), rate=1.0)
    one.start_traffic(0)
    one.advance(10 * SECOND + 250 * MILLISECOND)
    one.set_state("web-1", Process.FROZEN)
    one.advance(20 * SECOND)
    assert one.traffic()["clients"].ok == 10
    one.set_state("web-1", Process.SERVING)
    one.advance(20 * SECOND + 750 * MILLISECOND)
    flow = one.traffic()["clients"]
    assert flow.ok == 11  # that of second 10, a quarter done when it was stopped
    one.advance(21 * SECOND)
    assert one.traffic()["clients"].ok == 21
    assert one.broken() == []
    audit(one)


def test_dying_while_frozen_resets_what_is_there() -> None:
    one = worked(work(constant(SECOND), 2), rate=10.0)
    one.start_traffic(0)
    one.advance(5 * SECOND)
    one.set_state("web-1", Process.FROZEN)
    one.advance(7 * SECOND)
    one.set_state("web-1", Process.DEAD)
    one.advance(7 * SECOND)
    audit(one)
    flow = one.traffic()["clients"]
    assert flow.in_flight == 0
    assert flow.failed == flow.requests - flow.ok


def test_pauses_stop_everything_for_a_while() -> None:
    """100 ms in every second of work, which 10 ms of work meet by chance."""
    pauses = Pauses(every=exponential(SECOND), time=constant(100 * MILLISECOND))
    one = worked(work(constant(10 * MILLISECOND), 100, pauses=pauses), rate=100.0)
    flow = run(one, 1000 * SECOND).traffic()["clients"]
    stopped = 0.1 / 1.1
    mean = 0.01 + stopped * 0.05 + 0.01 * 0.1
    assert flow.latency.mean_s == pytest.approx(mean, rel=0.08)
    assert 0.1 < flow.latency.max_s < 0.5


def test_a_new_process_is_slow_and_warms_up() -> None:
    does = work(constant(10 * MILLISECOND), 100, warmup=Warmup(factor=5.0, time=10 * SECOND))
    one = worked(does, rate=10.0)
    one.start_traffic(0)
    one.advance(SECOND)
    assert one.traffic()["clients"].latency.max_s == pytest.approx(0.05, abs=0.001)
    one.advance(100 * SECOND)
    assert one.traffic()["clients"].latency.percentile_s(0.5) == pytest.approx(0.01, rel=0.01)
    one.restarted("web-1")
    one.advance(101 * SECOND)
    late = one.traffic()["clients"].latency
    assert late.percentile_s(0.99) > 0.04


def test_slow_and_bad_versions_are_so() -> None:
    one = worked(work(constant(10 * MILLISECOND), 100), rate=100.0)
    one.add_instance(
        "bad",
        service="web",
        region="r",
        zone="a",
        node="r/a/0",
        revision="2",
        slower=3.0,
        errors=0.5,
    )
    one.set_state("bad", Process.SERVING)
    one.set_endpoints("r", "web", [locality([endpoint("bad")])])
    one.set_check("r", "bad", ok=True)
    flow = run(one, 100 * SECOND).traffic()["clients"]
    assert flow.latency.mean_s == pytest.approx(0.03)
    assert flow.failed / flow.requests == pytest.approx(0.5, abs=0.02)
    old, new = one.revision_readings()
    assert (old.revision, old.requests) == ("1", 0)
    assert (new.revision, new.failures) == ("2", flow.failed)


def test_memory_is_left_behind_until_the_process_starts_again() -> None:
    one = worked(work(constant(MILLISECOND), 100, leak_bytes=1000), rate=10.0)
    run(one, 10 * SECOND)
    assert one.figures("web-1").left_bytes == 1000 * one.figures("web-1").done > 0
    one.restarted("web-1")
    assert one.figures("web-1").left_bytes == 0


# --- while there is nobody --------------------------------------------------


def test_requests_are_held_until_there_is_an_instance() -> None:
    scale = Scale(metrics=(ScaleTarget(metric=Metric.CONCURRENCY, target=1.0),))
    does = work(constant(MILLISECOND), 100)
    one = worked(does, rate=5.0, scale=scale, replicas=Replicas(min=0, max=3))
    one.set_endpoints("r", "web", [])
    one.start_traffic(0)
    one.advance(4 * SECOND)
    assert one.traffic()["clients"].ok == 0
    (reading,) = one.readings()
    assert reading.in_flight == 21
    one.set_endpoints("r", "web", [locality([endpoint("web-1")])])
    one.advance(5 * SECOND)
    flow = one.traffic()["clients"]
    assert flow.failed == 0
    assert flow.latency.max_s == pytest.approx(4.001)
    audit(one)
    one.set_endpoints("r", "web", [])
    one.advance(30 * SECOND)
    late = one.traffic()["clients"]
    assert late.failed == pytest.approx(5 * 15, abs=3)  # who has waited for 10 s
    audit(one)


# --- tables -----------------------------------------------------------------


def test_tables_grow_with_what_is_in_flight_and_no_further() -> None:
    one = world(
        system([service("web", work=work(constant(SECOND), 100_000))], [source(rate=20_000.0)]),
        end=30 * SECOND,
    )
    serve(one, ["web-1"])
    one.start_traffic(0)
    one.advance(3 * SECOND)
    size = len(one._t.rows["spans"])
    assert 20_000 < size < 80_000
    run_on = one.traffic()["clients"]
    assert run_on.in_flight == pytest.approx(20_000, rel=0.05)
    one.advance(30 * SECOND)
    assert len(one._t.rows["spans"]) == size
    assert one.broken() == []
    audit(one)


def test_many_calls_at_once_have_room() -> None:
    wide = Call(service="db", per_request=3000.0, parallel=True)
    one = world(
        system([service("web", calls=(wide,)), service("db", routes=())], [source(rate=3.0)])
    )
    serve(one, ["web-1"])
    serve(one, ["db-1"], service="db")
    run(one, 10 * SECOND)
    assert one.flows()["db"].requests == 3000 * one.traffic()["clients"].requests
    audit(one)


def test_a_service_that_is_added_leaves_the_others_draws_alone() -> None:
    web = service("web", work=work(exponential(20 * MILLISECOND), 4))
    other = service("api", work=work(exponential(MILLISECOND), 1))

    def counts(services: Any, sources: Any, also: bool) -> bytes:
        one = world(system(services, sources), end=60 * SECOND)
        if also:
            serve(one, ["api-1"], service="api")
        serve(one, ["web-1", "web-2"])
        return run(one, 60 * SECOND).traffic()["clients"].latency.counts.tobytes()

    more = source("others", to="api", rate=300.0)
    alone = counts([web], [source()], False)
    assert alone == counts([other, web], [more, source()], True)
    assert alone != counts([replace(web, name="web")], [source(rate=101.0)], False)
