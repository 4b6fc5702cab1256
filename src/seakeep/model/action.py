"""What a controller may ask an engine to do: a closed union, matched exhaustively.

Ids are derived from the cause, never drawn: the same decision in a replay names the same
action. An engine refuses an action whose guard no longer holds.
"""

from dataclasses import dataclass
from typing import TypeAlias

from seakeep.model.ids import ActionId, InstanceId, NodeId, RegionName, ServiceName, ZoneName
from seakeep.model.observation import PartKind
from seakeep.model.rollout import RolloutRecord
from seakeep.model.system import Steering, Workload
from seakeep.model.time import Duration, Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What must still be true when the engine carries the action out."""

    revision: str
    """The spec's."""
    epoch: int
    """Of the controller that decided; a newer one has taken over when the engine's is higher."""
    expires_at: Instant
    restarts: int | None = None
    """Instance and part actions: its restarts when the action was decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartInstance:
    id: ActionId
    guard: Guard
    instance: InstanceId
    service: ServiceName
    region: RegionName
    zone: ZoneName
    node: NodeId
    workload: Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartInstance:
    """Kill the process if there is one, and start it again in its place."""

    id: ActionId
    guard: Guard
    instance: InstanceId


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainInstance:
    """Mark the instance as leaving; it keeps running."""

    id: ActionId
    guard: Guard
    instance: InstanceId


@dataclass(frozen=True, slots=True, kw_only=True)
class StopInstance:
    """SIGTERM, `grace`, SIGKILL; then forget the instance. One that is already dead, or whose
    node is gone, is forgotten at once."""

    id: ActionId
    guard: Guard
    instance: InstanceId
    grace: Duration


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class Endpoint:
    """One address of a cluster. `instance` is None for another region's gateway."""

    instance: InstanceId | None
    host: str
    port: int
    healthy: bool
    draining: bool = False
    weight: int = 1

    def __init__(
        self,
        *,
        instance: InstanceId | None,
        host: str,
        port: int,
        healthy: bool,
        draining: bool = False,
        weight: int = 1,
    ) -> None:
        # Thousands are made when a region is lost; what `frozen` generates takes twice as long.
        _set_instance(self, instance)
        _set_host(self, host)
        _set_port(self, port)
        _set_healthy(self, healthy)
        _set_draining(self, draining)
        _set_weight(self, weight)


_set_instance, _set_host, _set_port, _set_healthy, _set_draining, _set_weight = (
    Endpoint.__dict__[name].__set__ for name in Endpoint.__slots__
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Locality:
    """Endpoints of one zone (or of one other region's gateway, zone None) and their priority:
    0 is used first, the next when the healthy share of those before it does not suffice."""

    region: RegionName
    zone: ZoneName | None
    priority: int
    weight: int
    """Share among the localities of the same priority; 0 leaves it to endpoint counts."""
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetEndpoints:
    """The whole of one cluster of one region's balancer. Clusters: `web` for the service as
    callers in the region see it, `web@a` as callers in zone a do (prefer: zone), and
    `web.local` for what the region offers to the others through its gateway."""

    id: ActionId
    guard: Guard
    region: RegionName
    cluster: str
    service: ServiceName
    localities: tuple[Locality, ...]
    digest: str
    """Of `localities`; comes back in `AppliedEndpoints`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLimit:
    """One region's share of a limit that all regions share. Comes back in `AppliedLimit`."""

    id: ActionId
    guard: Guard
    region: RegionName
    service: ServiceName
    limit: str
    """As `model.limits.limit_key` names it."""
    rate_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAnswers:
    """What DNS answers for one host: its edges, of which one is chosen for each client."""

    host: str
    """`shop.example`, or `*.shop.example` for all names below without answers of their own."""
    by: Steering
    regions: tuple[RegionName, ...]
    """To be answered, never empty; first to last for failover, else in the order of the spec."""
    weights: tuple[int, ...] = ()
    """Weighted: parts in a thousand of each, which need not sum to 1,000."""
    out: tuple[RegionName, ...] = ()
    """Kept out, since they cannot serve or are drained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerDns:
    """The whole table of one region's DNS server."""

    id: ActionId
    guard: Guard
    region: RegionName
    """Of the server."""
    hosts: tuple[HostAnswers, ...]
    digest: str
    """Of the hosts and of what the spec says about the zone; comes back in `AppliedAnswers`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPart:
    """Start a node, edge, link or DNS server that is not running."""

    id: ActionId
    guard: Guard
    part: str
    kind: PartKind
    region: RegionName
    zone: ZoneName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetirePart:
    """Stop a node, edge, link or DNS server that the spec no longer has, and forget it."""

    id: ActionId
    guard: Guard
    part: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRollout:
    """Write down how far a service's rollout has got, in the place of what was written before."""

    id: ActionId
    guard: Guard
    record: RolloutRecord


Action: TypeAlias = (
    StartInstance
    | RestartInstance
    | DrainInstance
    | StopInstance
    | SetEndpoints
    | SetLimit
    | AnswerDns
    | StartPart
    | RetirePart
    | RecordRollout
)
