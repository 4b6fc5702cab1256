"""What came of one run of a scenario in the twin, with one seed.

Requests are counted where they come from: a traffic source's clients, and, for a service, the
balancers that call it. `requests = ok + failed + rejected + timed_out + in_flight` holds for each
(conservation). What happened during the warm-up is not counted; a request belongs to the time at
which it was made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from seakeep.model.hdr import Histogram
from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.time import Duration, Instant

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flow:
    """The requests of one traffic source, or to one service."""

    requests: int
    ok: int
    failed: int
    """5xx, reset, refused, or nobody there, after retries."""
    rejected: int
    """Refused so as to protect: by a limit, shedding, a circuit breaker or a full queue."""
    timed_out: int
    """Nobody waited any longer: the service's timeout, or the client's patience."""
    in_flight: int
    """Neither, when the run ended."""
    retried: int
    """Tries beyond the first (hedges too)."""
    latency: Histogram
    """Of the ok ones, as whoever asked saw it: network, queues, retries and calls included."""
    wait: Histogram
    """Time in the queue of an instance, of each try that began to be worked on. Of a traffic
    source: of its requests' own tries, not of the calls that they led to."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """What one traffic source's clients met over time, by the region that answered (or should
    have); a request counts in the bucket in which it ended."""

    ok: Ints
    """Shape (buckets,), as are the others."""
    failed: Ints
    rejected: Ints
    timed_out: Ints
    latency: Ints
    """Shape (buckets, len(model.histogram.BOUNDS)): the ok ones by time."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Load:
    """A service in one region over time, at the end of each bucket. Shape (buckets,) each."""

    instances: Ints
    ready: Ints
    busy: Ints
    """Worker slots taken."""
    slots: Ints
    """Of the ready instances."""
    queued: Ints


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Good:
    """One objective's indicator over time: requests by the bucket in which they ended, or became
    bad by waiting. Shape (buckets,) each."""

    good: Ints
    total: Ints


class EventKind(StrEnum):
    FAULT = "fault"
    HEAL = "heal"
    """A fault has ended."""
    ACTION = "action"
    """Of a controller."""
    EJECT = "eject"
    """A balancer has put an endpoint out of rotation by itself, by checks or by outliers."""
    RETURN = "return"
    """And back."""
    HEALTH = "health"
    """A controller's verdict on an instance, part or region changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    at: Instant
    """Since the end of the warm-up."""
    kind: EventKind
    subject: str
    code: str
    """Of the reason, or the fault's kind."""
    text: str
    """For people: one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    scenario: str
    seed: int
    duration: Duration
    """Counted, without the warm-up."""
    bucket: Duration
    """Length of one bucket of what follows."""
    traffic: Mapping[str, Flow]
    services: Mapping[ServiceName, Flow]
    lines: Mapping[tuple[str, RegionName], Line]
    loads: Mapping[tuple[ServiceName, RegionName], Load]
    objectives: tuple[Good, ...]
    """In the order of `System.objectives`. Requests of clients, where traffic goes to the
    objective's service; else the calls of other services."""
    events: tuple[RunEvent, ...]
    """By time."""
    instance_ns: Mapping[ServiceName, int]
    """Time for which instances ran, summed."""
    steps: int
    """Of the control loop."""
    broken: tuple[str, ...] = ()
    """Invariants that did not hold: each a sentence."""
