"""What an operator has told Seakeep to do beyond the spec: standing until it is withdrawn.

An order is part of the world, not of a controller's memory: the engine keeps it across restarts
and shows it in every observation, so that the journal has it and a replay obeys it too.
"""

from dataclasses import dataclass
from enum import StrEnum

from seakeep.model.time import Instant


class OrderKind(StrEnum):
    DRAIN = "drain"
    """Subject: a region. Nothing is to be served there until the order is withdrawn."""
    PAUSE = "pause"
    """Subject: a service. Its rollout stays as it is."""
    UNDO = "undo"
    """Subject: a service; argument: which rollout is taken back, as `rollout_argument` names it."""
    RESUME = "resume"
    """Subject: a service; argument: which rollout, that was stopped or undone, is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    kind: OrderKind
    subject: str
    given_at: Instant
    given_by: str = ""
    """Who gave it, for people: `root@host`."""
    argument: str = ""

    @property
    def id(self) -> str:
        """`drain:us-east`: there is one order of a kind for a subject at a time."""
        return f"{self.kind.value}:{self.subject}"


def rollout_argument(revision: str, attempt: int) -> str:
    """One attempt at a workload, for orders that are about no other: `3f2a...:2`. An order that
    still stands when the spec or the attempt has changed means nothing any more."""
    return f"{revision}:{attempt}"
