"""A journal replayed gives the same decisions, byte for byte."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from seakeep.decide.arbitrate import ControlPlane
from seakeep.model.codec import digest, load_tree
from seakeep.model.decision import Decision
from seakeep.model.record import Missing, Opened, Remembered, Specified, Stepped
from seakeep.model.system import System
from seakeep.model.time import SECOND
from seakeep.model.view import View
from seakeep.runtime.journal import Limits
from seakeep.runtime.reading import read
from seakeep.runtime.replay import replay, replay_records, views
from seakeep.runtime.segments import frame, unframe
from seakeep.runtime.step import Pipeline
from tests.runtime.journals import eventful, two_regions


def test_identical(tmp_path: Path) -> None:
    run = eventful(tmp_path)
    report = replay(tmp_path)
    assert report.identical
    assert report.runs == 2
    assert report.steps == len([one for one in read(tmp_path) if isinstance(one, Stepped)])
    assert (report.skipped, report.gaps) == (0, ())
    actions = [
        action for one in read(tmp_path) if isinstance(one, Stepped) for action in one.actions
    ]
    kinds = {type(action).__name__ for action in actions}
    assert kinds >= {"StartPart", "StartInstance", "SetEndpoints", "RestartInstance"}
    assert {action.guard.epoch for action in actions} == {1, 2}
    assert len([one for one in read(tmp_path) if isinstance(one, Specified)]) == 3
    assert run.system.revision == "r2"


def test_identical_though_the_values_of_variables_are_not_in_it(tmp_path: Path) -> None:
    system = two_regions()
    services = {
        name: replace(service, workload=replace(service.workload, env=(("KEY", "hunter2"),)))
        for name, service in system.services.items()
    }
    eventful(
        tmp_path,
        Limits(segment_bytes=30_000, packed=False),
        replace(system, services=services),
    )
    written = b"".join(path.read_bytes() for path in sorted(tmp_path.glob("*.jsonl")))
    assert b"hunter2" not in written
    assert written.count(b'["KEY","(hidden)"]') > 5
    assert replay(tmp_path).identical


def test_identical_under_other_hash_seeds(tmp_path: Path) -> None:
    def run(verb: str, seed: str) -> bytes:
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        command = [sys.executable, "-m", "tests.runtime.journals", verb, str(tmp_path / "one")]
        return subprocess.check_output(command, env=environment)

    printed = {run("write", "1"), *(run("replay", seed) for seed in ("2", "31337"))}
    assert len(printed) == 1
    assert len(printed.pop().split()) > 100


def test_a_replay_can_start_at_any_segment(tmp_path: Path) -> None:
    eventful(tmp_path, Limits(segment_bytes=30_000, packed=False))
    segments = sorted(tmp_path.glob("*.jsonl"))
    assert len(segments) > 3
    assert replay(tmp_path).identical
    for one, two in zip(segments[:-3:2], segments[1:-2:2], strict=False):
        one.unlink()
        two.unlink()
        opened, *head = [one for one, _ in zip(read(tmp_path), range(3), strict=False)]
        assert isinstance(opened, Opened)
        if opened.continued:
            assert Remembered in map(type, head)
        report = replay(tmp_path)
        assert report.identical
        assert report.skipped == 0


def test_after_a_gap_it_goes_on_at_the_next_segment(tmp_path: Path) -> None:
    eventful(tmp_path, Limits(segment_bytes=30_000, packed=False))
    steps = replay(tmp_path).steps
    victim = sorted(tmp_path.glob("*.jsonl"))[1]
    lines = victim.read_bytes().splitlines(keepends=True)
    del lines[len(lines) // 2]
    victim.write_bytes(b"".join(lines))
    report = replay(tmp_path)
    assert report.identical
    assert steps // 2 < report.steps < steps
    assert len(report.gaps) > 0
    assert next(one for one in read(tmp_path) if isinstance(one, Missing)).count == 1


class Timid(ControlPlane):
    """Another version of the controllers, which never restarts anything."""

    def decide(self, system: System, view: View, memory: Any) -> Decision[Any]:
        decision = super().decide(system, view, memory)
        kept = tuple(one for one in decision.actions if type(one).__name__ != "RestartInstance")
        return replace(decision, actions=kept)


def test_the_first_difference_is_shown(tmp_path: Path) -> None:
    eventful(tmp_path)
    report = replay(tmp_path, lambda epoch: Pipeline(epoch, Timid(epoch)))
    assert not report.identical
    difference = report.difference
    assert difference is not None
    assert difference.place.startswith("actions[")
    recorded = [action["type"] for action in difference.recorded["actions"]]
    replayed = [action["type"] for action in difference.replayed["actions"]]
    assert "RestartInstance" in recorded
    assert "RestartInstance" not in replayed
    assert difference.n > 10


def test_a_forged_decision_is_noticed(tmp_path: Path) -> None:
    eventful(tmp_path)
    segment = tmp_path / "00000001.jsonl"
    lines = segment.read_bytes().splitlines(keepends=True)
    for index, line in enumerate(lines):
        tree = unframe(line)
        if tree is not None and tree["kind"] == "step" and tree["wake_at"]:
            tree["wake_at"] += 1
            lines[index] = frame(tree)
            break
    segment.write_bytes(b"".join(lines))
    difference = replay(tmp_path).difference
    assert difference is not None
    assert difference.place == "wake_at"


def test_views_are_those_of_the_controllers(tmp_path: Path) -> None:
    eventful(tmp_path)
    seen = [view for record, view in views(read(tmp_path)) if isinstance(record, Stepped)]
    assert None not in seen
    last = seen[-1]
    assert last is not None
    ready = [one for one in last.by_service["web"] if one.health.value == "ready"]
    assert len(ready) == 8


def test_the_digest_is_of_the_decision(tmp_path: Path) -> None:
    eventful(tmp_path)
    records = list(read(tmp_path))
    assert replay_records(records).identical
    digests = {one.digest for one in records if isinstance(one, Stepped)}
    assert len(digests) > 40
    assert all(len(one) == 16 for one in digests)
    assert load_tree(b"1") == 1
    assert digest(records[0]) == digest(records[0])
    assert records[-1].at > 10 * SECOND  # type: ignore[union-attr]
