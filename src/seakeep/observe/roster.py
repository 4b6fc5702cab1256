"""What follows from which instances there are. An instance stays for its life where it was
started, as what it was started as: so this is kept, and only touched when one comes or goes."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar

from seakeep.model.ids import NodeId, ServiceName
from seakeep.model.observation import InstanceState
from seakeep.model.view import InstanceView

Workload: TypeAlias = tuple[ServiceName, str]
"""(service, workload revision)"""

K = TypeVar("K", bound=tuple[str, str] | str)

_service = attrgetter("service")
_node = attrgetter("node")
_workload = attrgetter("service", "revision")


@dataclass(frozen=True, slots=True)
class Roster:
    """How many instances there are of each kind, sorted by name; none is left out."""

    services: Mapping[ServiceName, int] = field(default_factory=dict)
    nodes: Mapping[NodeId, int] = field(default_factory=dict)
    workloads: Mapping[Workload, int] = field(default_factory=dict)

    def after(self, came: Sequence[InstanceState], went: Sequence[InstanceState]) -> "Roster":
        """The roster once some have come and others gone."""

        def counted(before: Mapping[K, int], what: Any) -> dict[K, int]:
            counts = Counter(before)
            counts.update(map(what, came))
            counts.subtract(map(what, went))
            return {name: count for name, count in sorted(counts.items()) if count}

        return Roster(
            counted(self.services, _service),
            counted(self.nodes, _node),
            counted(self.workloads, _workload),
        )

    def grouped(
        self, views: list[InstanceView], services: Iterable[ServiceName]
    ) -> dict[ServiceName, tuple[InstanceView, ...]]:
        """The views (of all, sorted by service) by service: the given services first, with or
        without an instance."""
        groups: dict[ServiceName, tuple[InstanceView, ...]] = dict.fromkeys(services, ())
        start = 0
        for service, count in self.services.items():
            groups[service] = tuple(views[start : start + count])
            start += count
        return groups


NOBODY = Roster()
