"""Drains regions that operators want out of service, without a failed request.

In phases, each of which begins when the world shows that the one before is through:

- *building*: what the region carries is started elsewhere; the region serves as ever;
- *leaving*: every service has all that it wants READY elsewhere. Other regions' calls go past
  the region, and DNS names it no more. Its own balancer goes on with its own instances, since
  clients come as long as they remember the address: for the TTL of the answers;
- *emptying*: the TTL and the longest drain are over and its balancer has been quiet for a while,
  or has not for long (clients that hold on to an address are passed on to other regions from
  here). Its instances drain and stop, as far as as many are READY elsewhere;
- *done*: nothing is left. Edge, link and nodes stay.

Once the order is withdrawn the region comes back the other way round: all that is its own starts
there; when that is READY, calls and DNS go there again; and when the TTL is over, what stood in
elsewhere leaves. A region that is not whole for long gets its calls back all the same. An order
that is withdrawn while the region still serves as ever simply ends.

Placement, traffic and DNS go by the `Ground` that follows from the phases. A supervisor that
remembers nothing begins with the first phase, and is through it in one step.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from seakeep.decide.division import Party, divide
from seakeep.decide.ground import PLAIN, Ground
from seakeep.decide.placement_share import Layout
from seakeep.decide.placement_tally import regions_of
from seakeep.model.decision import Decision, Number, Reason
from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.order import Order, OrderKind
from seakeep.model.system import Service, System
from seakeep.model.time import SECOND, Duration, Instant
from seakeep.model.view import Health, View

RESOLVERS_LATE: Duration = 2 * SECOND
"""For servers to be told, and for clients that look up again."""
NO_DNS_TTL: Duration = 5 * SECOND
"""Without a zone of the system's own, clients find the edges by what others answer."""
"""How long clients remember an address that no DNS of the system's gave them."""
QUIET_FOR: Duration = 2 * SECOND
"""No request has come to the region's balancer for this long."""
PATIENCE: Duration = 30 * SECOND
"""With a balancer that is never quiet, beyond the TTL."""
RETURN_PATIENCE: Duration = 60 * SECOND
"""With a region that does not get all that is its own back."""
FORCE = "force"
"""The argument of an order that waits for nobody to stand in."""

