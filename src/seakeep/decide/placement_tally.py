"""One service's instances, sorted by what placement makes of them."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from seakeep.decide.placement_nodes import Place, Rooms
from seakeep.decide.placement_standing import Standing
from seakeep.model.ids import InstanceId, NodeId, RegionName, ServiceName, ZoneName, ordinal_of
from seakeep.model.observation import Phase
from seakeep.model.system import Resources, Service, System, Workload, ZoneSpread
from seakeep.model.time import Instant
from seakeep.model.view import Health, InstanceView, View

ANY_ZONE: ZoneName = "*"
"""Stands for all zones of a region where the spread over zones does not matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedStart:
    """A start that was asked for and whose instance has not been seen yet."""

    instance: InstanceId
    service: ServiceName
    region: RegionName
    zone: ZoneName
    node: NodeId
    revision: str
    expires_at: Instant
    done: bool = False
    """The engine said so; the instance is about to be seen."""


@dataclass(slots=True, kw_only=True)
class Tally:
    service: Service
    wanted: int
    keepers: list[InstanceView] = field(default_factory=list)
    """They stay unless there are too many: right workload, right place."""
    leavers: list[InstanceView] = field(default_factory=list)
    """They go once replaced: another workload's, or their place left the spec."""
    draining: list[InstanceView] = field(default_factory=list)
    """On their way out, or about to be told so."""
    lost: list[InstanceView] = field(default_factory=list)
    asked: list[AskedStart] = field(default_factory=list)
    """Starts under way of what will be keepers."""
    returning: frozenset[RegionName] = frozenset()
    """Regions that get all that is theirs at once."""
    evacuees: int = 0
    """In regions that are being drained: they serve on meanwhile, and count for nothing here."""
    strays: int = 0
    """Starts under way that the spec has overtaken."""
    ready: int = 0
    """Keepers and leavers that are READY."""
    by_place: dict[Place, int] = field(default_factory=dict)
    """Keepers and asked."""
    by_node: dict[NodeId, int] = field(default_factory=dict)
    """Keepers and asked."""
    workload: Workload | None = None
    """What is started; None: the service's own."""
    to_start: list[Workload] = field(default_factory=list)
    """In a rollout: what is missing, by version, what is to be started first at the front."""
    leaves_new: str = ""
    """In a rollout that is taken back: the revision that leaves."""
    is_mixed: bool = False
    """In a rollout: two versions have a quota."""

    @property
    def kept(self) -> int:
        return len(self.keepers) + len(self.asked)

    @property
    def placed(self) -> int:
        """Those that are there to serve, now or soon. Lost and draining ones are not."""
        return self.kept + len(self.leavers) + self.strays

    @property
    def live(self) -> int:
        return self.placed + len(self.draining)

    @property
    def surge(self) -> int:
        """How far replacing and rebalancing may exceed the wanted number. One, when the spec
        leaves neither room above nor below: else nothing could ever be replaced."""
        rollout = self.service.rollout
        return rollout.surge if rollout.surge or rollout.unavailable else 1

    @property
    def ready_floor(self) -> int:
        """READY ones that we leave at the least."""
        return max(0, self.wanted - self.service.rollout.unavailable)

    def next_workload(self) -> Workload:
        """What the next start runs."""
        if self.to_start:
            return self.to_start.pop(0)
        return self.workload or self.service.workload

    @property
    def is_steady(self) -> bool:
        """All that is wanted is there and READY, and nothing is under way."""
        return (
            self.ready == self.wanted == len(self.keepers)
            and not self.leavers
            and not self.draining
            and not self.asked
            and not self.strays
            and not self.evacuees
        )


def tally_of(
    service: Service,
    wanted: int,
    standing: Standing,
    view: View,
    rooms: Rooms,
    told: Collection[InstanceId],
    asked: Iterable[AskedStart],
    members: Sequence[InstanceView],
) -> Tally:
    """Of these `members` of a service, whose standing is given. Sorts the odd ones and those that
    may have been told to leave; the rest are keepers. Takes the room of all on the nodes, and
    tells the nodes what is known of them."""
    tally = Tally(service=service, wanted=wanted, by_node=dict(standing.plain))
    away = _sort(tally, standing, told, view, rooms)
    tally.keepers = [one for one in members if one.state.id not in away] if away else list(members)
    tally.ready += len(tally.keepers) + len(tally.leavers)
    by_node, need = tally.by_node, service.workload.resources
    for start in asked:
        if start.revision != service.workload.revision or start.node not in standing.allowed:
            tally.strays += 1
            continue
        tally.asked.append(start)
        by_node[start.node] = by_node.get(start.node, 0) + 1
        rooms.nodes[start.node].starting += 1
    for name, count in by_node.items():
        room = rooms.nodes[name]
        room.take(need, count)
        place = place_of_node(room.region, room.zone, service)
        tally.by_place[place] = tally.by_place.get(place, 0) + count
    for one in (*tally.leavers, *tally.draining):
        if one.state.node in rooms.nodes:
            rooms.nodes[one.state.node].take(need)
    return tally


