"""What a cluster should be: the localities of one service at one region's balancer.

Pure construction, from the plan that follows from the spec, the roll of the region's own members,
and which other regions are to get calls; see `seakeep.decide.traffic` for what the clusters are.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, lru_cache

from seakeep.decide.ground import Ground, side_of
from seakeep.decide.members import Group, Roll, endpoints_digest, short_hash
from seakeep.model.action import Endpoint, Locality
from seakeep.model.ids import RegionName, ServiceName, ZoneName
from seakeep.model.system import Prefer, Service, System
from seakeep.model.time import SECOND, Duration

Regions = tuple[tuple[RegionName, bool], ...]
"""Regions, and whether each is to get calls from others."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Which regions have a service, and what each is to the others."""

    regions: Regions
    """Sorted."""
    reserve: tuple[RegionName, ...] = ()
    """Active-passive: those of the side that does not serve. They come last."""


NO_OTHERS = Summary(())


@dataclass(frozen=True)
class Gateways:
    """Other regions in a cluster, the nearest first; the first four fields are what they were
    made from, for one region's balancer."""

    summary: Summary
    choice: "Choice"
    priority: int
    """Of the first."""
    port: int
    regions: Regions
    """In order."""
    ready: int
    """How many are healthy."""
    text: str
    """For the digest."""

    @cached_property
    def localities(self) -> tuple[Locality, ...]:
        return tuple(
            [
                _gateway(region, healthy, priority, self.port)
                for priority, (region, healthy) in enumerate(self.regions, self.priority)
            ]
        )


class Choice(Enum):
    """Which other regions."""

    ALL = "all"
    SERVING = "serving"
    RESERVE = "reserve"
    CLOSED = "closed"
    """Those in reserve, and none of them is to get calls."""


NO_GATEWAYS = Gateways(NO_OTHERS, Choice.ALL, 0, 0, (), 0, "")


@dataclass(frozen=True)
class Cluster:
    """What a cluster should be, and what that was made from. Its digest tells whether a balancer
    has it already; the localities are only made when it has not."""

    roll: Roll
    summary: Summary
    before: Gateways
    """Regions that are asked before this one: those that serve, when it is in reserve."""
    groups: tuple[tuple[Group, int], ...]
    """Of the region itself, each with its priority."""
    gateways: Gateways
    last: Gateways
    """In reserve."""
    digest: str

    @cached_property
    def localities(self) -> tuple[Locality, ...]:
        near = [_locality(group, priority) for group, priority in self.groups]
        return (
            *self.before.localities,
            *near,
            *self.gateways.localities,
            *self.last.localities,
        )

    @property
    def regions(self) -> int:
        """Other regions in it."""
        return sum(len(one.regions) for one in (self.before, self.gateways, self.last))

    @property
    def regions_ready(self) -> int:
        return self.before.ready + self.gateways.ready + self.last.ready


@dataclass(frozen=True, slots=True)
class Plan:
    """What follows from the spec alone, for one region's balancer."""

    others: tuple[RegionName, ...]
    """The other regions of the spec, nearest first."""
    zones: tuple[ZoneName, ...]
    clusters: Mapping[ServiceName, tuple[tuple[str, ZoneName | None, bool], ...]]
    """By service: (cluster, preferred zone, with other regions)."""


# --- what follows from the spec ---------------------------------------------


def plans_of(system: System) -> dict[RegionName, Plan]:
    """The plan of every region of the spec."""
    latency = {}
    for link in system.links:
        latency[link.a, link.b] = latency[link.b, link.a] = link.latency
    plans = {}
    for name, region in system.regions.items():
        distances = [(latency.get((name, other), _FAR), other) for other in system.regions]
        others = [other for _, other in sorted(distances) if other != name]
        zones = tuple(region.zones)
        plans[name] = Plan(
            tuple(others),
            zones,
            {service.name: tuple(_names(service, zones)) for service in system.services.values()},
        )
    return plans


_FAR: Duration = 3600 * SECOND


def _names(
    service: Service, zones: Iterable[ZoneName]
) -> Iterator[tuple[str, ZoneName | None, bool]]:
    yield service.name, None, True
    if service.balance.prefer is Prefer.ZONE:
        for zone in zones:
            yield f"{service.name}@{zone}", zone, True
    yield gateway_cluster(service.name), None, False


def gateway_cluster(service: ServiceName) -> str:
    """What a region's gateway offers of a service to callers in other regions."""
    return f"{service}.local"


# --- clusters ---------------------------------------------------------------


def summary_of(
    service: Service,
    rolls: Mapping[RegionName, Roll],
    edges: Mapping[RegionName, bool],
    ground: Ground,
    known: list[Summary],
) -> Summary:
    """The one of the `known` that says the same, if any does; else it is added to them. Regions
    that are out get calls from others only when nobody else could take them."""
    regions = tuple(
        [(region, rolls[region].ready > 0 and edges.get(region, True)) for region in sorted(rolls)]
    )
    reserve: tuple[RegionName, ...] = ()
    if ground.out and any(healthy and region not in ground.out for region, healthy in regions):
        regions = tuple(
            [(region, healthy and region not in ground.out) for region, healthy in regions]
        )
    if service.spread.standby:
        side = ground.stance(service).serves
        reserve = tuple([region for region, _ in regions if side_of(service, region) is not side])
    summary = Summary(regions, reserve)
    if summary not in known:
        known.append(summary)
    return known[known.index(summary)]


