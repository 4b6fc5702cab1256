"""Keeps every service at its wanted number of instances, spread as its spec says.

Each step compares what should be with what is, and answers with the difference: starts, drains,
stops, in that order, each a small safe step whose successors follow once the world shows it. Any
prefix of them may be lost, and a controller that remembers nothing goes on from what it sees:
the memory holds only what the world cannot show (ordinals used, starts on their way, nodes set
aside) and a note of the last step in which there was nothing to do.

The arithmetic is in `division`; `placement_halves` says which regions a service may be in now,
`placement_share` lays it over regions and zones, `placement_nodes` picks nodes,
`placement_standing` keeps which of its instances are as they should be, `placement_tally` sorts
them, and `placement_moves` decides what changes.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from seakeep.decide.backoff import Backoff
from seakeep.decide.ground import PLAIN, Ground
from seakeep.decide.placement_halves import Half, evacuate, halves_of, layout_in
from seakeep.decide.placement_moves import Leave, Moves, Start, moves_of
from seakeep.decide.placement_nodes import Rooms, rooms_of
from seakeep.decide.placement_reasons import REASONS as REASONS
from seakeep.decide.placement_share import Layout, grid_of
from seakeep.decide.placement_standing import Standing, standing_among, standing_of
from seakeep.decide.placement_tally import (
    AskedStart,
    Tally,
    allowed_nodes,
    drain_id,
    is_leaving,
    start_id,
    stop_id,
    take_room_of_strangers,
    tally_of,
    told_to_leave,
)
from seakeep.decide.placement_versions import tallies_of
from seakeep.decide.rollout_plan import NO_PLANS, RolloutPlan
from seakeep.model.action import Action, DrainInstance, Guard, StartInstance, StopInstance
from seakeep.model.decision import Decision, Reason
from seakeep.model.ids import InstanceId, NodeId, ServiceName, instance_id, ordinal_of
from seakeep.model.observation import OutcomeStatus, PartKind, Phase
from seakeep.model.system import Resources, Service, System
from seakeep.model.time import MINUTE, SECOND, Duration, Instant
from seakeep.model.view import Health, InstanceView, View

EXPIRES_AFTER: Duration = 10 * SECOND
RETIRED_DRAIN: Duration = 10 * SECOND
"""Drain and stop grace of instances whose service left the spec, which took its own figures."""
ASIDE = Backoff(first=5 * SECOND, cap=MINUTE)
"""How long a node is left alone after so many starts failed on it."""


@dataclass(frozen=True, slots=True)
class Aside:
    """A node on which starts failed."""

    failures: int
    until: Instant


NodeReading: TypeAlias = tuple[str, bool, Resources | None]
"""What of a node's part bears on placement: its id, whether it runs, what it offers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """What other controllers ask of placement in a step."""

    wanted: Mapping[ServiceName, int]
    layouts: Mapping[ServiceName, Layout]
    ground: Ground
    plans: Mapping[ServiceName, RolloutPlan]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The inputs of a step in which there was nothing to do, and what was said about it. Only
    spares work: the same inputs would lead to the same decision."""

    system: System
    asks: Asks
    at: Instant
    """When no instance has changed since."""
    nodes: tuple[NodeReading, ...]
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementMemory:
    ordinals: Mapping[ServiceName, int] = field(default_factory=dict)
    """The highest ever used."""
    asked: Mapping[InstanceId, AskedStart] = field(default_factory=dict)
    absent: Mapping[NodeId, Instant] = field(default_factory=dict)
    aside: Mapping[NodeId, Aside] = field(default_factory=dict)
    settled: Settled | None = field(default=None, repr=False, compare=False)
    standings: Mapping[ServiceName, Standing] = field(
        default_factory=dict, repr=False, compare=False
    )

    def without_caches(self) -> "PlacementMemory":
        return replace(self, settled=None, standings={})


class Placement:
    """The controller. `epoch` goes into every guard."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def initial(self) -> PlacementMemory:
        return PlacementMemory()

    def decide(
        self,
        system: System,
        view: View,
        memory: PlacementMemory,
        wanted: Mapping[ServiceName, int] | None = None,
        layouts: Mapping[ServiceName, Layout] | None = None,
        ground: Ground = PLAIN,
        plans: Mapping[ServiceName, RolloutPlan] = NO_PLANS,
    ) -> Decision[PlacementMemory]:
        """`wanted`: replicas per service, held within the spec's bounds; the minimum where it
        says nothing. `layouts`: how they lie over the regions, where the spec's shares do not
        say it. `plans`: of services whose workload is changing."""
        asks = Asks(
            wanted=wanted_of(system, wanted or {}),
            layouts=layouts or {},
            ground=ground,
            plans=plans,
        )
        nodes = _node_states(view)
        settled = memory.settled
        if settled is not None and _is_same(settled, system, view, asks, nodes):
            return Decision(memory=memory, reasons=settled.reasons)
        step = _Step(system, view, memory, asks, self._epoch)
        step.run()
        return step.decision(nodes)


