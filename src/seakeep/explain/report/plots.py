"""Pictures: SVG that the page stretches to the room that there is, with its words around it in
HTML, which are never stretched. So a plot is as readable on a phone as on paper.

Colours are variables of the page's style, so that dark mode and printing need no second
picture. Lines that are told apart by colour are told apart by dashes, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from seakeep.explain.report.faults import Span
from seakeep.explain.report.markup import Content, Markup, tag
from seakeep.explain.report.scales import HEIGHT, WIDTH, Scale, Times
from seakeep.explain.report.series import Floats
from seakeep.explain.report.words import tick

STYLES = 12
"""Kinds of lines that can be told apart: six colours, four ways to dash."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """One line of a plot."""

    name: str
    values: Floats
    style: str
    """A class of the page's style: `s0` to `s11`, or `failed`, `rejected`, `timed-out`."""
    band: tuple[Floats, Floats] | None = None
    """Lowest and highest of the other runs."""
    stepped: bool = False
    """Values that stand until they change, such as numbers of instances."""
    hint: str = ""
    """Shown when a pointer rests on it."""


def style(index: int) -> str:
    return f"s{index % STYLES}"


def plot(
    caption: Content,
    *curves: Curve,
    xs: Sequence[int],
    scale: Scale,
    marks: Sequence[tuple[float, str]],
    label: str,
    tall: bool = False,
    layer: Markup | None = None,
    limit: float | None = None,
    limit_name: str | None = None,
) -> Markup:
    """A picture of curves over one axis. `xs` are their places from left to right (one more for
    stepped ones: edges), `marks` what is written below the axis, as (fraction of the width, text);
    `layer` lies under the curves, and `limit` is a line of its own, named in the legend."""
    grid = "".join(f"M0,{scale.y(amount)}h{WIDTH}" for amount in scale.ticks)
    drawn = [tag("path", class_="grid", d=grid), layer]
    drawn += [_band(curve, xs, scale) for curve in curves]
    if limit is not None and scale.low <= limit <= scale.high:
        drawn.append(tag("path", class_="limit", d=f"M0,{scale.y(limit)}h{WIDTH}"))
    drawn += [_line(curve, xs, scale) for curve in curves]
    legend = [key(f"line {curve.style}", curve.name) for curve in curves]
    if limit_name is not None:
        legend.append(key("limit", limit_name))
    return tag(
        "figure",
        tag("figcaption", tag("span", caption, class_="what"), tag("span", legend, class_="keys")),
        tag(
            "div",
            tag("div", [_beside(scale, amount) for amount in scale.ticks], class_="ys"),
            canvas(drawn, label),
            axis(marks),
            class_="plot",
        ),
        class_="panel tall" if tall else "panel",
    )


