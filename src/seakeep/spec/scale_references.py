"""What a service's scaling asks of the rest of the service, and of the regions it may be in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from seakeep.model.scale import Metric
from seakeep.model.units import format_duration
from seakeep.spec.problem import Severity
from seakeep.spec.service import ServicePart

_ERROR, _WARNING = Severity.ERROR, Severity.WARNING


@dataclass(frozen=True, slots=True)
class ScaleFault:
    at: tuple[str, ...]
    """Below the service."""
    message: str
    hint: str
    severity: Severity = _ERROR


def scale_faults(service: ServicePart, regions: Mapping[str, int]) -> Iterator[ScaleFault]:
    """`regions` are those that the service may be in, with how many zones they have; empty when
    nobody knows."""
    scale, replicas = service.scale, service.replicas
    if scale is None:
        if replicas.min == 0 < replicas.max:
            yield ScaleFault(
                ("replicas",),
                "nothing would ever start it: min is 0, and it has no scale",
                "write scale: {on: concurrency, target: 8}, or raise min",
                _WARNING,
            )
        return
    if replicas.min == replicas.max:
        yield ScaleFault(
            ("scale",),
            f"there is nothing to scale: replicas has min and max {replicas.min}",
            "write replicas: {min: 2, max: 10}",
            _WARNING,
        )
    metrics = {target.metric for target in scale.targets()}
    if service.protocol == "tcp":
        for metric in sorted(metrics & {Metric.LATENCY, Metric.QUEUE}):
            yield ScaleFault(
                ("scale",),
                f"{metric} cannot be had for a tcp service: connections have no answers",
                "write on: concurrency (connections) or cpu, or protocol: http",
            )
    elif Metric.QUEUE in metrics and service.work is None:
        yield ScaleFault(
            ("scale",),
            "without work.concurrency only requests that wait for a connection count as a queue",
            "write work: {time: 10ms, concurrency: 4}, or scale on concurrency",
            _WARNING,
        )
    yield from _schedule(service)
    yield from _loss(service, regions)
    if replicas.min == 0:
        yield from _sleep(service)


def _schedule(service: ServicePart) -> Iterator[ScaleFault]:
    assert service.scale is not None
    for part in service.scale.schedule:
        for key, bound in (("min", part.min), ("max", part.max)):
            if bound is not None and bound > service.replicas.max:
                yield ScaleFault(
                    ("scale", "schedule"),
                    f"{key} {bound} is more than replicas.max {service.replicas.max}",
                    "raise replicas.max",
                )


def _loss(service: ServicePart, regions: Mapping[str, int]) -> Iterator[ScaleFault]:
    scale = service.scale
    assert scale is not None
    shares = service.spread.regions
    able = [name for name in regions if not shares or shares.get(name) != 0]
    if not regions or scale.survive is None:
        return
    if scale.survive == "region" and len(able) < 2:
        yield ScaleFault(
            ("scale", "survive"),
            f"cannot survive the loss of its only region, {able[0] if able else 'none'}",
            "give it a share of another region in spread, or write survive: zone",
        )
    if scale.survive == "zone" and len(able) < 2 and max(regions[name] for name in able) < 2:
        yield ScaleFault(
            ("scale", "survive"),
            f"cannot survive the loss of its only zone, {able[0]}",
            "give the region another zone, or the service another region",
        )
    if scale.survive == "zone" and service.spread.zones == "any":
        yield ScaleFault(
            ("scale", "survive"),
            "with zones: any all instances of a region may be in one zone, so each region has to"
            " stand in for another",
            "write spread: {zones: even}",
            _WARNING,
        )


def _sleep(service: ServicePart) -> Iterator[ScaleFault]:
    scale = service.scale
    assert scale is not None
    hold = scale.hold.time
    if service.protocol == "http" and 0 < service.timeout < hold:
        yield ScaleFault(
            ("scale", "hold"),
            f"a request is given up after timeout {format_duration(service.timeout)}, before hold"
            f" {format_duration(hold)} is over",
            "make timeout longer, or hold shorter",
        )
    per_try = service.retries.per_try
    if service.protocol == "http" and per_try is not None and per_try < hold:
        yield ScaleFault(
            ("retries", "per_try"),
            f"ends a try after {format_duration(per_try)}, so a request that waits for the first"
            f" instance is given up before hold {format_duration(hold)} is over",
            "remove per_try, or raise replicas.min to 1",
        )
