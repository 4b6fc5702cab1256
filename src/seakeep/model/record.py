"""What a journal holds, as its readers see it: whole and resolved.

`runtime.journal` writes and reads these; `explain` tells stories from them. `n` numbers the
records of one journal, without a gap while nothing was lost.
"""

from dataclasses import dataclass
from typing import TypeAlias

from seakeep.model.action import Action
from seakeep.model.codec import Json
from seakeep.model.decision import Number, Reason
from seakeep.model.observation import Observation
from seakeep.model.system import System
from seakeep.model.time import Duration, Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A supervisor began to write, or went on in a new segment (`continued`)."""

    n: int
    at: Instant
    wall_offset: Duration
    """Add it to an instant to get nanoseconds since 1970, UTC."""
    epoch: int
    system: str
    format: int
    version: str
    """Seakeep's."""
    continued: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Specified:
    """The spec from here on: at the start of every segment, and when it changed."""

    n: int
    at: Instant
    system: System


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """The loop's state between two steps, at the head of a continued segment: a replay may
    start here when older segments are gone."""

    n: int
    state: Json
    """`runtime.step.StepState`, encoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """One turn of the loop: what was seen and what was decided about it."""

    n: int
    observation: Observation
    actions: tuple[Action, ...]
    reasons: tuple[Reason, ...]
    wake_at: Instant | None
    digest: str
    """Of the decision's canonical bytes."""

    @property
    def at(self) -> Instant:
        return self.observation.at


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """Something that came from outside the loop: an operator's verb, a fault, a message."""

    n: int
    at: Instant
    what: str
    """Dotted, stable: `operator.apply`, `fault.lose-zone`, `supervisor.adopted`."""
    text: str = ""
    numbers: tuple[tuple[str, Number], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Here records are missing: they could not be written, were deleted, or are damaged."""

    n: int
    """Of the first record that is missing, as far as is known."""
    at: Instant | None
    count: int | None
    """None when it cannot be told."""
    why: str


Record: TypeAlias = Opened | Specified | Remembered | Stepped | Noted | Missing
