"""Troubles that must not become worse by what Seakeep does about them: probes that flap, clocks
that jump, a region that comes back half dead, no capacity left, agents that fall silent.
"""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.world import POLL, Loop, service, system_of

from seakeep.decide.arbitrate import ControlPlane
from seakeep.decide.reasons import REASONS
from seakeep.explain.wording import sentence
from seakeep.model.action import (
    Action,
    DrainInstance,
    RestartInstance,
    SetEndpoints,
    StartInstance,
    StopInstance,
)
from seakeep.model.system import Resources, System
from seakeep.model.time import DAY, HOUR, MINUTE, SECOND
from seakeep.model.view import Health

PLACES = {"us-east": {"a": 1, "b": 1}, "eu-west": {"a": 1}}
SYSTEM = system_of(PLACES, [service("web", {"us-east": 0.6, "eu-west": 0.4}, replicas=5)])


def settled(system: System = SYSTEM) -> Loop:
    loop = Loop(system, ControlPlane(1))
    loop.run(20 * SECOND)
    assert loop.ready("web") == system.services["web"].replicas.min
    return loop


def of(actions: list[Action], *kinds: type) -> int:
    return sum(isinstance(action, kinds) for action in actions)


# --- probes that flap -------------------------------------------------------


def flap(loop: Loop, seconds: int, every: int) -> list[Action]:
    """web-1's readiness comes and goes; every action meanwhile."""
    actions: list[Action] = []
    for second in range(seconds):
        faults = []
        if second % every == 0:
            faults = [("unready" if (second // every) % 2 == 0 else "heal", "web-1")]
        actions += loop.tick(SECOND, *faults).actions
    return actions


def test_readiness_that_flaps_is_damped() -> None:
    loop = settled()
    actions = flap(loop, 120, 4)
    assert of(actions, RestartInstance, StartInstance, DrainInstance, StopInstance) == 0
    # Undamped: two turns in 8 s, each told to both clusters of the region and to the other's.
    assert of(actions, SetEndpoints) <= 20
    assert loop.view.instances["web-1"].health is Health.UNREADY
    assert "having come and gone" in loop.view.instances["web-1"].detail or not (
        loop.view.instances["web-1"].state.probes[0].ok
    )
    loop.tick(SECOND, ("heal", "web-1"))
    for _ in range(90):
        loop.tick(SECOND)
    assert loop.view.instances["web-1"].health is Health.READY


def test_a_first_fall_is_not_held_up() -> None:
    loop = settled()
    loop.tick(SECOND, ("unready", "web-1"))
    for _ in range(5):
        loop.tick(SECOND)
    assert loop.view.instances["web-1"].health is Health.UNREADY
    loop.tick(SECOND, ("heal", "web-1"))
    loop.tick(SECOND)
    assert loop.view.instances["web-1"].health is Health.READY


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=5, max_size=40))
def test_however_it_flaps_pushes_stay_few(turns: list[tuple[int, int]]) -> None:
    loop = settled()
    pushes = Counter[int]()
    for index, (seconds, ordinal) in enumerate(turns):
        verb = "unready" if index % 2 == 0 else "heal"
        for second in range(seconds):
            faults = [(verb, f"web-{ordinal}")] if second == 0 else []
            decision = loop.tick(SECOND, *faults)
            assert of(list(decision.actions), RestartInstance, StartInstance) == 0
            minute = (loop.world.at - 1_000 * SECOND) // MINUTE
            pushes[minute] += of(list(decision.actions), SetEndpoints)
    # Five instances, four falls and rises each in a minute at the most, three clusters each.
    assert max(pushes.values()) <= 5 * 3 * 2 * 4


def test_liveness_that_flaps_is_no_storm_of_restarts() -> None:
    loop = settled()
    restarts = 0
    for second in range(300):
        faults = [("hang", "web")] if second % 10 == 0 else []
        restarts += of(list(loop.tick(SECOND, *faults).actions), RestartInstance)
    # 20 % at a time, with back-off up to a minute.
    assert restarts <= 60


# --- clocks that jump -------------------------------------------------------


@pytest.mark.parametrize("hours", [1, 8, 300])
def test_a_machine_that_slept_comes_back_as_it_was(hours: int) -> None:
    """The clock counts what was slept: every reading is old at once, and none is believed lost."""
    loop = settled()
    loop.tick(hours * HOUR)
    actions: list[Action] = []
    for _ in range(30):
        actions += loop.tick(POLL).actions
    assert of(actions, RestartInstance, StartInstance, DrainInstance, StopInstance) == 0
    assert loop.ready("web") == 5


def test_a_leap_before_the_agents_are_heard_again() -> None:
    """As it is: the first look after waking finds readings from before, and parts likewise."""
    loop = settled()
    nodes = [name.removeprefix("node:") for name in loop.world.parts if name.startswith("node:")]
    actions = list(loop.tick(POLL, *[("mute", node) for node in nodes]).actions)
    actions += loop.tick(5 * HOUR).actions
    assert all(one.health is Health.UNKNOWN for one in loop.view.instances.values())
    actions += loop.tick(POLL).actions
    for node in nodes:
        loop.world.fault("unmute", node)
    for _ in range(20):
        actions += loop.tick(POLL).actions
    assert of(actions, RestartInstance, StartInstance, DrainInstance, StopInstance) == 0
    assert loop.ready("web") == 5


@pytest.mark.parametrize("jump", [-10 * DAY, -HOUR, HOUR, 400 * DAY])
def test_the_wall_clock_bears_on_nothing(jump: int) -> None:
    """Only `at` counts for what has no dates in it; a drain, say, is through as ever."""
    one, other = settled(), settled()
    observe = other.world.observe

    def jumping() -> object:
        seen = observe()
        return replace(seen, wall=seen.at + (jump if seen.seq % 2 else 0))

    other.world.observe = jumping  # type: ignore[method-assign, assignment]
    for second in range(60):
        faults = [("drain", "us-east")] if second == 5 else []
        assert one.tick(SECOND, *faults).actions == other.tick(SECOND, *faults).actions


# --- a region that comes back half dead -------------------------------------


def callers_of(loop: Loop, region: str, by: str) -> bool:
    """Whether the balancer of `by` gives calls to another region."""
    applied = loop.memory.traffic.clusters[by, "web"]
    return any(
        end.healthy
        for locality in applied.localities
        if locality.region == region and locality.zone is None
        for end in locality.endpoints
    )


def lost(loop: Loop, region: str) -> None:
    loop.tick(SECOND, ("lose", region))
    loop.run(15 * SECOND, SECOND)
    assert loop.ready("web", region) == 0
    assert loop.ready("web") == 5


def test_an_edge_without_nodes_gets_no_calls() -> None:
    loop = settled()
    lost(loop, "us-east")
    # The edge and the link come back, the nodes stay dark.
    loop.world.dark = {"us-east/a", "us-east/b"}
    for _ in range(60):
        loop.tick(SECOND)
        assert not callers_of(loop, "us-east", "eu-west")
    assert loop.view.parts["edge:us-east"].running
    assert loop.ready("web") == 5


def test_instances_that_are_not_ready_bring_no_calls() -> None:
    loop = settled()
    lost(loop, "us-east")
    loop.world.fault("restore", "us-east")
    for _ in range(60):
        names = [name for name, one in loop.view.instances.items()
                 if one.state.region == "us-east"]  # fmt: skip
        loop.tick(SECOND, *[("unready", name) for name in names])
        if loop.ready("web", "us-east") == 0:
            assert not callers_of(loop, "us-east", "eu-west")
    loop.tick(SECOND, ("heal", "web"))
    loop.run(120 * SECOND, SECOND)
    assert callers_of(loop, "us-east", "eu-west")


def test_nodes_without_an_edge_bring_no_calls() -> None:
    """Its instances serve behind an edge that does not run: nobody can reach them."""
    loop = settled()
    edge = loop.world.parts["edge:us-east"]
    loop.world.dark = {"us-east"}
    loop.world.parts["edge:us-east"] = replace(edge, running=False, detail="no power")
    for _ in range(10):
        loop.tick(SECOND)
        assert not callers_of(loop, "us-east", "eu-west")


# --- no capacity left -------------------------------------------------------


def said(loop: Loop, code: str) -> list[str]:
    return [sentence(one, REASONS) for one in loop.decision.reasons if one.code == code]


@pytest.mark.parametrize(
    ("capacity", "short"),
    [
        (Resources(cpu_millicores=600, memory_bytes=16 << 30), "cpu"),
        (Resources(cpu_millicores=8_000, memory_bytes=300 << 20), "memory"),
        (Resources(cpu_millicores=600, memory_bytes=300 << 20), "cpu and memory"),
    ],
)
def test_without_room_it_says_what_is_missing_where(capacity: Resources, short: str) -> None:
    """Two instances fit on a node, three nodes are there, and nine are wanted."""
    web = service("web", {"us-east": 0.6, "eu-west": 0.4}, replicas=9)
    loop = Loop(system_of(PLACES, [web], capacity=capacity), ControlPlane(1))
    loop.run(30 * SECOND)
    assert loop.ready("web") == 6
    (told,) = said(loop, "placement.no_capacity")
    assert told == (
        "web has no place for 3 of the wanted 9: they need 750m of CPU and 384MiB of memory, and"
        f" its nodes (there are 3, in us-east and eu-west) have too little {short} left"
    )
    actions = loop.run(60 * SECOND)
    assert of(actions, StartInstance, DrainInstance, StopInstance) == 0, "asking brings no room"
