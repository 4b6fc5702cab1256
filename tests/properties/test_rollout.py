"""What a rollout never does, and where it always gets to, whatever happens meanwhile.

Whatever is killed and whoever gives which order: our own doing never leaves fewer ready than the
bounds say, never makes it more than they say, and never lets an unproven version spread. In the
end a good version is all that runs; a bad one stops, or the good one is back.
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.world import POLL, Loop, service, system_of

from seakeep.decide.arbitrate import ControlPlane
from seakeep.model.action import DrainInstance, SetEndpoints, StartInstance
from seakeep.model.decision import Decision
from seakeep.model.order import Order, OrderKind, rollout_argument
from seakeep.model.rolling import CanaryStep, OnFailure, Rollout, Strategy
from seakeep.model.rollout import Stage
from seakeep.model.system import Service, System
from seakeep.model.time import SECOND
from seakeep.model.view import Health, InstanceView, View

ROOT = Path(__file__).parents[2]
SETTLE_TICKS_MAX = 1_200
DEADLINE = 8 * SECOND

relaxed = settings(
    max_examples=12,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

SHAPES: tuple[dict[str, dict[str, int]], ...] = (
    {"us-east": {"a": 1, "b": 1}},
    {"us-east": {"a": 1, "b": 1, "c": 1}, "eu-west": {"a": 1, "b": 1}},
)
WEIGHTS = {1: (1.0,), 2: (0.6, 0.4)}
STEPS = (CanaryStep(weight=0.05, lasts=2 * SECOND), CanaryStep(weight=0.4, lasts=3 * SECOND))
BOUNDS = ((1, 0), (2, 1), (0, 1), (0, 2), (3, 0))


@st.composite
def rollouts(draw: st.DrawFn) -> Rollout:
    surge, unavailable = draw(st.sampled_from(BOUNDS))
    kind = draw(st.sampled_from(["rolling", "canary", "blue-green"]))
    return Rollout(
        surge=surge,
        unavailable=unavailable,
        strategy=Strategy.BLUE_GREEN if kind == "blue-green" else Strategy.ROLLING,
        canary=STEPS if kind == "canary" else (),
        min_ready=draw(st.sampled_from([0, 2 * SECOND])),
        deadline=DEADLINE,
        keep=2 * SECOND,
        on_failure=draw(st.sampled_from(list(OnFailure))),
    )


@st.composite
def systems(draw: st.DrawFn) -> System:
    shape = draw(st.sampled_from(SHAPES))
    weights = dict(zip(shape, WEIGHTS[len(shape)], strict=True))
    web = service("web", weights, replicas=draw(st.integers(1, 6)), rollout=draw(rollouts()))
    return system_of(shape, [web])


HAPPENINGS = st.tuples(
    st.sampled_from(
        ["release", "release-bad", "pause", "unpause", "undo", "resume", "restart", "cut", "kill",
         "hang", "lose", "restore", "revert", "mend"]
    ),
    st.integers(1, 6),
    st.sampled_from([1, 2, 3, 5, 9, 14]),
)  # fmt: skip


class Cutting:
    """The control plane; with `left`, only so many actions of each decision get through."""

    def __init__(self) -> None:
        self.plane = ControlPlane(1)
        self.left: int | None = None

    def initial(self) -> Any:
        return self.plane.initial()

    def decide(self, system: System, view: View, memory: Any) -> Decision[Any]:
        decision = self.plane.decide(system, view, memory)
        if self.left is None:
            return decision
        return replace(decision, actions=decision.actions[: self.left])


class Story:
    def __init__(self, system: System) -> None:
        self.controller = Cutting()
        self.loop = Loop(system, self.controller)
        self.version = 1
        self.disturbed = False
        """Something other than Seakeep has made instances unready: only its own doing counts."""
        self.actions: list[object] = []

    @property
    def web(self) -> Service:
        return self.loop.system.services["web"]

    @property
    def record(self) -> Any:
        return self.loop.world.rollouts.get("web")

    def tick(self, *faults: tuple[str, str]) -> None:
        decision = self.loop.tick(POLL, *faults)
        self.actions.extend(decision.actions)
        check(self, decision)

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            self.tick()

    def release(self, revision: str) -> None:
        web = replace(self.web, workload=replace(self.web.workload, revision=revision))
        system = self.loop.system
        self.loop.configure(replace(system, revision=system.revision + "'", services={"web": web}))

    def order(self, kind: OrderKind, argument: str = "") -> None:
        order = Order(kind=kind, subject="web", given_at=self.loop.world.at, given_by="ann",
                      argument=argument)  # fmt: skip
        self.loop.world.orders[order.id] = order

    def about_this(self) -> str:
        return rollout_argument(self.record.target, self.record.attempt)

    def happen(self, what: str, number: int, ticks: int) -> None:
        world = self.loop.world
        match what:
            case "release" | "release-bad":
                self.version += 1
                if what == "release-bad":
                    self.tick(("spoil", f"web@w{self.version}"))
                self.release(f"w{self.version}")
            case "revert":
                self.release(f"w{max(1, self.version - 1)}")
            case "pause":
                self.order(OrderKind.PAUSE)
            case "unpause":
                world.orders.pop("pause:web", None)
            case "undo" | "resume" if self.record is not None:
                self.order(OrderKind(what), self.about_this())
            case "restart":
                self.loop.restart()
            case "cut":
                self.controller.left = number % 3
                self.tick()
                self.controller.left = None
                self.loop.restart()
            case "kill" | "hang":
                self.tick((what, f"web-{number}"))
            case "lose":
                self.tick(("lose", "us-east/b"))
            case "restore":
                self.tick(("restore", "us-east/b"))
            case "mend":
                self.tick(("mend", f"web@w{number}"))
        self.run(ticks)

    def heal(self) -> None:
        world = self.loop.world
        faults = [("restore", place) for place in sorted(world.dark)]
        faults += [("mend", version) for version in sorted(world.spoiled)]
        self.tick(*faults, ("heal", "web"))
        world.orders.pop("pause:web", None)
        for _ in range(3):  # what is asked for shows
            self.tick()
        if self.record is not None and self.record.stage in (Stage.STOPPED, Stage.UNDONE):
            self.order(OrderKind.RESUME, self.about_this())

    def settle(self, revision: str, stage: Stage) -> int:
        """Ticks until this is all that runs, at this stage, and nothing happens any more."""
        quiet = 0
        for ticks in range(SETTLE_TICKS_MAX):
            before = len(self.actions)
            self.tick()
            states = [one.state for one in self.loop.view.by_service["web"]]
            there = (
                self.record is not None
                and self.record.stage is stage
                and [state.revision for state in states] == [revision] * self.web.replicas.min
                and self.loop.ready("web") == self.web.replicas.min
            )
            quiet = quiet + 1 if there and len(self.actions) == before else 0
            if quiet > 10:
                return ticks
        raise AssertionError(f"not settled: {self.record} {self.loop.decision.reasons}")


def started(system: System) -> Story:
    """A story whose first version is rolled out."""
    story = Story(system)
    story.settle("w1", Stage.SETTLED)
    return story


# --- what must hold ---------------------------------------------------------


def leaving(one: InstanceView, view: View) -> bool:
    name = one.state.id
    return one.state.draining_since is not None or any(
        action.startswith((f"drain:{name}:", f"stop:{name}:")) for action in view.pending
    )


def check(story: Story, decision: Decision[Any]) -> None:
    """Of one decision, and so of each of its prefixes."""
    view, web = story.loop.view, story.web
    wanted, rollout = web.replicas.min, web.rollout
    members = view.by_service["web"]
    staying = [one for one in members if not leaving(one, view)]
    ready = {one.state.id for one in staying if one.health is Health.READY}
    drained = {one.instance for one in decision.actions if isinstance(one, DrainInstance)}
    if drained & ready:
        left = len(ready - drained)
        assert left >= wanted - rollout.unavailable, "below the bound by our own doing"
        told = {(one.region, one.cluster) for one in decision.actions
                if isinstance(one, SetEndpoints)}  # fmt: skip
        serving = {one.state.id for one in staying if is_served(story, one)} & ready
        if len(serving) >= wanted and not any(cluster == "web" for _, cluster in told):
            # Beside a parked set: those that serve are not taken away for those that do not.
            assert len(serving - drained) >= wanted - rollout.unavailable
    starts = [one for one in decision.actions if isinstance(one, StartInstance)]
    if not starts:
        return
    live = [one for one in members if one.health is not Health.LOST]
    under_way = sum(1 for action in view.pending if action.startswith("start:web-"))
    room = max(rollout.surge, 0 if rollout.unavailable else 1)
    most = wanted + room
    if rollout.strategy is Strategy.BLUE_GREEN:
        most = 2 * wanted + room
    placed = sum(1 for one in staying if one.health is not Health.LOST) + under_way + len(starts)
    total = len(live) + under_way + len(starts)
    assert placed <= wanted or total <= most, f"{total} are beyond the bound of {most}"
    record = story.record
    if record is None or rollout.strategy is Strategy.BLUE_GREEN or not is_trying(story):
        return
    new = web.workload.revision
    unproven = [
        one for one in staying
        if one.state.revision == new and one.health in (Health.STARTING, Health.FAILED)
    ]  # fmt: skip
    mine = [one for one in starts if one.workload.revision == new]
    if mine:
        bound = max(1, rollout.surge + rollout.unavailable)
        assert len(unproven) + len(mine) <= bound, "an unproven version spreads"


def is_trying(story: Story) -> bool:
    record, new = story.record, story.web.workload.revision
    return bool(record.good.revision != new)


def is_served(story: Story, one: InstanceView) -> bool:
    key = (one.state.region, "web")
    applied = story.loop.view.endpoints.get(key)
    return applied is not None and one.state.id in applied.serving


@given(systems(), st.lists(HAPPENINGS, min_size=1, max_size=8))
@relaxed
def test_whatever_happens_it_is_safe_and_then_the_spec_is_what_runs(
    system: System, events: list[tuple[str, int, int]]
) -> None:
    story = started(system)
    for event in events:
        story.happen(*event)
    story.heal()
    story.settle(story.web.workload.revision, Stage.SETTLED)
    assert story.record.good == story.web.workload


@given(systems())
@relaxed
def test_a_good_version_is_all_that_runs_in_the_end(system: System) -> None:
    story = started(system)
    before = len(story.actions)
    story.release("w2")
    story.settle("w2", Stage.SETTLED)
    assert story.record.good.revision == "w2"
    assert story.record.previous.revision == "w1"
    starts = [one for one in story.actions[before:] if isinstance(one, StartInstance)]
    assert {one.workload.revision for one in starts} == {"w2"}
    assert len(starts) <= story.web.replicas.min + 2  # where a zone is left uneven


@given(systems(), st.integers(0, 12))
@relaxed
def test_a_version_that_is_never_ready_stops_and_the_old_one_serves(
    system: System, killed_at: int
) -> None:
    """Killed once on the way, too."""
    story = started(system)
    story.tick(("spoil", "web@w2"))
    story.release("w2")
    wanted, rollout = story.web.replicas.min, story.web.rollout
    for tick in range(120):
        if tick == killed_at:
            story.loop.restart()
        story.tick()
        assert story.loop.ready("web") >= wanted - rollout.unavailable
    stops = rollout.on_failure is OnFailure.STOP
    assert story.record.stage is (Stage.STOPPED if stops else Stage.UNDONE)
    assert story.record.code.endswith(".not_ready")
    states = [one.state for one in story.loop.view.by_service["web"]]
    assert [state.revision for state in states] == ["w1"] * wanted
    story.loop.restart()
    before = len(story.actions)
    story.run(40)
    assert not any(isinstance(one, StartInstance) for one in story.actions[before:])
    story.tick(("kill", "web"), ("lose", "us-east/b"))
    story.run(60)
    replaced = [one for one in story.actions[before:] if isinstance(one, StartInstance)]
    assert {one.workload.revision for one in replaced} <= {"w1"}


@given(systems(), st.integers(0, 25), st.integers(0, 2))
@relaxed
def test_cut_short_at_every_step_it_still_gets_there(system: System, at: int, left: int) -> None:
    story = started(system)
    story.release("w2")
    for step in range(25):
        story.controller.left = (left + step) % 3 if step >= at else None
        story.tick()
        story.loop.restart()
    story.controller.left = None
    story.settle("w2", Stage.SETTLED)


@given(systems(), st.integers(0, 20))
@relaxed
def test_undone_at_any_moment_the_old_version_is_back_and_stays(system: System, at: int) -> None:
    story = started(system)
    story.release("w2")
    story.run(at + 2)
    story.order(OrderKind.UNDO, story.about_this())
    story.settle("w1", Stage.UNDONE)
    story.loop.restart()
    story.settle("w1", Stage.UNDONE)
    story.release("w3")
    story.settle("w3", Stage.SETTLED)
    story.release("w2")  # the order was about another attempt
    story.settle("w2", Stage.SETTLED)


@given(systems(), st.integers(0, 20), st.booleans())
@relaxed
def test_paused_at_any_moment_it_stays_and_then_goes_on(
    system: System, at: int, killed: bool
) -> None:
    story = started(system)
    story.release("w2")
    story.run(at)
    story.order(OrderKind.PAUSE)
    story.run(25)  # what was under way ends
    if killed:
        story.loop.restart()
    before = len(story.actions)
    story.run(40)
    moved = [one for one in story.actions[before:] if not isinstance(one, SetEndpoints)]
    assert moved == []
    del story.loop.world.orders["pause:web"]
    story.settle("w2", Stage.SETTLED)


@given(systems(), st.integers(0, 20))
@relaxed
def test_a_third_version_in_mid_roll_takes_over(system: System, at: int) -> None:
    story = started(system)
    story.release("w2")
    story.run(at)
    story.release("w3")
    story.settle("w3", Stage.SETTLED)
    assert story.record.previous.revision in ("w1", "w2")


def replay() -> str:
    rollout = Rollout(
        surge=1, unavailable=1, canary=STEPS, min_ready=SECOND, deadline=DEADLINE,
        on_failure=OnFailure.ROLLBACK,
    )  # fmt: skip
    web = service("web", {"us-east": 0.6, "eu-west": 0.4}, replicas=6, rollout=rollout)
    story = started(system_of(SHAPES[1], [web]))
    for event in (
        ("release", 1, 9), ("kill", 2, 3), ("lose", 0, 14), ("release-bad", 1, 14),
        ("restore", 0, 14), ("release", 1, 5), ("undo", 1, 14),
    ):  # fmt: skip
        story.happen(*event)
    story.heal()
    story.settle("w4", Stage.SETTLED)
    return "\n".join(repr(action) for action in story.actions)


def test_the_same_story_is_the_same_whatever_the_hash_seed() -> None:
    here = replay()
    for seed in ("1", "4242"):
        there = subprocess.run(
            [
                sys.executable,
                "-c",
                "from tests.properties.test_rollout import replay as r; print(r())",
            ],
            env={
                **os.environ,
                "PYTHONHASHSEED": seed,
                "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
            },
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        assert there.strip() == here
