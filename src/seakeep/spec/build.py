"""A valid document → the `System` of the model. Nothing is checked here any more."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

from seakeep.model.distance import travel_time
from seakeep.model.ids import node_id
from seakeep.model.system import (
    Balance,
    BalancePolicy,
    Breaker,
    Call,
    Check,
    Edge,
    ExecCheck,
    GrpcCheck,
    HttpCheck,
    Link,
    Location,
    Node,
    Prefer,
    Probe,
    ProbeKind,
    Protocol,
    Region,
    Replicas,
    Resources,
    Retries,
    Route,
    Service,
    Spread,
    Steer,
    System,
    TcpCheck,
    Workload,
    Zone,
    ZoneSpread,
)
from seakeep.model.time import SECOND
from seakeep.spec.build_dns import dns_of, prefixes, steers_of
from seakeep.spec.build_trial import objective_of, scenario_of
from seakeep.spec.build_twin import Measured, traffic_of, work_of
from seakeep.spec.digest import digest
from seakeep.spec.document import Document, LinkPart, NodesPart, RegionPart
from seakeep.spec.limits import priority
from seakeep.spec.routing import RoutePart
from seakeep.spec.service import ProbePart, ServicePart, SpreadPart, probe_timeout

NODE_CPU_MILLICORES = 4000
NODE_MEMORY_BYTES = 8 * 2**30


NOTHING_MEASURED: Measured = {}


def build(document: Document, measured: Measured = NOTHING_MEASURED) -> System:
    """The system that the document describes, with its revision. `measured`: the distributions
    that it takes from files."""
    regions = {name: _region(name, part) for name, part in document.regions.items()}
    steers = steers_of(document)
    subnets = prefixes(document)
    system = System(
        name=document.system,
        revision="",
        regions=regions,
        links=_links(regions, document.network),
        services={
            name: _service(name, part, tuple(regions), steers, measured)
            for name, part in document.services.items()
        },
        traffic={
            name: traffic_of(name, part, subnets[name], measured)
            for name, part in document.traffic.items()
        },
        objectives=tuple(objective_of(part) for part in document.objectives),
        scenarios={name: scenario_of(name, part) for name, part in document.scenarios.items()},
        edge=Edge(port=document.edge.port, trusted_hops=document.edge.trusted_hops),
        dns=dns_of(document),
    )
    return replace(system, revision=digest(system))


# --- places -----------------------------------------------------------------


def _location(at: tuple[float, float] | None) -> Location | None:
    return None if at is None else Location(latitude_deg=at[0], longitude_deg=at[1])


def _region(name: str, part: RegionPart) -> Region:
    zones = {
        zone: Zone(name=zone, nodes=_nodes(name, zone, zone_part.nodes, part.nodes))
        for zone, zone_part in part.zones.items()
    }
    return Region(name=name, zones=zones, location=_location(part.at))


def _nodes(region: str, zone: str, own: NodesPart, common: NodesPart) -> tuple[Node, ...]:
    count = own.count or common.count or 1
    capacity = node_capacity(own, common)
    return tuple(
        Node(id=node_id(region, zone, index), region=region, zone=zone, capacity=capacity)
        for index in range(count)
    )


def node_capacity(own: NodesPart, common: NodesPart) -> Resources:
    """What each node of a zone offers: the zone's word, else the region's, else the default."""
    return Resources(
        cpu_millicores=own.cpu or common.cpu or NODE_CPU_MILLICORES,
        memory_bytes=own.memory or common.memory or NODE_MEMORY_BYTES,
    )


def _links(regions: Mapping[str, Region], network: Mapping[str, LinkPart]) -> tuple[Link, ...]:
    declared = {frozenset(pair.split("~")): part for pair, part in network.items()}
    links = []
    for a, b in combinations(sorted(regions), 2):
        part = declared.get(frozenset((a, b)), LinkPart())
        latency = part.latency
        if latency is None:
            latency = travel_time(regions[a].location, regions[b].location)
        bandwidth = None if part.bandwidth is None else float(part.bandwidth)
        links.append(
            Link(
                a=a, b=b, latency=latency, jitter=part.jitter, loss=part.loss,
                bandwidth_bps=bandwidth,
            )
        )  # fmt: skip
    return tuple(links)


# --- services ---------------------------------------------------------------


def _service(
    name: str,
    part: ServicePart,
    regions: tuple[str, ...],
    steers: Mapping[str, Steer],
    measured: Measured,
) -> Service:
    return Service(
        name=name,
        workload=_workload(part),
        image=part.image,
        replicas=Replicas(min=part.replicas.min, max=part.replicas.max),
        spread=_spread(part.spread, regions),
        scale=None if part.scale is None else part.scale.scale(),
        routes=tuple(_route(route, steers) for route in part.routes),
        balance=Balance(
            policy=BalancePolicy(part.balance.policy),
            prefer=Prefer(part.balance.prefer),
            slow_start=part.balance.slow_start,
            panic_fraction=part.balance.panic,
            hash_header=part.balance.header,
        ),
        timeout=part.timeout,
        retries=Retries(
            attempts=part.retries.attempts,
            budget_fraction=part.retries.budget,
            per_try_timeout=part.retries.per_try,
            hedge=part.retries.hedge,
            server_errors=part.retries.on == "5xx",
            methods=tuple(part.retries.methods),
        ),
        limit=tuple(limit.limit() for limit in part.limit),
        calls=tuple(
            Call(service=to, per_request=call.per_request, parallel=call.parallel)
            for to, call in part.calls.items()
        ),
        work=None if part.work is None else work_of(part.work, measured),
        rollout=part.rollout.rollout(),
        drain=part.drain,
        proxy_protocol=part.proxy_protocol,
        shed=None if part.shed is None else part.shed.shed(),
        breaker=Breaker(requests=part.breaker.requests, pending=part.breaker.pending),
    )


def _workload(part: ServicePart) -> Workload:
    workload = Workload(
        command=tuple(part.run or ()),
        port=part.port,
        protocol=Protocol(part.protocol),
        env=tuple(sorted(part.env.items())),
        resources=Resources(cpu_millicores=part.resources.cpu, memory_bytes=part.resources.memory),
        probes=_probes(part),
        stop_grace=part.stop_grace,
        revision="",
    )
    # The names of the services that it calls are variables of the process: without them a new
    # call would not reach the instances that run.
    return replace(workload, revision=digest(workload, tuple(sorted(part.calls))))


def _probes(part: ServicePart) -> tuple[Probe, ...]:
    declared = [
        (ProbeKind.STARTUP, part.probes.startup),
        (ProbeKind.READINESS, part.probes.readiness),
        (ProbeKind.LIVENESS, part.probes.liveness),
    ]
    probes = tuple(_probe(kind, probe) for kind, probe in declared if probe is not None)
    if probes:
        return probes
    default = Probe(
        kind=ProbeKind.READINESS, check=TcpCheck(), period=SECOND, timeout=SECOND, failures=3
    )
    return (default,)


def _probe(kind: ProbeKind, part: ProbePart) -> Probe:
    default = 30 if kind is ProbeKind.STARTUP else 3
    return Probe(
        kind=kind,
        check=_check(part),
        period=part.every,
        timeout=probe_timeout(part),
        failures=part.failures if part.failures is not None else default,
        successes=part.successes,
        delay=part.delay,
    )


def _check(part: ProbePart) -> Check:
    if part.http is not None:
        return HttpCheck(path=part.http)
    if part.exec is not None:
        return ExecCheck(command=tuple(part.exec))
    if part.grpc is not None:
        return GrpcCheck(service=part.grpc)
    return TcpCheck()


def _spread(part: SpreadPart, regions: tuple[str, ...]) -> Spread:
    """Weights that sum to 1: what is given, and even parts of what that leaves."""
    active = [name for name in regions if name not in part.standby]
    shares = part.regions or dict.fromkeys(active)
    given = sum(share for share in shares.values() if share is not None)
    even = [name for name, share in shares.items() if share is None]
    rest = max(0.0, 1 - given) / len(even) if even else 0.0
    weights = {name: rest if share is None else share for name, share in shares.items()}
    return Spread(
        regions=weights,
        zones=ZoneSpread(part.zones),
        node_anti_affinity=part.node_anti_affinity,
        standby=dict(part.standby),
        failback=part.failback,
    )


def _route(part: RoutePart, steers: Mapping[str, Steer]) -> Route:
    return Route(
        host=part.host,
        path=part.path,
        headers=tuple(part.headers.items()),
        port=part.port,
        limit=tuple(limit.limit() for limit in part.limit),
        priority=priority(part.priority),
        steer=steers.get(part.host, Steer()),
    )
