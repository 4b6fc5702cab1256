"""How long requests took, from the quickest to the slowest: percentile plots, and the figures.

All runs of a scenario are added up: histograms have equal bounds, so that adding is exact.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from seakeep.explain.report import words
from seakeep.explain.report.markup import Markup, tag
from seakeep.explain.report.plots import Curve, plot, style
from seakeep.explain.report.scales import HEIGHT, WIDTH, logarithmic
from seakeep.explain.report.series import Floats
from seakeep.explain.report.tables import table
from seakeep.model.hdr import BUCKETS, Histogram, merged, middle_of
from seakeep.model.proof import Proof
from seakeep.model.run import Flow
from seakeep.model.time import SECOND

POINTS = 160
MIDDLES_S = np.array([middle_of(bucket) for bucket in range(BUCKETS)]) / SECOND
FIRST = 0.05
"""The percentile at the left border: what is quicker says little."""
MARKED = (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)
"""Percentiles below the axis."""
BEYOND = 5
"""Requests that must be slower than a point for it to be drawn: fewer are chance."""

COUNTS = (
    ("requests", "Requests"),
    ("ok", "Ok"),
    ("failed", "Failed"),
    ("rejected", "Rejected"),
    ("timed_out", "Timed out"),
    ("in_flight", "Still in flight"),
    ("retried", "Retries"),
)
TIMES: tuple[tuple[str, Callable[["Total"], float | None]], ...] = (
    ("Mean", lambda total: total.latency.mean_s),
    ("p50", lambda total: total.latency.percentile_s(0.5)),
    ("p90", lambda total: total.latency.percentile_s(0.9)),
    ("p99", lambda total: total.latency.percentile_s(0.99)),
    ("p99.9", lambda total: total.latency.percentile_s(0.999)),
    ("Longest", lambda total: total.latency.max_s),
    ("Of it in a queue: mean", lambda total: total.wait.mean_s),
    ("In a queue: p99", lambda total: total.wait.percentile_s(0.99)),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Total:
    """A flow of all runs together."""

    name: str
    counts: Mapping[str, int]
    latency: Histogram
    wait: Histogram


def totals(flows: Sequence[Mapping[str, Flow]]) -> list[Total]:
    """By name, in the order of the first run."""
    found = []
    for name in flows[0] if flows else ():
        parts = [flow[name] for flow in flows if name in flow]
        found.append(
            Total(
                name=name,
                counts={field: sum(getattr(part, field) for part in parts) for field, _ in COUNTS},
                latency=merged(part.latency for part in parts),
                wait=merged(part.wait for part in parts),
            )
        )
    return found


def distributions(proof: Proof) -> Markup:
    sources = totals([run.traffic for run in proof.runs])
    services = totals([run.services for run in proof.runs])
    both = [(f"{one.name} (clients)", one) for one in sources]
    both += [(one.name, one) for one in services]
    ended = [(name, [f"{one.counts[field]:,}" for field, _ in COUNTS]) for name, one in both]
    took = [(name, [_time(of(one)) for _, of in TIMES]) for name, one in both]
    parts = (
        _plot("Latency as clients met it, by traffic source", sources),
        _plot("Latency as their callers met it, by service", services),
        table("How requests ended", "Asked by, or of", [title for _, title in COUNTS], ended),
        table("How long good answers took", "Asked by, or of", [title for title, _ in TIMES], took),
    )
    return Markup("".join(parts))


def _time(amount_s: float | None) -> str:
    return words.NOTHING if amount_s is None else words.seconds(amount_s)


# --- the plot -----------------------------------------------------------------------


def _plot(caption: str, all_of_them: Sequence[Total]) -> Markup:
    drawn = [total for total in all_of_them if total.latency.total]
    if not drawn:
        return Markup()
    # Percentiles stand by how many nines they have: 90%, 99% and 99.9% equally far apart.
    first = -math.log10(1 - FIRST)
    last = max(math.log10(max(total.latency.total for total in drawn) / BEYOND), 1.0)
    nines = np.linspace(first, last, POINTS)
    curves = [
        Curve(
            name=total.name,
            values=_latencies_s(total.latency, nines),
            style=style(index),
            hint=_hint(total.latency),
        )
        for index, total in enumerate(drawn)
    ]
    everything = np.concatenate([curve.values for curve in curves])
    everything = everything[np.isfinite(everything)]
    least, greatest = (
        (float(everything.min()), float(everything.max())) if everything.size else (0.001, 1.0)
    )
    marks = [
        ((-math.log10(1 - fraction) - first) / (last - first), f"{fraction * 100:.6g}%")
        for fraction in MARKED
        if -math.log10(1 - fraction) <= last
    ]
    uprights = "".join(f"M{round(WIDTH * place)},0v{HEIGHT}" for place, _ in marks)
    return plot(
        caption,
        *curves,
        xs=[round(WIDTH * place / (POINTS - 1)) for place in range(POINTS)],
        scale=logarithmic(max(least, 1e-6), max(greatest, 1e-6), words.short_seconds),
        marks=marks,
        label=f"{caption}. " + "; ".join(f"{curve.name}: {curve.hint}" for curve in curves),
        layer=tag("path", class_="grid", d=uprights),
        tall=True,
    )


def _latencies_s(histogram: Histogram, nines: Floats) -> Floats:
    """The latency that all but 10^-nines of the requests stay within; nan where that is too few
    of them."""
    total = histogram.total
    ranks = np.maximum(1, np.ceil((1 - 10.0**-nines) * total)).astype(np.int64)
    buckets = np.minimum(np.searchsorted(np.cumsum(histogram.counts), ranks), BUCKETS - 1)
    found = np.minimum(MIDDLES_S[buckets], histogram.max_ns / SECOND)
    enough = total * 10.0**-nines >= min(BEYOND, total / 2)
    return np.where(enough, found, np.nan)


def _hint(histogram: Histogram) -> str:
    half, most = histogram.percentile_s(0.5), histogram.percentile_s(0.99)
    return f"half within {_time(half)}, 99% within {_time(most)}"
