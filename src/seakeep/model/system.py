"""What the spec says the system should be: the desired state.

Built by `seakeep.spec`, read by everybody, changed by nobody. Mappings keep the order of
the file, so that iterating over them is deterministic.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from seakeep.model.ids import NodeId, RegionName, ServiceName, ZoneName
from seakeep.model.limits import Priority, RateLimit, Shed
from seakeep.model.rolling import Rollout as Rollout
from seakeep.model.scale import Scale, is_held
from seakeep.model.scenario import Fault as Fault
from seakeep.model.scenario import FaultKind as FaultKind
from seakeep.model.scenario import Scenario as Scenario
from seakeep.model.scenario import Step as Step
from seakeep.model.time import MINUTE, SECOND, Duration
from seakeep.model.traffic import Location as Location
from seakeep.model.traffic import Shape as Shape
from seakeep.model.traffic import TrafficSource as TrafficSource
from seakeep.model.work import Distribution as Distribution
from seakeep.model.work import Work as Work

# --- places -----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """CPU and memory: what a node offers or an instance asks for. 1 core = 1000 millicores."""

    cpu_millicores: int
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine: declared capacity in a zone."""

    id: NodeId
    region: RegionName
    zone: ZoneName
    capacity: Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    name: ZoneName
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    name: RegionName
    zones: Mapping[ZoneName, Zone]
    location: Location | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The network path between two regions, named in alphabetical order (a < b)."""

    a: RegionName
    b: RegionName
    latency: Duration
    """One way."""
    jitter: Duration = 0
    """Mean of what is added to each message, exponentially distributed. The twin's alone, as are
    the fields below."""
    loss: float = 0.0
    """Fraction of messages that are lost and sent again."""
    bandwidth_bps: float | None = None
    """Bits per second, each way; None: without a bound."""


# --- services ---------------------------------------------------------------


class ProbeKind(StrEnum):
    """The three probes of Kubernetes, with its semantics."""

    STARTUP = "startup"
    READINESS = "readiness"
    LIVENESS = "liveness"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCheck:
    """Healthy when GET `path` answers 200-399."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpCheck:
    """Healthy when the port accepts a connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecCheck:
    """Healthy when the command exits 0."""

    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcCheck:
    """Healthy when grpc.health.v1.Health/Check of `service` answers SERVING."""

    service: str = ""


Check: TypeAlias = HttpCheck | TcpCheck | ExecCheck | GrpcCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How one aspect of an instance's health is asked for."""

    kind: ProbeKind
    check: Check
    period: Duration
    timeout: Duration
    failures: int
    """Consecutive failures that turn a passing probe into a failing one."""
    successes: int = 1
    """Consecutive successes that turn a failing probe into a passing one."""
    delay: Duration = 0
    """Wait after the start of the process before the first check."""


class Protocol(StrEnum):
    HTTP = "http"
    TCP = "tcp"


class BalancePolicy(StrEnum):
    """How a balancer picks an endpoint, in the field's names."""

    ROUND_ROBIN = "round_robin"
    LEAST_REQUEST = "least_request"
    RANDOM = "random"
    RING_HASH = "ring_hash"
    MAGLEV = "maglev"
    LOAD_AWARE = "load_aware"
    """Weights follow the CPU left on each instance (resource-based)."""


