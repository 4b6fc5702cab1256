"""Active-passive services: who serves, how many stand by, who is called first."""

from dataclasses import replace

import pytest
from tests.decide.test_traffic import cluster, shape
from tests.decide.views import instance, view_of
from tests.world import Loop, service, system_of

from seakeep.decide.arbitrate import ControlPlane
from seakeep.decide.ground import PLAIN, Ground, Side, Stance
from seakeep.decide.standby import TAKE_OVER_AFTER
from seakeep.decide.traffic import TrafficController
from seakeep.model.action import DrainInstance, StartInstance
from seakeep.model.system import Spread
from seakeep.model.time import SECOND
from seakeep.model.view import Health

PLACES = {"us-east": {"a": 1, "b": 1}, "eu-west": {"a": 2}, "ap-south": {"a": 1}}
SPREAD = Spread(regions={"us-east": 1.0}, standby={"eu-west": 0.2})
SYSTEM = system_of(PLACES, [service("web", {}, replicas=5, spread=SPREAD)])
FAILBACK = SPREAD.failback


def settled(system=SYSTEM) -> Loop:
    loop = Loop(system, ControlPlane(1))
    loop.run(20 * SECOND)
    return loop


def counts(loop: Loop) -> tuple[int, int]:
    return loop.ready("web", "us-east"), loop.ready("web", "eu-west")


def stance(loop: Loop) -> Stance:
    return loop.memory.standby.services["web"].stance


def codes(loop: Loop) -> set[str]:
    return {reason.code for reason in loop.decision.reasons if reason.code.startswith("standby")}


MEMBERS = [
    instance("web-1", "us-east/a/0"),
    instance("web-2", "us-east/b/0"),
    instance("web-3", "eu-west/a/0"),
]


@pytest.mark.parametrize(
    ("serves", "region", "expected"),
    [
        (
            Side.ACTIVE,
            "us-east",
            [(0, "us-east/a", "web-1"), (0, "us-east/b", "web-2"), (1, "eu-west", "eu-west!")],
        ),
        (Side.ACTIVE, "eu-west", [(0, "us-east", "us-east"), (1, "eu-west/a", "web-3")]),
        (Side.ACTIVE, "ap-south", [(0, "us-east", "us-east"), (1, "eu-west", "eu-west")]),
        (
            Side.STANDBY,
            "us-east",
            [(0, "eu-west", "eu-west"), (1, "us-east/a", "web-1"), (1, "us-east/b", "web-2")],
        ),
        (Side.STANDBY, "eu-west", [(0, "eu-west/a", "web-3"), (1, "us-east", "us-east!")]),
        (Side.STANDBY, "ap-south", [(0, "eu-west", "eu-west"), (1, "us-east", "us-east")]),
    ],
)
def test_the_side_that_serves_is_called_first(serves, region, expected) -> None:
    controller = TrafficController(epoch=1)
    ground = Ground(stances={"web": Stance(serves=serves)})
    decision = controller.decide(SYSTEM, view_of(SYSTEM, MEMBERS), controller.initial(), ground)
    assert shape(cluster(decision, region)) == expected


def test_who_serves_with_nobody_ready_opens_to_the_other_side() -> None:
    members = [instance("web-1", "us-east/a/0", Health.UNREADY), MEMBERS[2]]
    controller = TrafficController(epoch=1)
    decision = controller.decide(SYSTEM, view_of(SYSTEM, members), controller.initial(), PLAIN)
    assert shape(cluster(decision, "us-east")) == [
        (0, "us-east/a", "web-1!"),
        (1, "eu-west", "eu-west"),
    ]


def test_the_share_stands_by_warm() -> None:
    loop = settled()
    assert counts(loop) == (5, 1)
    assert stance(loop) == Stance()
    assert codes(loop) == set()


@pytest.mark.parametrize(
    ("share", "wanted", "warm"),
    [(0.2, 5, 1), (0.2, 6, 2), (0.0, 5, 0), (1.0, 4, 4), (0.3, 10, 3), (0.01, 1, 1)],
)
def test_the_warm_share_is_rounded_up(share: float, wanted: int, warm: int) -> None:
    spread = replace(SPREAD, standby={"eu-west": share})
    loop = settled(system_of(PLACES, [service("web", {}, replicas=wanted, spread=spread)]))
    assert counts(loop) == (wanted, warm)


