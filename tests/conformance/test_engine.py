"""What every engine must do, whatever its world. One suite; engines are its parameters."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from seakeep.act.admit import admit
from seakeep.engines.local.engine import LocalEngine
from seakeep.engines.local.layout import layout_for
from seakeep.engines.twin.engine import TwinEngine
from seakeep.engines.twin.world import World
from seakeep.model.action import Guard, RestartInstance, StartInstance, StartPart, StopInstance
from seakeep.model.engine import Engine
from seakeep.model.observation import Observation, Outcome, OutcomeStatus, PartKind
from seakeep.model.system import System
from seakeep.model.time import HOUR, SECOND
from seakeep.runtime.teardown import down
from seakeep.spec import load
from tests.live.systems import APP, SPEC

Engines: TypeAlias = LocalEngine | TwinEngine


@pytest.fixture
def system(tmp_path: Path) -> System:
    (tmp_path / "seakeep.yaml").write_text(SPEC)
    (tmp_path / "app.py").write_text(APP)
    return load(tmp_path / "seakeep.yaml").system


@pytest.fixture(params=["twin", pytest.param("local", marks=pytest.mark.live)])
def engine(request: pytest.FixtureRequest, tmp_path: Path, system: System) -> Iterator[Engines]:
    if request.param == "twin":
        made = twin(system)
        made.configure(system)
        yield made
        made.close()
    else:
        yield from local(tmp_path, system)


def twin(system: System) -> TwinEngine:
    began, end = SECOND, HOUR
    world = World(system, seed=1, now=began, counted_from=began, end=end, bucket=SECOND)
    return TwinEngine(
        system,
        world,
        admit,
        seed=1,
        now=began,
        counted=(began, end),
        wall=0,
        checked=lambda at, region, target, ok: None,
        broken=lambda at, what: None,
    )


def local(folder: Path, system: System) -> Iterator[LocalEngine]:
    layout = layout_for(folder)
    made = LocalEngine(layout, folder, admit)
    made.configure(system)
    try:
        yield made
    finally:
        made.close()
        down(layout, keep_logs=False, progress=lambda stage: None)


class Seen:
    """Observations taken so far, and every outcome in them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.outcomes: dict[str, Outcome] = {}

    def look(self) -> Observation:
        observation = self.engine.observe()
        self.outcomes |= {outcome.action: outcome for outcome in observation.outcomes}
        return observation

    def outcome(self, action: str, timeout_s: float = 20.0) -> Outcome:
        deadline = time.monotonic() + timeout_s
        while action not in self.outcomes:
            assert time.monotonic() < deadline, f"no outcome of {action}"
            self.engine.wait(self.engine.clock.now() + SECOND // 5)
            self.look()
        return self.outcomes[action]


def guard(engine: Engines, system: System, **changes: object) -> Guard:
    fields = {
        "revision": system.revision,
        "epoch": engine.epoch,
        "expires_at": engine.clock.now() + 30 * SECOND,
        **changes,
    }
    return Guard(**fields)  # type: ignore[arg-type]


def start_node(engine: Engines, system: System, **changes: object) -> StartPart:
    return StartPart(
        id="start:node:east/a/0",
        guard=guard(engine, system, **changes),
        part="node:east/a/0",
        kind=PartKind.NODE,
        region="east",
        zone="a",
    )


def start_back(engine: Engines, system: System, ordinal: int = 1) -> StartInstance:
    return StartInstance(
        id=f"start:back-{ordinal}",
        guard=guard(engine, system),
        instance=f"back-{ordinal}",
        service="back",
        region="east",
        zone="a",
        node="east/a/0",
        workload=system.services["back"].workload,
    )


def test_before_anything_is_asked_nothing_runs(engine: Engines) -> None:
    first = engine.observe()
    second = engine.observe()
    assert (first.instances, first.outcomes) == ((), ())
    assert second.seq == first.seq + 1
    assert second.at >= first.at
    parts = [sample.value for sample in first.parts]
    assert [part.id for part in parts if part] == sorted(part.id for part in parts if part)
    assert not any(part.running for part in parts if part)


def test_an_action_is_carried_out_and_its_outcome_observed_once(
    engine: Engines, system: System
) -> None:
    seen = Seen(engine)
    engine.submit([start_node(engine, system)])
    assert seen.outcome("start:node:east/a/0").status is OutcomeStatus.DONE
    engine.submit([start_back(engine, system, 2), start_back(engine, system, 1)])
    assert seen.outcome("start:back-1").status is OutcomeStatus.DONE
    assert seen.outcome("start:back-2").status is OutcomeStatus.DONE
    instances = seen.look().instances
    assert [sample.value.id for sample in instances if sample.value] == ["back-1", "back-2"]
    assert engine.observe().outcomes == ()


def test_submit_and_observe_do_not_wait_for_the_world(engine: Engines, system: System) -> None:
    before = time.monotonic()
    engine.submit([start_node(engine, system)])
    engine.observe()
    assert time.monotonic() - before < 1.0
    Seen(engine).outcome("start:node:east/a/0")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"revision": "other"}, "spec other"),
        ({"epoch": 0}, "epoch"),
        ({"expires_at": 1}, "expired"),
    ],
)
def test_an_action_whose_guard_does_not_hold_is_refused(
    engine: Engines, system: System, changes: dict[str, object], word: str
) -> None:
    engine.submit([start_node(engine, system, **changes)])
    outcome = Seen(engine).outcome("start:node:east/a/0")
    assert outcome.status is OutcomeStatus.REFUSED
    assert word in outcome.detail
    assert not any(sample.value and sample.value.running for sample in engine.observe().parts)