class _Step:
    """One decision in the making."""

    def __init__(
        self,
        system: System,
        view: View,
        memory: PlacementMemory,
        asks: Asks,
        epoch: int,
    ) -> None:
        self.system, self.view, self.asks, self.epoch = system, view, asks, epoch
        self.asked, self.aside = _still_asked(view, memory)
        self.ordinals = _ordinals(view, memory.ordinals)
        self.rooms: Rooms = rooms_of(
            system,
            view,
            memory.absent,
            {node: aside.until for node, aside in self.aside.items()},
        )
        self.stood, self.standings = memory.standings, dict[ServiceName, Standing]()
        self.starts: list[Action] = []
        self.drains: list[Action] = []
        self.stops: list[Action] = []
        self.reasons: list[Reason] = []
        self.wakes: list[Instant] = []
        self.is_quiet = True
        self.served: set[InstanceId] | None = None
        """Leaving instances that still get requests, once asked for."""

    def run(self) -> None:
        known = self.system.services
        told = told_to_leave(self.view)
        tallies = [
            (half, tally)
            for name, service in known.items()
            for half in halves_of(
                self.system,
                service,
                self.asks.wanted[name],
                self.view.by_service.get(name, ()),
                [one for one in self.asked.values() if one.service == name],
                self.asks.ground,
            )
            for tally in self._tallies(half, told.get(name, ()))
        ]
        strangers = [of for name, of in self.view.by_service.items() if name not in known and of]
        for members in strangers:
            take_room_of_strangers(members, self.rooms)
        for half, tally in tallies:
            service = tally.service
            moves = Moves()
            if half.has_place:
                layout = layout_in(half, self.asks.layouts.get(service.name))
                moves = moves_of(tally, grid_of(self.system, service, self.rooms, layout))
            for start in moves.starts:
                self._start(start, tally)
            leaves = moves.leaves
            if tally.evacuees:
                name = service.name
                beside = sum(
                    o.ready for h, o in tallies if h.service.name == name and o is not tally
                )
                ground = self.asks.ground
                leaves = [*leaves, *evacuate(half, tally, beside, moves, ground, self.view)]
            for leave in leaves:
                self._drain(leave, tally)
            self.reasons.extend(moves.reasons)
            self._forget_lost(tally)
            for one in (*tally.draining, *(half.evacuees if tally.evacuees else ())):
                if half.has_place or one.health is not Health.LOST:
                    self._stop_when_drained(one, service)
            self.is_quiet = self.is_quiet and tally.is_steady and not tally.lost
        for members in strangers:
            self._let_go(members)
        for node, aside in self.aside.items():
            if self.view.at < aside.until:
                # What is said of it ends with time alone, unlike all that makes a step settled.
                self.is_quiet = False
                self._note("placement.aside", node, until_ns=aside.until, failures=aside.failures)

    def _tallies(self, half: Half, told: Collection[InstanceId]) -> list[Tally]:
        """One; in a rollout two, when the versions stand apart."""
        system, view, rooms, service = self.system, self.view, self.rooms, half.service
        plan = self.asks.plans.get(service.name)
        if plan is None:
            tallies = [self._tally(half, told)]
        else:
            plan = plan.part(half.wanted, self.asks.wanted[service.name])
            tallies = tallies_of(system, service, plan, view, rooms, half.asked, half.members)
        tallies[0].evacuees = len(half.evacuees)
        for tally in tallies:
            tally.returning = self.asks.ground.returning
        return tallies

    def _tally(self, half: Half, told: Collection[InstanceId]) -> Tally:
        service, view = half.service, self.view
        allowed = allowed_nodes(self.system, service, self.rooms)
        if half.is_whole:
            before = self.stood.get(service.name)
            standing = standing_of(self.system, service, view, allowed, before)
            self.standings[service.name] = standing
        else:
            standing = standing_among(half.members, self.system, service, view, allowed)
            told = {one.state.id for one in half.members}.intersection(told)
        return tally_of(
            service, half.wanted, standing, view, self.rooms, told, half.asked, half.members
        )

    def decision(self, nodes: tuple[NodeReading, ...]) -> Decision[PlacementMemory]:
        actions = (*self.starts, *self.drains, *self.stops)
        if self.rooms.wake_at is not None:
            self.wakes.append(self.rooms.wake_at)
        wake_at = min(self.wakes, default=None)
        reasons = tuple(self.reasons)
        settled = None
        # The outcome of a start that is still asked for may come with the next view.
        if self.is_quiet and not actions and not self.asked and wake_at is None:
            settled = Settled(
                system=self.system,
                asks=self.asks,
                at=self.view.at,
                nodes=nodes,
                reasons=reasons,
            )
        memory = PlacementMemory(
            ordinals=self.ordinals,
            asked=self.asked,
            absent=self.rooms.absent,
            aside=self.aside,
            settled=settled,
            standings=self.standings,
        )
        return Decision(memory=memory, actions=actions, reasons=reasons, wake_at=wake_at)

    # --- actions ---

    def _start(self, start: Start, tally: Tally) -> None:
        service, node = tally.service, start.node
        workload = tally.next_workload()
        ordinal = self.ordinals[service.name] = self.ordinals.get(service.name, 0) + 1
        name = instance_id(service.name, ordinal)
        action = StartInstance(
            id=start_id(name),
            guard=self._guard(None),
            instance=name,
            service=service.name,
            region=node.region,
            zone=node.zone,
            node=node.id,
            workload=workload,
        )
        self.starts.append(action)
        self.asked[name] = AskedStart(
            instance=name,
            service=service.name,
            region=node.region,
            zone=node.zone,
            node=node.id,
            revision=workload.revision,
            expires_at=action.guard.expires_at,
        )
        self._note(
            start.code,
            service.name,
            action.id,
            instance=name,
            node=node.id,
            placed=tally.placed,
            wanted=tally.wanted,
            lost=len(tally.lost),
            leavers=len(tally.leavers),
            **({"evacuees": tally.evacuees} if tally.evacuees else {}),
        )

    def _drain(self, leave: Leave, tally: Tally) -> None:
        self._drain_one(
            leave.instance,
            leave.code,
            node=leave.instance.state.node,
            placed=tally.placed,
            wanted=tally.wanted,
            ready=tally.ready,
        )

    def _drain_one(self, one: InstanceView, code: str, **numbers: int | str) -> None:
        action = DrainInstance(
            id=drain_id(one), guard=self._guard(one.state.restarts), instance=one.state.id
        )
        self.drains.append(action)
        self._note(code, one.state.id, action.id, **numbers)

    def _stop(self, one: InstanceView, grace: Duration, code: str, **numbers: int | str) -> None:
        action = StopInstance(
            id=stop_id(one),
            guard=self._guard(one.state.restarts),
            instance=one.state.id,
            grace=grace,
        )
        if action.id not in self.view.pending:
            self.stops.append(action)
            self._note(code, one.state.id, action.id, **numbers)

    def _forget_lost(self, tally: Tally) -> None:
        """Let go of lost ones as far as others stand in for them."""
        missing = max(0, tally.wanted - len(tally.keepers) - len(tally.leavers))
        grace = tally.service.workload.stop_grace
        for one in tally.lost[: max(0, len(tally.lost) - missing)]:
            self._stop(one, grace, "placement.stop.lost", node=one.state.node)

    def _let_go(self, members: tuple[InstanceView, ...]) -> None:
        """Instances of a service that left the spec."""
        self.is_quiet = False
        for one in members:
            if one.health is Health.LOST or is_leaving(one, self.view):
                self._stop_when_drained(one, None)
            elif one.health is not Health.UNKNOWN:
                self._drain_one(one, "placement.drain.service_left")

    def _stop_when_drained(self, one: InstanceView, service: Service | None) -> None:
        state = one.state
        grace = RETIRED_DRAIN if service is None else service.workload.stop_grace
        if one.health is Health.LOST:
            self._stop(one, grace, "placement.stop.lost", node=state.node)
            return
        if (
            state.draining_since is None
            or state.phase is Phase.STOPPING
            or one.health is Health.UNKNOWN
        ):
            return
        drained_at = state.draining_since + (RETIRED_DRAIN if service is None else service.drain)
        if state.phase is not Phase.EXITED and self.view.at < drained_at:
            self.wakes.append(drained_at)
        elif self._is_served(one):
            self._note("placement.held.serving", state.id)
        elif state.phase is Phase.EXITED:
            self._stop(one, grace, "placement.stop.exited")
        else:
            drained = self.view.at - state.draining_since
            self._stop(one, grace, "placement.stop.drained", drained_ns=drained)

    def _is_served(self, one: InstanceView) -> bool:
        """Whether a balancer that runs still sends new requests to it."""
        if self.served is None:
            leaving = {
                other.state.id
                for members in self.view.by_service.values()
                for other in members
                if other.state.draining_since is not None
            }
            self.served = set()
            for (region, _), applied in self.view.endpoints.items():
                edge = self.view.parts.get(f"edge:{region}")
                if edge is None or edge.running:
                    self.served |= leaving.intersection(applied.serving)
        return one.state.id in self.served

    def _guard(self, restarts: int | None) -> Guard:
        return Guard(
            revision=self.system.revision,
            epoch=self.epoch,
            expires_at=self.view.at + EXPIRES_AFTER,
            restarts=restarts,
        )

    def _note(
        self, code: str, subject: str, action: str | None = None, /, **numbers: int | str
    ) -> None:
        self.reasons.append(
            Reason(code=code, subject=subject, numbers=tuple(numbers.items()), action=action)
        )


