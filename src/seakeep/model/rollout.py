"""How far the change of a service's workload has got: part of the world, kept by the engine.

A controller's memory is lost when Seakeep is killed, and the spec no longer says what ran before.
So what a rollout must not forget is written down by the engine before anything relies on it, and
shown in every observation: the last workload that was fully rolled out, how far its successor has
got, and what was found to be wrong with it.
"""

from dataclasses import dataclass
from enum import StrEnum

from seakeep.model.ids import ServiceName
from seakeep.model.system import Workload
from seakeep.model.time import Instant


class Stage(StrEnum):
    SETTLED = "settled"
    """The good workload is the spec's, and is all that runs."""
    ROLLING = "rolling"
    STOPPED = "stopped"
    """The new version was found to be bad. What serves stays, whatever its version."""
    UNDONE = "undone"
    """Back to the good workload, until the spec changes again or an operator resumes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRecord:
    """One service's. Replaced as a whole."""

    service: ServiceName
    good: Workload
    """The last one that was fully rolled out. Where an UNDONE record's `target` was that once,
    its predecessor."""
    target: str
    """Revision of the workload that the rest is about: the spec's when this was written."""
    stage: Stage
    previous: Workload | None = None
    """SETTLED: what was good before, for an operator who wants it back."""
    step: int = 0
    """ROLLING, STOPPED: steps of a canary that are behind it; of a blue-green rollout, 1 once
    traffic was switched, 2 once the old set was let go."""
    attempt: int = 0
    """Counts rollouts and resumptions, so that an order is about one of them only."""
    since: Instant = 0
    """Of the stage and step."""
    code: str = ""
    """STOPPED, UNDONE: code of the reason."""
    numbers: tuple[tuple[str, int | float | str], ...] = ()
    """Its figures."""
