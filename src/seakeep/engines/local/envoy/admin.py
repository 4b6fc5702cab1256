"""Asking a running Envoy: is it ready, what has it taken, what does it see and count?

A client for the admin interface on its Unix socket. Every question is one short request on a
connection of its own, so that an Envoy that was restarted is simply asked again.
"""

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import h11

from seakeep.engines.local.envoy.clusters import service_of
from seakeep.engines.local.envoy.paths import ConfigVersions
from seakeep.engines.local.envoy.versions import HostCount
from seakeep.engines.local.layout import Layout
from seakeep.model.histogram import Counts, merged
from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.observation import TrafficReading

READ_BYTES = 65_536
REJECTION_GRACE_S = 1.0
REJECTION = re.compile(r"config update (?:rejected|failure): (.*)", re.DOTALL)
ROUTES_VERSION = re.compile(r"http\.[^.]+\.rds\.(.+)\.version_text")
FILTER_VERSION = re.compile(r"extension_config_discovery\.http_filter\.(.+)\.version_text")
LOG_LINE = re.compile(r"(?m)^(?=\[\d{4}-\d\d-\d\d )")

HTTP_STATS = (
    "upstream_rq_completed",
    "upstream_rq_5xx",
    "upstream_rq_retry",
    "upstream_rq_active",
    "upstream_rq_pending_active",
)
ANSWER_TIME = "upstream_rq_time"
REFUSALS = ("limited", "shed")
"""What Envoy itself refused, by service: counted by the access log named stats."""
TCP_REQUESTS = "downstream_cx_total"
TCP_STATS = (
    "upstream_cx_active",
    "upstream_cx_connect_fail",
    "upstream_cx_connect_attempts_exceeded",
    "upstream_cx_none_healthy",
)


class AdminError(OSError):
    """Envoy could not be asked, or refused the question."""


class ConfigRejected(Exception):
    """Envoy did not take a configuration; the message is Envoy's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Versions of what Envoy runs with; empty strings for what it has not taken yet."""

    listeners: str
    clusters: str
    endpoints: Mapping[str, str]
    """Digest by cluster."""
    routes: Mapping[str, str]
    """Version by name of the route configuration."""
    filters: Mapping[str, str]
    """Version by name of the filter that has a file of its own."""

    def includes(self, wanted: ConfigVersions) -> bool:
        """Whether all of these run; an empty string stands for any version."""
        return (
            self.listeners.startswith(wanted.listeners)
            and self.clusters.startswith(wanted.clusters)
            and wanted.routes.items() <= self.routes.items()
            and wanted.filters.items() <= self.filters.items()
        )


NOTHING_TAKEN = Taken(listeners="", clusters="", endpoints={}, routes={}, filters={})


@dataclass(frozen=True, slots=True, kw_only=True)
class HostState:
    """One endpoint of a cluster as Envoy sees it."""

    cluster: str
    address: str
    """`host:port`."""
    priority: int
    weight: int
    failed_active_check: bool
    """Envoy's own health check fails (or has not passed yet)."""
    ejected: bool
    """By failures of real requests."""
    told_unhealthy: bool
    """Pushed as unhealthy or draining."""

    @property
    def healthy(self) -> bool:
        return not (self.failed_active_check or self.ejected or self.told_unhealthy)