def _sort(
    tally: Tally, standing: Standing, told: Collection[InstanceId], view: View, rooms: Rooms
) -> set[InstanceId]:
    """Those that are no keepers. `tally.by_node` holds the plain ones, and is put right;
    `tally.ready` becomes minus the number of those that stay without being READY."""
    revision, by_node = tally.service.workload.revision, tally.by_node
    away: set[InstanceId] = set()
    for name in sorted(standing.odd.union(told), key=ordinal_of):
        one = view.instances[name]
        node, health = one.state.node, one.health
        is_going = is_leaving(one, view)
        if health is not Health.READY:
            tally.ready -= health is not Health.LOST and not is_going
            if node in rooms.nodes:
                rooms.nodes[node].judge(health)
        if health is Health.LOST:
            tally.lost.append(one)
        elif is_going:
            tally.draining.append(one)
        elif one.state.revision != revision or node not in standing.allowed:
            tally.leavers.append(one)
        else:
            if name in standing.odd:
                by_node[node] = by_node.get(node, 0) + 1
            continue
        away.add(name)
        if name not in standing.odd:
            by_node[node] -= 1
    return away


def allowed_nodes(system: System, service: Service, rooms: Rooms) -> Iterator[NodeId]:
    """Of the regions that the service may be in."""
    regions = regions_of(system, service)
    return (name for name, room in rooms.nodes.items() if room.region in regions)


def take_room_of_strangers(members: Iterable[InstanceView], rooms: Rooms) -> None:
    """Of a service that left the spec, and its size with it: what they use is what they take."""
    for one in members:
        room = rooms.nodes.get(one.state.node)
        if room is None:
            continue
        room.judge(one.health)
        if one.health is not Health.LOST:
            used = Resources(
                cpu_millicores=int(one.state.cpu_millicores), memory_bytes=one.state.memory_bytes
            )
            room.take(used)


def regions_of(system: System, service: Service) -> dict[RegionName, float]:
    """Weight per region that the service may be in; all regions alike when it names none."""
    named = service.spread.regions or dict.fromkeys(system.regions, 1.0)
    return {name: weight for name, weight in named.items() if name in system.regions}


def is_leaving(one: InstanceView, view: View) -> bool:
    """Whether it drains, stops, or has been told to."""
    state = one.state
    if state.draining_since is not None or state.phase is Phase.STOPPING:
        return True
    pending = view.pending
    return bool(pending) and (drain_id(one) in pending or stop_id(one) in pending)


def told_to_leave(view: View) -> dict[ServiceName, set[InstanceId]]:
    """Instances to whose present or earlier process a drain or a stop is on its way, by service.
    To be read together with `is_leaving`."""
    told: dict[ServiceName, set[InstanceId]] = {}
    for action in view.pending:
        verb, _, process = action.partition(":")
        if verb in ("drain", "stop"):
            one = view.instances.get(process.rpartition(":")[0])
            if one is not None:
                told.setdefault(one.state.service, set()).add(one.state.id)
    return told


def place_of(one: InstanceView, service: Service) -> Place:
    return place_of_node(one.state.region, one.state.zone, service)


def place_of_node(region: RegionName, zone: ZoneName, service: Service) -> Place:
    return (region, ANY_ZONE if service.spread.zones is ZoneSpread.ANY else zone)


def start_id(instance: InstanceId) -> str:
    return f"start:{instance}"


def drain_id(one: InstanceView) -> str:
    """`drain:web-7:3` for the process after 3 restarts, which the action's guard names."""
    return f"drain:{one.state.id}:{one.state.restarts}"


def stop_id(one: InstanceView) -> str:
    return f"stop:{one.state.id}:{one.state.restarts}"
