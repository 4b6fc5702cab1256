"""Between regions: links, gateways, edges that are down."""

from typing import Any

import pytest

from seakeep.engines.twin.world import Process, World
from seakeep.model.system import Link, Retries
from seakeep.model.time import MILLISECOND, SECOND
from seakeep.model.traffic import Location
from tests.engines.twin.worlds import (
    constant,
    endpoint,
    gateway,
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

FAR = 40 * MILLISECOND


def apart(*, retries: int = 0, timeout: int = 0, rate: float = 50.0, **link: Any) -> World:
    """Clients of region a, whose only instances are those of region b."""
    served = service(
        "web",
        work=work(constant(MILLISECOND), 1000, response_bytes=125_000),
        retries=Retries(attempts=retries, per_try_timeout=500 * MILLISECOND if retries else None),
        timeout=timeout,
    )
    links = [Link(a="a", b="b", latency=FAR, **link)]
    one = world(
        system([served], [source(rate=rate)], [region("a"), region("b")], links), end=100 * SECOND
    )
    serve(one, ["web-1", "web-2"], region="b")
    one.set_endpoints("a", "web", [locality([gateway("b")], region="b")])
    one.set_check("a", "b:web", ok=True)
    return one


def test_a_request_crosses_the_link_there_and_back() -> None:
    one = apart()
    flow = run(one, 50 * SECOND).traffic()["clients"]
    assert flow.latency.max_s == pytest.approx(0.081)
    here, there = one.readings()
    assert here.requests == flow.ok
    assert there.requests == 0  # gateways are left out


def test_bandwidth_makes_answers_wait_for_one_another() -> None:
    """1 Mbit in an answer, 100 Mbit/s: 10 ms each, half of the time: an M/D/1 queue."""
    one = apart(bandwidth_bps=1e8)
    flow = run(one, 100 * SECOND).traffic()["clients"]
    assert flow.latency.mean_s == pytest.approx(0.081 + 0.010 + 0.005, rel=0.03)


def test_jitter_is_added_to_every_message() -> None:
    flow = run(apart(jitter=10 * MILLISECOND), 100 * SECOND).traffic()["clients"]
    assert flow.latency.mean_s == pytest.approx(0.081 + 0.02, rel=0.03)


def test_a_lost_message_is_sent_again_after_two_hundred_milliseconds() -> None:
    flow = run(apart(loss=0.1), 100 * SECOND).traffic()["clients"]
    assert flow.latency.percentile_s(0.5) == pytest.approx(0.081, rel=0.01)
    assert flow.latency.percentile_s(0.9) == pytest.approx(0.281, rel=0.01)


def test_delay_and_loss_as_faults_come_on_top_and_go() -> None:
    one = apart()
    one.start_traffic(0)
    one.set_link("a", "b", added=20 * MILLISECOND, loss=0.0, cut=False)
    one.advance(50 * SECOND)
    slow = one.traffic()["clients"].latency
    assert slow.mean_s == pytest.approx(0.101)
    one.set_link("a", "b", added=0, loss=0.0, cut=False)
    one.advance(100 * SECOND)
    both = one.traffic()["clients"].latency
    assert both.mean_s == pytest.approx(0.091, rel=0.02)


def test_a_cut_link_is_found_out_after_half_a_second() -> None:
    """As of an address that does not answer: connecting takes 500 ms, and may be tried again."""
    one = apart()
    one.start_traffic(0)
    one.advance(10 * SECOND)
    before = one.traffic()["clients"]
    one.set_link("a", "b", added=0, loss=0.0, cut=True)
    one.advance(20 * SECOND)
    flow = one.traffic()["clients"]
    assert flow.ok == before.ok + before.in_flight  # what was under way arrives
    assert flow.failed > 400
    assert flow.in_flight == pytest.approx(25, abs=20)
    assert one.broken() == []
    one.set_link("a", "b", added=0, loss=0.0, cut=False)
    one.advance(60 * SECOND)
    assert one.traffic()["clients"].ok - flow.ok > 1500


def test_an_answer_on_a_link_that_is_cut_never_comes() -> None:
    one = apart(timeout=2 * SECOND)
    one.start_traffic(0)
    one.advance(10 * SECOND)
    one.set_link("b", "a", added=0, loss=0.0, cut=True)
    one.advance(12 * SECOND + 100 * MILLISECOND)
    flow = one.traffic()["clients"]
    assert 1 <= flow.timed_out <= 8  # what was there, or on its way, when it was cut
    assert one.broken() == []


def test_without_a_gateway_that_is_healthy_the_own_instances_serve() -> None:
    one = apart()
    for name in ("near-1", "near-2"):
        one.add_instance(name, service="web", region="a", zone="a", node="a/a/0", revision="1")
        one.set_state(name, Process.SERVING)
        one.set_check("a", name, ok=True)
    near = locality([endpoint("near-1"), endpoint("near-2")], region="a")
    one.set_endpoints("a", "web", [near, locality([gateway("b")], 1, region="b")])
    flow = run(one, 20 * SECOND).traffic()["clients"]
    assert flow.latency.max_s == pytest.approx(0.001)
    one.set_check("a", "near-1", ok=False)
    one.set_check("a", "near-2", ok=False)
    one.advance(40 * SECOND)
    assert one.traffic()["clients"].latency.max_s == pytest.approx(0.081)


def test_the_edge_of_the_other_region_down_is_a_failure_that_is_retried_here() -> None:
    one = apart(retries=1, timeout=4 * SECOND)
    one.start_traffic(0)
    one.advance(10 * SECOND)
    one.set_edge("b", Process.DEAD)
    one.advance(20 * SECOND)
    dead = one.traffic()["clients"]
    assert dead.failed > 400
    assert dead.retried > 50
    one.set_edge("b", Process.DARK)
    one.advance(30 * SECOND)
    assert one.broken() == []
    one.set_edge("b", Process.SERVING)
    for name in ("web-1", "web-2"):
        one.set_check("b", name, ok=True)
    one.advance(60 * SECOND)
    assert one.traffic()["clients"].ok - dead.ok > 1000


@pytest.mark.parametrize("state", [Process.DEAD, Process.DARK, Process.FROZEN])
def test_clients_of_an_edge_that_is_down(state: Process) -> None:
    one = world(
        system([service("web", work=work(constant(SECOND), 1000))], [source(rate=50)]),
        end=60 * SECOND,
    )
    serve(one, ["web-1"])
    one.start_traffic(0)
    one.advance(10 * SECOND)
    busy = one.traffic()["clients"].in_flight
    one.set_edge("r", state)
    one.advance(20 * SECOND)
    flow = one.traffic()["clients"]
    lost = flow.failed if state is Process.DEAD else flow.timed_out
    if state is Process.DEAD:
        assert flow.in_flight == 0
    else:
        assert flow.in_flight == pytest.approx(5 * 50, abs=60)  # they wait for 5 s
    assert lost == flow.requests - flow.ok - flow.in_flight
    assert busy == pytest.approx(50, abs=20)
    assert one.broken() == []
    (reading,) = one.readings()
    assert reading.in_flight == 0


def test_an_edge_that_starts_again_has_counted_nothing_and_checked_nothing() -> None:
    one = world(system([service("web")], [source(rate=50)]))
    serve(one, ["web-1"])
    one.start_traffic(0)
    one.advance(10 * SECOND)
    one.set_edge("r", Process.DEAD)
    one.set_edge("r", Process.SERVING)
    (reading,) = one.readings()
    assert (reading.requests, reading.failures, reading.in_flight) == (0, 0, 0)
    one.advance(11 * SECOND)
    # A lone endpoint that is not checked: panic, which asks it all the same.
    assert one.traffic()["clients"].failed == 0


def test_clients_have_their_way_to_the_region() -> None:
    place = Location(latitude_deg=50.0, longitude_deg=0.0)
    far = Location(latitude_deg=50.0, longitude_deg=30.0)
    near = region("near")
    places = [
        type(near)(name="near", zones=near.zones, location=place),
        type(near)(name="far", zones=region("far").zones, location=far),
    ]
    one = world(system([service("web")], [source(location=place, rate=50)], places))
    serve(one, ["web-1"], region="near")
    flow = run(one, 20 * SECOND).traffic()["clients"]
    assert flow.latency.max_s == 0
    assert sum(one.lines()["clients", "near"].ok) == flow.ok
    elsewhere = world(system([service("web")], [source(location=far, rate=50)], places[:1]))
    serve(elsewhere, ["web-1"], region="near")
    flow = run(elsewhere, 20 * SECOND).traffic()["clients"]
    assert flow.latency.mean_s == pytest.approx(0.0267, abs=0.001)
