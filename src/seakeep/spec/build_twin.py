"""What a valid document says for the twin's sake: how services work, and who sends requests."""

from collections.abc import Mapping
from typing import TypeAlias

from seakeep.model.traffic import Location, Sessions, Shape, TrafficSource
from seakeep.model.work import START, Distribution, Pauses, Warmup, Work
from seakeep.spec.distributions import HdrFile
from seakeep.spec.traffic import TrafficPart
from seakeep.spec.work import WorkPart

Measured: TypeAlias = Mapping[HdrFile, Distribution]


def work_of(part: WorkPart, measured: Measured) -> Work:
    pauses = part.pauses
    return Work(
        time=_known(part.time, measured),
        concurrency=part.concurrency,
        queue=part.queue,
        queue_timeout=None if part.queue_timeout is None else _known(part.queue_timeout, measured),
        cancel=part.cancel,
        errors=part.errors,
        cpu=0.0 if part.cpu is None else part.cpu / 1000,
        start=START if part.start is None else _known(part.start, measured),
        warmup=None
        if part.warmup is None
        else Warmup(factor=part.warmup.factor, time=part.warmup.lasts),
        pauses=None
        if pauses is None
        else Pauses(every=_known(pauses.every, measured), time=_known(pauses.time, measured)),
        leak_bytes=part.leak or 0,
        response_bytes=part.response or 0,
    )


def _known(one: Distribution | HdrFile, measured: Measured) -> Distribution:
    return measured[one] if isinstance(one, HdrFile) else one


def traffic_of(name: str, part: TrafficPart, prefix: str, measured: Measured) -> TrafficSource:
    shape, sessions = part.shape, part.sessions
    return TrafficSource(
        name=name,
        location=None
        if part.origin is None
        else Location(latitude_deg=part.origin[0], longitude_deg=part.origin[1]),
        service=part.to,
        rate_per_s=part.rate or 0.0,
        shape=_shape_of(part),
        path=part.path,
        period=0 if shape.diurnal is None else shape.diurnal.period,
        amplitude=0.5 if shape.diurnal is None else shape.diurnal.amplitude,
        steps=_steps_of(part),
        prefix=prefix,
        sessions=None
        if sessions is None
        else Sessions(
            pages=sessions.pages,
            think=_known(sessions.think, measured),
            resources=sessions.resources,
        ),
        patience=None if part.patience is None else _known(part.patience, measured),
        log=shape.log or "",
    )


def _shape_of(part: TrafficPart) -> Shape:
    shape = part.shape
    if shape.constant:
        return Shape.CONSTANT
    if shape.diurnal is not None:
        return Shape.DIURNAL
    if shape.step is not None or shape.surge is not None:
        return Shape.STEP
    return Shape.POISSON if shape.log is None else Shape.LOG


def _steps_of(part: TrafficPart) -> tuple[tuple[int, float], ...]:
    """A surge is a step up and one back."""
    surge, rate = part.shape.surge, part.rate
    if surge is None or rate is None:
        return part.shape.times()
    return ((surge.at, rate * surge.factor), (surge.at + surge.lasts, rate))
