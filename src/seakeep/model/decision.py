"""What a controller answers, and what a controller is."""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

from seakeep.model.action import Action
from seakeep.model.system import System
from seakeep.model.time import Instant
from seakeep.model.view import View

M = TypeVar("M")
M_co = TypeVar("M_co", covariant=True)

Number: TypeAlias = int | float | str
"""A figure of a reason. Strings are for names; durations are integer nanoseconds whose key
ends in `_ns`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why something was done, or deliberately not done: a code and its numbers."""

    code: str
    """Dotted, stable, documented in docs/reference/reasons.md: `health.restart.liveness`."""
    subject: str
    """An instance, part, service or region."""
    numbers: tuple[tuple[str, Number], ...] = ()
    action: str | None = None
    """The id of the action that it explains; None for a no-op."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Generic[M_co]):
    memory: M_co
    actions: tuple[Action, ...] = ()
    """In the order in which they must be submitted."""
    reasons: tuple[Reason, ...] = ()
    wake_at: Instant | None = None
    """When to decide again if nothing happens before; None: only when something does."""


class Controller(Protocol[M]):
    """Pure: no clock, no I/O, no randomness, no logger."""

    def initial(self) -> M: ...

    def decide(self, system: System, view: View, memory: M) -> Decision[M]: ...
