"""Traffic sources in the kernel's records: their clients' ways, look-ups, and limits."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seakeep.engines.twin import numbers
from seakeep.engines.twin.kernel import records
from seakeep.engines.twin.kernel.clients import GROUPS
from seakeep.engines.twin.tables import Tables
from seakeep.model.distance import great_circle_km, travel_time
from seakeep.model.ids import RegionName
from seakeep.model.limits import (
    NORMAL_FACTOR,
    LimitPer,
    LimitScope,
    Priority,
    RateLimit,
    limit_key,
)
from seakeep.model.system import Protocol, Region, Route, Service, System, in_zone
from seakeep.model.time import DAY, SECOND, Duration, Instant
from seakeep.model.traffic import Location, Shape, TrafficSource

OVERSTAY_SHARE = 0.05
OVERSTAY_FACTOR = 3.0
"""As `load.resolve` has it: so many clients keep an answer so many times as long as they may."""
PRIORITIES = {Priority.CRITICAL: 0, Priority.NORMAL: 1, Priority.SHEDDABLE: 2}


def nearest_first(place: Location | None, regions: Mapping[RegionName, Region]) -> list[RegionName]:
    """As `load.geography` orders them: by distance, what has none last, then by name."""

    def far(name: RegionName) -> tuple[bool, float, str]:
        there = regions[name].location
        if place is None or there is None:
            return (True, 0.0, name)
        return (False, great_circle_km(place, there), name)

    return sorted(regions, key=far)


def way_between(place: Location | None, region: Region) -> Duration:
    """From clients to a region, one way; none between what has no place."""
    if place is None or region.location is None:
        return 0
    return travel_time(place, region.location)


def route_of(source: TrafficSource, system: System) -> int | None:
    """The index of the service's route that a source's requests take; None without any."""
    zone = "" if system.dns is None else system.dns.zone
    path = source.path.partition("?")[0]
    routes = system.services[source.service].routes

    def takes(route: Route) -> bool:
        trimmed = route.path.rstrip("/")
        return route.port is None and (path == trimmed or path.startswith(trimmed + "/"))

    found = [index for index, route in enumerate(routes) if takes(route)]
    if not found:
        return None
    return max(found, key=lambda i: (len(routes[i].path), in_zone(routes[i].host, zone)))


def host_of(source: TrafficSource, system: System) -> str | None:
    """The name that a source's clients look up; None when they look up none."""
    index = route_of(source, system)
    if index is None or system.dns is None or not source.prefix:
        return None
    host = system.services[source.service].routes[index].host
    if host == "*" or not in_zone(host.removeprefix("*."), system.dns.zone):
        return None
    return host


def add_sources(t: Tables, logs: Mapping[str, NDArray[np.int64]], began_at: Instant) -> None:
    """Sources, their groups of clients, their ways, and all limits and shedding. Shapes begin at
    `began_at`."""
    limits = Limits(t)
    count, regions = len(t.sources), len(t.regions)
    rows = t.put("sources", np.zeros(count, records.SOURCE))
    groups = t.put("groups", np.zeros(count * GROUPS, records.GROUP))
    ways = t.put("ways", np.zeros(count * regions, records.WAY))
    answers = t.put("answers", np.zeros(max(1, count * regions), records.ANSWER))
    answers["region"] = answers["wheel"] = -1
    t.put("wheels", np.zeros(max(1, count * regions), records.WHEEL))
    groups["region"] = -1
    for place, (row, source) in enumerate(zip(rows, t.system.traffic.values(), strict=True)):
        _source(t, row, source, logs)
        row["flow"] = place
        row["began_at"] = began_at
        row["groups"] = place * GROUPS
        for r, region in enumerate(t.system.regions.values()):
            ways[place * regions + r]["latency"] = way_between(source.location, region)
        _groups(t, groups[place * GROUPS : (place + 1) * GROUPS], source)
        limits.of_source(row, source)
    limits.of_calls()
    limits.finish()


def _source(
    t: Tables, row: Any, source: TrafficSource, logs: Mapping[str, NDArray[np.int64]]
) -> None:
    service = t.system.services[source.service]
    row["service"] = t.services[source.service]
    row["stream"] = t.stream(f"source {source.name}")
    row["shape"] = list(Shape).index(source.shape)
    row["rate_per_ns"] = source.rate_per_s / SECOND
    row["factor"] = 1.0
    row["amplitude"] = source.amplitude
    row["period"] = source.period or DAY
    row["patience"] = t.distribution(source.patience)
    row["by_header"] = service.balance.hash_header is not None
    row["next_group"] = -1
    near = nearest_first(source.location, t.system.regions)
    row["nearest"] = t.regions[near[0]]
    row["servers"] = t.keep(np.array([t.regions[name] for name in near], np.int64))
    row["dns"] = host_of(source, t.system) is not None
    if t.system.dns is not None:
        row["ttl"] = t.system.dns.ttl
    if source.steps and source.shape is Shape.STEP:
        steps = [(at, rate / SECOND) for at, rate in source.steps]
        row["steps"] = t.keep(np.array(steps, records.STEP))
        row["steps_count"] = len(steps)
    if source.shape is Shape.LOG:
        offsets = np.ascontiguousarray(logs[source.name], np.int64)
        row["offsets"] = t.keep(offsets)
        row["offsets_count"] = len(offsets)
    if source.sessions is not None:
        row["sessions"] = 1
        row["pages"] = source.sessions.pages
        row["think"] = t.distribution(source.sessions.think)
        row["resources"] = source.sessions.resources


