"""What is measured of the data plane, as often as the embedded engine measures it: the counters of
balancers, the CPU and memory of instances, and who waits for a service that sleeps."""

from collections.abc import Callable, Iterable
from functools import partial

from seakeep.engines.twin.agenda import Agenda
from seakeep.engines.twin.body import Body
from seakeep.engines.twin.instances import Instances
from seakeep.engines.twin.plane import Plane
from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.observation import RevisionReading, TrafficReading
from seakeep.model.scale import Metric, is_held
from seakeep.model.system import BalancePolicy, Service, System
from seakeep.model.time import MILLISECOND, SECOND, Duration, Instant

TRAFFIC_EVERY: Duration = SECOND
TRAFFIC_EVERY_HELD: Duration = 200 * MILLISECOND
MEMORY_EVERY: Duration = SECOND


class Senses:
    def __init__(
        self, plane: Plane, agenda: Agenda, instances: Instances, news: Callable[[], None]
    ) -> None:
        self._plane = plane
        self._agenda = agenda
        self._instances = instances
        self._news = news
        self._figured: tuple[ServiceName, ...] = ()
        self._leaking: tuple[ServiceName, ...] = ()
        self._held: frozenset[ServiceName] = frozenset()
        self._counted_at: Instant = -TRAFFIC_EVERY
        self._traffic: tuple[TrafficReading, ...] = ()
        self._revisions: tuple[RevisionReading, ...] = ()
        self._waiting: frozenset[tuple[RegionName, ServiceName]] = frozenset()
        self._watched = False

    def configure(self, at: Instant, system: System) -> None:
        services = system.services.values()
        self._figured = tuple(one.name for one in services if _needs_figures(one))
        self._leaking = tuple(one.name for one in services if one.work and one.work.leak_bytes)
        self._held = frozenset(one.name for one in services if is_held(one.scale, one.replicas.min))
        if not self._watched and (self._leaking or self._held):
            self._watched = True
            self._watch(at)

    def _watch(self, at: Instant) -> None:
        for service in self._leaking:
            for body in self._instances.of(service):
                self._look_at_memory(at, body)
        if self._held:
            self._look_who_waits(at)
        every = TRAFFIC_EVERY_HELD if self._held else MEMORY_EVERY
        self._agenda.put(at + every, partial(self._watch, at + every))

    def _look_at_memory(self, at: Instant, body: Body) -> None:
        limit = body.workload.resources.memory_bytes
        if body.lives and self._plane.figures(body.id).left_bytes >= limit:
            detail = f"killed by SIGKILL (out of memory, limit {limit >> 20} MiB)"
            self._instances.kill(at, body, detail)

    def _look_who_waits(self, at: Instant) -> None:
        self._count(at)
        waiting = frozenset(
            (one.region, one.service)
            for one in self._traffic
            if one.in_flight and one.service in self._held
        )
        if waiting - self._waiting:
            self._news()
        self._waiting = waiting

    def _count(self, at: Instant) -> None:
        self._counted_at = at
        self._traffic = self._plane.readings()
        self._revisions = self._plane.revision_readings()

    def traffic(
        self, at: Instant, regions: Iterable[RegionName]
    ) -> tuple[tuple[TrafficReading, ...], tuple[RevisionReading, ...]]:
        """What the balancers of these regions, which run, have last told."""
        if at - self._counted_at >= (TRAFFIC_EVERY_HELD if self._held else TRAFFIC_EVERY):
            self._count(at)
        there = set(regions)
        return (
            tuple([one for one in self._traffic if one.region in there]),
            tuple([one for one in self._revisions if one.region in there]),
        )

    def measure(self, at: Instant) -> None:
        """Take the figures of instances, where somebody goes by them."""
        if self._figured and at - self._instances.figured_at >= SECOND:
            self._instances.measure(at, self._figured)


def _needs_figures(service: Service) -> bool:
    metrics = service.scale.metrics if service.scale is not None else ()
    return service.balance.policy is BalancePolicy.LOAD_AWARE or any(
        one.metric in (Metric.CPU, Metric.MEMORY) for one in metrics
    )
