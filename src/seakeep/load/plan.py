"""What is to be sent, when and where to: the input of a `LoadRun`.

A plan has lanes (one per traffic source: where its requests go) and one stream of due
requests over all lanes, in the order of their due times.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

from seakeep.load.arrivals import arrivals
from seakeep.load.geography import nearest_first
from seakeep.load.resolve import Lookup, Overstay
from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.observation import Address
from seakeep.model.system import (
    Protocol,
    Route,
    Service,
    Shape,
    System,
    TrafficSource,
    in_zone,
)
from seakeep.model.time import Duration


class PlanError(ValueError):
    """The plan cannot be made: says what is wrong; `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where requests go: an address, and what they must say to be routed."""

    address: Address
    """An IP address: the system's resolver is never asked while the load runs."""
    host: str
    """The Host header."""
    headers: tuple[tuple[str, str], ...] = ()
    region: RegionName | None = None
    """Whose edge it is; None when it is not one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One traffic source's way in."""

    source: str
    service: ServiceName
    target: Target
    lookup: Lookup | None = None
    """Where its clients find the address, if not at the target's."""


class DueRequest(NamedTuple):
    """One request and when it has to leave."""

    due: Duration
    """Since the start."""
    lane: int
    """Index into the plan's lanes."""
    method: str
    path: str
    """Origin form, as it goes on the wire: path and query, ASCII, no spaces."""


Requests = Iterator[DueRequest | None]
"""In order of due time. None: nothing found yet, let others run (a long stretch of a log
without a usable line)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    lanes: tuple[Lane, ...]
    requests: Callable[[], Requests]
    """Starts the stream of requests."""


NO_SERVERS: Mapping[RegionName, Address] = {}
USUAL = Overstay()


def plan_for_system(
    system: System,
    edges: Mapping[RegionName, Address],
    *,
    seed: int,
    sources: Sequence[str] = (),
    rate_per_s: float | None = None,
    factor: float = 1.0,
    servers: Mapping[RegionName, Address] = NO_SERVERS,
    overstay: Overstay = USUAL,
) -> LoadPlan:
    """The traffic of a spec, sent to its edges: to those that the system's DNS answers with, when
    its `servers` are given and the source's host is in its zone, else to the nearest.

    `sources`: names of the traffic sources to send; empty is all. `rate_per_s` replaces the
    rate of each (step and diurnal sources become Poisson of that rate); `factor` multiplies
    it. Raises PlanError.
    """
    chosen = _chosen(system, sources)
    if rate_per_s is not None:
        chosen = [_at_rate(source, rate_per_s) for source in chosen]
    else:
        for source in chosen:
            _refuse_what_only_the_twin_sends(source)
    lanes = tuple(lane_for(system, source, edges, servers, overstay) for source in chosen)
    return LoadPlan(lanes=lanes, requests=lambda: merged(chosen, seed, factor))


def plan_for_targets(
    targets: Sequence[tuple[TrafficSource, Target]], *, seed: int, factor: float = 1.0
) -> LoadPlan:
    """Traffic to given targets, without a system. Source names must differ."""
    sources = [source for source, _ in targets]
    lanes = tuple(
        Lane(source=source.name, service=source.service, target=target)
        for source, target in targets
    )
    return LoadPlan(lanes=lanes, requests=lambda: merged(sources, seed, factor))


def lanes_for_system(
    system: System,
    edges: Mapping[RegionName, Address],
    sources: Sequence[str] = (),
    servers: Mapping[RegionName, Address] = NO_SERVERS,
    overstay: Overstay = USUAL,
) -> tuple[tuple[Lane, ...], tuple[float, ...]]:
    """Lanes of the chosen traffic sources and their rates, for replaying a log over them."""
    chosen = _chosen(system, sources)
    lanes = tuple(lane_for(system, source, edges, servers, overstay) for source in chosen)
    return lanes, tuple(source.rate_per_s for source in chosen)


def merged(sources: Sequence[TrafficSource], seed: int, factor: float) -> Requests:
    """All sources' requests in one stream. Every source has a random stream of its own, so
    that adding one leaves the arrivals of the others alone; ties go by the order of sources."""
    return heapq.merge(
        *(_stream(lane, source, seed, factor) for lane, source in enumerate(sources))
    )


def _stream(lane: int, source: TrafficSource, seed: int, factor: float) -> Iterator[DueRequest]:
    random = Random(f"{seed} arrivals {source.name}")  # noqa: S311 - reproducible on purpose
    for due in arrivals(source, random, factor):
        yield DueRequest(due, lane, "GET", source.path)


def _refuse_what_only_the_twin_sends(source: TrafficSource) -> None:
    name = source.name
    if source.shape is Shape.LOG:
        raise PlanError(
            f"traffic source {name} follows an access log, which is the twin's to do",
            f"replay it: seakeep load --replay {source.log}; or give --rate",
        )
    if source.sessions is not None:
        raise PlanError(
            f"traffic source {name} has sessions, which are the twin's to play",
            "give the rate of requests with --rate, or choose others with --source",
        )


def _at_rate(source: TrafficSource, rate_per_s: float) -> TrafficSource:
    shape = Shape.CONSTANT if source.shape is Shape.CONSTANT else Shape.POISSON
    return replace(source, rate_per_s=rate_per_s, shape=shape)


def _chosen(system: System, names: Sequence[str]) -> list[TrafficSource]:
    if not system.traffic:
        raise PlanError(
            f"the system {system.name} declares no traffic",
            "add a traffic section to the spec, or give --url",
        )
    for name in names:
        if name not in system.traffic:
            raise PlanError(
                f"there is no traffic source {name!r}",
                f"the spec has {', '.join(system.traffic)}",
            )
    wanted = names or tuple(system.traffic)
    return [source for name, source in system.traffic.items() if name in wanted]


def lane_for(
    system: System,
    source: TrafficSource,
    edges: Mapping[RegionName, Address],
    servers: Mapping[RegionName, Address] = NO_SERVERS,
    overstay: Overstay = USUAL,
) -> Lane:
    """The way from a traffic source to an edge: the nearest, or what DNS says."""
    service = system.services[source.service]
    if service.workload.protocol is not Protocol.HTTP:
        raise PlanError(
            f"traffic source {source.name} goes to {service.name}, which speaks "
            f"{service.workload.protocol}: only HTTP can be loaded",
        )
    route = _route(service, source, "" if system.dns is None else system.dns.zone)
    near = nearest_first(source.location, system.regions.values())
    region = next((name for name in near if name in edges), None)
    if region is None:
        raise PlanError("no region's edge is running", "start the system: seakeep up")
    address = edges[region]
    host = f"{address.host}:{address.port}" if route.host == "*" else route.host
    host = host.replace("*.", "load.", 1)
    target = Target(address=address, host=host, headers=route.headers, region=region)
    lookup = None
    if servers and system.dns is not None and in_zone(host, system.dns.zone) and source.prefix:
        lookup = Lookup(
            name=host,
            servers=tuple(servers[name] for name in near if name in servers),
            prefix=source.prefix,
            edges={one.host: (name, one) for name, one in edges.items()},
            overstay=overstay,
        )
    return Lane(source=source.name, service=service.name, target=target, lookup=lookup)


def _route(service: Service, source: TrafficSource, zone: str) -> Route:
    """The route that the source's path takes: the longest prefix; of equals the first whose host
    is in the zone, if there is one, else the first."""
    path = source.path.partition("?")[0]
    matching = [
        route for route in service.routes if route.port is None and _is_under(path, route.path)
    ]
    if not matching:
        raise PlanError(
            f"traffic source {source.name}: no route of {service.name} takes the path {path}",
            f"give {service.name} a route, such as routes: [{{path: {path}}}]",
        )
    return max(matching, key=lambda route: (len(route.path), in_zone(route.host, zone)))


def _is_under(path: str, prefix: str) -> bool:
    trimmed = prefix.rstrip("/")
    return path == trimmed or path.startswith(trimmed + "/")