class EdgeAdmin:
    """The admin interface of one region's Envoy."""

    def __init__(self, layout: Layout, region: RegionName, timeout_s: float = 2.0) -> None:
        self.region = region
        self._socket = str(layout.edge_socket(region))
        self._log = layout.log(f"edge.{region}")
        self._timeout_s = timeout_s

    async def ready(self) -> bool:
        """Whether Envoy serves; False when it cannot be asked, too."""
        try:
            return (await self._get("/ready")).strip() == "LIVE"
        except AdminError:
            return False

    async def taken(self) -> Taken:
        """What Envoy says it runs with, in one request."""
        found = _stats(await self._get(f"/stats?type=TextReadouts&filter={_VERSIONS}"))
        texts = {name: value.strip('"') for name, value in found.items()}
        return Taken(
            listeners=texts.get("listener_manager.lds.version_text", ""),
            clusters=texts.get("cluster_manager.cds.version_text", ""),
            endpoints={
                name.removeprefix("cluster.").removesuffix(".version_text"): value
                for name, value in texts.items()
                if name.startswith("cluster.")
            },
            routes=_named(texts, ROUTES_VERSION),
            filters=_named(texts, FILTER_VERSION),
        )

    async def endpoints_taken(self, cluster: str, digest: str) -> bool:
        """Whether the push with this digest is what the cluster runs with."""
        name = f"cluster.{cluster}.version_text"
        pattern = quote(f"^{re.escape(name)}$")
        found = _stats(await self._get(f"/stats?type=TextReadouts&filter={pattern}"))
        return found.get(name, "").strip('"') == digest

    async def listeners_changed(self) -> int:
        """How often Envoy has added or changed a listener since it started."""
        found = _stats(await self._get(f"/stats?filter={_LISTENERS_CHANGED}"))
        return sum(int(value) for value in found.values())

    async def listeners_taken(self, version: str) -> bool:
        return (await self.taken()).listeners == version

    async def clusters_taken(self, version: str) -> bool:
        return (await self.taken()).clusters == version

    async def traffic(
        self, services: Iterable[ServiceName] = (), timed: Iterable[ServiceName] = ()
    ) -> tuple[TrafficReading, ...]:
        """Requests (connections of L4 services) by service, as callers in the region saw them:
        gateways are left out, since the calling region has counted those. One for each of
        `services`, asked for or not, and for others that were; those of `timed` with the times
        of their answers. Sorted by service."""
        wanted = _traffic_of(tuple(sorted(timed)))
        query = f"/stats?usedonly&histogram_buckets=disjoint&filter={wanted}"
        sums: dict[ServiceName, dict[str, int]] = {name: {} for name in services}
        times: dict[ServiceName, list[Counts]] = {}
        for name, value in _stats(await self._get(query)).items():
            service, stat = _counted(name)
            if stat == ANSWER_TIME:
                times.setdefault(service, []).append(_counts(value))
                continue
            totals = sums.setdefault(service, {})
            totals[stat] = totals.get(stat, 0) + int(value)
        return tuple(
            _reading(self.region, name, sums[name], merged(times.get(name, ())))
            for name in sorted(sums)
        )

    async def hosts(self) -> tuple[HostState, ...]:
        """Every endpoint of every cluster, in Envoy's order."""
        try:
            statuses = json.loads(await self._get("/clusters?format=json"))["cluster_statuses"]
        except (ValueError, KeyError) as error:
            raise AdminError(f"edge {self.region}: unreadable answer: {error}") from error
        return tuple(
            _host(status["name"], host)
            for status in statuses
            for host in status.get("host_statuses", ())
        )

    async def host_counts(self) -> list[HostCount]:
        """What every endpoint answered. Raises AdminError."""
        try:
            statuses = json.loads(await self._get("/clusters?format=json"))["cluster_statuses"]
            return [
                _host_count(status["name"], host)
                for status in statuses
                for host in status.get("host_statuses", ())
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise AdminError(f"edge {self.region}: unreadable answer: {error}") from error

    async def reopen_logs(self) -> None:
        """Close the access log and open it by its name again, after it was renamed away."""
        await self._get("/reopen_logs", method="POST")

    async def routes_taken(self, name: str, version: str) -> bool:
        return (await self.taken()).routes.get(name) == version

    async def await_taken(
        self, wanted: ConfigVersions, *, timeout_s: float = 10.0, log_from: int = 0
    ) -> None:
        """Return once Envoy runs with these versions. Raises ConfigRejected with Envoy's text
        when it complained after byte `log_from` of its log, TimeoutError when it just did not.

        Without `log_from` complaints of earlier lives are in the log, too: what is fine is taken
        within milliseconds, so a complaint counts only when it has not been for a second.
        """
        loop = asyncio.get_running_loop()
        believe_at = loop.time() + (0.0 if log_from else REJECTION_GRACE_S)
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    taken = await self.taken()
                except AdminError:
                    taken = NOTHING_TAKEN
                if taken.includes(wanted):
                    return
                texts = rejections(self._log, log_from)[0]
                if texts and loop.time() >= believe_at:
                    raise ConfigRejected("; ".join(texts[-2:]))
                await asyncio.sleep(0.02)

    def log_size(self) -> int:
        """Where Envoy's log ends now: the `log_from` for what is about to be written."""
        return self._log.stat().st_size if self._log.exists() else 0

    async def _get(self, target: str, method: str = "GET") -> str:
        try:
            async with asyncio.timeout(self._timeout_s):
                reader, writer = await asyncio.open_unix_connection(self._socket)
                try:
                    return await _exchange(reader, writer, method, target)
                finally:
                    writer.close()
        except (OSError, TimeoutError, h11.ProtocolError) as error:
            reason = str(error) or type(error).__name__
            raise AdminError(f"edge {self.region} does not answer: {reason}") from error


def rejections(log: Path, start: int = 0) -> tuple[tuple[str, ...], int]:
    """What Envoy's log says from byte `start` on about configurations that it did not take,
    and where to go on reading next time."""
    if not log.exists():
        return (), 0
    with log.open("rb") as file:
        file.seek(start)
        data = file.read()
    texts = []
    for record in LOG_LINE.split(data.decode(errors="replace")):
        if found := REJECTION.search(record):
            texts.append(" ".join(found.group(1).split()))
    return tuple(texts), start + len(data)


def _named(texts: Mapping[str, str], pattern: re.Pattern[str]) -> dict[str, str]:
    """Values by what the pattern finds in their names."""
    return {match[1]: value for name, value in texts.items() if (match := pattern.fullmatch(name))}


def _counted(name: str) -> tuple[ServiceName, str]:
    """Whose counter it is, and of what."""
    owner, _, stat = name.rpartition(".")
    kind, _, rest = owner.partition(".")
    match kind:
        case "cluster":  # cluster.web.<stat>, cluster.web@a.<stat>
            return service_of(rest), stat
        case "tcp":  # tcp.edge.db.<stat>, tcp.internal.db.<stat>
            return service_of(rest.partition(".")[2]), stat
        case _:  # seakeep.limited.service.web
            return stat, rest.partition(".")[0]


def _either(names: tuple[str, ...]) -> str:
    return "(" + "|".join(names) + ")"


_LISTENERS_CHANGED = r"^listener_manager\.listener_(added|modified|in_place_updated)$"
_VERSIONS = r"version_text$"


@lru_cache(maxsize=8)
def _traffic_of(timed: tuple[ServiceName, ...]) -> str:
    """The names of the stats that are wanted. No `web.local`: those are gateways."""
    times = rf"|cluster\.{_either(timed)}(@[^.]%2B)?\.{ANSWER_TIME}" if timed else ""
    return (
        rf"^(cluster\.[^.]%2B\.{_either(HTTP_STATS + TCP_STATS)}"
        rf"|tcp\.(edge|internal)\.[^.]%2B\.{TCP_REQUESTS}"
        rf"|seakeep\.{_either(REFUSALS)}\.service\.[^.]%2B{times})$"
    )


def _counts(text: str) -> Counts:
    """`B1(0,1) B1.2(0,3) ...`: by upper bound, since the last flush and since the start."""
    counts = [int(pair.partition(",")[2].rstrip(")")) for pair in text.split()]
    while counts and not counts[-1]:
        counts.pop()
    return tuple(counts)


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, target: str
) -> str:
    connection = h11.Connection(our_role=h11.CLIENT)
    headers = [("Host", "edge"), ("Connection", "close")]
    request = connection.send(h11.Request(method=method, target=target, headers=headers))
    writer.write((request or b"") + (connection.send(h11.EndOfMessage()) or b""))
    body = bytearray()
    status = 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(READ_BYTES))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            break
    text = body.decode(errors="replace")
    if status != 200 and target != "/ready":
        raise AdminError(f"{method} {target}: HTTP {status}: {text.strip()}")
    return text


