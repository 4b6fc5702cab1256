"""Can the system be stable at all? The arithmetic of offered load and capacity, before anything is
simulated.

A request holds a worker slot for as long as it is worked on and as it waits for its calls. Requests
per second times that time is the mean number of slots held (Little's law); with as many instances
as there may ever be, each with its `work.concurrency` of slots, that is what must suffice. What is
left out (networks, queues of the called, retries, lost places) would only make it worse, so what is
found here is certain, but that nothing is found proves nothing: that is what a run is for.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from seakeep.explain.wording import duration
from seakeep.model.ids import ServiceName
from seakeep.model.limits import LimitPer, LimitScope
from seakeep.model.scenario import FaultKind, Scenario
from seakeep.model.system import Service, System, nodes_of
from seakeep.model.time import DAY, SECOND, Duration
from seakeep.model.traffic import Shape, TrafficSource
from seakeep.model.work import mean_of

ROUNDS_MAX = 1000
"""Of following calls around circles."""
SLOTS_MAX = 1e12
"""More comes of nothing but such circles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """More is asked of a service than it can do."""

    service: ServiceName
    """Empty: all services together, of the nodes."""
    grows: bool
    """A queue does; else it is bounded, and what is beyond is refused or given up."""
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class _Span:
    """A stretch of the scenario in which no source changes but along its wave."""

    start: Duration
    """Since the end of the warm-up: negative in it."""
    end: Duration
    is_all: bool


def stability(
    system: System, scenario: Scenario, log_rates: Mapping[str, float] | None = None
) -> tuple[Finding, ...]:
    """What of the system cannot keep up in the scenario, at its worst, by the order of the spec.
    `log_rates`: requests/s of the sources that replay an access log; those left out count as
    nothing."""
    worst: dict[ServiceName, tuple[float, Finding]] = {}
    holds = _holds(system)
    for span in _spans(system, scenario):
        sources = {
            name: _rate(source, scenario, span, (log_rates or {}).get(name, 0.0))
            for name, source in system.traffic.items()
        }
        rates = _rates(system, sources)
        for excess, found in (*_slots(system, rates, holds, span), *_cores(system, rates, span)):
            if found.service not in worst or excess > worst[found.service][0] * (1 + 1e-9):
                worst[found.service] = (excess, found)
    return tuple(worst[name][1] for name in (*system.services, "") if name in worst)


# --- what is asked ------------------------------------------------------------


def _spans(system: System, scenario: Scenario) -> Iterator[_Span]:
    """The scenario, its warm-up included, cut where a source or a surge changes."""
    first, last = -scenario.warmup, scenario.duration
    cuts = {first, last}
    for source in system.traffic.values():
        cuts |= {first + at for at, _ in source.steps}
    for step in scenario.steps:
        if step.fault.kind is FaultKind.SURGE:
            cuts |= {step.at, last if step.lasts is None else step.at + step.lasts}
    ordered = sorted(cut for cut in cuts if first <= cut <= last)
    for start, end in pairwise(ordered):
        yield _Span(start, end, len(ordered) == 2)


def _rate(source: TrafficSource, scenario: Scenario, span: _Span, log_rate: float) -> float:
    """Requests/s of a source in a span, at its highest."""
    rate = source.rate_per_s
    since, until = span.start + scenario.warmup, span.end + scenario.warmup
    match source.shape:
        case Shape.STEP:
            rate = next((to for at, to in reversed(source.steps) if at <= since), rate)
        case Shape.DIURNAL:
            rate *= 1 + source.amplitude * _crest(since, until, source.period or DAY)
        case Shape.LOG:
            rate = log_rate
    for step in scenario.steps:
        end = scenario.duration if step.lasts is None else step.at + step.lasts
        fault = step.fault
        is_meant = fault.kind is FaultKind.SURGE and fault.subject == source.name
        if is_meant and step.at < span.end and span.start < end:
            rate *= fault.amount
    if source.sessions is not None:
        rate *= source.sessions.pages * (1 + source.sessions.resources)
    return rate