def wanted_of(system: System, given: Mapping[ServiceName, int]) -> dict[ServiceName, int]:
    """Replicas per service, within the bounds of the spec."""
    return {
        name: max(
            service.replicas.min,
            min(service.replicas.max, given.get(name, service.replicas.min)),
        )
        for name, service in system.services.items()
    }


def _ordinals(view: View, used: Mapping[ServiceName, int]) -> dict[ServiceName, int]:
    """The highest ordinal of every service, ever. A view lists them in order."""
    highest = dict(used)
    for name, last in view.ordinals.items():
        highest[name] = max(highest.get(name, 0), last)
    for name, members in view.by_service.items():
        if members:
            highest[name] = max(highest.get(name, 0), ordinal_of(members[-1].state.id))
    return highest


def _still_asked(
    view: View, memory: PlacementMemory
) -> tuple[dict[InstanceId, AskedStart], dict[NodeId, Aside]]:
    """Starts that may still show up as instances, and nodes to leave alone because theirs
    failed. A node's failures are forgotten once an instance that was asked for is there."""
    ended = {outcome.action: outcome.status for outcome in view.outcomes}
    asked: dict[InstanceId, AskedStart] = {}
    aside = {node: one for node, one in memory.aside.items() if view.at < one.until + ASIDE.cap}
    for name, start in memory.asked.items():
        if name in view.instances:
            aside.pop(start.node, None)
            continue
        status = ended.get(start_id(name))
        done = start.done or status is OutcomeStatus.DONE
        if status is OutcomeStatus.FAILED:  # several in one step are one failure of the node
            before = memory.aside.get(start.node)
            failures = 1 if before is None else before.failures + 1
            aside[start.node] = Aside(failures, view.at + ASIDE.delay(failures))
        elif start_id(name) in view.pending:
            asked[name] = start
        elif done and view.at < start.expires_at:
            asked[name] = AskedStart(
                instance=name,
                service=start.service,
                region=start.region,
                zone=start.zone,
                node=start.node,
                revision=start.revision,
                expires_at=start.expires_at,
                done=True,
            )
    return asked, aside


def _node_states(view: View) -> tuple[NodeReading, ...]:
    """What of the parts bears on placement."""
    return tuple(
        (part.id, part.running, part.capacity)
        for part in view.parts.values()
        if part.kind is PartKind.NODE
    )


def _is_same(
    settled: Settled,
    system: System,
    view: View,
    asks: Asks,
    nodes: tuple[NodeReading, ...],
) -> bool:
    """Whether a step has the inputs of one that had nothing to do."""
    if settled.system is not system or settled.asks != asks or settled.nodes != nodes:
        return False
    return all(view.changed.get(name, view.at) < settled.at for name in view.by_service)