def _stats(text: str) -> dict[str, str]:
    """`name: value` lines. Names hold colons of their own never followed by a blank."""
    pairs = (line.rpartition(": ") for line in text.splitlines())
    return {name: value for name, _, value in pairs if name}


def _reading(
    region: RegionName, service: ServiceName, sums: Mapping[str, int], latency: Counts
) -> TrafficReading:
    if TCP_REQUESTS in sums:
        exceeded = sums.get("upstream_cx_connect_attempts_exceeded", 0)
        return TrafficReading(
            region=region,
            service=service,
            requests=sums[TCP_REQUESTS],
            failures=exceeded + sums.get("upstream_cx_none_healthy", 0),
            retries=max(0, sums.get("upstream_cx_connect_fail", 0) - exceeded),
            in_flight=sums.get("upstream_cx_active", 0),
        )
    return TrafficReading(
        region=region,
        service=service,
        requests=sums.get("upstream_rq_completed", 0),
        failures=sums.get("upstream_rq_5xx", 0),
        retries=sums.get("upstream_rq_retry", 0),
        in_flight=sums.get("upstream_rq_active", 0),
        limited=sums.get("limited", 0),
        shed=sums.get("shed", 0),
        pending=sums.get("upstream_rq_pending_active", 0),
        latency=latency,
    )


def _host_count(cluster: str, status: Mapping[str, Any]) -> HostCount:
    socket = status["address"]["socket_address"]
    stats = {one["name"]: int(one.get("value", 0)) for one in status.get("stats", ())}
    return HostCount(
        cluster=cluster,
        address=f"{socket['address']}:{socket['port_value']}",
        requests=stats.get("rq_total", 0),
        failures=max(stats.get("rq_error", 0), stats.get("rq_timeout", 0)),
    )


def _host(cluster: str, status: Mapping[str, object]) -> HostState:
    address = status["address"]
    health = status.get("health_status", {})
    if not isinstance(address, dict) or not isinstance(health, dict):
        raise AdminError(f"unreadable endpoint of {cluster}")
    socket = address["socket_address"]
    weight = status.get("weight", 0)
    priority = status.get("priority", 0)
    return HostState(
        cluster=cluster,
        address=f"{socket['address']}:{socket['port_value']}",
        priority=priority if isinstance(priority, int) else 0,
        weight=weight if isinstance(weight, int) else 0,
        failed_active_check=bool(health.get("failed_active_health_check")),
        ejected=bool(health.get("failed_outlier_check")),
        told_unhealthy=health.get("eds_health_status", "HEALTHY") != "HEALTHY",
    )
