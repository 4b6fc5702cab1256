"""Runs a journal again: the same observations must give the same decisions, byte for byte.

A replay starts at the beginning of a run or, when older segments are gone, at a segment whose
head holds the loop's state. After a gap it is out of the picture until the next of either.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from seakeep.act.track import Tracker
from seakeep.model.codec import DIGEST_HEX_DIGITS, CodecError, Json, dump_tree
from seakeep.model.ids import ActionId
from seakeep.model.record import Missing, Opened, Record, Remembered, Specified, Stepped
from seakeep.model.system import System
from seakeep.model.time import Instant
from seakeep.model.view import View
from seakeep.observe.observe import ObserveMemory, observe
from seakeep.runtime.reading import read
from seakeep.runtime.step import Pipeline, StepState, decision_tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first decision that came out otherwise."""

    n: int
    """Of the record."""
    at: Instant
    place: str
    """`reasons[2].numbers`: where the two first differ."""
    recorded: Json
    replayed: Json
    """Both sides whole: {"actions", "reasons", "wake_at"}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    runs: int
    steps: int
    """Compared and equal."""
    skipped: int
    """Steps that could not be replayed, since what came before them is missing."""
    gaps: tuple[str, ...]
    """What is missing from the journal, and why."""
    difference: Difference | None
    digest: str = ""
    """Of all decisions that were made anew, in order: equal in every process."""

    @property
    def identical(self) -> bool:
        return self.difference is None and self.steps > 0


def replay(
    folder: Path,
    pipelines: Callable[[int], Pipeline] = Pipeline,
    progress: Callable[[int, Instant], None] = lambda steps, at: None,
) -> ReplayReport:
    """Replay the journal in `folder` up to the first difference. `pipelines` makes the pipeline
    of a run from its epoch; `progress` is told of every step. Raises what a controller raises."""
    return replay_records(read(folder), pipelines, progress)


def replay_records(
    records: Iterable[Record],
    pipelines: Callable[[int], Pipeline] = Pipeline,
    progress: Callable[[int, Instant], None] = lambda steps, at: None,
) -> ReplayReport:
    """`replay` of records at hand."""
    runs = steps = skipped = 0
    gaps: list[str] = []
    difference = None
    decisions = hashlib.sha256()
    pipeline = Pipeline(0)
    system: System | None = None
    state: StepState | None = None
    for record in records:
        match record:
            case Opened():
                if not record.continued or state is None:
                    pipeline = pipelines(record.epoch)
                if not record.continued:
                    runs += 1
                    state = pipeline.initial()
            case Specified():
                system = record.system
            case Remembered():
                state = state or _decoded(pipeline, record)
            case Missing():
                gaps.append(record.why)
                state = None
            case Stepped():
                if system is None or state is None:
                    skipped += 1
                    continue
                result = pipeline.step(system, record.observation, state)
                decision = result.decision
                again = decision_tree(decision.actions, decision.reasons, decision.wake_at)
                difference = _difference(record, again)
                if difference is not None:
                    break
                decisions.update(dump_tree(again))
                steps += 1
                state = result.state
                progress(steps, record.at)
    return ReplayReport(
        runs=runs,
        steps=steps,
        skipped=skipped,
        gaps=tuple(gaps),
        difference=difference,
        digest=decisions.hexdigest()[:DIGEST_HEX_DIGITS],
    )


def views(records: Iterable[Record]) -> Iterator[tuple[Record, View | None]]:
    """Every record with, for a step, the view that the controllers had of it; None when what
    came before is missing. For `explain`, which judges no readings itself."""
    system: System | None = None
    memory: ObserveMemory | None = None
    tracker = Tracker()
    for record in records:
        view = None
        match record:
            case Opened(continued=False) | Missing():
                memory, tracker = ObserveMemory(), Tracker()
            case Specified():
                system = record.system
            case Stepped() if system is not None:
                tracker, outcomes = tracker.seen(record.observation.outcomes, record.at)
                pending: frozenset[ActionId] = tracker.pending
                view, memory = observe(
                    system,
                    record.observation,
                    memory or ObserveMemory(),
                    pending=pending,
                    outcomes=outcomes,
                )
                tracker = tracker.submitted(record.actions, record.at)
        yield record, view


def _decoded(pipeline: Pipeline, record: Remembered) -> StepState | None:
    try:
        return pipeline.decode_state(record.state)
    except (CodecError, KeyError, TypeError):
        # Written by another version: its memories had other fields.
        return None


def _difference(record: Stepped, again: Json) -> Difference | None:
    recorded = decision_tree(record.actions, record.reasons, record.wake_at)
    if dump_tree(recorded) == dump_tree(again):
        return None
    return Difference(
        n=record.n,
        at=record.at,
        place=_first_place(recorded, again).removeprefix("."),
        recorded=recorded,
        replayed=again,
    )


def _first_place(one: Json, other: Json) -> str:
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for name in one:
            if one[name] != other[name]:
                return f".{name}" + _first_place(one[name], other[name])
    if isinstance(one, list) and isinstance(other, list):
        for index, (left, right) in enumerate(zip(one, other, strict=False)):
            if left != right:
                return f"[{index}]" + _first_place(left, right)
        if len(one) != len(other):
            return f"[{min(len(one), len(other))}]"
    return ""
