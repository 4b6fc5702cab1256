"""Clients: when they ask, how long they wait, and where DNS sends them."""

from typing import Any

import numpy as np
import pytest

from seakeep.engines.twin.world import Process, World
from seakeep.model.action import HostAnswers
from seakeep.model.system import Dns, Region, Route, Steering
from seakeep.model.time import MILLISECOND, SECOND
from seakeep.model.traffic import Location, Sessions, Shape
from tests.engines.twin.worlds import (
    constant,
    exponential,
    region,
    run,
    serve,
    service,
    source,
    system,
    work,
    world,
)


def made(end_s: int = 100, **traffic: Any) -> World:
    logs = traffic.pop("logs", {})
    one = world(system([service("web")], [source(**traffic)]), end=end_s * SECOND, logs=logs)
    serve(one, ["web-1"])
    return run(one, end_s * SECOND)


def by_second(one: World) -> Any:
    return one.lines()["clients", "r"].ok


# --- shapes -----------------------------------------------------------------


def test_constant_traffic_is_even() -> None:
    assert set(by_second(made(shape=Shape.CONSTANT, rate=7.0)).tolist()) == {7}


def test_poisson_traffic_has_the_variance_of_its_mean() -> None:
    counts = by_second(made(1000, rate=50.0))
    assert counts.mean() == pytest.approx(50, rel=0.02)
    assert counts.var() == pytest.approx(50, rel=0.15)


def test_diurnal_traffic_is_a_wave() -> None:
    counts = by_second(
        made(1000, shape=Shape.DIURNAL, rate=200.0, amplitude=0.5, period=1000 * SECOND)
    )
    thirds = counts.reshape(10, 100).mean(axis=1)
    middle = (np.arange(10) + 0.5) / 10
    assert thirds == pytest.approx(200 * (1 + 0.5 * np.sin(2 * np.pi * middle)), rel=0.05)


def test_steps_begin_when_counting_does() -> None:
    one = world(
        system(
            [service("web")],
            [source(shape=Shape.STEP, rate=10.0, steps=((10 * SECOND, 100.0), (20 * SECOND, 0.0)))],
        )
    )
    counted = world(one.system, end=60 * SECOND)
    serve(counted, ["web-1"])
    counts = by_second(run(counted, 60 * SECOND))
    assert counts[:10].sum() == pytest.approx(100, abs=40)
    assert counts[10:20].sum() == pytest.approx(1000, abs=120)
    assert counts[20:].sum() == 0


def test_a_log_is_followed_to_the_nanosecond() -> None:
    due = np.array([0, 5, 5, SECOND, 2 * SECOND - 1, 2 * SECOND], np.int64)
    one = made(10, shape=Shape.LOG, logs={"clients": due})
    assert by_second(one)[:4].tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("shape", [Shape.POISSON, Shape.CONSTANT])
def test_a_surge_multiplies_and_ends(shape: Shape) -> None:
    one = world(system([service("web")], [source(shape=shape, rate=50.0)]))
    serve(one, ["web-1"])
    one.start_traffic(0)
    one.advance(20 * SECOND)
    one.set_factor("clients", 4.0)
    one.advance(40 * SECOND)
    one.set_factor("clients", 1.0)
    one.advance(60 * SECOND)
    counts = by_second(one)
    assert counts[:20].mean() == pytest.approx(50, rel=0.1)
    assert counts[20:40].mean() == pytest.approx(200, rel=0.1)
    assert counts[40:].mean() == pytest.approx(50, rel=0.1)


def test_what_the_warm_up_brought_is_not_counted() -> None:
    one = world(system([service("web")], [source()]))
    late = type(one)(
        one.system, seed=1, now=0, counted_from=10 * SECOND, end=20 * SECOND, bucket=SECOND
    )
    serve(late, ["web-1"])
    late.start_traffic(0)
    late.advance(30 * SECOND)
    assert late.traffic()["clients"].requests == pytest.approx(1000, abs=120)
    (reading,) = late.readings()
    assert reading.requests == pytest.approx(3000, abs=250)


# --- patience and sessions --------------------------------------------------


def test_an_impatient_client_goes_and_its_place_in_the_queue_with_it() -> None:
    one = world(
        system(
            [service("web", work=work(constant(SECOND), 1, cancel=True))],
            [source(rate=10.0, patience=constant(300 * MILLISECOND))],
        )
    )
    serve(one, ["web-1"])
    flow = run(one, 60 * SECOND).traffic()["clients"]
    assert flow.ok == 0
    assert flow.timed_out == flow.requests - flow.in_flight
    assert one.figures("web-1").queued <= 12