def _groups(t: Tables, groups: Any, source: TrafficSource) -> None:
    """Each with the share of its first TTL that is left to it at the start."""
    late = round(GROUPS * OVERSTAY_SHARE)
    stream = numbers.stream_table(t.seed, [f"groups {source.name}"])
    for index, group in enumerate(groups):
        group["factor"] = OVERSTAY_FACTOR if index >= GROUPS - late else 1.0
        group["stagger"] = numbers.uniform(stream, 0)


class Limits:
    """Token buckets and shedding of every balancer, and which a request must pass."""

    def __init__(self, t: Tables) -> None:
        self._t = t
        self._limits: list[tuple[float, float, float, int]] = []
        self._passed: list[tuple[int, int]] = []
        """(bucket, 1 when each group of clients has its own)."""
        self.shares: dict[tuple[RegionName, str], tuple[int, RateLimit]] = {}
        """Of limits that all regions share: the bucket, by region and name."""
        self._known: dict[tuple[RegionName, str, str], int] = {}
        sheds = [one for one in t.system.services.values() if one.shed is not None]
        rows = t.put("sheds", np.zeros(2 * len(t.regions) * len(sheds) + 1, records.SHED))
        place = 0
        for r in range(len(t.regions)):
            for service in sheds:
                self._add_shed(rows, place, r, service)
                place += 2

    def _add_shed(self, rows: Any, place: int, r: int, service: Service) -> None:
        assert service.shed is not None
        front = self._front(r, service)
        front["sheds"], front["guarded"] = place, 1
        # Normal ones first, sheddable ones behind them.
        for offset, factor in enumerate((NORMAL_FACTOR, 1)):
            row = rows[place + offset]
            row["target_ns"] = service.shed.latency * factor
            row["bound"] = row["least"] = service.shed.at_least

    def _front(self, r: int, service: Service) -> Any:
        t = self._t
        return t.rows["fronts"][r * len(t.services) + t.services[service.name]]

    def of_source(self, row: Any, source: TrafficSource) -> None:
        """What a source's requests must pass, the slowest first."""
        system = self._t.system
        service = system.services[source.service]
        index = route_of(source, system)
        row["priority"] = PRIORITIES[Priority.NORMAL]
        row["limits_first"] = len(self._passed)
        owned = list(_owned(service.name, service.limit))
        if index is not None:
            row["priority"] = PRIORITIES[service.routes[index].priority]
            owned += _owned(f"{service.name}.{index}", service.routes[index].limit)
        owned.sort(key=lambda one: one[1].rate_per_s)
        row["limits_count"] = len(owned)
        for region, r in self._t.regions.items():
            for name, limit in owned:
                per_client = limit.per is not LimitPer.ALL
                owner = source.name if per_client else ""
                self._passed.append((self._bucket(region, name, limit, owner), int(per_client)))
                self._front(r, service)["guarded"] = 1

    def of_calls(self) -> None:
        """The limits of a service without routes hold for the calls of others."""
        t = self._t
        for region, r in t.regions.items():
            for service in t.system.services.values():
                front = self._front(r, service)
                front["limits_first"] = len(self._passed)
                if not service.routes and service.workload.protocol is Protocol.HTTP:
                    for name, limit in _owned(service.name, service.limit):
                        self._passed.append((self._bucket(region, name, limit, ""), 0))
                        front["guarded"] = 1
                front["limits_last"] = len(self._passed)

    def _bucket(self, region: RegionName, name: str, limit: RateLimit, owner: str) -> int:
        key = (region, name, owner)
        if key not in self._known:
            self._known[key] = len(self._limits)
            part = 1.0
            if limit.scope is LimitScope.SYSTEM and limit.per is LimitPer.ALL:
                part = 1 / len(self._t.regions)
                self.shares[region, name] = (len(self._limits), limit)
            burst = max(1.0, round(limit.burst * part))
            row = (burst, burst, limit.rate_per_s * part / SECOND, 0)
            self._limits += [row] * (GROUPS if owner else 1)
        return self._known[key]

    def finish(self) -> None:
        t = self._t
        t.put("limits", np.array(self._limits or [(0.0, 0.0, 0.0, 0)], records.LIMIT))
        t.rows["limits"]["filled_at"] = t.w["now"]
        t.put("route_limits", np.array(self._passed or [(0, 0)], records.ROUTE_LIMIT))
        t.shares = self.shares


def _owned(owner: str, limits: tuple[RateLimit, ...]) -> Iterator[tuple[str, RateLimit]]:
    for index, limit in enumerate(limits):
        yield limit_key(owner, index), limit
