"""A world's tables as they are when it begins: what the spec says, in the kernel's records.

Rows are numbered in the order of the spec; a service in a region is `region x services + service`,
a way from a source `source x regions + region`, a link `origin x regions + target`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seakeep.engines.twin import numbers
from seakeep.engines.twin.kernel import records, words
from seakeep.engines.twin.kernel.events import NEVER
from seakeep.model.hdr import BUCKETS
from seakeep.model.histogram import BOUNDS
from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.limits import RateLimit
from seakeep.model.scale import Metric
from seakeep.model.system import (
    BalancePolicy,
    ObjectiveKind,
    Prefer,
    Protocol,
    Service,
    System,
    nodes_of,
)
from seakeep.model.time import MILLISECOND, SECOND, Duration, Instant
from seakeep.model.work import Distribution

Rows = NDArray[Any]
UNBOUNDED = 1 << 40
"""Slots, queue or requests that nobody counts."""
ROWS_AT_FIRST = 256
OUTLIERS = {Protocol.HTTP: 5, Protocol.TCP: 2}
RETRIABLE = sum(
    1 << code
    for code in (words.REFUSED, words.RESET, words.UNAVAILABLE, words.FULL, words.TRY_LATE)
)


class Tables:
    """Every table, by name, and the record that has their addresses."""

    def __init__(self, system: System, seed: int) -> None:
        self.system = system
        self.seed = seed
        self._world = np.zeros(1, records.WORLD)
        self.address = int(self._world.ctypes.data)
        self.w: Any = self._world[0]
        self.rows: dict[str, Rows] = {}
        self._kept: dict[int, Rows] = {}
        """What records point to beside, by address."""
        self.losses: list[float] = []
        """Of each link, as the spec has it."""
        self.regions: dict[RegionName, int] = {name: i for i, name in enumerate(system.regions)}
        self.services: dict[ServiceName, int] = {name: i for i, name in enumerate(system.services)}
        self.sources = {name: i for i, name in enumerate(system.traffic)}
        self.zones = {
            (region.name, zone): i
            for region in system.regions.values()
            for i, zone in enumerate(region.zones)
        }
        self.nodes = {node.id: i for i, node in enumerate(nodes_of(system))}
        self.clusters: dict[tuple[RegionName, str], int] = {}
        self.streams: list[str] = []
        self.distributions: list[Distribution] = []
        self.span_timers: list[Duration] = []
        self.try_timers: list[Duration] = []
        self.shares: dict[tuple[RegionName, str], tuple[int, RateLimit]] = {}
        """Buckets of limits that all regions share, by region and name."""
        self.w["regions_count"] = len(self.regions)
        self.w["services_count"] = len(self.services)
        self.w["sources_count"] = len(self.sources)
        self._pools()

    def put(self, name: str, rows: Rows) -> Rows:
        """A table takes its place, or that of the one that was too small."""
        self.rows[name] = rows
        self.w[name] = rows.ctypes.data
        return rows

    def keep(self, rows: Rows) -> int:
        """The address of rows that live as long as the world."""
        self._kept[int(rows.ctypes.data)] = rows
        return int(rows.ctypes.data)

    def at(self, address: int) -> Rows:
        """The rows that are kept there."""
        return self._kept[address]

    def stream(self, name: str) -> int:
        self.streams.append(name)
        return len(self.streams) - 1

    def distribution(self, one: Distribution | None) -> int:
        if one is None:
            return -1
        self.distributions.append(one)
        return len(self.distributions) - 1

    def finish(self) -> None:
        """Once every stream and distribution has been asked for."""
        self.put("streams", numbers.stream_table(self.seed, self.streams))
        self.put("dists", numbers.table_of(self.distributions))
        for name in ("streams", "dists"):
            self.w[f"{name}_size"] = len(self.rows[name])
        for name, lengths in (("span_timers", self.span_timers), ("try_timers", self.try_timers)):
            timers = self.put(name, np.zeros(len(lengths) + 1, records.TIMER))
            timers["length"][: len(lengths)] = lengths
            timers["first"] = timers["last"] = -1

    # --- tables that grow ---------------------------------------------------

    def _pools(self) -> None:
        for name in ("events", "todo", "notices"):
            self.put(name, np.zeros(ROWS_AT_FIRST * 4, POOLS[name]))
            self.w[f"{name}_size"] = ROWS_AT_FIRST * 4
        self.rows["events"]["at"] = NEVER
        for name in ("spans", "tries", "sessions"):
            self.put(name, np.zeros(0, POOLS[name]))
            self.w[f"{name}_free"] = -1
            self._grow_pool(name, ROWS_AT_FIRST)

    def _grow_pool(self, name: str, count: int) -> None:
        """`count` free rows more."""
        old = self.rows[name]
        rows = self.put(name, np.zeros(len(old) + count, old.dtype))
        rows[: len(old)] = old
        fresh = np.arange(len(old), len(rows))
        rows["next"][len(old) :] = fresh + 1
        rows["next"][-1] = self.w[f"{name}_free"]
        for field, value in FREE[name].items():
            rows[field][len(old) :] = value
        self.w[f"{name}_free"] = len(old)
        self.w[f"{name}_left"] += count
        self.w[f"{name}_size"] = len(rows)

    def grow(self) -> None:
        """Whatever has few rows left gets as many again as it has."""
        margin = int(self.w["margin"])
        for name, used in (
            ("events", "events_used"),
            ("todo", "todo_tail"),
            ("notices", "notices_used"),
        ):
            old = self.rows[name]
            if self.w[used] + 2 * margin > len(old):
                rows = self.put(name, np.zeros(2 * len(old) + 2 * margin, old.dtype))
                rows[: len(old)] = old
                if name == "events":
                    rows["at"][len(old) :] = NEVER
                self.w[f"{name}_size"] = len(rows)
        for name in ("spans", "tries", "sessions"):
            if self.w[f"{name}_left"] < 2 * margin:
                self._grow_pool(name, len(self.rows[name]) + 2 * margin)
        self.w["low"] = 0

    def more(self, name: str, size: int) -> None:
        """At least `size` rows in a table that Python alone fills."""
        old = self.rows[name]
        if len(old) < size:
            rows = self.put(name, np.zeros(max(size, 2 * len(old)), old.dtype))
            rows[: len(old)] = old
            if name == "events":
                rows["at"][len(old) :] = NEVER
            if f"{name}_size" in (records.WORLD.names or ()):
                self.w[f"{name}_size"] = len(rows)


POOLS = {
    "events": records.EVENT,
    "todo": records.TODO,
    "notices": records.NOTICE,
    "spans": records.SPAN,
    "tries": records.TRY,
    "sessions": records.SESSION,
}
FREE: dict[str, dict[str, int]] = {
    "spans": {"kind": -1, "timer": -1, "tries": -1, "shed": -1},
    "tries": {"state": -1, "instance": -1, "timer": -1, "span": -1, "peer": -1},
    "sessions": {"source": -1},
}


def build(system: System, seed: int, now: Instant) -> Tables:
    """Tables of a world without instances or sources, before any traffic."""
    t = Tables(system, seed)
    t.w["now"] = now
    _places(t, now)
    _services(t)
    _fronts(t)
    _flows(t)
    t.w["margin"] = 64 + _fan_out(system)
    return t


def _fan_out(system: System) -> int:
    """The most rows that a single event may take."""
    calls = [
        sum(int(call.per_request) + 1 for call in service.calls)
        for service in system.services.values()
    ]
    resources = [one.sessions.resources for one in system.traffic.values() if one.sessions]
    return max([0, *calls, *resources])


def _places(t: Tables, now: Instant) -> None:
    regions = t.put("regions", np.zeros(len(t.regions), records.REGION))
    regions["state"] = regions["ordered"] = regions["dns"] = words.SERVING
    nodes = t.put("nodes", np.zeros(len(t.nodes) + 1, records.NODE))
    nodes["root"] = -1
    nodes["clock_at"] = now
    for node, row in zip(nodes_of(t.system), nodes, strict=False):
        row["capacity"] = node.capacity.cpu_millicores / 1000
    count = len(t.regions)
    links = t.put("links", np.zeros(count * count, records.LINK))
    for link in t.system.links:
        for origin, target in ((link.a, link.b), (link.b, link.a)):
            row = links[t.regions[origin] * count + t.regions[target]]
            row["latency"] = link.latency
            row["jitter"] = link.jitter
            row["loss"] = link.loss
            row["bytes_per_ns"] = (link.bandwidth_bps or 0.0) / 8 / SECOND
            row["stream"] = t.stream(f"link {origin} {target}")
    t.losses = links["loss"].tolist()


def _services(t: Tables) -> None:
    system = t.system
    rows = t.put("services", np.zeros(len(t.services), records.SERVICE))
    calls: list[tuple[float, int, int]] = []
    goals: list[tuple[int, int, int]] = []
    for row, service in zip(rows, system.services.values(), strict=True):
        _work(t, row, service)
        _policy(t, row, service)
        row["flow"] = len(t.sources) + t.services[service.name]
        row["calls"] = len(calls)
        for parallel in (True, False):
            for call in service.calls:
                if call.parallel is parallel:
                    whole = int(call.per_request)
                    calls.append((call.per_request - whole, t.services[call.service], whole))
            if parallel:
                row["calls_parallel"] = len(calls)
        row["calls_end"] = len(calls)
        row["goals_first"] = len(goals)
        by_clients = any(one.service == service.name for one in system.traffic.values())
        for index, one in enumerate(system.objectives):
            if one.service == service.name:
                latency = one.kind is ObjectiveKind.LATENCY and one.threshold is not None
                within = one.threshold if latency and one.threshold is not None else -1
                goals.append((within, index, int(by_clients)))
        row["goals_last"] = len(goals)
    t.put("calls", np.array(calls or [(0.0, 0, 0)], records.CALL))
    t.put("goals", np.array(goals or [(0, 0, 0)], records.GOAL))


def _work(t: Tables, row: Any, service: Service) -> None:
    work = service.work
    row["work"] = row["queue_timeout"] = row["pause_every"] = row["pause_time"] = -1
    row["slots"] = row["queue"] = UNBOUNDED
    if work is None:
        return
    row["work"] = t.distribution(work.time)
    row["slots"] = work.concurrency
    row["queue"] = UNBOUNDED if work.queue is None else work.queue
    if work.queue_timeout is not None:
        row["queue_timeout"] = t.distribution(work.queue_timeout)
    row["cancel"] = work.cancel
    row["errors"] = work.errors
    row["cpu"] = work.cpu
    row["leak"] = work.leak_bytes
    row["response_bytes"] = work.response_bytes
    if work.warmup is not None:
        row["warm_factor"] = work.warmup.factor
        row["warm_time"] = work.warmup.time
    if work.pauses is not None:
        row["pause_every"] = t.distribution(work.pauses.every)
        row["pause_time"] = t.distribution(work.pauses.time)


def _policy(t: Tables, row: Any, service: Service) -> None:
    http = service.workload.protocol is Protocol.HTTP
    retries, balance = service.retries, service.balance
    row["http"] = http
    row["policy"] = list(BalancePolicy).index(balance.policy)
    row["by_header"] = balance.hash_header is not None
    row["by_zone"] = balance.prefer is Prefer.ZONE
    row["panic"] = balance.panic_fraction * 100
    row["slow_start"] = balance.slow_start
    row["outlier"] = OUTLIERS[service.workload.protocol]
    row["attempts"] = retries.attempts if http else retries.attempts + bool(retries.attempts)
    row["budget"] = retries.budget_fraction
    repeats = http and "GET" in retries.methods
    row["hedge"] = retries.hedge
    row["retriable"] = RETRIABLE if repeats else 1 << words.REFUSED
    if repeats and retries.server_errors:
        row["retriable"] |= 1 << words.ERROR
    row["timer"] = row["try_timer"] = -1
    if http and service.timeout:
        row["timer"] = len(t.span_timers)
        t.span_timers.append(service.timeout)
    if repeats and retries.attempts and (retries.per_try_timeout or service.timeout):
        default = max(service.timeout // 2, MILLISECOND)
        t.try_timers.append(
            default
            if retries.per_try_timeout is None
            else min(retries.per_try_timeout, service.timeout or retries.per_try_timeout)
        )
        row["try_timer"] = len(t.try_timers) - 1
    breaker = service.breaker
    row["breaker_requests"] = UNBOUNDED if breaker.requests is None else breaker.requests
    row["timed"] = service.scale is not None and any(
        one.metric is Metric.LATENCY for one in service.scale.metrics
    )
    if service.scale is not None:
        row["hold_time"] = service.scale.hold.time
        row["hold_max"] = service.scale.hold.connections_max


def _fronts(t: Tables) -> None:
    """A balancer for every service in every region, with its clusters."""
    count = len(t.services)
    fronts = t.put("fronts", np.zeros(len(t.regions) * count, records.FRONT))
    fronts["sheds"] = -1
    clusters: list[tuple[int, int, bool]] = []
    for region, r in t.regions.items():
        for service in t.system.services.values():
            s = t.services[service.name]
            front = fronts[r * count + s]
            names = [service.name, f"{service.name}.local"]
            if service.balance.prefer is Prefer.ZONE:
                names += [f"{service.name}@{zone}" for zone in t.system.regions[region].zones]
            front["cluster"], front["gateway"] = len(clusters), len(clusters) + 1
            front["zones"] = len(clusters) + 2
            for name in names:
                t.clusters[region, name] = len(clusters)
                clusters.append((r, s, name.endswith(".local")))
    rows = t.put("clusters", np.zeros(len(clusters), records.CLUSTER))
    for row, (r, s, gateway) in zip(rows, clusters, strict=True):
        row["region"], row["service"], row["gateway"] = r, s, gateway
        row["only"] = row["held_first"] = row["held_last"] = -1
    for (region, name), c in t.clusters.items():
        rows[c]["stream"] = t.stream(f"cluster {region} {name}")


def _flows(t: Tables) -> None:
    flows = t.put("flows", np.zeros(len(t.sources) + len(t.services), records.FLOW))
    for flow in flows:
        flow["latency"] = t.keep(np.zeros(BUCKETS, np.int64))
        flow["wait"] = t.keep(np.zeros(BUCKETS, np.int64))
    bins = np.zeros(8 * 65, np.int64)
    for digits in range(65):
        for eighth in range(8):
            # The least number of so many digits whose first four end so.
            least = (8 + eighth) << (digits - 4) if digits >= 4 else eighth
            bins[8 * digits + eighth] = min(int(np.searchsorted(BOUNDS, least)), len(BOUNDS) - 1)
    t.put("bins", bins)
    # Beyond the last bound there is none: what is longer counts there.
    t.put("bounds", np.array([*BOUNDS[:-1], 1 << 62], np.int64))


def add_series(t: Tables, counted_from: Instant, end: Instant, bucket: Duration) -> None:
    """What is written down by bucket of time."""
    buckets = -(-(end - counted_from) // bucket)
    t.w["counted_from"], t.w["counted_until"] = counted_from, end
    t.w["bucket"], t.w["buckets"] = bucket, buckets
    t.w["bucket_now"], t.w["bucket_end"] = -1, counted_from
    lines = len(t.sources) * len(t.regions) * buckets
    t.put("lines", np.zeros(max(1, lines), records.LINE))
    loads = len(t.services) * len(t.regions) * buckets
    t.put("loads", np.zeros(max(1, loads), records.LOAD))
    t.put("goods", np.zeros(max(1, len(t.system.objectives) * buckets), records.GOOD))