def canvas(content: Content, label: str, class_: str = "canvas") -> Markup:
    return tag(
        "svg",
        content,
        class_=class_,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


def axis(marks: Sequence[tuple[float, str]]) -> Markup:
    """What is written below a plot."""
    written = [
        tag("span", text, style=f"left:{place * 100:.6g}%", class_=_at_border(place))
        for place, text in marks
    ]
    return tag("div", written, class_="xs", aria_hidden="true")


def _at_border(place: float) -> str | None:
    """Words at a border stand beside their place, not around it."""
    return "begin" if place < 0.03 else "end" if place > 0.97 else None


def time_marks(times: Times) -> list[tuple[float, str]]:
    return [(times.fraction(at), tick(at)) for at in times.ticks]


def fault_layer(spans: Sequence[Span], times: Times) -> Markup | None:
    """Bands where faults last, lines where they strike."""
    bands = "".join(
        f"M{times.x(span.begins)},0h{times.x(span.ends) - times.x(span.begins)}v{HEIGHT}"
        f"H{times.x(span.begins)}z"
        for span in spans
        if span.ends > span.begins
    )
    edges = "".join(f"M{times.x(at)},0v{HEIGHT}" for span in spans for at in _edges(span))
    if not edges:
        return None
    return Markup(
        (tag("path", class_="fault", d=bands) if bands else "")
        + tag("path", class_="fault-edge", d=edges)
    )


def _edges(span: Span) -> tuple[int, ...]:
    return (span.begins,) if span.begins == span.ends else (span.begins, span.ends)


def key(classes: str, name: Content) -> Markup:
    """An entry of a legend."""
    sample = tag(
        "svg",
        tag("path", class_=classes, d="M1,5h26"),
        class_="key",
        viewBox="0 0 28 10",
        aria_hidden="true",
    )
    return tag("span", sample, name, class_="entry")


def _beside(scale: Scale, amount: float) -> Markup:
    top = 100 * (1 - scale.fraction(amount))
    return tag("span", scale.write(amount), style=f"top:{top:.6g}%")


def _line(curve: Curve, xs: Sequence[int], scale: Scale) -> Markup | None:
    ys = _places(curve.values, scale)
    way = _steps(xs, ys) if curve.stepped else _path(xs, ys)
    if not way:
        return None
    hint = tag("title", f"{curve.name}: {curve.hint}" if curve.hint else curve.name)
    return tag("path", hint, class_=f"line {curve.style}", d=way)


def _band(curve: Curve, xs: Sequence[int], scale: Scale) -> Markup | None:
    if curve.band is None:
        return None
    lows, highs = (_places(values, scale) for values in curve.band)
    ways = []
    for begin, end in _runs(lows):
        way, low, high = list(xs[begin:end]), lows[begin:end], highs[begin:end]
        if curve.stepped:
            way, low, high = _doubled(xs[begin : end + 1], low, high)
        if high != low:
            there = _path(way, high)
            back = _path(way[::-1], low[::-1])
            ways.append(f"{there}L{back[1:]}z")
    if not ways:
        return None
    return tag("path", class_=f"band {curve.style}", d="".join(ways))


def _doubled(
    edges: Sequence[int], low: list[int | None], high: list[int | None]
) -> tuple[list[int], list[int | None], list[int | None]]:
    """The corners of steps."""
    xs = [x for pair in pairwise(edges) for x in pair]
    return xs, [y for y in low for _ in (0, 1)], [y for y in high for _ in (0, 1)]


def _places(values: Floats, scale: Scale) -> list[int | None]:
    return [None if np.isnan(value) else scale.y(value) for value in values.tolist()]


def _runs(ys: Sequence[int | None]) -> list[tuple[int, int]]:
    """Stretches without a gap."""
    found, begin = [], None
    for index, y in enumerate((*ys, None)):
        if y is None:
            if begin is not None:
                found.append((begin, index))
            begin = None
        elif begin is None:
            begin = index
    return found


def _path(xs: Sequence[int], ys: Sequence[int | None]) -> str:
    """Straight lines from point to point; relative, and without points that lie on a level
    stretch, because there are many plots on a page."""
    parts: list[str] = []
    for begin, end in _runs(ys):
        x, y = xs[begin], ys[begin]
        assert y is not None
        parts.append(f"M{x},{y}")
        if end == begin + 1:
            parts.append("h0")
        for index in range(begin + 1, end):
            here = ys[index]
            assert here is not None
            if here == y and index + 1 < end and ys[index + 1] == y:
                continue
            parts.append(f"h{xs[index] - x}" if here == y else f"l{xs[index] - x},{here - y}")
            x, y = xs[index], here
    return "".join(parts)


def _steps(edges: Sequence[int], ys: Sequence[int | None]) -> str:
    parts: list[str] = []
    for begin, end in _runs(ys):
        y = ys[begin]
        parts.append(f"M{edges[begin]},{y}")
        for index in range(begin + 1, end):
            if ys[index] != y:
                y = ys[index]
                parts.append(f"H{edges[index]}V{y}")
        parts.append(f"H{edges[end]}")
    return "".join(parts)