def test_a_session_is_pages_and_their_resources() -> None:
    sessions = Sessions(pages=4.0, think=exponential(SECOND), resources=3)
    one = world(
        system(
            [service("web", work=work(constant(20 * MILLISECOND), 1000))],
            [source(rate=2.0, sessions=sessions)],
        ),
        end=1000 * SECOND,
    )
    serve(one, ["web-1"])
    flow = run(one, 1000 * SECOND).traffic()["clients"]
    assert flow.requests / 1000 == pytest.approx(2 * 4 * 4, rel=0.06)


# --- DNS --------------------------------------------------------------------

EAST = Location(latitude_deg=40.0, longitude_deg=-75.0)
WEST = Location(latitude_deg=50.0, longitude_deg=0.0)


def named(**dns: Any) -> World:
    """Clients in the west, who look shop.example up, and two regions."""
    places = [
        Region(name="east", zones=region("east").zones, location=EAST),
        Region(name="west", zones=region("west").zones, location=WEST),
    ]
    served = service("web", routes=(Route(host="shop.example"),))
    clients = source(rate=100.0, location=WEST, prefix="198.18.0.0/24")
    one = world(
        system([served], [clients], places, dns=Dns(zone="shop.example", ttl=5 * SECOND)),
        end=100 * SECOND,
        **dns,
    )
    for place in ("east", "west"):
        serve(one, [f"web-{place}"], region=place)
    return one


def answer(one: World, *regions: str, **more: Any) -> None:
    by = more.pop("by", Steering.LATENCY)
    for place in ("east", "west"):
        hosts = [HostAnswers(host="shop.example", by=by, regions=regions, **more)]
        one.set_answers(place, hosts)


def answered(one: World) -> tuple[int, int]:
    lines = one.lines()
    return sum(lines["clients", "east"].ok), sum(lines["clients", "west"].ok)


def test_without_a_table_nobody_finds_the_system() -> None:
    flow = run(named(), 10 * SECOND).traffic()["clients"]
    assert flow.failed == flow.requests - flow.in_flight > 0


def test_clients_go_to_the_nearest_and_move_within_the_ttl() -> None:
    one = named()
    answer(one, "east", "west")
    one.start_traffic(0)
    one.advance(20 * SECOND)
    east, west = answered(one)
    assert (east, west > 1900) == (0, True)
    answer(one, "east")
    one.advance(26 * SECOND)
    moved = answered(one)
    one.advance(36 * SECOND)
    later = answered(one)
    assert moved[1] > west  # answers are kept for 5 s, and by one group in twenty for 15 s
    assert (later[1] - moved[1]) / (later[0] - moved[0] + later[1] - moved[1]) < 0.06
    one.advance(40 * SECOND)
    end = answered(one)
    assert end[1] == later[1]


def test_weighted_answers_share_clients() -> None:
    one = named()
    answer(one, "east", "west", by=Steering.WEIGHTED, weights=(700, 300))
    run(one, 100 * SECOND)
    east, west = answered(one)
    assert east / (east + west) == pytest.approx(0.7, abs=0.08)


def test_failover_answers_the_first() -> None:
    one = named()
    answer(one, "east", "west", by=Steering.FAILOVER)
    run(one, 20 * SECOND)
    assert answered(one)[1] == 0


@pytest.mark.parametrize("state", [Process.DARK, Process.DEAD])
def test_a_server_that_is_down_is_asked_last_for_a_while(state: Process) -> None:
    one = named()
    answer(one, "west")
    one.set_dns("west", state)
    flow = run(one, 30 * SECOND).traffic()["clients"]
    assert flow.failed == 0
    # To the other server and back; before that, half a second in vain.
    most = 0.6 if state is Process.DARK else 0.08
    assert 0.07 < flow.latency.max_s < most
    assert flow.latency.percentile_s(0.5) == 0


def test_when_no_server_answers_the_old_answer_serves_on() -> None:
    one = named()
    answer(one, "west")
    one.start_traffic(0)
    one.advance(20 * SECOND)
    for place in ("east", "west"):
        one.set_dns(place, Process.DARK)
    one.advance(60 * SECOND)
    flow = one.traffic()["clients"]
    assert flow.failed == 0
    assert flow.latency.max_s == pytest.approx(1.0, abs=0.1)