def build(
    origin: RegionName,
    plan: Plan,
    roll: Roll,
    summary: Summary,
    zone: ZoneName | None,
    port: int,
    made: list[Gateways],
) -> Cluster:
    """A cluster of one region's balancer. `summary` is empty when calls are not to go to other
    regions; `made` are this balancer's gateways so far, which many clusters share.

    A region that serves does not spill over to those in reserve while it has somebody ready:
    Envoy would do that long before its last member is unwell."""

    def others(choice: Choice, priority: int) -> Gateways:
        if not summary.regions:
            return NO_GATEWAYS
        return _gateways(origin, plan, summary, choice, priority, port, made)

    first, then, last = NO_GATEWAYS, Choice.ALL, NO_GATEWAYS
    if origin in summary.reserve:
        first, then = others(Choice.SERVING, 0), Choice.RESERVE
    elif summary.reserve:
        then = Choice.SERVING
    groups = _groups(plan, roll, zone, len(first.regions))
    texts = [
        _text(group.region, group.zone, priority, 0, group.digest) for group, priority in groups
    ]
    beyond = groups[-1][1] + 1 if groups else len(first.regions)
    gateways = others(then, beyond)
    if then is Choice.SERVING:
        beyond += len(gateways.regions)
        last = others(Choice.CLOSED if roll.ready else Choice.RESERVE, beyond)
    if first.regions:
        texts.insert(0, first.text)
    texts += [one.text for one in (gateways, last) if one.regions]
    return Cluster(roll, summary, first, tuple(groups), gateways, last, _digest(texts))


def _groups(
    plan: Plan, roll: Roll, zone: ZoneName | None, priority: int
) -> list[tuple[Group, int]]:
    """The region's own members, from this priority on; with a preferred zone, that zone first."""
    near = [roll.zones[name] for name in plan.zones if name in roll.zones]
    near += [group for name, group in roll.zones.items() if name not in plan.zones]
    tiers = [near]
    if zone is not None:
        tiers = [
            [group for group in near if group.zone == zone],
            [group for group in near if group.zone != zone],
        ]
    groups: list[tuple[Group, int]] = []
    for index, tier in enumerate(filter(None, tiers), priority):
        groups += [(group, index) for group in tier]
    return groups


def _gateways(
    origin: RegionName,
    plan: Plan,
    summary: Summary,
    choice: Choice,
    priority: int,
    port: int,
    made: list[Gateways],
) -> Gateways:
    """The other regions in order: the spec's by distance, then those that are leaving."""
    for one in made:
        if (
            one.summary is summary
            and one.priority == priority
            and one.port == port
            and one.choice is choice
        ):
            return one
    healthy = dict(summary.regions)
    if choice is not Choice.ALL:
        of_reserve = choice is not Choice.SERVING
        healthy = {
            region: is_healthy and choice is not Choice.CLOSED
            for region, is_healthy in healthy.items()
            if (region in summary.reserve) is of_reserve
        }
    order = [region for region in plan.others if region in healthy]
    if len(order) + (origin in healthy) < len(healthy):
        known = {origin, *order}
        order += [region for region in healthy if region not in known]
    regions = tuple([(region, healthy[region]) for region in order])
    texts = [
        _text(region, None, index, 0, _gateway_digest(region, is_healthy, port))
        for index, (region, is_healthy) in enumerate(regions, priority)
    ]
    gateways = Gateways(
        summary,
        choice,
        priority,
        port,
        regions,
        sum([is_healthy for _, is_healthy in regions]),
        "\n".join(texts),
    )
    made.append(gateways)
    return gateways


# Remembered, since thousands of clusters hold the same few.


@lru_cache(maxsize=1 << 16)
def _gateway(region: RegionName, healthy: bool, priority: int, port: int) -> Locality:
    """Another region."""
    return Locality(
        region=region,
        zone=None,
        priority=priority,
        weight=0,
        endpoints=(_gateway_endpoint(region, healthy, port),),
    )


@lru_cache(maxsize=1 << 12)
def _gateway_digest(region: RegionName, healthy: bool, port: int) -> str:
    return endpoints_digest([_gateway_endpoint(region, healthy, port)])


def _gateway_endpoint(region: RegionName, healthy: bool, port: int) -> Endpoint:
    return Endpoint(instance=None, host=region, port=port, healthy=healthy)


def _locality(group: Group, priority: int) -> Locality:
    return Locality(
        region=group.region,
        zone=group.zone,
        priority=priority,
        weight=0,
        endpoints=group.endpoints,
    )


def digest_of(localities: Iterable[Locality]) -> str:
    """The digest that `SetEndpoints` carries: the first 16 hex digits of a SHA-256 over every
    field of the localities, and over the digests of their endpoints, which many clusters share."""
    return _digest([_text_of(locality) for locality in localities])


def _digest(texts: list[str]) -> str:
    return short_hash("\n".join(texts))


def _text_of(locality: Locality) -> str:
    return _text(
        locality.region,
        locality.zone,
        locality.priority,
        locality.weight,
        endpoints_digest(locality.endpoints),
    )


def _text(
    region: RegionName, zone: ZoneName | None, priority: int, weight: int, endpoints: str
) -> str:
    return f"{region}/{zone or ''}/{priority}/{weight}[{endpoints}]"
