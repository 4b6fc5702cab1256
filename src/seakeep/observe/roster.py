"""What follows from which instances there are. An instance stays for its life where it was
started, as what it was started as: so this is worked out anew only when one comes or goes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import TypeAlias

from seakeep.model.ids import NodeId, ServiceName
from seakeep.model.observation import InstanceState
from seakeep.model.view import InstanceView

Workload: TypeAlias = tuple[ServiceName, str]
"""(service, workload revision)"""

_service = attrgetter("service")
_node = attrgetter("node")
_revision = attrgetter("revision")


@dataclass(frozen=True, slots=True)
class Roster:
    """Of the instances of one view, in its order."""

    runs: tuple[tuple[ServiceName, int], ...] = ()
    """How many of a service follow each other."""
    counts: Mapping[ServiceName, int] = field(default_factory=dict)
    nodes: tuple[NodeId, ...] = ()
    workloads: tuple[Workload, ...] = ()

    def grouped(
        self, views: list[InstanceView], services: Iterable[ServiceName]
    ) -> dict[ServiceName, tuple[InstanceView, ...]]:
        """The views by service, the given services first, with or without an instance."""
        groups: dict[ServiceName, tuple[InstanceView, ...]] = dict.fromkeys(services, ())
        start = 0
        for service, count in self.runs:
            groups[service] = (*groups.get(service, ()), *views[start : start + count])
            start += count
        return groups


NOBODY = Roster()


def roster_of(states: list[InstanceState]) -> Roster:
    runs: list[tuple[ServiceName, int]] = []
    counts: dict[ServiceName, int] = {}
    workloads: dict[Workload, None] = {}
    for service, run in groupby(states, key=_service):
        revisions = list(map(_revision, run))
        runs.append((service, len(revisions)))
        counts[service] = counts.get(service, 0) + len(revisions)
        workloads.update({(service, revision): None for revision in dict.fromkeys(revisions)})
    return Roster(tuple(runs), counts, tuple(dict.fromkeys(map(_node, states))), tuple(workloads))
