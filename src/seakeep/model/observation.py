"""What an engine saw in one poll: raw readings, no judgement.

Absence is data: a reading that could not be had is a `Sample` whose value is None, or one
whose `observed_at` lies in the past.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from seakeep.model.histogram import Counts
from seakeep.model.ids import ActionId, InstanceId, NodeId, RegionName, ServiceName, ZoneName
from seakeep.model.order import Order
from seakeep.model.rollout import RolloutRecord
from seakeep.model.system import ProbeKind, Resources
from seakeep.model.time import Instant

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample(Generic[T]):
    """A reading, when it was taken, and by whom."""

    value: T | None
    observed_at: Instant
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    host: str
    port: int


class Phase(StrEnum):
    """Where a process is in its life, as its node sees it."""

    RUNNING = "running"
    STOPPING = "stopping"
    """SIGTERM sent, not yet gone."""
    EXITED = "exited"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReading:
    """The latest run of equal results of one probe since the process started."""

    kind: ProbeKind
    ok: bool
    count: int
    """Length of the run of equal results that ends with the latest one (at least 1)."""
    passed: bool
    """Whether the probe has ever passed its threshold of successes since the start."""
    checked_at: Instant
    detail: str = ""
    """Why the latest check failed: `connection refused`, `HTTP 503`, `timed out after 1s`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceState:
    id: InstanceId
    service: ServiceName
    region: RegionName
    zone: ZoneName
    node: NodeId
    revision: str
    """Of the workload that it runs."""
    address: Address
    phase: Phase
    pid: int | None
    created_at: Instant
    started_at: Instant
    """Of the present process, or of the last one when it has exited."""
    restarts: int
    probes: tuple[ProbeReading, ...] = ()
    draining_since: Instant | None = None
    """When it was told to leave rotation; None while it serves."""
    exited_at: Instant | None = None
    exit_detail: str = ""
    """`exit code 1`, `killed by SIGKILL`, `could not start: ...`; empty while it runs."""
    cpu_millicores: float = 0.0
    memory_bytes: int = 0


class PartKind(StrEnum):
    """The machinery that the system runs on."""

    NODE = "node"
    EDGE = "edge"
    LINK = "link"
    HOLDER = "holder"
    DNS = "dns"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartState:
    """A node, or a region's edge (its Envoy), link (its way out to the others), holder (where
    requests wait for a first instance) or DNS server."""

    id: str
    """`node:us-east/a/0`, `edge:us-east`, `link:us-east`, `dns:us-east`."""
    kind: PartKind
    region: RegionName
    zone: ZoneName | None
    running: bool
    restarts: int
    changed_at: Instant
    """When `running` last changed."""
    capacity: Resources | None = None
    """Nodes only."""
    detail: str = ""
    """Why it is not running: `no power in us-east/a`, `exit code 1`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedEndpoints:
    """Endpoints that a balancer said it has taken."""

    region: RegionName
    """Of the balancer."""
    cluster: str
    digest: str
    applied_at: Instant
    serving: tuple[InstanceId, ...] = ()
    """Instances of the region that get new requests from it: in it and not draining."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedLimit:
    """A share of a limit that a balancer said it has taken. One that was never told any has none
    here, and an even part."""

    region: RegionName
    limit: str
    """As `model.limits.limit_key` names it."""
    rate_per_s: float
    applied_at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedAnswers:
    """The table that a DNS server said it answers from."""

    region: RegionName
    """Of the server."""
    digest: str
    applied_at: Instant
    out: tuple[str, ...] = ()
    """What it keeps out of its answers, as `host region`, sorted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficReading:
    """Requests to one service as one region's balancer counted them since it started."""

    region: RegionName
    service: ServiceName
    requests: int
    failures: int
    """Answers that the caller saw as 5xx, reset or timeout, after retries."""
    retries: int
    in_flight: int
    limited: int = 0
    """Beside `requests`: refused since they were beyond a limit (429)."""
    shed: int = 0
    """Beside `requests`: refused since the service was saturated (503)."""
    pending: int = 0
    """Of those in flight: they wait for a connection to an instance."""
    latency: Counts = ()
    """Answers by the time they took; () for services that are not scaled on latency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionReading:
    """What one version of a service answered to one region's balancer, while others run beside
    it: counted since they were first told apart. Every try counts, also one that was repeated."""

    region: RegionName
    service: ServiceName
    revision: str
    requests: int
    failures: int
    """5xx, reset or timeout."""
    latency: Counts = ()
    """Of a sample when there were very many."""


class OutcomeStatus(StrEnum):
    DONE = "done"
    REFUSED = "refused"
    """A guard did not hold: the world had moved on."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an earlier action ended."""

    action: ActionId
    status: OutcomeStatus
    at: Instant
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedOrdinals:
    """How far a service's ordinals are used up: no later instance may have `last` or less."""

    service: ServiceName
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    seq: int
    at: Instant
    wall: Instant = 0
    """Unix time of `at`, in ns, for what people say in dates. It may jump; `at` does not."""
    instances: tuple[Sample[InstanceState], ...] = ()
    """Sorted by id (service, then ordinal)."""
    parts: tuple[Sample[PartState], ...] = ()
    """Sorted by id."""
    endpoints: tuple[AppliedEndpoints, ...] = ()
    """Sorted by (region, cluster)."""
    limits: tuple[AppliedLimit, ...] = ()
    """Sorted by (region, limit)."""
    traffic: tuple[TrafficReading, ...] = ()
    """Sorted by (region, service)."""
    revisions: tuple[RevisionReading, ...] = ()
    """Sorted by (region, service, revision); only of services that have several versions."""
    ordinals: tuple[UsedOrdinals, ...] = ()
    """Sorted by service. They outlive the controllers' memory: an instance on a node that is
    gone is not seen, and comes back with its node."""
    outcomes: tuple[Outcome, ...] = ()
    """New since the last poll, oldest first."""
    orders: tuple[Order, ...] = ()
    """Standing orders of operators, sorted by id."""
    answers: tuple[AppliedAnswers, ...] = ()
    """Sorted by region."""
    rollouts: tuple[RolloutRecord, ...] = ()
    """Sorted by service. Of one that is not here no workload was ever fully rolled out."""
