"""The nodes as placement sees them in one step: which are there, what room they have left, and
which of them takes the next instance."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from heapq import heapify, heappop, heapreplace
from typing import TypeAlias

from seakeep.model.ids import NodeId, RegionName, ZoneName
from seakeep.model.system import Resources, System, nodes_of
from seakeep.model.time import SECOND, Duration, Instant
from seakeep.model.view import Health, View

Place: TypeAlias = tuple[RegionName, ZoneName]

NODE_PATIENCE: Duration = 3 * SECOND
"""A node that is not running keeps its share for this long before it goes elsewhere: nodes that
start together must not be filled in the order in which they come up."""

STARTING_MAX = 4
"""Instances STARTING on one node at once: a node that survives is not crushed by those that its
neighbours leave to it."""


class NodeStatus(Enum):
    UP = "up"
    WAITING = "waiting"
    """Not running or in doubt, but not for long: it holds its share, nothing starts on it."""
    DOWN = "down"
    """Holds nothing but what is still counted on it."""


@dataclass(slots=True, kw_only=True)
class NodeRoom:
    """A node's room in this step; taken as starts are decided."""

    id: NodeId
    index: int
    """Where it stands in the spec, which settles ties."""
    region: RegionName
    zone: ZoneName
    status: NodeStatus
    capacity: Resources
    cpu_free: int
    memory_free: int
    starting: int = 0

    def fits(self, need: Resources) -> int:
        """How many more instances of this size it has room for."""
        if self.status is NodeStatus.DOWN:
            return 0
        by_cpu = self.cpu_free // need.cpu_millicores if need.cpu_millicores else 1 << 30
        by_memory = self.memory_free // need.memory_bytes if need.memory_bytes else 1 << 30
        fits = by_cpu if by_cpu < by_memory else by_memory
        return fits if fits > 0 else 0

    def take(self, need: Resources, count: int = 1) -> None:
        self.cpu_free -= count * need.cpu_millicores
        self.memory_free -= count * need.memory_bytes

    def judge(self, health: Health) -> None:
        """Learn about the node from the verdict on an instance that is on it."""
        if health is Health.LOST:
            self.status = NodeStatus.DOWN
        elif health is Health.UNKNOWN and self.status is NodeStatus.UP:
            self.status = NodeStatus.WAITING
        elif health is Health.STARTING:
            self.starting += 1

    def used_fraction_with(self, need: Resources) -> float:
        """Mean of the CPU and memory in use once `need` is taken too: 0 to 1."""
        cpu = 1 - (self.cpu_free - need.cpu_millicores) / max(1, self.capacity.cpu_millicores)
        memory = 1 - (self.memory_free - need.memory_bytes) / max(1, self.capacity.memory_bytes)
        return (cpu + memory) / 2


@dataclass(slots=True, kw_only=True)
class Rooms:
    nodes: Mapping[NodeId, NodeRoom]
    by_place: Mapping[Place, list[NodeRoom]]
    absent: Mapping[NodeId, Instant]
    """Nodes that do not run, or of which nothing is known, and since when we know. Not since when
    they changed: a restarted Seakeep gives every node its patience once more."""
    wake_at: Instant | None
    """When the first node's patience runs out."""


def rooms_of(
    system: System, view: View, absent: Mapping[NodeId, Instant], aside: Mapping[NodeId, Instant]
) -> Rooms:
    """All nodes of the spec, empty. `aside`: until when a node that could not start something is
    left alone."""
    nodes: dict[NodeId, NodeRoom] = {}
    by_place: dict[Place, list[NodeRoom]] = {}
    still_absent: dict[NodeId, Instant] = {}
    wakes: list[Instant] = []
    for node in nodes_of(system):
        part = view.parts.get(f"node:{node.id}")
        if part is None or not part.running:
            since = still_absent[node.id] = absent.get(node.id, view.at)
            until = since + NODE_PATIENCE
            status = NodeStatus.WAITING if view.at < until else NodeStatus.DOWN
        else:
            until = aside.get(node.id, view.at)
            status = NodeStatus.DOWN if view.at < until else NodeStatus.UP
        if view.at < until:
            wakes.append(until)
        capacity = part.capacity if part is not None and part.capacity else node.capacity
        room = nodes[node.id] = NodeRoom(
            id=node.id,
            index=len(nodes),
            region=node.region,
            zone=node.zone,
            status=status,
            capacity=capacity,
            cpu_free=capacity.cpu_millicores,
            memory_free=capacity.memory_bytes,
        )
        by_place.setdefault((node.region, node.zone), []).append(room)
    return Rooms(
        nodes=nodes, by_place=by_place, absent=still_absent, wake_at=min(wakes, default=None)
    )


class NodePicker:
    """Picks nodes of one place for instances of one service, one after another.

    As in Kubernetes, `anti_affinity` (0-100) weighs keeping replicas apart (fewest of the same
    service first) against packing (fullest node first, `MostAllocated`). Of nodes with equally
    few, the one with most CPU free is taken (`LeastAllocated`), then the first in the spec.
    """

    def __init__(
        self,
        rooms: Iterable[NodeRoom],
        counts: dict[NodeId, int],
        need: Resources,
        anti_affinity: int,
    ) -> None:
        self._rooms = list(rooms)
        self._counts = counts
        self._need = need
        self._weight = anti_affinity
        self._heap = [
            (counts.get(room.id, 0), -room.cpu_free, room.index, room) for room in self._rooms
        ]
        heapify(self._heap)

    def pick(self) -> NodeRoom | None:
        """The best node with room, which is then taken; None when none has any."""
        room = self._fewest() if self._weight >= 100 else self._best()
        if room is not None:
            room.take(self._need)
            self._counts[room.id] = self._counts.get(room.id, 0) + 1
        return room

    def _fewest(self) -> NodeRoom | None:
        while self._heap:
            count, _, index, room = self._heap[0]
            if room.fits(self._need):
                free = room.cpu_free - self._need.cpu_millicores
                heapreplace(self._heap, (count + 1, -free, index, room))
                return room
            heappop(self._heap)
        return None

    def _best(self) -> NodeRoom | None:
        self._rooms = [room for room in self._rooms if room.fits(self._need)]
        if not self._rooms:
            return None
        most = max(1, *[self._counts.get(room.id, 0) for room in self._rooms], 1)
        return min(self._rooms, key=lambda room: (-self._score(room, most), room.index))

    def _score(self, room: NodeRoom, most: int) -> float:
        apart = 1 - self._counts.get(room.id, 0) / most
        packed = room.used_fraction_with(self._need)
        return self._weight * apart + (100 - self._weight) * packed
