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
    """Subject: a service; argument: the revision of the workload that is to be left again."""


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