def test_a_restart_decided_before_another_one_is_refused(engine: Engines, system: System) -> None:
    seen = Seen(engine)
    engine.submit([start_node(engine, system)])
    seen.outcome("start:node:east/a/0")
    engine.submit([start_back(engine, system)])
    seen.outcome("start:back-1")
    for name, restarts in (("first", 0), ("late", 0)):
        held = guard(engine, system, restarts=restarts)
        engine.submit([RestartInstance(id=name, guard=held, instance="back-1")])
        seen.outcome(name)
    assert seen.outcomes["first"].status is OutcomeStatus.DONE
    assert seen.outcomes["late"].status is OutcomeStatus.REFUSED


def test_what_does_not_exist_is_refused_not_an_error(engine: Engines, system: System) -> None:
    engine.submit(
        [StopInstance(id="stop", guard=guard(engine, system), instance="back-9", grace=0)]
    )
    assert Seen(engine).outcome("stop").status is OutcomeStatus.REFUSED


def test_wait_ends_early_when_something_changes(engine: Engines, system: System) -> None:
    engine.observe()
    engine.submit([start_node(engine, system)])
    before = engine.clock.now()
    engine.wait(before + 60 * SECOND)
    assert engine.clock.now() - before < 30 * SECOND


@pytest.mark.live
def test_a_new_engine_finds_what_the_old_one_left(system: System, tmp_path: Path) -> None:
    """Not of the twin, whose world ends with it."""
    engines = local(tmp_path, system)
    engine = next(engines)
    seen = Seen(engine)
    engine.submit([start_node(engine, system)])
    seen.outcome("start:node:east/a/0")
    engine.submit([start_back(engine, system)])
    seen.outcome("start:back-1")
    (before,) = (sample.value for sample in seen.look().instances)
    engine.close()
    second = LocalEngine(layout_for(tmp_path), tmp_path, admit)
    second.configure(system)
    try:
        assert second.epoch == engine.epoch + 1
        (after,) = (sample.value for sample in second.observe().instances)
        assert before is not None
        assert after is not None
        assert (after.id, after.pid, after.restarts) == (before.id, before.pid, before.restarts)
    finally:
        second.close()
        engines.close()