def _crest(since: Duration, until: Duration, period: Duration) -> float:
    """The highest value of sin(2 pi t / period) between two times."""
    next_crest = since + (period // 4 - since) % period
    if next_crest <= until:
        return 1.0
    return max(math.sin(2 * math.pi * at / period) for at in (since, until))


def _rates(system: System, sources: Mapping[str, float]) -> dict[ServiceName, float]:
    """Requests/s to each service: of clients, and of the services that call it."""
    own = dict.fromkeys(system.services, 0.0)
    for name, source in system.traffic.items():
        if source.service in own:
            own[source.service] += sources[name]
    own = {name: min(rate, _let_in(system, name)) for name, rate in own.items()}
    rates = own
    for _ in range(ROUNDS_MAX):
        before, rates = rates, dict(own)
        for name, service in system.services.items():
            for call in service.calls:
                rates[call.service] += before[name] * call.per_request
        if all(rates[name] <= before[name] * (1 + 1e-9) for name in rates):
            break
    return rates


def _let_in(system: System, name: ServiceName) -> float:
    """Requests/s of clients that the limits of a service let through."""
    regions = len(system.regions)
    return min(
        (
            limit.rate_per_s * (1 if limit.scope is LimitScope.SYSTEM else regions)
            for limit in system.services[name].limit
            if limit.per is LimitPer.ALL
        ),
        default=math.inf,
    )


def _holds(system: System) -> dict[ServiceName, float]:
    """How long a request holds a slot, at least, in ns: its work, then the longest of its parallel
    calls, then the others one by one. Of a circle of calls some rounds."""
    work = {
        name: 0.0 if service.work is None else mean_of(service.work.time)
        for name, service in system.services.items()
    }
    holds = work
    for _ in range(len(system.services)):
        waits = {name: min(hold, system.services[name].timeout or math.inf)
                 for name, hold in holds.items()}  # fmt: skip
        holds = {
            name: work[name] + _waiting(service, waits) for name, service in system.services.items()
        }
    return holds


def _waiting(service: Service, waits: Mapping[ServiceName, float]) -> float:
    parallel = [
        min(call.per_request, 1.0) * waits[call.service] for call in service.calls if call.parallel
    ]
    others = [call.per_request * waits[call.service] for call in service.calls if not call.parallel]
    return max(parallel, default=0.0) + sum(others)


# --- what there is ------------------------------------------------------------


def _slots(
    system: System,
    rates: Mapping[ServiceName, float],
    holds: Mapping[ServiceName, float],
    span: _Span,
) -> Iterator[tuple[float, Finding]]:
    """(slots that are missing, what is to be said) for each service that lacks some."""
    for name, service in system.services.items():
        if service.work is None:
            continue
        instances, why = _instances(system, service)
        each = service.work.concurrency
        busy, capacity = rates[name] * holds[name] / SECOND, instances * each
        if not rates[name] or busy < capacity * (1 - 1e-9):
            continue
        if busy > SLOTS_MAX:
            yield busy, _in_circles(name)
            continue
        bound = _bound(system, service)
        message = (
            f"{name}{_when(span)}: {_number(rates[name])} requests/s x "
            f"{_held(service, holds[name])} = {busy:.1f} busy slots, capacity "
            f"{instances} x {each} = {capacity} ({why}, concurrency {each}): "
        )
        if bound:
            message += f"at least {1 - capacity / busy:.0%} of requests are refused or given up"
            message += f" ({bound})"
        elif span.is_all:
            message += "the queue grows without bound"
        else:
            growth = rates[name] * (1 - capacity / busy)
            message += f"the queue grows by {_number(growth)} requests/s"
        wanted = math.floor(busy / each) + 1
        hint = f"write {_key(service)}: {wanted} or more"
        if why.startswith("room"):
            hint = f"write nodes with room for {wanted} or more"
        if not bound:
            hint += ", or bound the queue with work.queue"
        yield (
            busy - capacity,
            Finding(service=name, grows=not bound, message=message, hint=hint),
        )


def _in_circles(name: ServiceName) -> Finding:
    return Finding(
        service=name,
        grows=True,
        message=f"{name}: services call each other in a circle, more than once for each request, "
        "so calls multiply without end",
        hint="write calls that come to less than one around the circle",
    )


def _number(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 1000 else f"{rate:.4g}"


def _instances(system: System, service: Service) -> tuple[int, str]:
    """How many there may be at most, and what says so."""
    replicas = service.replicas
    most = replicas.min if service.scale is None else replicas.max
    wanted = service.workload.resources
    spread = service.spread
    places = {*spread.regions, *spread.standby}
    room = sum(
        min(
            node.capacity.cpu_millicores // max(wanted.cpu_millicores, 1),
            node.capacity.memory_bytes // max(wanted.memory_bytes, 1),
        )
        for node in nodes_of(system)
        if node.region in places
    )
    if room < most:
        return room, f"room for {room} on the nodes"
    return most, f"{_key(service)} {most}"


def _key(service: Service) -> str:
    if service.scale is not None:
        return "replicas.max"
    return "replicas" if service.replicas.min == service.replicas.max else "replicas.min"


def _bound(system: System, service: Service) -> str:
    """What keeps its queue from growing without bound; empty when nothing does. That callers go
    away does not, where instances work on for nothing."""
    work = service.work
    assert work is not None
    if work.queue is not None:
        return f"work.queue {work.queue}"
    if work.queue_timeout is not None:
        return "work.queue_timeout"
    if service.breaker.requests is not None:
        return f"breaker.requests {service.breaker.requests}"
    if service.shed is not None:
        return "shed"
    if not work.cancel:
        return ""
    if service.timeout:
        return f"timeout {duration(service.timeout)}"
    to_it = [source for source in system.traffic.values() if source.service == service.name]
    called = any(
        call.service == service.name for one in system.services.values() for call in one.calls
    )
    return "patience" if not called and all(one.patience is not None for one in to_it) else ""


def _held(service: Service, hold: float) -> str:
    """`25ms`, or `25ms (10ms of work, 15ms of calls)`."""
    assert service.work is not None
    own = mean_of(service.work.time)
    if hold <= own * (1 + 1e-9):
        return duration(round(hold))
    calls = duration(round(hold - own))
    return f"{duration(round(hold))} ({duration(round(own))} of work, {calls} of calls)"


def _when(span: _Span) -> str:
    if span.is_all:
        return ""
    if span.end <= 0:
        return " in the warm-up"
    return f" from {duration(max(span.start, 0))} to {duration(span.end)}"


def _cores(
    system: System, rates: Mapping[ServiceName, float], span: _Span
) -> Iterator[tuple[float, Finding]]:
    """(cores that are missing, what is to be said), when all work together wants more than all
    nodes have."""
    wanted = sum(
        rates[name] * mean_of(service.work.time) / SECOND * service.work.cpu
        for name, service in system.services.items()
        if service.work is not None
    )
    there = sum(node.capacity.cpu_millicores for node in nodes_of(system)) / 1000
    if wanted >= there * (1 - 1e-9) and wanted > 0:
        yield (
            wanted - there,
            Finding(
                service="",
                grows=True,
                message=f"nodes{_when(span)}: the work of all services takes {wanted:.1f} cores, "
                f"and there are {there:g}: everything slows down without bound",
                hint="write more or bigger nodes, or less work.cpu",
            ),
        )
