"""What each metric of a service says: how many instances it wants, and where the need is.

Requests are counted by the balancer of the region that they come from, so concurrency, rate and
queue are totals that the instances share; cpu and memory are read at each instance; latency is
a value of the whole service, from merged histograms. Each goes to its own formula in `hpa`.

The need of a region is in instances, as a fraction: what its callers would take if every
instance did exactly its target.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from seakeep.decide.hpa import (
    NoMetric,
    Proposal,
    Standing,
    Tolerance,
    by_resource,
    by_total,
    by_value,
)
from seakeep.decide.placement_tally import is_leaving
from seakeep.model.histogram import merged, percentile
from seakeep.model.ids import RegionName
from seakeep.model.observation import Phase
from seakeep.model.scale import Metric, Scale, ScaleTarget
from seakeep.model.system import Service, System
from seakeep.model.time import MILLISECOND
from seakeep.model.view import Health, InstanceView, Signal, View

WORDS: Mapping[Metric, str] = {
    Metric.CONCURRENCY: "requests in flight per instance",
    Metric.RATE: "requests per second and instance",
    Metric.CPU: "percent of the asked CPU",
    Metric.MEMORY: "percent of the asked memory",
    Metric.LATENCY: "ms for an answer",
    Metric.QUEUE: "waiting requests per instance",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricReading:
    """One metric at the last decision."""

    metric: Metric
    target: float
    """In the unit of `WORDS`."""
    value: float | None
    """In the unit of `WORDS`; None when it could not be had."""
    wants: int | None
    detail: str = ""
    """Why it, or a part of it, could not be had."""


@dataclass(slots=True, kw_only=True)
class Measured:
    readings: list[MetricReading] = field(default_factory=list)
    needs: dict[RegionName, float] = field(default_factory=dict)
    """Instances, by region of the callers; the largest of any metric."""

    @property
    def first(self) -> MetricReading | None:
        """The reading that wants the most; the first of several."""
        able = [one for one in self.readings if one.wants is not None]
        return max(able, key=lambda one: one.wants or 0, default=None)

    @property
    def failed(self) -> MetricReading | None:
        """The first reading that is missing or lacks a part."""
        return next((one for one in self.readings if one.detail), None)


@dataclass(slots=True)
class _Group:
    """A service as its metrics see it."""

    current: int
    spare: float
    scale: Scale
    tolerance: Tolerance
    members: list[InstanceView]
    """Placed: not lost, not on their way out."""
    ready: dict[RegionName, int]
    signals: dict[RegionName, Signal]
    absent: list[RegionName]
    """Regions whose balancer tells nothing."""


def measure(system: System, service: Service, view: View, current: int, spare: float) -> Measured:
    """Every metric of a service. `current` and `spare` are as in `hpa`."""
    scale = service.scale
    assert scale is not None
    found = {region: view.signals.get((region, service.name)) for region in system.regions}
    members = [
        one
        for one in view.by_service.get(service.name, ())
        if one.health is not Health.LOST and not is_leaving(one, view)
    ]
    ready = dict.fromkeys(system.regions, 0)
    for one in members:
        if one.health is Health.READY:
            ready[one.state.region] = ready.get(one.state.region, 0) + 1
    group = _Group(
        current,
        spare,
        scale,
        Tolerance(scale.down.tolerance, scale.up.tolerance),
        members,
        ready,
        {region: signal for region, signal in found.items() if signal is not None},
        [region for region, signal in found.items() if signal is None],
    )
    measured = Measured()
    for target in scale.metrics:
        try:
            if target.metric in (Metric.CPU, Metric.MEMORY):
                reading, needs = _resource(service, target, view, group)
            elif target.metric is Metric.LATENCY:
                reading, needs = _latency(target, group)
            else:
                reading, needs = _total(service, target, group)
        except NoMetric as error:
            reading, needs = _reading(target, None, None, str(error)), {}
        measured.readings.append(reading)
        for region, need in needs.items():
            measured.needs[region] = max(measured.needs.get(region, 0.0), need)
    return measured


def _reading(
    target: ScaleTarget, value: float | None, wants: int | None, detail: str
) -> MetricReading:
    aim = target.target
    if target.metric is Metric.LATENCY:
        aim /= MILLISECOND
    elif target.metric in (Metric.CPU, Metric.MEMORY):
        aim *= 100
    return MetricReading(metric=target.metric, target=aim, value=value, wants=wants, detail=detail)


def _absence(group: _Group) -> str:
    """What is to be said of regions that tell nothing. Raises NoMetric when none does."""
    if not group.absent:
        return ""
    detail = f"the balancer of {group.absent[0]} tells no figures"
    if len(group.absent) > 1:
        detail = f"the balancers of {len(group.absent)} regions tell no figures"
    if not group.signals:
        raise NoMetric(detail)
    return detail


# --- totals -----------------------------------------------------------------


def _total(
    service: Service, target: ScaleTarget, group: _Group
) -> tuple[MetricReading, dict[RegionName, float]]:
    detail = _absence(group)
    slots = service.work.concurrency if service.work is not None else None
    amounts = {
        region: _amount(target.metric, signal, group.ready.get(region, 0), slots)
        for region, signal in group.signals.items()
    }
    placed = len(group.members)
    proposal = by_total(
        round(sum(amounts.values()) * 1000),
        max(1, round(target.target * 1000)),
        placed,
        group.tolerance,
        spare=group.spare,
    )
    reading = _reading(target, proposal.value / 1000, proposal.replicas, detail)
    return reading, {region: amount / target.target for region, amount in amounts.items()}


def _amount(metric: Metric, signal: Signal, ready: int, slots: int | None) -> float:
    if metric is Metric.RATE:
        return signal.rate_per_s
    if metric is Metric.CONCURRENCY:
        return signal.concurrency
    # What waits for a connection, and what instances can be told not to be working at yet.
    waiting = signal.pending
    if slots is not None:
        waiting += max(0.0, signal.concurrency - signal.pending - ready * slots)
    return waiting


# --- resources --------------------------------------------------------------


def _resource(
    service: Service, target: ScaleTarget, view: View, group: _Group
) -> tuple[MetricReading, dict[RegionName, float]]:
    is_cpu = target.metric is Metric.CPU
    asked = service.workload.resources
    request = asked.cpu_millicores if is_cpu else asked.memory_bytes
    standings: dict[str, Standing] = {}
    usage: dict[str, int] = {}
    needs: dict[RegionName, float] = {}
    for one in group.members:
        standing = standings[one.state.id] = _standing(one, view, group.scale, is_cpu)
        if standing is Standing.MISSING:
            continue
        used = round(one.state.cpu_millicores) if is_cpu else one.state.memory_bytes
        usage[one.state.id] = used
        if standing is Standing.COUNTS:
            region = one.state.region
            needs[region] = needs.get(region, 0.0) + used / (request * target.target)
    proposal: Proposal = by_resource(
        group.current,
        standings,
        usage,
        dict.fromkeys(standings, request),
        max(1, round(target.target * 100)),
        group.tolerance,
        spare=group.spare,
    )
    return _reading(target, float(proposal.value), proposal.replicas, ""), needs


def _standing(one: InstanceView, view: View, scale: Scale, is_cpu: bool) -> Standing:
    """As upstream's `groupPods`. We know of every instance whether it has ever been ready, which
    upstream infers from dates."""
    if one.health is Health.UNKNOWN or one.state.phase is Phase.EXITED:
        return Standing.MISSING
    if not is_cpu or one.health is Health.READY:
        age = view.at - one.state.started_at
        return Standing.UNREADY if is_cpu and age < scale.every else Standing.COUNTS
    if one.health is Health.STARTING or view.at - one.state.started_at < scale.warmup:
        return Standing.UNREADY
    return Standing.COUNTS


# --- latency ----------------------------------------------------------------


def _latency(target: ScaleTarget, group: _Group) -> tuple[MetricReading, dict[RegionName, float]]:
    detail = _absence(group)
    counts = {region: signal.latency for region, signal in group.signals.items()}
    value = percentile(merged(counts.values()), target.quantile) or 0.0
    proposal = by_value(
        group.current,
        sum(group.ready.values()),
        round(value),
        round(target.target),
        group.tolerance,
        spare=group.spare,
    )
    needs = {
        region: (percentile(one, target.quantile) or 0.0)
        / target.target
        * group.ready.get(region, 0)
        for region, one in counts.items()
    }
    return _reading(target, value / MILLISECOND, proposal.replicas, detail), needs