REASONS = {
    "drain.building": (
        "{subject} is to be drained, and serves on: {service} has {ready} of {wanted} ready"
        " elsewhere"
    ),
    "drain.nowhere": (
        "{subject} is to be drained, and serves on: {service} may be in no other region"
    ),
    "drain.leaving": (
        "{subject} is left by callers: all is ready elsewhere, and its own instances serve whoever"
        " still comes, at least until {until_ns}"
    ),
    "drain.held.requests": (
        "{subject} is still asked by clients that hold on to its address: its instances serve on,"
        " at most until {until_ns}"
    ),
    "drain.emptying": "{subject} is emptied: {instances} left in it",
    "drain.returning": (
        "{subject} is drained no more, and gets its calls back when it is whole: {service} has"
        " {ready} ready there, and {due} should be"
    ),
    "drain.returned": (
        "{subject} is whole again and gets its calls back: what stood in for it elsewhere serves on"
        " until {until_ns}, while callers remember its address"
    ),
    "drain.done": "{subject} is drained: nothing serves there until the order is withdrawn",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """How far a region is."""

    given_at: Instant
    """Of the order: another one begins anew."""
    out_at: Instant | None = None
    """Since when all is ready elsewhere, and others' calls go there."""
    requests: int = 0
    """As its balancer counted them last."""
    quiet_since: Instant = 0
    is_empty: bool = False
    """Its instances may leave."""
    back_since: Instant | None = None
    """When its order was found withdrawn."""
    whole_at: Instant | None = None
    """When it had all that is its own again, and got its calls back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainMemory:
    regions: Mapping[RegionName, Drain] = field(default_factory=dict)


NOTHING = DrainMemory()
NO_LAYOUTS: Mapping[ServiceName, Layout] = {}


def ground_of(view: View, memory: DrainMemory) -> Ground:
    """What follows for the others from how far every drain is."""
    if not memory.regions:
        return PLAIN
    regions = memory.regions.items()
    return Ground(
        drained=frozenset(name for name, of in regions if of.back_since is None),
        out=frozenset(
            name for name, of in regions if of.out_at is not None and of.whole_at is None
        ),
        empty=frozenset(name for name, of in regions if of.is_empty and of.back_since is None),
        forced=frozenset(order.subject for order in _drains(view) if order.argument == FORCE),
        returning=frozenset(name for name, of in regions if of.back_since is not None),
    )


class Draining:
    """The controller. It acts through the others: `ground_of` tells them."""

    def initial(self) -> DrainMemory:
        return NOTHING

    def decide(
        self,
        system: System,
        view: View,
        memory: DrainMemory,
        wanted: Mapping[ServiceName, int],
        layouts: Mapping[ServiceName, Layout] = NO_LAYOUTS,
    ) -> Decision[DrainMemory]:
        """`wanted` and `layouts`: as placement gets them."""
        orders = _drains(view)
        if not orders and not memory.regions:
            return Decision(memory=NOTHING)
        reasons: list[Reason] = []
        wakes: list[Instant] = []
        away = frozenset(order.subject for order in orders)

        plan = _Plan(system, wanted, layouts, away)
        short = _short(view, plan)
        regions = _coming_back(view, memory, plan, reasons, wakes)
        for order in orders:
            before = memory.regions.get(order.subject)
            if before is None or before.given_at != order.given_at or before.back_since is not None:
                before = Drain(given_at=order.given_at)
            drain = _Region(system, view, order, reasons, wakes).next(before, short)
            regions[order.subject] = drain
        return Decision(
            memory=DrainMemory(regions=regions),
            reasons=tuple(reasons),
            wake_at=min(wakes, default=None),
        )


@dataclass(frozen=True, slots=True)
class _Plan:
    """What should be where, while some regions are away."""

    system: System
    wanted: Mapping[ServiceName, int]
    layouts: Mapping[ServiceName, Layout]
    away: frozenset[RegionName]

    def wanted_of(self, service: Service) -> int:
        return self.wanted.get(service.name, service.replicas.min)

    def places(self, service: Service) -> tuple[RegionName, ...]:
        return places_left(self.system, service, self.away)

    def due(self, service: Service, region: RegionName) -> int:
        """How many a region should have. A seat that could be anybody's is not waited for."""
        places = self.places(service)
        if region not in places:
            return 0
        need = self.wanted_of(service)
        weights: Mapping[RegionName, float] = regions_of(self.system, service)
        if region in service.spread.standby:
            weights = service.spread.standby
        elif layout := self.layouts.get(service.name):
            weights = layout
        parties = [
            Party(name=name, weight=weights.get(name, 0), current=0 if name == region else need)
            for name in places
        ]
        return divide(need, parties).plan[region]


class _Region:
    """One region's next phase, and what there is to say of it."""

    def __init__(
        self,
        system: System,
        view: View,
        order: Order,
        reasons: list[Reason],
        wakes: list[Instant],
    ) -> None:
        self._system, self._view = system, view
        self._order, self._name = order, order.subject
        self._reasons, self._wakes = reasons, wakes

    def next(self, drain: Drain, short: Iterable[Reason]) -> Drain:
        if drain.out_at is None:
            if self._order.argument != FORCE and short:
                self._reasons.extend(replace(one, subject=self._name) for one in short)
                return drain
            drain = replace(drain, out_at=self._view.at, quiet_since=self._view.at)
        drain = self._listen(drain)
        if not drain.is_empty and not self._is_over(drain):
            return drain
        left = sum(one.state.region == self._name for one in self._view.instances.values())
        if left:
            self._say("drain.emptying", instances=left)
        else:
            self._say("drain.done")
        return replace(drain, is_empty=True)

    def _listen(self, drain: Drain) -> Drain:
        """Note requests that have come to the region's balancer since the last look."""
        mine = [one for one in self._view.traffic if one.region == self._name]
        requests = sum(one.requests for one in mine)
        if requests != drain.requests or any(one.in_flight for one in mine):
            return replace(drain, requests=requests, quiet_since=self._view.at)
        return drain

    def _is_over(self, drain: Drain) -> bool:
        """Whether nobody comes any more, or nobody should."""
        at, out_at = self._view.at, drain.out_at
        assert out_at is not None
        drains = [service.drain for service in self._system.services.values()]
        until = out_at + answers_kept(self._system) + max(drains, default=0)
        if at < until:
            self._wakes.append(until)
            self._say("drain.leaving", until_ns=until)
            return False
        if at - drain.quiet_since >= QUIET_FOR or at >= until + PATIENCE:
            return True
        self._wakes.append(min(drain.quiet_since + QUIET_FOR, until + PATIENCE))
        self._say("drain.held.requests", until_ns=until + PATIENCE)
        return False

    def _say(self, code: str, **numbers: Number) -> None:
        self._reasons.append(Reason(code=code, subject=self._name, numbers=tuple(numbers.items())))


def _coming_back(
    view: View, memory: DrainMemory, plan: _Plan, reasons: list[Reason], wakes: list[Instant]
) -> dict[RegionName, Drain]:
    """Regions whose order is withdrawn and that are not whole yet, or not for long."""
    regions: dict[RegionName, Drain] = {}
    for name, drain in memory.regions.items():
        if name in plan.away or drain.out_at is None or name not in plan.system.regions:
            continue
        since = view.at if drain.back_since is None else drain.back_since
        drain = replace(drain, back_since=since)
        if drain.whole_at is None:
            lacking = _lacking(view, plan, name)
            if lacking and view.at < since + RETURN_PATIENCE:
                regions[name] = drain
                reasons.extend(lacking)
                wakes.append(since + RETURN_PATIENCE)
                continue
            drain = replace(drain, whole_at=view.at)
        assert drain.whole_at is not None
        until = drain.whole_at + answers_kept(plan.system)
        if view.at < until:
            regions[name] = drain
            reasons.append(
                Reason(code="drain.returned", subject=name, numbers=(("until_ns", until),))
            )
            wakes.append(until)
    return regions


def _lacking(view: View, plan: _Plan, region: RegionName) -> list[Reason]:
    """What a region has not READY yet of what is its own, service by service."""
    found = []
    for name, service in plan.system.services.items():
        due = plan.due(service, region)
        ready = _ready(view, name, (region,))
        if ready < due:
            numbers: tuple[tuple[str, Number], ...] = (
                ("service", name),
                ("ready", ready),
                ("due", due),
            )
            found.append(Reason(code="drain.returning", subject=region, numbers=numbers))
    return found


def _ready(view: View, service: ServiceName, places: Collection[RegionName]) -> int:
    """Instances of a service in these regions that are READY and stay."""
    return sum(
        one.health is Health.READY
        and one.state.draining_since is None
        and one.state.region in places
        for one in view.by_service.get(service, ())
    )


def _drains(view: View) -> list[Order]:
    """Orders to drain, sorted by region."""
    if not view.orders:
        return []
    found = [order for order in view.orders.values() if order.kind is OrderKind.DRAIN]
    return sorted(found, key=lambda order: order.subject)


def _short(view: View, plan: _Plan) -> tuple[Reason, ...]:
    """Why the regions that are away cannot be done without yet, service by service. The subject
    is for the region that it is said of."""
    found = []
    for name, service in plan.system.services.items():
        places = plan.places(service)
        need = plan.wanted_of(service)
        if not places:
            if any(one.state.region in plan.away for one in view.by_service.get(name, ())):
                found.append(Reason(code="drain.nowhere", subject="", numbers=(("service", name),)))
            continue
        ready = _ready(view, name, places)
        if ready < need:
            numbers: tuple[tuple[str, Number], ...] = (
                ("service", name),
                ("ready", ready),
                ("wanted", need),
            )
            found.append(Reason(code="drain.building", subject="", numbers=numbers))
    return tuple(found)


def answers_kept(system: System) -> Duration:
    """How long clients go by what DNS told them."""
    return RESOLVERS_LATE + (NO_DNS_TTL if system.dns is None else system.dns.ttl)


def places_left(
    system: System, service: Service, away: frozenset[RegionName]
) -> tuple[RegionName, ...]:
    """The regions that are to carry a service while others are away: the active ones that are
    left, else those that stand by."""
    standby = service.spread.standby
    active = [name for name in regions_of(system, service) if name not in standby]
    left = [name for name in active if name not in away]
    if not left:
        left = [name for name in standby if name in system.regions and name not in away]
    return tuple(left)
