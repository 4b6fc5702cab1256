"""A scenario over time: what was done to the system and what it did about it, what clients met,
and how many instances there were and how busy. All on one time axis, one plot below the other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from seakeep.explain.report import series, words
from seakeep.explain.report.faults import Span, spans
from seakeep.explain.report.markup import Content, Markup, tag
from seakeep.explain.report.plots import Curve, axis, canvas, fault_layer, plot, style, time_marks
from seakeep.explain.report.scales import HEIGHT, Scale, Times, linear, logarithmic, whole
from seakeep.explain.report.series import Columns, Floats, Met
from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.proof import Proof
from seakeep.model.run import EventKind, Load, Run
from seakeep.model.system import ObjectiveKind, System
from seakeep.model.time import SECOND

ROWS: tuple[tuple[str, tuple[EventKind, ...]], ...] = (
    ("Controllers", (EventKind.ACTION,)),
    ("Balancers", (EventKind.EJECT, EventKind.RETURN)),
    ("Health", (EventKind.HEALTH,)),
)
"""Who did something: rows of ticks."""

SERVICES_MAX = 12
"""Services that are drawn."""
TICK_PLACES = 500
"""Events nearer to one another than this part of the width are one tick."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stage:
    """What all plots of one scenario share."""

    system: System
    proof: Proof
    run: Run
    """The one that is shown."""
    shape: Columns
    times: Times
    faults: Markup | None

    def over_runs(self, of: Callable[[Run], Floats]) -> tuple[Floats, Floats] | None:
        return series.envelope([of(run) for run in self.proof.runs])

    @property
    def edges(self) -> list[int]:
        return [self.times.x(at) for at in self.shape.edges]

    @property
    def middles(self) -> list[int]:
        edges = self.shape.edges
        return [self.times.x((a + b) // 2) for a, b in pairwise(edges)]

    def plot(
        self,
        caption: Content,
        *curves: Curve,
        scale: Scale,
        label: str,
        limit: float | None = None,
        limit_name: str | None = None,
    ) -> Markup:
        return plot(
            caption,
            *curves,
            xs=self.edges if any(curve.stepped for curve in curves) else self.middles,
            scale=scale,
            marks=time_marks(self.times),
            label=label,
            layer=self.faults,
            limit=limit,
            limit_name=limit_name,
        )


def stage(system: System, proof: Proof, run: Run) -> Stage:
    times = Times(duration=run.duration)
    return Stage(
        system=system,
        proof=proof,
        run=run,
        shape=series.columns(run),
        times=times,
        faults=fault_layer(spans(proof.scenario), times),
    )


def timeline(on: Stage) -> Markup:
    regions = _regions(on)
    drawn = eventful(on.run, on.system)
    left = len(on.system.services) - len(drawn)
    return tag(
        "div",
        _events(on),
        tag("h4", "What clients met"),
        _clients(on, regions)
        if regions
        else tag("p", "No traffic source sends requests to this system.", class_="note"),
        tag("h4", "What the system did"),
        [tag("div", _service(on, name), class_="pairs") for name in drawn],
        tag("p", f"{words.counted(left, 'steadier service')} left out here.", class_="note")
        if left
        else None,
        class_="timeline",
    )


# --- faults and events ----------------------------------------------------------


def _events(on: Stage) -> Markup | None:
    if not on.run.events and not on.proof.scenario.steps:
        return None
    rows = [_fault_row(span, on.times) for span in spans(on.proof.scenario)]
    rows += [_tick_row(name, kinds, on) for name, kinds in ROWS]
    return tag(
        "figure",
        tag("figcaption", tag("span", "Faults, and who reacted when", class_="what")),
        tag("div", rows, axis(time_marks(on.times)), class_="strip"),
        class_="panel",
    )


def _fault_row(span: Span, times: Times) -> Markup:
    begins, ends = times.fraction(span.begins), times.fraction(span.ends)
    bar = tag(
        "span", class_="bar", style=f"left:{begins * 100:.6g}%;width:{(ends - begins) * 100:.6g}%"
    )
    side = f"left:{begins * 100:.6g}%" if begins <= 0.5 else f"right:{(1 - ends) * 100:.6g}%"
    text = tag(
        "span", span.words, class_="bar-text", style=side, title=f"{span.words}, {span.when}"
    )
    return tag(
        "div",
        tag("span", f"Fault {span.number}", class_="row-name"),
        tag("div", bar, text, class_="bars"),
        class_="row",
    )


def _tick_row(name: str, kinds: tuple[EventKind, ...], on: Stage) -> Markup:
    events = [event for event in on.run.events if event.kind in kinds]
    at_place: dict[int, list[str]] = {}
    for event in events:
        place = round(on.times.fraction(event.at) * TICK_PLACES)
        at_place.setdefault(place, []).append(f"{words.moment(event.at)}: {event.text}")
    scale = 1000 // TICK_PLACES
    ticks = [
        tag("path", tag("title", _hint(texts)), class_="tick", d=f"M{place * scale},0v{HEIGHT}")
        for place, texts in at_place.items()
    ]
    label = f"{name}: {words.counted(len(events), 'event')}"
    return tag(
        "div",
        tag("span", name, class_="row-name"),
        canvas([on.faults, ticks], label, class_="ticks"),
        class_="row",
    )


def _hint(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{texts[0]} (and {len(texts) - 1} more)"


# --- clients ----------------------------------------------------------------------


def _regions(on: Stage) -> list[RegionName]:
    """Those where clients went, in the order of the spec."""
    asked = {region for _, region in on.run.lines}
    known = [region for region in on.system.regions if region in asked]
    return known + sorted(asked.difference(known))


def _clients(on: Stage, regions: list[RegionName]) -> Markup:
    shown = {region: series.met(on.run, region, on.shape) for region in regions}
    others = {
        region: [series.met(run, region, on.shape) for run in on.proof.runs if _went(run, region)]
        for region in regions
    }
    parts = [_traffic(on, shown, others)]
    parts += [_latency(on, region, shown, others) for region in regions]
    parts.append(_errors(on, shown, others))
    kinds = [
        _error_kinds(on, region, shown) for region in regions if series.highest(shown[region].bad)
    ]
    parts.append(tag("div", kinds, class_="pairs"))
    return Markup("".join(parts))


def _went(run: Run, region: RegionName) -> bool:
    return any(where == region for _, where in run.lines)


def _traffic(
    on: Stage, shown: Mapping[RegionName, Met], others: Mapping[RegionName, list[Met]]
) -> Markup:
    curves = [
        Curve(
            name=region,
            values=figures.rate_per_s,
            style=style(index),
            band=series.envelope([one.rate_per_s for one in others[region]]),
            hint=f"{_range(figures.rate_per_s, words.number)} requests/s",
        )
        for index, (region, figures) in enumerate(shown.items())
    ]
    return on.plot(
        "Requests per second, by the region that answered",
        *curves,
        scale=linear(_top(curves), words.number),
        label=_spoken("Requests per second over time", curves),
    )


def _latency(
    on: Stage,
    region: RegionName,
    shown: Mapping[RegionName, Met],
    others: Mapping[RegionName, list[Met]],
) -> Markup:
    figures = shown[region]
    scale, limit = _latency_scale(shown), _threshold_s(on.system)
    curves = [
        Curve(
            name="99% within",
            values=figures.p99_s,
            style="s0",
            band=series.envelope([one.p99_s for one in others[region]]),
            hint=_range(figures.p99_s, words.seconds),
        ),
        Curve(
            name="half within",
            values=figures.p50_s,
            style="s1",
            band=series.envelope([one.p50_s for one in others[region]]),
            hint=_range(figures.p50_s, words.seconds),
        ),
    ]
    return on.plot(
        ["Latency of answers from ", tag("b", region)],
        *curves,
        scale=scale,
        label=_spoken(f"Latency in {region} over time", curves),
        limit=limit,
        limit_name=None if limit is None else f"promised: {words.short_seconds(limit)}",
    )


def _latency_scale(shown: Mapping[RegionName, Met]) -> Scale:
    """One for all regions, so that they can be compared."""
    values = np.concatenate([part for one in shown.values() for part in (one.p50_s, one.p99_s)])
    least, greatest = series.lowest(values, 0.001), series.highest(values, 1.0)
    return logarithmic(max(least, 1e-6), max(greatest, 1e-6), words.short_seconds)


def _threshold_s(system: System) -> float | None:
    """Of latency objectives, where there is just one."""
    found = {
        objective.threshold
        for objective in system.objectives
        if objective.kind is ObjectiveKind.LATENCY and objective.threshold is not None
    }
    return found.pop() / SECOND if len(found) == 1 else None


def _errors(
    on: Stage, shown: Mapping[RegionName, Met], others: Mapping[RegionName, list[Met]]
) -> Markup:
    if not any(series.highest(one.bad) for many in others.values() for one in many):
        return tag("p", "Errors: none in any run. Every request was answered well.", class_="note")
    curves = [
        Curve(
            name=region,
            values=figures.bad,
            style=style(index),
            band=series.envelope([one.bad for one in others[region]]),
            hint=f"{_range(figures.bad, words.percent)} of requests",
        )
        for index, (region, figures) in enumerate(shown.items())
    ]
    return on.plot(
        "Errors: requests that failed, were rejected or timed out",
        *curves,
        scale=linear(min(1.0, _top(curves)), _tick_percent),
        label=_spoken("Share of requests in error over time", curves),
    )


def _error_kinds(on: Stage, region: RegionName, shown: Mapping[RegionName, Met]) -> Markup:
    figures = shown[region]
    curves = [
        Curve(
            name=name,
            values=values,
            style=name.replace(" ", "-"),
            hint=_range(values, words.percent),
        )
        for name, values in (
            ("failed", figures.failed),
            ("rejected", figures.rejected),
            ("timed out", figures.timed_out),
        )
        if series.highest(values)
    ]
    return on.plot(
        ["Kinds of errors in ", tag("b", region)],
        *curves,
        scale=linear(min(1.0, _top(curves)), _tick_percent),
        label=_spoken(f"Kinds of errors in {region} over time", curves),
    )


# --- the system --------------------------------------------------------------------


def _loads(on: Stage, service: ServiceName) -> dict[RegionName, Load]:
    """By region, in the order of the spec."""
    found = {where: load for (name, where), load in on.run.loads.items() if name == service}
    order = {region: index for index, region in enumerate(on.system.regions)}
    return dict(sorted(found.items(), key=lambda pair: order.get(pair[0], len(order))))


def _by_region(
    on: Stage,
    service: ServiceName,
    of: Callable[[Load, Columns], Floats],
    write: Callable[[float], str],
    *,
    stepped: bool = False,
    banded: bool = True,
) -> list[Curve]:
    curves = []
    for index, (region, load) in enumerate(_loads(on, service).items()):
        others = [
            of(run.loads[service, region], on.shape)
            for run in on.proof.runs
            if banded and (service, region) in run.loads
        ]
        values = of(load, on.shape)
        curves.append(
            Curve(
                name=region,
                values=values,
                style=style(index),
                band=series.envelope(others),
                stepped=stepped,
                hint=_range(values, write),
            )
        )
    return curves


def eventful(run: Run, system: System, most: int = SERVICES_MAX) -> list[ServiceName]:
    """The services to which most happened, in the order of the spec: whose ready instances
    changed, and which were busiest."""

    def happened(service: ServiceName) -> tuple[int, float]:
        loads = [load for (name, _), load in run.loads.items() if name == service]
        changed = sum(int(np.ptp(load.ready)) for load in loads if load.ready.size)
        busiest = max(
            (float((load.busy / np.maximum(load.slots, 1)).max(initial=0.0)) for load in loads),
            default=0.0,
        )
        return -changed, -busiest

    first = sorted(system.services, key=happened)[:most]
    return [service for service in system.services if service in first]


def _service(on: Stage, service: ServiceName) -> list[Markup]:
    """Its instances, how busy they are, and whether requests queue."""
    ready = _by_region(on, service, series.ready, words.number, stepped=True)
    if not ready:
        return []
    plots = [
        on.plot(
            ["Ready instances of ", tag("b", service)],
            *ready,
            scale=whole(_top(ready)),
            label=_spoken(f"Ready instances of {service} over time", ready),
        )
    ]
    busy = _by_region(on, service, series.utilisation, _whole_percent, banded=False)
    if any(np.isfinite(curve.values).any() for curve in busy):
        plots.append(
            on.plot(
                ["Utilisation of ", tag("b", service), ": worker slots taken"],
                *busy,
                scale=linear(max(1.0, _top(busy)), _tick_percent),
                label=_spoken(f"Utilisation of {service} over time", busy),
            )
        )
    queued = _by_region(on, service, series.queued, words.number, banded=False)
    if any(series.highest(curve.values) for curve in queued):
        plots.append(
            on.plot(
                ["Requests that wait for a worker of ", tag("b", service)],
                *queued,
                scale=whole(_top(queued)),
                label=_spoken(f"Queued requests of {service} over time", queued),
            )
        )
    return plots


# --- words -------------------------------------------------------------------------


def _top(curves: Sequence[Curve]) -> float:
    """The greatest amount that is drawn."""
    tops = [series.highest(curve.values) for curve in curves]
    tops += [series.highest(curve.band[1]) for curve in curves if curve.band is not None]
    return max(tops, default=0.0)


def _range(values: Floats, write: Callable[[float], str]) -> str:
    if not np.isfinite(values).any():
        return "nothing"
    least, greatest = write(series.lowest(values)), write(series.highest(values))
    return least if least == greatest else f"{least} to {greatest}"


def _spoken(what: str, curves: Sequence[Curve]) -> str:
    """What a picture shows, for those who do not see it."""
    return f"{what}. " + "; ".join(f"{curve.name}: {curve.hint}" for curve in curves)


def _whole_percent(fraction: float) -> str:
    return words.percent(fraction, 0)


def _tick_percent(fraction: float) -> str:
    return f"{fraction * 100:.3g}%"
