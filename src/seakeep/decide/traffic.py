"""Which endpoints every region's balancer has: clusters, localities, priorities.

For each region with a running edge and each service:

- `web`: the region's own zones at priority 0, then every other region that has the service, one
  priority each, the nearest first;
- `web@a` for each zone, when calls prefer their zone: zone a, the region's other zones, the rest;
- `web.local`: the region's own members only, which is what its gateway offers to the others (a
  call that crossed once must not cross again).

For an active-passive service the regions of the side that serves come first, wherever the caller
is, its own region among them; the others come last. A region that an operator drains gets no
calls from others any more, but its own balancer goes on using what is left in it.

Another region is one endpoint: `instance` None, `host` the region's name, `port` the service's;
the engine puts the address of this end of the link in. It is healthy while a member is ready
behind a gateway that runs. A region that the spec no longer has comes last, until its members
are gone. A service that the spec no longer has is in no balancer's configuration, so there is
nothing to tell. Priorities are numbered without gaps, as Envoy demands.

Nothing is sent while a balancer says that it has what it should have. And in the first seconds of
a new supervisor nothing is taken from a balancer that serves instances which no node has told of
yet: their node is being adopted, and they answer requests meanwhile.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from seakeep.decide.backoff import Backoff
from seakeep.decide.clusters import (
    NO_OTHERS,
    Cluster,
    Gateways,
    Plan,
    Summary,
    build,
    gateway_cluster,
    plans_of,
    summary_of,
)
from seakeep.decide.ground import PLAIN, Ground
from seakeep.decide.members import NOBODY, Roll, ServiceMemory, enroll
from seakeep.decide.rollout_plan import NO_PLANS, RolloutPlan
from seakeep.model.action import Action, Guard, SetEndpoints
from seakeep.model.decision import Decision, Number, Reason
from seakeep.model.ids import RegionName, ServiceName, ZoneName, zone_path
from seakeep.model.observation import AppliedEndpoints, PartKind
from seakeep.model.system import System
from seakeep.model.time import MILLISECOND, SECOND, Duration, Instant
from seakeep.model.view import View

BACKOFF = Backoff(first=500 * MILLISECOND, cap=5 * SECOND)
EXPIRES_AFTER: Duration = 5 * SECOND
ADOPTION_GRACE: Duration = 5 * SECOND
"""For every node to be heard by a new supervisor."""

REASONS = {
    "traffic.endpoints": (
        "the balancer of {region} is given {subject} for callers in {callers} (ready here: {ready}"
        " of {members}, other regions ready: {regions_ready} of {regions})"
    ),
    "traffic.endpoints.gateway": (
        "the gateway of {region} is given {subject} for callers in {callers} (ready: {ready} of"
        " {members})"
    ),
    "traffic.held.backoff": (
        "the {role} of {region} has not taken {subject} for callers in {callers} yet; it is tried"
        " again at {until_ns} (tries so far: {tries})"
    ),
    "traffic.held.adoption": (
        "the {role} of {region} keeps {subject} for callers in {callers} as it is until {until_ns}:"
        " of what it serves, {instances} in all, no node has told yet"
    ),
    "traffic.held.edge": "the balancer of {subject} does not run: it cannot be told anything",
    "traffic.elsewhere": "no instance of {subject} is ready in {region}: calls go to {to}",
    "traffic.nobody": "no instance of {subject} is ready anywhere",
}

Key = tuple[RegionName, str]
"""(region of the balancer, cluster)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A cluster on its way to a balancer."""

    digest: str
    tries: int
    next_at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficMemory:
    """Only `since`, `sent` and the weights within `services` bear on decisions; the rest are
    caches."""

    since: Instant | None = None
    """Of the first view that this memory has seen."""
    sent: Mapping[Key, Sent] = field(default_factory=dict)
    services: Mapping[ServiceName, ServiceMemory] = field(default_factory=dict)
    summaries: Mapping[ServiceName, Summary] = field(default_factory=dict)
    clusters: Mapping[Key, Cluster] = field(default_factory=dict)
    plans: Mapping[RegionName, Plan] = field(default_factory=dict)
    revision: str = ""
    """Of the spec that `clusters` and `plans` were made from."""

    def without_caches(self) -> "TrafficMemory":
        weights = {name: ServiceMemory(weights=of.weights) for name, of in self.services.items()}
        return TrafficMemory(since=self.since, sent=self.sent, services=weights)


class TrafficController:
    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def initial(self) -> TrafficMemory:
        return TrafficMemory()

    def decide(
        self,
        system: System,
        view: View,
        memory: TrafficMemory,
        ground: Ground = PLAIN,
        rollouts: Mapping[ServiceName, RolloutPlan] = NO_PLANS,
    ) -> Decision[TrafficMemory]:
        """`rollouts`: plans of services whose workload is changing."""
        same_spec = memory.revision == system.revision
        services = {
            name: enroll(service, view, memory.services.get(name, _NO_SERVICE), rollouts.get(name))
            for name, service in system.services.items()
        }
        edges = _edges(view)
        heard = list(memory.summaries.values())
        summaries = {
            name: summary_of(system.services[name], of.rolls, edges, ground, heard)
            for name, of in services.items()
        }
        plans = memory.plans if same_spec else plans_of(system)
        known = memory.clusters if same_spec else {}
        clusters: dict[Key, Cluster] = {}
        since = view.at if memory.since is None else memory.since
        ask = _Ask(system, view, self._epoch, memory.sent, since + ADOPTION_GRACE)
        for origin in [*system.regions, *sorted(name for name in edges if name not in plans)]:
            if not edges.get(origin, False):
                ask.edge_is_down(origin)
                continue
            plan = plans.get(origin) or Plan(tuple(system.regions), (), {})
            gateways: list[Gateways] = []
            for name, of in services.items():
                roll = of.rolls.get(origin, NOBODY)
                summary = summaries[name]
                for cluster, zone, crosses in _clusters_of(name, plan, view, origin):
                    key = (origin, cluster)
                    others = summary if crosses else NO_OTHERS
                    built = known.get(key)
                    if built is None or built.roll is not roll or built.summary is not others:
                        port = system.services[name].workload.port
                        built = build(origin, plan, roll, others, zone, port, gateways)
                    clusters[key] = built
                    ask.for_cluster(key, name, built)
                ask.note_elsewhere(origin, name, roll, summary, plan)
        ask.note_nobody(services)
        return Decision(
            memory=TrafficMemory(
                since=since,
                sent=ask.sent,
                services=services,
                summaries=summaries,
                clusters=clusters,
                plans=plans,
                revision=system.revision,
            ),
            actions=tuple(ask.actions),
            reasons=tuple(ask.reasons),
            wake_at=min(ask.wakes, default=None),
        )


_NO_SERVICE = ServiceMemory()


class _Ask:
    """Collects what to send, and why, over one step."""

    def __init__(
        self,
        system: System,
        view: View,
        epoch: int,
        sent: Mapping[Key, Sent],
        adopted_at: Instant,
    ) -> None:
        self._system = system
        self._view = view
        self._guard = Guard(
            revision=system.revision, epoch=epoch, expires_at=view.at + EXPIRES_AFTER
        )
        self._before = sent
        self._adopted_at = adopted_at
        self.sent: dict[Key, Sent] = {}
        self.actions: list[Action] = []
        self.reasons: list[Reason] = []
        self.wakes: list[Instant] = []

    def for_cluster(self, key: Key, service: ServiceName, cluster: Cluster) -> None:
        applied = self._view.endpoints.get(key)
        if applied is not None and applied.digest == cluster.digest:
            return
        if applied is not None and self._is_adopting(key, service, applied):
            return
        before = self._before.get(key)
        if before is None or before.digest != cluster.digest:
            before = Sent(digest=cluster.digest, tries=0, next_at=0)
        self.sent[key] = before
        if before.tries and endpoints_id(key, before) in self._view.pending:
            return
        region, name = key
        if self._view.at < before.next_at:
            self.wakes.append(before.next_at)
            if before.tries > 1:
                self._note_backoff(key, service, before)
            return
        tries = before.tries + 1
        now = self.sent[key] = Sent(
            digest=cluster.digest, tries=tries, next_at=self._view.at + BACKOFF.delay(tries)
        )
        self.wakes.append(now.next_at)
        action = SetEndpoints(
            id=endpoints_id(key, now),
            guard=self._guard,
            region=region,
            cluster=name,
            service=service,
            localities=cluster.localities,
            digest=cluster.digest,
        )
        self.actions.append(action)
        code = "traffic.endpoints.gateway"
        numbers: tuple[tuple[str, Number], ...] = (
            *_whose(key, service),
            ("ready", cluster.roll.ready),
            ("members", cluster.roll.members),
        )
        if name != gateway_cluster(service):
            code = "traffic.endpoints"
            numbers += (("regions_ready", cluster.regions_ready), ("regions", cluster.regions))
        self.reasons.append(Reason(code=code, subject=service, numbers=numbers, action=action.id))

    def _is_adopting(self, key: Key, service: ServiceName, applied: AppliedEndpoints) -> bool:
        if self._view.at >= self._adopted_at:
            return False
        unheard = sum(name not in self._view.instances for name in applied.serving)
        if unheard:
            self.wakes.append(self._adopted_at)
            self.reasons.append(
                Reason(
                    code="traffic.held.adoption",
                    subject=service,
                    numbers=(
                        *_whose(key, service),
                        ("instances", unheard),
                        ("until_ns", self._adopted_at),
                    ),
                )
            )
        return unheard > 0

    def _note_backoff(self, key: Key, service: ServiceName, sent: Sent) -> None:
        self.reasons.append(
            Reason(
                code="traffic.held.backoff",
                subject=service,
                numbers=(
                    *_whose(key, service),
                    ("tries", sent.tries),
                    ("until_ns", sent.next_at),
                ),
            )
        )

    def edge_is_down(self, origin: RegionName) -> None:
        self.reasons.append(Reason(code="traffic.held.edge", subject=origin))

    def note_elsewhere(
        self, origin: RegionName, name: ServiceName, roll: Roll, summary: Summary, plan: Plan
    ) -> None:
        """Say when a region that should have the service has nobody ready."""
        if roll.ready:
            return
        if not self._system.services[name].spread.regions.get(origin):
            return
        healthy = dict(summary.regions)
        to = next((other for other in plan.others if healthy.get(other)), None)
        if to is not None:
            self.reasons.append(
                Reason(
                    code="traffic.elsewhere",
                    subject=name,
                    numbers=(("region", origin), ("to", to)),
                )
            )

    def note_nobody(self, services: Mapping[ServiceName, ServiceMemory]) -> None:
        for name, of in services.items():
            if not any(roll.ready for roll in of.rolls.values()):
                self.reasons.append(Reason(code="traffic.nobody", subject=name))


def _whose(key: Key, service: ServiceName) -> tuple[tuple[str, Number], ...]:
    """Which cluster a reason is about: by name, and in words."""
    region, cluster = key
    role, callers = "balancer", region
    if cluster == gateway_cluster(service):
        role, callers = "gateway", "other regions"
    elif cluster != service:
        callers = zone_path(region, cluster.removeprefix(f"{service}@"))
    return (("region", region), ("cluster", cluster), ("role", role), ("callers", callers))


def endpoints_id(key: Key, sent: Sent) -> str:
    """`endpoints:us-east:web:<digest>`, with `.2` for a second try."""
    retry = f".{sent.tries}" if sent.tries > 1 else ""
    return f"endpoints:{key[0]}:{key[1]}:{sent.digest}{retry}"


def _clusters_of(
    name: ServiceName, plan: Plan, view: View, origin: RegionName
) -> Iterable[tuple[str, ZoneName | None, bool]]:
    """The clusters of a service at one balancer. One in a region that the spec no longer has
    keeps those that it says it still runs with."""
    planned = plan.clusters.get(name)
    if planned is not None:
        return planned
    leaving: list[tuple[str, ZoneName | None, bool]] = []
    for region, cluster in view.endpoints:
        if region != origin:
            continue
        if cluster == name or cluster.startswith(f"{name}@"):
            leaving.append((cluster, cluster.partition("@")[2] or None, True))
        elif cluster == gateway_cluster(name):
            leaving.append((cluster, None, False))
    return leaving


def _edges(view: View) -> dict[RegionName, bool]:
    """Whether the edge of a region runs, by region; those never heard of are absent."""
    return {part.region: part.running for part in view.parts.values() if part.kind is PartKind.EDGE}