class Prefer(StrEnum):
    """Where calls stay while they can."""

    ZONE = "zone"
    REGION = "region"


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    policy: BalancePolicy = BalancePolicy.LEAST_REQUEST
    prefer: Prefer = Prefer.REGION
    slow_start: Duration = 0
    """A new endpoint's share grows to its full weight over this time; 0 turns it off."""
    panic_fraction: float = 0.5
    """Below this healthy fraction health is ignored and all endpoints serve (Envoy)."""
    hash_header: str | None = None
    """Key of ring_hash and maglev; the client's address when None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    attempts: int = 2
    """Retries after the first try."""
    budget_fraction: float = 0.2
    """Retries in flight, at most, as a fraction of the requests in flight; 1: without a bound."""
    per_try_timeout: Duration | None = None
    hedge: bool = False
    """A try that has taken `per_try_timeout` goes on while the next is sent beside it; the first
    answer counts, and ends the others."""
    server_errors: bool = False
    """An answer of 500 is retried as 502, 503 and 504 are (Envoy's `5xx`)."""
    methods: tuple[str, ...] = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE")
    """Methods that may be sent twice (RFC 9110 §9.2.2: idempotent). Others are retried only
    when nothing of the request can have reached an instance."""


class Steering(StrEnum):
    """By what DNS chooses the region that a client is sent to."""

    LATENCY = "latency"
    """The region with the shortest way from the client."""
    GEO = "geo"
    """The nearest region on the globe, however long the way."""
    WEIGHTED = "weighted"
    """By shares, whoever asks."""
    FAILOVER = "failover"
    """The first region of a list that can serve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steer:
    """How DNS answers for a route's host."""

    by: Steering = Steering.LATENCY
    weights: Mapping[RegionName, float] = field(default_factory=dict)
    """Weighted: shares, which sum to 1. Regions that are not named, or have 0, are answered
    only when no other can serve."""
    order: tuple[RegionName, ...] = ()
    """Failover: first to last. Regions that are not named are never answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What the edge sends to a service. `port` is set for L4 (TCP) routes only."""

    host: str = "*"
    path: str = "/"
    """Prefix, matched on whole path segments."""
    headers: tuple[tuple[str, str], ...] = ()
    """(name, exact value) pairs that must all match."""
    port: int | None = None
    limit: tuple[RateLimit, ...] = ()
    """Of this route alone, beside those of the service."""
    priority: Priority = Priority.NORMAL
    steer: Steer = Steer()
    """By DNS, to a region; all routes of one host steer alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    min: int
    max: int


class ZoneSpread(StrEnum):
    EVEN = "even"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Where replicas go."""

    regions: Mapping[RegionName, float]
    """Weight per region; sums to 1. Regions with weight 0 take overflow only."""
    zones: ZoneSpread = ZoneSpread.EVEN
    node_anti_affinity: int = 100
    """Weight, 0-100, of keeping replicas of the service on different nodes
    (Kubernetes preferredDuringScheduling); 0 packs, 100 spreads."""
    standby: Mapping[RegionName, float] = field(default_factory=dict)
    """Active-passive: what stands by, warm, in regions that are not among `regions`, as a share
    of the wanted number. It gets no calls while an active region can take them."""
    failback: Duration = 30 * SECOND
    """How long the active regions must have all that is wanted before calls go back to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A synchronous call to another service, made on average `per_request` times a request."""

    service: ServiceName
    per_request: float
    parallel: bool = False
    """Sent together with the other parallel calls, before those that wait for one another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """What one region's balancer lets be under way to a service at once (Envoy's circuit breaker
    thresholds); what is beyond it is refused with 503. None: without a bound."""

    requests: int | None = None
    """Connections, of a tcp service."""
    pending: int | None = None
    """Of these, that wait for a connection to be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Everything that makes one instance's process what it is. Another workload is another
    `revision`, and instances of the old one are replaced."""

    command: tuple[str, ...]
    """argv; `${NAME}` in an argument is filled from the instance's environment."""
    port: int
    protocol: Protocol
    env: tuple[tuple[str, str], ...] = field(metadata={"secret": True})
    """Never written into a journal, but for the names."""
    resources: Resources
    probes: tuple[Probe, ...]
    stop_grace: Duration
    """From SIGTERM to SIGKILL."""
    revision: str
    """Digest of all the fields above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    name: ServiceName
    workload: Workload
    image: str | None
    replicas: Replicas
    spread: Spread
    scale: Scale | None
    """None: `replicas.min`, always."""
    routes: tuple[Route, ...]
    balance: Balance
    timeout: Duration
    """Of a whole request, retries included. 0: none."""
    retries: Retries
    limit: tuple[RateLimit, ...]
    """All hold."""
    calls: tuple[Call, ...]
    work: Work | None
    rollout: Rollout
    drain: Duration
    """Between leaving rotation and SIGTERM: the time running requests get to finish."""
    proxy_protocol: bool
    """L4 only: hand the client's address to the instance by PROXY protocol v2."""
    shed: Shed | None = None
    breaker: Breaker = Breaker()


