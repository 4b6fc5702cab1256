"""Which regions DNS answers with: for every host of the zone, those that can serve it.

A region can serve a host when its edge runs and every service that the host leads to has a ready
instance: in the region, where the spec wants it there, else anywhere; one that may sleep without
instances needs none. A region that cannot for `fall` is out of the answers, and in again once it
can for `rise` without a break; each time that it falls again soon after, twice as long, up to eight
times. So a region that flaps stays out. One that has only just begun is in as soon as it can serve.

A region that callers are to leave, since an operator drains it, is out at once, and so is an active
region of an active-passive service while its standby side serves. An answer is never
empty: the first of these lists is answered that is not.

1. regions that are in and neither drained nor at rest,
2. regions that can serve though they are not in yet,
3. the others that can serve,
4. all regions, as if all could serve (fail open, as Route 53 does).

Every server gets the whole table; which of a host's regions a client is sent to, a server decides
by itself, with what it knows of the client (see `engines.local.dns`). In the first seconds of a
new supervisor a region is not put out for instances that no node has told of yet.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from seakeep.decide.backoff import Backoff
from seakeep.decide.dns_hosts import Host, hosts_of, zone_digest
from seakeep.decide.ground import Resting
from seakeep.decide.members import NOBODY, Roll
from seakeep.model.action import Action, AnswerDns, Guard, HostAnswers
from seakeep.model.codec import digest
from seakeep.model.decision import Decision, Number, Reason
from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.scale import is_held
from seakeep.model.system import (
    Dns,
    Service,
    Steer,
    Steering,
    System,
)
from seakeep.model.time import MILLISECOND, SECOND, Duration, Instant
from seakeep.model.view import View

BACKOFF = Backoff(first=500 * MILLISECOND, cap=5 * SECOND)
EXPIRES_AFTER: Duration = 5 * SECOND
ADOPTION_GRACE: Duration = 5 * SECOND
"""For every node to be heard by a new supervisor."""
SHORT_STAY = 10
"""A region that falls before it was in for this many times `rise` has flapped."""
DOUBLINGS_MAX = 3

REASONS = {
    "dns.region.out": (
        "{region} is out of the answers for {subject}: {why} for {after_ns} (falls in a row:"
        " {falls})"
    ),
    "dns.region.in": "{region} is in the answers for {subject}: it can serve it for {after_ns}",
    "dns.answers": (
        "the DNS server of {region} is given its answers (hosts: {hosts}, regions kept out in all:"
        " {out})"
    ),
    "dns.fail_open": (
        "no region can serve {subject}: all are answered as if they could (regions: {regions})"
    ),
    "dns.drained": "{region} is drained: {subject} is not answered with it",
    "dns.resting": (
        "{region} is not answered for {subject}: the standby side of {service} serves it"
    ),
    "dns.held.fall": (
        "{region} cannot serve {subject} ({why}); it is out of the answers at {until_ns} if that"
        " stays so"
    ),
    "dns.held.rise": (
        "{region} can serve {subject} again; it is in the answers at {until_ns} if that stays so"
    ),
    "dns.held.drained": "only drained regions can serve {subject}: they are answered all the same",
    "dns.held.adoption": (
        "{region} stays in the answers for {subject} until {until_ns}: not every node has told of"
        " its instances yet"
    ),
    "dns.held.backoff": (
        "the DNS server of {region} has not taken its answers yet; it is tried again at {until_ns}"
        " (tries so far: {tries})"
    ),
    "dns.held.server": "the DNS server of {subject} does not run: it cannot be told anything",
}

Rolls = Mapping[ServiceName, Mapping[RegionName, Roll]]
"""Who is ready where, as the traffic controller has it: a service whose instances are as before
has the same object as before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Of one region for one host."""

    inside: bool
    able: bool
    """Whether it could serve when it was last looked at."""
    turned_at: Instant
    """When `able` last changed."""
    entered_at: Instant
    """When it was last put in."""
    falls: int = 0
    """In a row, each soon after the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A table on its way to a server."""

    digest: str
    tries: int
    next_at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What standings follow from, but for time."""

    revision: str
    edges: tuple[tuple[RegionName, str], ...]
    """Why the edge of a region cannot serve; empty when it can."""
    drained: tuple[RegionName, ...]
    resting: Resting
    rolls: tuple[Mapping[RegionName, Roll], ...]
    """Of the services behind hosts."""

    def same_as(self, other: "Inputs | None") -> bool:
        return (
            other is not None
            and self.revision == other.revision
            and self.edges == other.edges
            and self.drained == other.drained
            and self.resting == other.resting
            and len(self.rolls) == len(other.rolls)
            and all(one is two for one, two in zip(self.rolls, other.rolls, strict=True))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsMemory:
    """Only `since`, `standings` and `told` bear on decisions; the rest are caches."""

    since: Instant | None = None
    """Of the first view that this memory has seen."""
    standings: Mapping[str, Mapping[RegionName, Standing]] = field(default_factory=dict)
    told: Mapping[RegionName, Told] = field(default_factory=dict)
    inputs: Inputs | None = None
    hosts: tuple[Host, ...] = ()
    zone_digest: str = ""
    table: tuple[HostAnswers, ...] = ()
    digest: str = ""
    notes: tuple[Reason, ...] = ()
    """What there is to say about the standings in every step."""
    wake_at: Instant | None = None

    def without_caches(self) -> "DnsMemory":
        return DnsMemory(since=self.since, standings=self.standings, told=self.told)


class DnsController:
    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def initial(self) -> DnsMemory:
        return DnsMemory()

    def decide(
        self,
        system: System,
        view: View,
        memory: DnsMemory,
        rolls: Rolls,
        drained: Collection[RegionName] = (),
        resting: Resting = (),
    ) -> Decision[DnsMemory]:
        """`drained`: regions that callers are to leave, since operators drain them; `resting`:
        regions of services whose standby side serves."""
        if system.dns is None:
            return Decision(memory=memory if memory == _FRESH else _FRESH)
        if memory.inputs is None or memory.inputs.revision != system.revision:
            memory = replace(
                memory,
                since=view.at if memory.since is None else memory.since,
                inputs=None,
                hosts=hosts_of(system, system.dns),
                zone_digest=zone_digest(system),
            )
        reasons: list[Reason] = []
        inputs = _inputs(system, view, memory.hosts, rolls, drained, resting)
        is_due = memory.wake_at is not None and view.at >= memory.wake_at
        if is_due or not inputs.same_as(memory.inputs):
            judge = _Judge(system, system.dns, view, memory, inputs, rolls)
            reasons += judge.turns
            memory = replace(
                memory,
                standings=judge.standings,
                inputs=inputs,
                table=tuple(judge.table),
                digest=digest((memory.zone_digest, tuple(judge.table)), tuple[str, _TABLE]),
                notes=tuple(judge.notes),
                wake_at=min(judge.wakes, default=None),
            )
        tell = _Tell(system, view, memory, self._epoch)
        return Decision(
            memory=memory if tell.told == memory.told else replace(memory, told=tell.told),
            actions=tuple(tell.actions),
            reasons=(*reasons, *memory.notes, *tell.reasons),
            wake_at=min(
                (wake for wake in (memory.wake_at, *tell.wakes) if wake is not None), default=None
            ),
        )


_FRESH = DnsMemory()
_TABLE = tuple[HostAnswers, ...]


def _inputs(
    system: System,
    view: View,
    hosts: Iterable[Host],
    rolls: Rolls,
    drained: Collection[RegionName],
    resting: Resting,
) -> Inputs:
    edges = [(name, _why_no_edge(view, f"edge:{name}")) for name in system.regions]
    services = dict.fromkeys(service for host in hosts for service in host.services)
    return Inputs(
        revision=system.revision,
        edges=tuple(edges),
        drained=tuple(sorted(drained)),
        resting=resting,
        rolls=tuple([rolls.get(name, _NO_ROLLS) for name in services]),
    )


def _why_no_edge(view: View, part: str) -> str:
    edge = view.parts.get(part)
    if edge is None or not edge.running:
        return "its edge does not run"
    return "its edge gives no answer" if part in view.silent else ""


_NO_ROLLS: Mapping[RegionName, Roll] = {}


# --- who is in --------------------------------------------------------------


class _Judge:
    """Looks at every region of every host once."""

    def __init__(
        self,
        system: System,
        dns: Dns,
        view: View,
        memory: DnsMemory,
        inputs: Inputs,
        rolls: Rolls,
    ) -> None:
        self._system = system
        self._dns = dns
        self._view = view
        self._memory = memory
        self._edges = dict(inputs.edges)
        self._drained = frozenset(inputs.drained)
        self._resting = dict(inputs.resting)
        self._rolls = rolls
        self._kept_out = frozenset(pair for one in view.answers.values() for pair in one.out)
        self.standings: dict[str, dict[RegionName, Standing]] = {}
        self.table: list[HostAnswers] = []
        self.turns: list[Reason] = []
        self.notes: list[Reason] = []
        self.wakes: list[Instant] = []
        for host in memory.hosts:
            self._judge(host)

    def _judge(self, host: Host) -> None:
        before = self._memory.standings.get(host.name, {})
        now: dict[RegionName, Standing] = {}
        for region in host.regions:
            why = self._why_not(host, region)
            standing = before.get(region) or self._first(host, region, not why)
            now[region] = self._next(host, region, standing, why)
        self.standings[host.name] = now
        self.table.append(self._answers(host, now))

    def _why_not(self, host: Host, region: RegionName) -> str:
        """Why a region cannot serve a host; empty when it can."""
        if why := self._edges[region]:
            return why
        for name in host.services:
            if not _is_ready(self._system.services[name], region, self._rolls.get(name, {})):
                return f"no instance of {name} is ready"
        return ""

    def _first(self, host: Host, region: RegionName, able: bool) -> Standing:
        """Of a region that is seen for the first time: as servers have it, or as it is now."""
        at = self._view.at
        if not self._view.answers:
            return Standing(inside=able, able=able, turned_at=at, entered_at=at)
        inside = f"{host.name} {region}" not in self._kept_out
        return Standing(
            inside=inside, able=able, turned_at=at, entered_at=at, falls=0 if inside else 1
        )

    def _next(self, host: Host, region: RegionName, was: Standing, why: str) -> Standing:
        at, able = self._view.at, not why
        one = was if was.able == able else replace(was, able=able, turned_at=at)
        if one.inside == able:
            return one
        due = one.turned_at + (self._rise(one) if able else self._dns.fall)
        held: tuple[str, tuple[tuple[str, Number], ...]] = ("dns.held.rise", ())
        if not able:
            held = ("dns.held.fall", (("why", why),))
            adopted = (self._memory.since or at) + ADOPTION_GRACE
            if due < adopted and not self._edges[region]:
                due, held = adopted, ("dns.held.adoption", ())
        numbers: tuple[tuple[str, Number], ...] = (("region", region),)
        if at < due:
            self.wakes.append(due)
            self._note(host, held[0], *numbers, *held[1], ("until_ns", due))
            return one
        numbers += (("after_ns", at - one.turned_at),)
        if able:
            self.turns.append(Reason(code="dns.region.in", subject=host.name, numbers=numbers))
            return replace(one, inside=True, entered_at=at)
        falls = one.falls + 1 if at - one.entered_at < SHORT_STAY * self._dns.rise else 1
        numbers += (("why", why), ("falls", falls))
        self.turns.append(Reason(code="dns.region.out", subject=host.name, numbers=numbers))
        return replace(one, inside=False, falls=falls)

    def _rise(self, one: Standing) -> Duration:
        """A region that has not fallen yet, but only begun, is in at once."""
        if not one.falls:
            return 0
        return self._dns.rise << min(one.falls - 1, DOUBLINGS_MAX)

    def _note(self, host: Host, code: str, *numbers: tuple[str, Number]) -> None:
        self.notes.append(Reason(code=code, subject=host.name, numbers=numbers))

    # --- answers ---

    def _answers(self, host: Host, now: Mapping[RegionName, Standing]) -> HostAnswers:
        regions = self._chosen(host, now)
        weights: tuple[int, ...] = ()
        if host.steer.by is Steering.WEIGHTED:
            regions, weights = _weighted(host.steer, regions)
        return HostAnswers(
            host=host.name,
            by=host.steer.by,
            regions=regions,
            weights=weights,
            out=tuple([name for name in host.regions if name not in regions]),
        )

    def _chosen(self, host: Host, now: Mapping[RegionName, Standing]) -> tuple[RegionName, ...]:
        """The first list of those at the head of this file that is not empty."""
        drained = [name for name in host.regions if name in self._drained]
        for name in drained:
            self._note(host, "dns.drained", ("region", name))
        for service in host.services:
            for name in self._resting.get(service, ()):
                if name in host.regions and name not in drained:
                    drained.append(name)
                    self._note(host, "dns.resting", ("region", name), ("service", service))
        here = [name for name in host.regions if name not in drained]
        inside = tuple([name for name in here if now[name].inside])
        if inside:
            return inside
        able = tuple([name for name in here if now[name].able])
        if able:
            return able
        able = tuple([name for name in host.regions if name in drained and now[name].able])
        if able:
            self._note(host, "dns.held.drained")
            return able
        self._note(host, "dns.fail_open", ("regions", len(host.regions)))
        return host.regions


def _is_ready(service: Service, region: RegionName, rolls: Mapping[RegionName, Roll]) -> bool:
    if is_held(service.scale, service.replicas.min):
        return True  # asleep: the edge holds requests until it is awake
    if service.spread.regions.get(region):
        return rolls.get(region, NOBODY).ready > 0
    return any(roll.ready for roll in rolls.values())


def _weighted(
    steer: Steer, regions: tuple[RegionName, ...]
) -> tuple[tuple[RegionName, ...], tuple[int, ...]]:
    """Those of the regions that have a share, and it in thousandths; all evenly if none has."""
    parts = {name: round(1000 * steer.weights.get(name, 0.0)) for name in regions}
    shared = {name: max(1, part) for name, part in parts.items() if steer.weights.get(name)}
    chosen = shared or dict.fromkeys(regions, 1)
    return tuple(chosen), tuple(chosen.values())


# --- telling the servers ----------------------------------------------------


class _Tell:
    """What is sent to which server."""

    def __init__(self, system: System, view: View, memory: DnsMemory, epoch: int) -> None:
        self._view = view
        self._memory = memory
        self._guard = Guard(
            revision=system.revision, epoch=epoch, expires_at=view.at + EXPIRES_AFTER
        )
        self.told: dict[RegionName, Told] = {}
        self.actions: list[Action] = []
        self.reasons: list[Reason] = []
        self.wakes: list[Instant] = []
        for region in system.regions:
            part = view.parts.get(f"dns:{region}")
            if part is None or not part.running:
                self.reasons.append(Reason(code="dns.held.server", subject=region))
                continue
            applied = view.answers.get(region)
            if applied is None or applied.digest != memory.digest:
                self._tell(region)

    def _tell(self, region: RegionName) -> None:
        before = self._memory.told.get(region)
        if before is None or before.digest != self._memory.digest:
            before = Told(digest=self._memory.digest, tries=0, next_at=0)
        self.told[region] = before
        if before.tries and answers_id(region, before) in self._view.pending:
            return
        if self._view.at < before.next_at:
            self.wakes.append(before.next_at)
            if before.tries > 1:
                numbers = (
                    ("region", region),
                    ("tries", before.tries),
                    ("until_ns", before.next_at),
                )
                self.reasons.append(
                    Reason(code="dns.held.backoff", subject=f"dns:{region}", numbers=numbers)
                )
            return
        tries = before.tries + 1
        now = Told(digest=before.digest, tries=tries, next_at=self._view.at + BACKOFF.delay(tries))
        self.told[region] = now
        self.wakes.append(now.next_at)
        table = self._memory.table
        action = AnswerDns(
            id=answers_id(region, now),
            guard=self._guard,
            region=region,
            hosts=table,
            digest=now.digest,
        )
        self.actions.append(action)
        out = sum(len(host.out) for host in table)
        self.reasons.append(
            Reason(
                code="dns.answers",
                subject=f"dns:{region}",
                numbers=(("region", region), ("hosts", len(table)), ("out", out)),
                action=action.id,
            )
        )


def answers_id(region: RegionName, told: Told) -> str:
    """`answers:us-east:<digest>`, with `.2` for a second try."""
    retry = f".{told.tries}" if told.tries > 1 else ""
    return f"answers:{region}:{told.digest}{retry}"