def test_the_standby_takes_over_and_gives_back() -> None:
    loop = settled()
    loop.tick(SECOND, ("lose", "us-east"))
    while stance(loop).serves is Side.ACTIVE:
        loop.tick(SECOND)
        assert loop.world.at < 1_030 * SECOND, "calls go to the standby at once"
    loop.run(TAKE_OVER_AFTER + 10 * SECOND)
    assert counts(loop) == (0, 5)
    assert codes(loop) == {"standby.takeover"}

    loop.tick(SECOND, ("restore", "us-east"))
    while loop.ready("web", "us-east") < 5:
        loop.tick(SECOND)
        assert stance(loop) == Stance(serves=Side.STANDBY, is_full=True), "not before it is whole"
        assert loop.world.at < 1_120 * SECOND
    whole_at = loop.world.at
    while stance(loop).serves is Side.STANDBY:
        loop.tick(SECOND)
        assert loop.ready("web", "eu-west") == 5 or stance(loop).serves is Side.ACTIVE
    assert loop.world.at - whole_at >= FAILBACK - SECOND
    loop.run(10 * SECOND)
    assert counts(loop) == (5, 1)
    assert codes(loop) == set()


def test_an_active_side_that_comes_and_goes_gets_no_calls() -> None:
    loop = settled()
    loop.tick(SECOND, ("lose", "us-east"))
    loop.run(15 * SECOND)
    for _ in range(5):
        loop.tick(SECOND, ("restore", "us-east"))
        for _ in range(15):
            loop.tick(SECOND)
            assert stance(loop).serves is Side.STANDBY
        loop.tick(SECOND, ("lose", "us-east"))
        loop.run(5 * SECOND)
        assert stance(loop).serves is Side.STANDBY
    assert loop.ready("web", "eu-west") == 5


def test_a_blip_moves_calls_but_not_capacity() -> None:
    loop = settled()
    loop.tick(SECOND, *[("kill", f"web-{n}") for n in range(1, 6)])
    started: list[str] = []
    for _ in range(10):
        decision = loop.tick(SECOND)
        started += [a.region for a in decision.actions if isinstance(a, StartInstance)]
    assert "eu-west" not in started
    assert stance(loop) == Stance()


def test_a_supervisor_that_remembers_nothing_keeps_a_takeover() -> None:
    loop = settled()
    loop.tick(SECOND, ("lose", "us-east"))
    loop.run(20 * SECOND)
    assert counts(loop) == (0, 5)
    loop.restart()
    actions = loop.run(20 * SECOND, SECOND)
    assert not [one for one in actions if isinstance(one, DrainInstance)]
    assert stance(loop) == Stance(serves=Side.STANDBY, is_full=True)
    assert counts(loop) == (0, 5)


def test_a_supervisor_that_remembers_nothing_keeps_a_system_at_rest() -> None:
    loop = settled()
    loop.restart()
    actions = loop.run(90 * SECOND, SECOND)
    assert not [one for one in actions if isinstance(one, StartInstance | DrainInstance)]
    assert stance(loop) == Stance()


def test_draining_the_active_region_is_a_failover_by_hand() -> None:
    loop = settled()
    loop.tick(SECOND, ("drain", "us-east"))
    assert codes(loop) == {"standby.relieving"}
    assert stance(loop) == Stance(is_full=True)
    for _ in range(60):
        loop.tick(SECOND)
        assert sum(counts(loop)) >= 5
        if stance(loop).serves is Side.STANDBY:
            assert loop.ready("web", "eu-west") == 5
    assert counts(loop) == (0, 5)
    assert stance(loop).serves is Side.STANDBY
    loop.run(120 * SECOND, SECOND)
    assert counts(loop) == (0, 5), "it stays until it is undrained"
    loop.tick(SECOND, ("undrain", "us-east"))
    for _ in range(90):
        loop.tick(SECOND)
        assert sum(counts(loop)) >= 5
    assert counts(loop) == (5, 1)
    assert stance(loop) == Stance()


def test_draining_the_standby_region_changes_nothing_for_callers() -> None:
    loop = settled()
    loop.tick(SECOND, ("drain", "eu-west"))
    loop.run(60 * SECOND, SECOND)
    assert counts(loop) == (5, 0)
    assert stance(loop) == Stance()
    loop.tick(SECOND, ("undrain", "eu-west"))
    loop.run(30 * SECOND, SECOND)
    assert counts(loop) == (5, 1)


def test_with_two_active_regions_the_other_one_takes_it_all() -> None:
    spread = Spread(regions={"us-east": 0.5, "ap-south": 0.5}, standby={"eu-west": 0.25})
    loop = settled(system_of(PLACES, [service("web", {}, replicas=4, spread=spread)]))
    loop.tick(SECOND, ("lose", "us-east"))
    loop.run(20 * SECOND, SECOND)
    assert loop.ready("web", "ap-south") == 4
    assert loop.ready("web", "eu-west") == 1
    assert stance(loop) == Stance()
    loop.tick(SECOND, ("lose", "ap-south"))
    loop.run(20 * SECOND, SECOND)
    assert loop.ready("web", "eu-west") == 4
