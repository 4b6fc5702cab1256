"""What a rollout asks of placement and of traffic in one step: how many of which version there
should be, and which of them are to get requests. Made by `rollout`, for services in change only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import TypeAlias

from seakeep.model.ids import InstanceId, ServiceName
from seakeep.model.system import Workload

Revision: TypeAlias = str


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPlan:
    """Two versions of a service side by side. Everything that is neither counts as old."""

    old: Workload
    new: Workload
    old_wanted: int
    new_wanted: int
    """How many of each; together as many as the service wants, twice that when `apart`."""
    is_beyond: bool = False
    """Together they are more than the service wants: one of it and its canary."""
    apart: bool = False
    """Two whole sets, each of which is spread and kept by itself (blue-green)."""
    strict: bool = False
    """Whether what is neither old nor new has to go, rather than stand in for the old."""
    unripe: frozenset[InstanceId] = frozenset()
    """READY ones that do not count as that yet."""
    serves: Revision = ""
    """When set, every other version gets no new requests."""
    weight: float | None = None
    """The new version's share of the requests of a region that has both; None: by their number."""

    def part(self, mine: int, whole: int) -> "RolloutPlan":
        """The plan of a part of the service that wants `mine` instances where all of it, which
        the plan is about, wants `whole`."""
        if mine == whole:
            return self
        if self.apart:
            return replace(self, old_wanted=mine, new_wanted=min(mine, self.new_wanted))
        new = min(mine, ceil(self.new_wanted * mine / max(1, whole)))
        if not self.old_wanted:
            new = mine
        return replace(self, old_wanted=mine - new, new_wanted=new, is_beyond=False)

    def is_new(self, revision: Revision) -> bool:
        return revision == self.new.revision


NO_PLANS: Mapping[ServiceName, RolloutPlan] = {}
"""Nothing is changing."""
