"""Draining and undraining regions, whatever else happens meanwhile: our own doing never takes
ready capacity below what is wanted, a region is left by others' calls only when somebody else can
take them, and once the world is well a drained region is empty and an undrained one whole.
"""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from tests.properties.test_placement import (
    HEAL_TICKS_MAX,
    Story,
    check_spread,
    is_leaving,
    relaxed,
    systems,
)
from tests.world import POLL, service, system_of

from seakeep.decide.draining import FORCE, PATIENCE, RETURN_PATIENCE, answers_kept
from seakeep.model.action import DrainInstance, SetEndpoints, StartInstance, StopInstance
from seakeep.model.order import OrderKind
from seakeep.model.system import System, nodes_of
from seakeep.model.time import SECOND
from seakeep.model.view import Health

MANY_REGIONS = systems().filter(lambda system: len(system.regions) > 1)


class Drained(Story):
    """A story in which regions are drained, with requests coming in while it lasts."""

    def tick(self, *faults: tuple[str, str]) -> None:
        world = self.loop.world
        for region in world.system.regions:
            if f"edge:{region}" in world.parts and world.seq % 3 == 0:
                key = (region, next(iter(world.system.services)))
                world.traffic[key] = world.traffic.get(key, 0) + 1
        decision = self.loop.tick(POLL, *faults)
        self.actions.extend(decision.actions)
        self.check()

    def check(self) -> None:
        view = self.loop.view
        actions = self.loop.decision.actions
        gone = {order.subject for order in view.orders.values()}
        for name, one in self.loop.system.services.items():
            members = view.by_service[name]
            ready = [m for m in members if m.health is Health.READY and not is_leaving(m, view)]
            drains = {a.instance for a in actions if isinstance(a, DrainInstance)}
            leaving = [m for m in ready if m.state.id in drains]
            if leaving:
                floor = one.replicas.min - one.rollout.unavailable
                assert len(ready) - len(leaving) >= floor, "below what is wanted by our own doing"
            for member in members:
                if member.state.id in drains:
                    assert member.health is not Health.UNKNOWN
        for action in actions:
            if isinstance(action, StartInstance):
                assert action.region not in gone, "started where it is drained"
            if isinstance(action, SetEndpoints) and not action.cluster.endswith(".local"):
                self.check_calls(action)
            if isinstance(action, StopInstance) and action.instance in view.instances:
                state = view.instances[action.instance]
                assert state.state.draining_since is not None or state.health is Health.LOST

    def check_calls(self, action: SetEndpoints) -> None:
        """Whoever has somebody ready to call anywhere is given somebody to call."""
        callable_ = any(e.healthy for of in action.localities for e in of.endpoints)
        view = self.loop.view
        anywhere = [
            m.state.region
            for m in view.by_service[action.service]
            if m.health is Health.READY
            and m.state.draining_since is None
            and view.parts[f"edge:{m.state.region}"].running
        ]
        assert callable_ or not anywhere

    def until(self, condition: object, ticks: int = HEAL_TICKS_MAX) -> None:
        assert callable(condition)
        for _ in range(ticks):
            if condition():
                return
            self.tick()
        raise AssertionError(f"not there: {self.loop.decision.reasons}")

    def in_region(self, region: str) -> int:
        return sum(one.state.region == region for one in self.loop.view.instances.values())


@st.composite
def stories(draw: st.DrawFn) -> tuple[System, list[tuple[str, str, int]]]:
    system = draw(MANY_REGIONS)
    regions = list(system.regions)
    nodes = [node.id for node in nodes_of(system)]
    services = list(system.services)
    one = st.one_of(
        st.tuples(st.sampled_from(["drain", "undrain"]), st.sampled_from(regions)),
        st.tuples(st.sampled_from(["drain", "undrain"]), st.sampled_from(regions)),
        st.tuples(st.sampled_from(["lose", "restore"]), st.sampled_from([*regions, *nodes])),
        st.tuples(st.sampled_from(["kill", "hang", "unready", "heal"]), st.sampled_from(services)),
        st.tuples(st.sampled_from(["mute", "unmute"]), st.sampled_from(nodes)),
        st.tuples(st.sampled_from(["grow", "shrink", "release"]), st.sampled_from(services)),
        st.tuples(st.sampled_from(["restart", "cut"]), st.sampled_from(["0", "1", "2"])),
    )
    events = [
        (*draw(one), draw(st.sampled_from([1, 2, 4, 7, 12, 20, 40])))
        for _ in range(draw(st.integers(1, 7)))
    ]
    return system, events


@given(stories(), st.booleans())
@relaxed
def test_whatever_happens_draining_is_safe_and_then_ends(
    story: tuple[System, list[tuple[str, str, int]]], drained: bool
) -> None:
    system, events = story
    run = Drained(system)
    for event in events:
        run.happen(*event)
    world = run.loop.world
    regions = list(system.regions)
    run.heal()
    if drained:  # one region stays drained, whichever were before
        for region in regions[1:]:
            world.orders.pop(f"drain:{region}", None)
        run.tick(("drain", regions[0]))
        run.until(lambda: run.in_region(regions[0]) == 0 and run.is_whole())
        run.until(lambda: all(part.running for part in run.loop.view.parts.values()))
    for region in regions:
        world.orders.pop(f"drain:{region}", None)
    run.until(lambda: not run.loop.memory.draining.regions)
    run.settle()
    check_spread(run.loop)
    before = len(run.actions)
    for _ in range(40):
        run.tick()
    assert run.actions[before:] == [], "constant input, yet it moves"


@given(MANY_REGIONS, st.integers(0, 30))
@relaxed
def test_cut_short_at_every_step_a_drain_still_ends(system: System, seed: int) -> None:
    """Killed after the first k actions of step after step: another remembers nothing."""
    run = Drained(system)
    run.settle()
    region = next(iter(system.regions))
    run.tick(("drain", region))
    for step in range(30):
        run.controller.left = (seed + step) % 3
        run.tick()
        run.loop.restart()
    run.controller.left = None
    run.until(lambda: run.in_region(region) == 0 and run.is_whole())


@given(MANY_REGIONS)
@relaxed
def test_without_trouble_it_takes_no_longer_than_it_says(system: System) -> None:
    run = Drained(system)
    run.settle()
    region = next(iter(system.regions))
    held = Counter(one.state.region for one in run.loop.view.instances.values())
    begun = run.loop.world.at
    run.tick(("drain", region))
    run.until(lambda: run.in_region(region) == 0)
    assert run.loop.world.at - begun < answers_kept(system) + PATIENCE + 30 * SECOND
    begun = run.loop.world.at
    run.tick(("undrain", region))
    run.until(lambda: not run.loop.memory.draining.regions)
    assert run.loop.world.at - begun < RETURN_PATIENCE
    run.settle()
    check_spread(run.loop)
    assert run.in_region(region) == held[region]


def test_a_forced_drain_stops_even_the_last() -> None:
    run = Drained(system_of({"us-east": {"a": 1}}, [service("web", {"us-east": 1.0})]))
    run.settle()
    run.tick(("drain", "us-east"))
    for _ in range(200):
        run.tick()
    assert run.in_region("us-east") == 4, "nobody can stand in"
    run.loop.world.give(OrderKind.DRAIN, "us-east", FORCE)
    for _ in range(200):
        run.loop.tick(POLL)
    assert run.in_region("us-east") == 0
