"""A region's edge as a part: its Envoy, what it has been told, and what it counts."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import Any

from seakeep.engines.local.addresses import AddressBook
from seakeep.engines.local.clock import BootClock
from seakeep.engines.local.envoy.admin import ConfigRejected, EdgeAdmin
from seakeep.engines.local.envoy.config import (
    envoy_argv,
    push_again,
    write_bootstrap,
    write_config,
    write_shares,
)
from seakeep.engines.local.envoy.endpoints import write_endpoints
from seakeep.engines.local.envoy.limits import load_shares, save_shares, shared_limits
from seakeep.engines.local.envoy.paths import ConfigVersions, access_log, shares_path
from seakeep.engines.local.envoy.versions import VersionMeter, Versions
from seakeep.engines.local.layout import Layout
from seakeep.engines.local.parts import Part
from seakeep.engines.local.processes import Identity
from seakeep.engines.local.state import PartRecord
from seakeep.model.action import SetEndpoints, SetLimit
from seakeep.model.ids import ServiceName
from seakeep.model.observation import (
    AppliedEndpoints,
    AppliedLimit,
    RevisionReading,
    TrafficReading,
)
from seakeep.model.scale import Metric, is_held
from seakeep.model.system import Service, System

TAKEN_DEADLINE_S = 5.0
TAKEN_POLL_S = 0.003
TRAFFIC_EVERY_S = 1.0
TRAFFIC_EVERY_HELD_S = 0.2
"""Where a service may be asleep: the first request waits until it has been seen."""
ACCESS_LOG_BYTES_MAX = 64 << 20
ACCESS_LOGS_KEPT = 2


class EdgePart(Part):
    def __init__(
        self,
        record: PartRecord,
        layout: Layout,
        token: str,
        changed: Callable[[], None],
        save: Callable[[], None],
        book: AddressBook,
        versions: Callable[[], Versions],
    ) -> None:
        """`versions`: of the services of which more than one version runs."""
        super().__init__(record, layout, token, changed, save)
        self.traffic: tuple[TrafficReading, ...] = ()
        self.revisions: tuple[RevisionReading, ...] = ()
        self._versions_of = versions
        self._meter = VersionMeter(record.region, access_log(layout, record.region))
        self._book = book
        self._admin = EdgeAdmin(layout, record.region)
        self._system: System | None = None
        self._timed: tuple[ServiceName, ...] = ()
        """Services whose answers are timed."""
        self._held: frozenset[ServiceName] = frozenset()
        """Services that may be without instances."""
        self._versions: ConfigVersions | None = None
        self._applied: dict[str, AppliedEndpoints] = {}
        self._shares = load_shares(shares_path(layout, record.region))
        self._limits: dict[str, AppliedLimit] = {}
        self._push = asyncio.Lock()
        self._counting: asyncio.Task[None] | None = None

    def configure(self, system: System) -> None:
        """Take the spec; a running Envoy reloads what changed. A region that has left the spec
        keeps its last configuration until it is retired."""
        if self.record.region in system.regions:
            self._system = system
            services = system.services.values()
            self._timed = tuple(filter(None, map(_timed, services)))
            self._held = frozenset(
                one.name for one in services if is_held(one.scale, one.replicas.min)
            )
            self.prepare()

    def prepare(self) -> None:
        assert self._system is not None, "configured before it is started"
        write_bootstrap(self._system.name, self.record.region, self.layout)
        known = shared_limits(self._system.services.values())
        self._shares = {name: self._shares[name] for name in self._shares if name in known}
        self._limits = {name: self._limits[name] for name in self._limits if name in known}
        self._versions = write_config(
            self._system, self.record.region, self._book, self.layout, self._shares
        )

    def launch(self) -> Identity:
        return self.spawn(envoy_argv(self.layout, self.record.region))

    async def connect(self) -> None:
        if not await self._admin.ready():
            raise ConnectionError("not ready")
        if self._versions is not None:
            try:
                await self._admin.await_taken(self._versions)
            except ConfigRejected:
                # What was in its way may be gone by the next start: an address in use, say.
                push_again(self.layout, self.record.region)
                raise
        self._applied = {}
        for name, rate in self._shares.items():
            self._note_limit(name, rate)
        self._counting = asyncio.create_task(self._count())

    async def disconnect(self) -> None:
        if self._counting is not None:
            self._counting.cancel()
        self._applied = {}
        self.traffic = ()
        self.revisions = ()
        self._meter.forget()

    async def ping(self) -> None:
        if not await self._admin.ready():
            raise ConnectionError("not ready")

    async def set_endpoints(self, action: SetEndpoints) -> str:
        """Push a cluster's endpoints and read back that Envoy has taken them."""
        if self._system is None:
            raise ConnectionError(f"the edge of {self.record.region} has no configuration")
        async with self._push:
            write_endpoints(self.layout, self._book, self._system, action)
            async with asyncio.timeout(TAKEN_DEADLINE_S):
                # Envoy tells nobody when it has taken something: it has to be asked again.
                while not await self._admin.endpoints_taken(  # noqa: ASYNC110
                    action.cluster, action.digest
                ):
                    await asyncio.sleep(TAKEN_POLL_S)
        serving = tuple(
            endpoint.instance
            for locality in action.localities
            for endpoint in locality.endpoints
            if endpoint.instance is not None and not endpoint.draining
        )
        self._applied[action.cluster] = AppliedEndpoints(
            region=action.region, cluster=action.cluster, digest=action.digest,
            applied_at=BootClock().now(), serving=serving,
        )  # fmt: skip
        return f"{len(serving)} endpoints"

    def applied_endpoints(self) -> list[AppliedEndpoints]:
        """What this Envoy said it has taken, by cluster. Nothing while it does not run."""
        if not self.running:
            return []
        return [self._applied[name] for name in sorted(self._applied)]

    async def set_limit(self, action: SetLimit) -> str:
        """Push the region's share of a limit and read back that Envoy has taken it. It is written
        down first: when Envoy is started again, it starts with it."""
        if self._system is None:
            raise ConnectionError(f"the edge of {self.record.region} has no configuration")
        async with self._push:
            shares = {**self._shares, action.limit: action.rate_per_s}
            save_shares(shares_path(self.layout, self.record.region), shares)
            self._shares = shares
            versions = write_shares(self._system, self.record.region, self.layout, shares)
            if self._versions is not None:
                self._versions = replace(self._versions, filters=versions.filters)
            await self._admin.await_taken(versions, timeout_s=TAKEN_DEADLINE_S)
        self._note_limit(action.limit, action.rate_per_s)
        return f"{action.rate_per_s:.6g}/s"

    def _note_limit(self, name: str, rate_per_s: float) -> None:
        self._limits[name] = AppliedLimit(
            region=self.record.region,
            limit=name,
            rate_per_s=rate_per_s,
            applied_at=BootClock().now(),
        )

    def applied_limits(self) -> list[AppliedLimit]:
        """The shares that this Envoy said it has taken. Nothing while it does not run."""
        return [self._limits[name] for name in sorted(self._limits)] if self.running else []

    async def hosts(self) -> list[dict[str, Any]]:
        """Endpoints as Envoy sees them, with the verdict of its own checks."""
        return [{**asdict(host), "healthy": host.healthy} for host in await self._admin.hosts()]

    async def _count(self) -> None:
        """Read the counters every second, and keep the access log within its bounds."""
        while True:
            try:
                before, self.traffic = self.traffic, await self._counted()
                if _called(self.traffic, self._held) - _called(before, self._held):
                    self._changed()  # somebody waits
                await self._tell_apart()
                self.heard_at = BootClock().now()
                self.detail = ""
                await self._rotate()
            except OSError as error:
                self.detail = f"does not tell its counters: {error}"
            await asyncio.sleep(TRAFFIC_EVERY_HELD_S if self._held else TRAFFIC_EVERY_S)

    async def _counted(self) -> tuple[TrafficReading, ...]:
        services = self._system.services if self._system is not None else ()
        return await self._admin.traffic(services, self._timed)

    async def _tell_apart(self) -> None:
        """What versions that run side by side answer; nothing is read while there are none."""
        versions = self._versions_of()
        if versions:
            self.revisions = self._meter.take(await self._admin.host_counts(), versions)
        elif self.revisions:
            self.revisions = ()
            self._meter.forget()

    async def _rotate(self) -> None:
        path = access_log(self.layout, self.record.region)
        if not path.exists() or path.stat().st_size < ACCESS_LOG_BYTES_MAX:
            return
        for number in range(ACCESS_LOGS_KEPT, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            newer = path.with_name(f"{path.name}.{number - 1}") if number > 1 else path
            if newer.exists():
                newer.replace(older)
        await self._admin.reopen_logs()


def _timed(service: Service) -> ServiceName | None:
    """The service's name, when it is scaled on the time of its answers."""
    metrics = service.scale.metrics if service.scale is not None else ()
    return service.name if any(one.metric is Metric.LATENCY for one in metrics) else None


def _called(
    readings: Iterable[TrafficReading], services: frozenset[ServiceName]
) -> frozenset[ServiceName]:
    """The services of these that have a request in flight."""
    return frozenset(one.service for one in readings if one.in_flight) & services
