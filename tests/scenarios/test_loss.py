"""What is lost comes back: instances, nodes, zones and regions."""

import pytest

from seakeep.model.run import EventKind
from seakeep.model.scenario import FaultKind
from seakeep.model.time import SECOND
from seakeep.runtime.simulate import simulate
from tests.scenarios.random_systems import system_of
from tests.scenarios.runs import (
    events,
    fault,
    ok_fraction,
    ready,
    scenario,
    shop,
    spec,
    two_regions,
    web,
)


def test_in_quiet_times_nothing_fails_and_nobody_acts() -> None:
    run = simulate(two_regions(), scenario(), seed=1)
    assert run.broken == ()
    assert events(run, EventKind.ACTION) == []
    for flow in run.traffic.values():
        assert flow.requests == flow.ok + flow.in_flight
        assert flow.requests == pytest.approx(40 * 60, rel=0.1)
    assert run.instance_ns["web"] == 4 * 60 * SECOND
    assert ready(run, "web", 30) == 4


def test_a_killed_instance_is_restarted_at_once() -> None:
    run = simulate(two_regions(), scenario(fault(FaultKind.KILL, "web", for_s=0)), seed=1)
    (act,) = events(run, EventKind.ACTION, "health.restart.exited")
    assert act.at - 10 * SECOND < SECOND // 10
    assert ready(run, "web", 10.5) == 3
    assert ready(run, "web", 13) == 4
    assert ok_fraction(run, 0, 60) > 0.99
    assert run.broken == ()


def test_a_frozen_instance_is_left_out_and_then_restarted() -> None:
    run = simulate(two_regions(), scenario(fault(FaultKind.FREEZE, "web", for_s=30)), seed=1)
    out = events(run, EventKind.EJECT)
    assert out
    assert out[0].at < 13 * SECOND
    assert events(run, EventKind.ACTION, "health.restart.liveness")
    assert ok_fraction(run, 20, 60) == 1.0
    assert run.broken == ()


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        (FaultKind.LOSE_NODE, "east/a/0"),
        (FaultKind.LOSE_ZONE, "east/a"),
        (FaultKind.LOSE_REGION, "east"),
    ],
)
def test_what_a_lost_place_carried_is_started_elsewhere_and_goes_back(
    kind: FaultKind, place: str
) -> None:
    run = simulate(two_regions(), scenario(fault(kind, place, for_s=20), duration_s=90), seed=1)
    assert events(run, EventKind.ACTION, "placement.start.heal")
    assert ready(run, "web", 25) == 4
    assert ready(run, "web", 88, "east") == 2
    assert ready(run, "web", 88, "west") == 2
    assert ok_fraction(run, 20, 30) > 0.98
    assert ok_fraction(run, 60, 90) > 0.999
    assert run.broken == ()


def test_the_shop_serves_on_when_it_loses_a_region() -> None:
    run = simulate(shop(), "region-loss", seed=1)
    assert run.broken == ()
    assert ready(run, "web", 29, "us-east") >= 3
    assert ready(run, "web", 60, "us-east") == 0
    assert ready(run, "web", 60, "eu-west") >= 6
    assert ready(run, "web", 150, "us-east") >= 3
    assert ok_fraction(run, 45, 90) > 0.99
    assert ok_fraction(run, 120, 180) > 0.999
    out = events(run, EventKind.ACTION, "dns.region.out")
    assert out
    assert out[0].at - 30 * SECOND < 2 * SECOND


def test_a_request_that_is_to_be_tried_again_when_its_region_goes_dark_ends_once() -> None:
    """A back-off that outlasted the request's balancer once began a try that nobody waited for."""
    work = {"work": {"time": "exponential(mean=10ms)"}}
    services = {
        "web": web(replicas=2, calls={"stock": 0.5}),
        "stock": {"calls": {"shelf": 1}, **work},
        "shelf": work,
    }
    tree = spec(services, network={}, traffic={"all": {"to": "web", "rate": "40/s"}})
    del tree["regions"]["west"]
    broken = [
        simulate(
            system_of(tree),
            scenario(
                fault(FaultKind.KILL, "web", for_s=0),
                fault(FaultKind.LOSE_REGION, "east", for_s=5),
                duration_s=20,
            ),
            seed=seed,
        ).broken
        for seed in range(10)
    ]
    assert broken == [()] * 10


def test_a_fault_of_an_instance_that_is_not_there_hits_nobody() -> None:
    run = simulate(two_regions(), scenario(fault(FaultKind.FREEZE, "web-99", for_s=5)), seed=1)
    (struck,) = events(run, EventKind.FAULT)
    assert struck.text == "freeze hits nobody: there is no web-99 now"
    assert len(events(run, EventKind.HEAL)) == 1
    assert run.broken == ()
