"""How much of a limit that all regions share each region lets through.

A limit of `scope: system` is a budget. Every region's balancer has a token bucket with the
region's share of it, and no balancer asks another: that would put the WAN into every request, and
a region that is cut off could not decide. So the budget is divided here, by demand, and the shares
are sent to the balancers; while nobody divides, the last division stands.

Demand is what clients ask for, the refused requests included: it does not depend on the shares, so
a division cannot feed back into itself. It rises with a time constant of 1 s and falls with one of
10 s. The division is max-min fair (see `fairness`) over the demands and a quarter more, and every
region has a tenth of an even part whatever it asks for, so that one that wakes up gets through at
once, and is seen to ask for more.

Nothing is moved while every region has what it needs. If one does not, and would get noticeably
more (a tenth of an even part), all shares are made anew, every 2 s at most. What is taken is taken
before it is given: a share rises only by what balancers have said that they have given up, so the
shares never add up to more than the budget. A balancer that goes down keeps its share for 10 s.
The exception is one that was down for longer: it comes back with its last share, for the second or
two until it is told the new one. One that has not come yet is waited for as long.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from seakeep.decide.backoff import Backoff
from seakeep.decide.fairness import divide
from seakeep.model.action import Guard, SetLimit
from seakeep.model.decision import Decision, Reason
from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.limits import LimitScope, limit_key
from seakeep.model.observation import PartKind
from seakeep.model.system import System, is_guarded
from seakeep.model.time import MILLISECOND, SECOND, Duration, Instant, in_seconds
from seakeep.model.view import View

BACKOFF = Backoff(first=500 * MILLISECOND, cap=5 * SECOND)
EXPIRES_AFTER: Duration = 5 * SECOND
MEASURED_OVER: Duration = SECOND
RISES_OVER_S = 1.0
FALLS_OVER_S = 10.0
CHANGE_EVERY_MIN: Duration = 2 * SECOND
KEPT_FOR: Duration = 10 * SECOND
"""After a balancer went down, until its share is given to others."""
MARGIN = 1.25
"""A region has what it needs while its share is its demand times this."""
FLOOR_FRACTION = 0.1
"""Of an even part."""
NOTICEABLE_FRACTION = 0.1
"""Of an even part."""
ROUNDING = 1e-6
"""Fraction of the budget within which two sums are the same."""

REASONS = {
    "limits.share": (
        "the share of {region} in what all regions may let through of {subject} is {share_per_s}/s "
        "of {budget_per_s}/s (asked for here: {demand_per_s}/s, in all regions: {total_per_s}/s)"
    ),
    "limits.held.backoff": (
        "the balancer of {region} has not taken its share of the limit of {subject} yet; it is "
        "tried again at {until_ns} (tries so far: {tries})"
    ),
    "limits.refused": (
        "{region} refuses {refused_per_s}/s of the {demand_per_s}/s asked of {subject}, which are "
        "beyond a limit"
    ),
    "limits.saturated": (
        "{subject} is saturated: {region} refuses {shed_per_s}/s of the {demand_per_s}/s asked of "
        "it, the lowest priority first"
    ),
}

Place = tuple[RegionName, ServiceName]
Key = tuple[RegionName, str]
"""(region, limit)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Requests/s at one region's balancer for one service."""

    demand_per_s: float
    """Smoothed; the refused are in it."""
    limited_per_s: float = 0.0
    shed_per_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Counters as they stood at an instant."""

    at: Instant
    asked: int
    limited: int
    shed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A share on its way to a balancer."""

    rate_per_s: float
    tries: int
    next_at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """Of one limit."""

    shares: Mapping[RegionName, float]
    """Requests/s."""
    at: Instant
    """When it was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsMemory:
    counted: Mapping[Place, Counted] = field(default_factory=dict)
    flows: Mapping[Place, Flow] = field(default_factory=dict)
    divisions: Mapping[str, Division] = field(default_factory=dict)
    """By limit."""
    sent: Mapping[Key, Sent] = field(default_factory=dict)
    since: Instant | None = None
    """The first view: what does not run then may only not run yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A limit that all regions share."""

    name: str
    service: ServiceName
    budget_per_s: float


class LimitsController:
    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def initial(self) -> LimitsMemory:
        return LimitsMemory()

    def decide(self, system: System, view: View, memory: LimitsMemory) -> Decision[LimitsMemory]:
        guarded = _guarded(system)
        if not guarded:
            return Decision(memory=LimitsMemory())
        if memory.since is None:
            memory = replace(memory, since=view.at)
        counted, flows = _measure(guarded, view, memory)
        ask = _Ask(system, view, self._epoch, memory, flows)
        divisions = {shared.name: ask.for_limit(shared) for shared in _shared(system)}
        return Decision(
            memory=replace(
                memory, counted=counted, flows=flows, divisions=divisions, sent=ask.sent
            ),
            actions=tuple(ask.actions),
            reasons=(*ask.reasons, *_refusals(flows)),
            wake_at=min(ask.wakes, default=None),
        )


# --- what is asked for ------------------------------------------------------


def _guarded(system: System) -> frozenset[ServiceName]:
    """Services of which something may be refused."""
    return frozenset(name for name, service in system.services.items() if is_guarded(service))


def _shared(system: System) -> list[Shared]:
    """In the order of the file."""
    found = []
    for name, service in system.services.items():
        owners = [(name, service.limit)]
        owners += [(f"{name}.{index}", route.limit) for index, route in enumerate(service.routes)]
        for owner, limits in owners:
            for index, limit in enumerate(limits):
                if limit.scope is LimitScope.SYSTEM:
                    found.append(
                        Shared(
                            name=limit_key(owner, index),
                            service=name,
                            budget_per_s=limit.rate_per_s,
                        )
                    )
    return found


def _measure(
    guarded: frozenset[ServiceName], view: View, memory: LimitsMemory
) -> tuple[dict[Place, Counted], dict[Place, Flow]]:
    """Counters and flows after this view. A flow is measured over a second or more; a counter
    that went back (its balancer was started again) starts afresh."""
    counted: dict[Place, Counted] = {}
    flows: dict[Place, Flow] = {}
    for reading in view.traffic:
        if reading.service not in guarded:
            continue
        place = (reading.region, reading.service)
        now = Counted(
            at=view.at,
            asked=reading.requests + reading.limited + reading.shed,
            limited=reading.limited,
            shed=reading.shed,
        )
        before = memory.counted.get(place)
        flow = memory.flows.get(place)
        if before is None or _went_back(before, now):
            counted[place] = now
            if flow is not None:
                flows[place] = flow
        elif view.at - before.at < MEASURED_OVER:
            counted[place] = before
            if flow is not None:
                flows[place] = flow
        else:
            counted[place] = now
            flows[place] = _flow(before, now, flow)
    return counted, flows


def _went_back(before: Counted, now: Counted) -> bool:
    return now.asked < before.asked or now.limited < before.limited or now.shed < before.shed


def _flow(before: Counted, now: Counted, last: Flow | None) -> Flow:
    elapsed_s = in_seconds(now.at - before.at)
    asked = (now.asked - before.asked) / elapsed_s
    demand = asked
    if last is not None:
        over_s = RISES_OVER_S if asked > last.demand_per_s else FALLS_OVER_S
        demand = last.demand_per_s + (asked - last.demand_per_s) * elapsed_s / (elapsed_s + over_s)
    return Flow(
        demand_per_s=demand,
        limited_per_s=(now.limited - before.limited) / elapsed_s,
        shed_per_s=(now.shed - before.shed) / elapsed_s,
    )


def _refusals(flows: Mapping[Place, Flow]) -> Iterable[Reason]:
    for (region, service), flow in flows.items():
        demand = ("demand_per_s", round(flow.demand_per_s, 1))
        if flow.limited_per_s:
            yield Reason(
                code="limits.refused",
                subject=service,
                numbers=(
                    ("region", region),
                    ("refused_per_s", round(flow.limited_per_s, 1)),
                    demand,
                ),
            )
        if flow.shed_per_s:
            yield Reason(
                code="limits.saturated",
                subject=service,
                numbers=(("region", region), ("shed_per_s", round(flow.shed_per_s, 1)), demand),
            )


# --- who gets what ----------------------------------------------------------


class _Ask:
    """Collects what to send, and why, over one step."""

    def __init__(
        self,
        system: System,
        view: View,
        epoch: int,
        memory: LimitsMemory,
        flows: Mapping[Place, Flow],
    ) -> None:
        self._view = view
        self._guard = Guard(
            revision=system.revision, epoch=epoch, expires_at=view.at + EXPIRES_AFTER
        )
        self._memory = memory
        self._flows = flows
        self._all = tuple(system.regions)
        self._up = tuple(name for name in self._all if _is_counted(view, name, memory.since))
        self._running = frozenset(name for name in self._up if _edge_runs(view, name))
        self.sent: dict[Key, Sent] = {}
        self.actions: list[SetLimit] = []
        self.reasons: list[Reason] = []
        self.wakes: list[Instant] = []

    def for_limit(self, shared: Shared) -> Division:
        """The division that holds from now on; asks for what it takes."""
        demands = {region: self._demand(region, shared.service) for region in self._up}
        current = {region: self._current(region, shared) for region in self._up}
        division = self._division(shared, demands, current)
        self._send(shared, division.shares, demands, current)
        return division

    def _demand(self, region: RegionName, service: ServiceName) -> float:
        flow = self._flows.get((region, service))
        return flow.demand_per_s if flow else 0.0

    def _current(self, region: RegionName, shared: Shared) -> float:
        """What the balancer runs with. One that was never told anything has an even part."""
        applied = self._view.limits.get((region, shared.name))
        return applied.rate_per_s if applied else shared.budget_per_s / len(self._all)

    def _division(
        self,
        shared: Shared,
        demands: Mapping[RegionName, float],
        current: Mapping[RegionName, float],
    ) -> Division:
        before = self._memory.divisions.get(shared.name)
        if before is None or tuple(before.shares) != self._up:
            # A new supervisor, or balancers that have come or gone: go on from what they run with.
            before = Division(shares=current, at=0 if before is None else before.at)
        budget = shared.budget_per_s
        even = budget / max(1, len(self._up))
        wanted = {region: demand * MARGIN for region, demand in demands.items()}
        ideal = divide(budget, wanted, FLOOR_FRACTION * even)
        is_short = any(
            wanted[region] > share and ideal[region] > share + NOTICEABLE_FRACTION * even
            for region, share in before.shares.items()
        )
        is_off = bool(self._up) and abs(sum(before.shares.values()) - budget) > ROUNDING * budget
        if not is_short and not is_off:
            return before
        if before.at and self._view.at < before.at + CHANGE_EVERY_MIN:
            self.wakes.append(before.at + CHANGE_EVERY_MIN)
            return before
        return Division(shares=ideal, at=self._view.at)

    def _send(
        self,
        shared: Shared,
        shares: Mapping[RegionName, float],
        demands: Mapping[RegionName, float],
        current: Mapping[RegionName, float],
    ) -> None:
        """What is taken at once; what is given out of what is free."""
        taken = ROUNDING * shared.budget_per_s
        held = {
            region: max(current[region], self._on_its_way(region, shared)) for region in current
        }
        free = shared.budget_per_s - sum(held.values())
        for region, share in shares.items():
            if share == current[region] or region not in self._running:
                continue
            more = share - held[region]
            if more > 0 and more > free + taken:
                self._keep(region, shared)
                continue
            free -= max(0.0, more)
            self._tell(region, shared, share, demands)

    def _on_its_way(self, region: RegionName, shared: Shared) -> float:
        """The share that a balancer may have taken by now."""
        sent = self._memory.sent.get((region, shared.name))
        if sent is None or limit_id((region, shared.name), sent) not in self._view.pending:
            return 0.0
        return sent.rate_per_s

    def _keep(self, region: RegionName, shared: Shared) -> None:
        """Its share must wait for others to give theirs up, which is told as an outcome."""
        before = self._memory.sent.get((region, shared.name))
        if before is not None:
            self.sent[region, shared.name] = before

    def _tell(
        self,
        region: RegionName,
        shared: Shared,
        share: float,
        demands: Mapping[RegionName, float],
    ) -> None:
        key = (region, shared.name)
        before = self._memory.sent.get(key)
        if before is None or before.rate_per_s != share:
            before = Sent(rate_per_s=share, tries=0, next_at=0)
        self.sent[key] = before
        if before.tries and limit_id(key, before) in self._view.pending:
            return
        if self._view.at < before.next_at:
            self.wakes.append(before.next_at)
            if before.tries > 1:
                numbers = (
                    ("region", region),
                    ("until_ns", before.next_at),
                    ("tries", before.tries),
                )
                self.reasons.append(
                    Reason(code="limits.held.backoff", subject=shared.service, numbers=numbers)
                )
            return
        tries = before.tries + 1
        now = self.sent[key] = Sent(
            rate_per_s=share, tries=tries, next_at=self._view.at + BACKOFF.delay(tries)
        )
        self.wakes.append(now.next_at)
        action = SetLimit(
            id=limit_id(key, now),
            guard=self._guard,
            region=region,
            service=shared.service,
            limit=shared.name,
            rate_per_s=share,
        )
        self.actions.append(action)
        self.reasons.append(
            Reason(
                code="limits.share",
                subject=shared.service,
                numbers=(
                    ("region", region),
                    ("share_per_s", round(share, 3)),
                    ("budget_per_s", shared.budget_per_s),
                    ("demand_per_s", round(demands[region], 1)),
                    ("total_per_s", round(sum(demands.values()), 1)),
                ),
                action=action.id,
            )
        )


def limit_id(key: Key, sent: Sent) -> str:
    """`limit:us-east:web:0:125.5`, with `.t2` for a second try."""
    retry = f".t{sent.tries}" if sent.tries > 1 else ""
    return f"limit:{key[0]}:{key[1]}:{sent.rate_per_s:.9g}{retry}"


def _is_counted(view: View, region: RegionName, since: Instant | None) -> bool:
    """Whether the region has a share. One whose balancer has just gone, or has not come yet,
    keeps it for a while: it will most likely need it again at once."""
    part = view.parts.get(f"edge:{region}")
    if part is None or part.running:
        return True
    return view.at < max(part.changed_at, since or 0) + KEPT_FOR


def _edge_runs(view: View, region: RegionName) -> bool:
    part = view.parts.get(f"edge:{region}")
    return part is not None and part.kind is PartKind.EDGE and part.running