# --- objectives, and where clients come in ----------------------------------


class ObjectiveKind(StrEnum):
    AVAILABILITY = "availability"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """An SLO over a rolling window: the fraction `target` of requests is good. A request is
    good when it did not fail and, for a latency objective, took less than `threshold`."""

    service: ServiceName
    kind: ObjectiveKind
    target: float
    window: Duration
    threshold: Duration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """The port that clients reach in every region."""

    port: int = 8080
    trusted_hops: int = 0
    """Proxies before the edge whose x-forwarded-for is believed; 0: a client is who connects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dns:
    """The system's own DNS zone: a server in every region answers for it."""

    zone: str
    """Without the last dot: `shop.example`."""
    port: int = 5300
    ttl: Duration = 5 * SECOND
    """Whole seconds, as are all times that DNS tells."""
    negative_ttl: Duration = 5 * SECOND
    places: tuple[tuple[str, Location], ...] = ()
    """(prefix, place of the clients in it), those of traffic sources included."""
    database: str = ""
    """Path of a MaxMind DB file for all other clients, relative to the spec's folder."""
    fall: Duration = SECOND
    """A region that cannot serve a host for this long is answered no more."""
    rise: Duration = 5 * SECOND
    """One that can again, for this long without a break, is answered again."""
    answers_per_s: int = 0
    """That one client network (/24, /56) is given over UDP; 0: without a bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    name: str
    revision: str
    """Digest of the whole spec; guards carry it."""
    regions: Mapping[RegionName, Region]
    links: tuple[Link, ...]
    """Every pair of regions, once, sorted by (a, b); unset latencies follow distance."""
    services: Mapping[ServiceName, Service]
    traffic: Mapping[str, TrafficSource] = field(default_factory=dict)
    objectives: tuple[Objective, ...] = ()
    scenarios: Mapping[str, Scenario] = field(default_factory=dict)
    edge: Edge = Edge()
    dns: Dns | None = None


def in_zone(host: str, zone: str) -> bool:
    """Whether a zone (`shop.example`) holds a host: its own name, or one below it."""
    return host == zone or host.endswith(f".{zone}")


def is_guarded(service: Service) -> bool:
    """Whether requests to it may be refused: it has a limit, or sheds."""
    return bool(service.limit or service.shed or any(route.limit for route in service.routes))


def nodes_of(system: System) -> tuple[Node, ...]:
    """All nodes, in the order of the file."""
    return tuple(
        node
        for region in system.regions.values()
        for zone in region.zones.values()
        for node in zone.nodes
    )


def link_between(system: System, one: RegionName, other: RegionName) -> Link | None:
    """The link of a pair of regions, whichever way round; None when there is none."""
    a, b = min(one, other), max(one, other)
    return next((link for link in system.links if (link.a, link.b) == (a, b)), None)


def by_distance(system: System, origin: RegionName) -> tuple[RegionName, ...]:
    """The other regions, nearest (by link latency, then name) first."""

    def far(name: RegionName) -> tuple[int, str]:
        link = link_between(system, origin, name)
        return (link.latency if link else 3600 * SECOND, name)

    return tuple(sorted((name for name in system.regions if name != origin), key=far))


def has_held(system: System) -> bool:
    """Whether a service may be without instances, so that its requests have to be held."""
    return any(is_held(one.scale, one.replicas.min) for one in system.services.values())


STEADY = Scenario(name="steady", duration=10 * MINUTE)
"""What a system that declares no scenario is tried with: nothing goes wrong."""


def scenarios_of(system: System) -> Mapping[str, Scenario]:
    """The declared scenarios by name; of a system without any, STEADY."""
    return system.scenarios or {STEADY.name: STEADY}
