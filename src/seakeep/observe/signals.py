"""Counters of balancers -> signals: what a service was asked for over the last window.

Balancers count since they started. Here the differences are taken, over the window that the
service's scaling looks at (its period), sliding by a fifth of it:

- a counter that went back belongs to a balancer that was started again: what it shows is new;
- gauges (requests in flight) are weighed by the time for which they stood;
- a balancer that is not running, is silent or has been watched for less than half a window tells
  nothing that could be trusted: then there is no signal, which is not the same as no traffic.

Only services that scale are watched, so that everything else costs nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from seakeep.model.histogram import Counts
from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.observation import PartState, TrafficReading
from seakeep.model.system import System
from seakeep.model.time import SECOND, Duration, Instant
from seakeep.model.view import Signal

MARKS_PER_WINDOW = 5

Key: TypeAlias = tuple[RegionName, ServiceName]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Totals since the watch began, at one instant."""

    at: Instant
    requests: int = 0
    failures: int = 0
    flight_ns: int = 0
    """Requests in flight x time."""
    pending_ns: int = 0
    latency: Counts = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """One service at one balancer."""

    last: TrafficReading
    now: Mark
    marks: tuple[Mark, ...]
    """Oldest first; the first is the window's beginning."""
    restarts: int
    """Of the balancer."""


def watched(
    system: System,
    at: Instant,
    readings: tuple[TrafficReading, ...],
    parts: Mapping[str, PartState],
    silent: Mapping[str, Instant],
    before: Mapping[Key, Watch],
) -> tuple[dict[Key, Signal], dict[Key, Watch]]:
    """The signals now, and what to remember for the next."""
    signals: dict[Key, Signal] = {}
    watches: dict[Key, Watch] = {}
    for reading in readings:
        service = system.services.get(reading.service)
        if service is None or service.scale is None:
            continue
        edge = parts.get(f"edge:{reading.region}")
        if edge is None or not edge.running or edge.id in silent:
            continue
        key = (reading.region, reading.service)
        watch = _advanced(before.get(key), reading, at, edge.restarts, service.scale.every)
        watches[key] = watch
        signal = _signal(watch, service.scale.every)
        if signal is not None:
            signals[key] = signal
    return signals, watches


def _advanced(
    watch: Watch | None, reading: TrafficReading, at: Instant, restarts: int, window: Duration
) -> Watch:
    if watch is None:
        start = Mark(at=at)
        return Watch(last=reading, now=start, marks=(start,), restarts=restarts)
    last, before = watch.last, watch.now
    if reading is last and at == before.at:
        return watch
    elapsed = at - before.at
    afresh = restarts != watch.restarts or reading.requests < last.requests
    now = Mark(
        at=at,
        requests=before.requests + reading.requests - (0 if afresh else last.requests),
        failures=before.failures + _gain(last.failures, reading.failures, afresh),
        flight_ns=before.flight_ns + last.in_flight * elapsed,
        pending_ns=before.pending_ns + last.pending * elapsed,
        latency=_added(before.latency, last.latency, reading.latency, afresh),
    )
    marks = watch.marks
    if at - marks[-1].at >= window // MARKS_PER_WINDOW:
        marks = (*marks, now)
        first = 0
        while first + 1 < len(marks) and marks[first + 1].at <= at - window:
            first += 1
        marks = marks[first:]
    return Watch(last=reading, now=now, marks=marks, restarts=restarts)


def _gain(before: int, now: int, afresh: bool) -> int:
    return now if afresh or now < before else now - before


def _added(total: Counts, before: Counts, now: Counts, afresh: bool) -> Counts:
    if now == before and not afresh:
        return total
    width = max(len(total), len(now))
    sums = list(total) + [0] * (width - len(total))
    for index, count in enumerate(now):
        old = 0 if afresh or index >= len(before) else before[index]
        sums[index] += _gain(old, count, afresh)
    return tuple(sums)


def _signal(watch: Watch, window: Duration) -> Signal | None:
    now, first = watch.now, watch.marks[0]
    span = now.at - first.at
    if span <= 0 or span < window // 2:
        return None
    return Signal(
        window=span,
        rate_per_s=(now.requests - first.requests) * SECOND / span,
        failures_per_s=(now.failures - first.failures) * SECOND / span,
        concurrency=(now.flight_ns - first.flight_ns) / span,
        pending=(now.pending_ns - first.pending_ns) / span,
        in_flight=watch.last.in_flight,
        latency=_added((), first.latency, now.latency, False),
    )
