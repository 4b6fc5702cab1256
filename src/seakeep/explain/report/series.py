"""A run's figures over time, as they are drawn: numpy arrays, one value for each column.

A column is one bucket of the run, or several together when there are more than a screen can
show: counts are added, percentiles read from added counts, and of gauges the worst is kept.
Where there is nothing to tell (no request ended) the value is nan.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from seakeep.model.histogram import percentile
from seakeep.model.ids import RegionName
from seakeep.model.run import Good, Ints, Line, Load, Run
from seakeep.model.time import SECOND, Duration, Instant

Floats: TypeAlias = NDArray[np.float64]

COLUMNS_MAX = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """How buckets become columns."""

    buckets: int
    together: int
    """Buckets in one column."""
    bucket: Duration
    duration: Duration

    @property
    def edges(self) -> tuple[Instant, ...]:
        """Where columns begin, and the end of the last."""
        width = self.together * self.bucket
        count = -(-self.buckets // self.together)
        return tuple(min(index * width, self.duration) for index in range(count + 1))

    @property
    def lengths_s(self) -> Floats:
        return np.maximum(np.diff(np.array(self.edges, dtype=np.float64)), 1.0) / SECOND

    def added(self, values: Ints) -> Ints:
        """Shape (columns, ...)."""
        return np.add.reduceat(self._fitted(values), self._starts, axis=0)

    def lowest(self, values: Ints) -> Ints:
        return np.minimum.reduceat(self._fitted(values), self._starts, axis=0)

    def highest(self, values: Ints) -> Ints:
        return np.maximum.reduceat(self._fitted(values), self._starts, axis=0)

    @property
    def _starts(self) -> NDArray[np.intp]:
        return np.arange(0, self.buckets, self.together)

    def _fitted(self, values: Ints) -> Ints:
        """Exactly `buckets` of them: what ended after the scenario did is left out."""
        missing = self.buckets - len(values)
        if missing <= 0:
            return values[: self.buckets]
        return np.concatenate([values, np.zeros((missing, *values.shape[1:]), dtype=np.int64)])


def columns(run: Run, most: int = COLUMNS_MAX) -> Columns:
    buckets = max(1, -(-run.duration // max(run.bucket, 1)))
    together = -(-buckets // most)
    return Columns(
        buckets=buckets, together=together, bucket=max(run.bucket, 1), duration=run.duration
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Met:
    """What clients met, in one region or in all. Shape (columns,) each."""

    rate_per_s: Floats
    """Of requests that ended, well or not."""
    p50_s: Floats
    p99_s: Floats
    failed: Floats
    """Fractions of the requests that ended, as are the next two."""
    rejected: Floats
    timed_out: Floats

    @property
    def bad(self) -> Floats:
        total: Floats = self.failed + self.rejected + self.timed_out
        return total


def lines_in(run: Run, region: RegionName | None) -> list[Line]:
    return [line for (_, where), line in run.lines.items() if region is None or where == region]


def met(run: Run, region: RegionName | None, shape: Columns) -> Met:
    """Of all traffic sources together."""
    lines = lines_in(run, region)

    def counts(of: Callable[[Line], Ints]) -> Ints:
        return shape.added(sum((of(line) for line in lines[1:]), start=of(lines[0])))

    ok, failed = counts(lambda line: line.ok), counts(lambda line: line.failed)
    rejected, timed_out = counts(lambda line: line.rejected), counts(lambda line: line.timed_out)
    latency = counts(lambda line: line.latency).tolist()
    ended = ok + failed + rejected + timed_out
    return Met(
        rate_per_s=ended / shape.lengths_s,
        p50_s=np.array([_percentile_s(row, 0.5) for row in latency]),
        p99_s=np.array([_percentile_s(row, 0.99) for row in latency]),
        failed=_ratio(failed, ended),
        rejected=_ratio(rejected, ended),
        timed_out=_ratio(timed_out, ended),
    )


def ready(load: Load, shape: Columns) -> Floats:
    """The fewest ready instances of each column."""
    return shape.lowest(load.ready).astype(np.float64)


def utilisation(load: Load, shape: Columns) -> Floats:
    """The highest fraction of worker slots taken."""
    slots = np.maximum(load.slots, 1)
    # In millionths, so that columns need only know of whole numbers.
    worst = shape.highest((np.minimum(load.busy, 2 * slots) * 1_000_000) // slots)
    told = shape.highest(load.slots) > 0
    return np.where(told, worst / 1e6, np.nan)


def queued(load: Load, shape: Columns) -> Floats:
    return shape.highest(load.queued).astype(np.float64)


def spent(good: Good, allowed: float, shape: Columns) -> Floats:
    """Bad requests since the beginning, as a share of what may be bad: `allowed`, a number of
    requests."""
    bad = np.cumsum(shape.added(good.total - good.good)).astype(np.float64)
    if allowed <= 0:
        return np.where(bad > 0, np.inf, 0.0)
    return bad / allowed


def envelope(values: Sequence[Floats]) -> tuple[Floats, Floats] | None:
    """The lowest and the highest of several runs, column by column; None of fewer than two."""
    if len(values) < 2:
        return None
    return np.fmin.reduce(values), np.fmax.reduce(values)


def highest(values: Floats, otherwise: float = 0.0) -> float:
    """The greatest that is a finite number."""
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else otherwise


def lowest(values: Floats, otherwise: float = 0.0) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.min()) if finite.size else otherwise


def _ratio(part: Ints, all_of_it: Ints) -> Floats:
    return np.where(all_of_it > 0, part / np.maximum(all_of_it, 1), np.nan)


def _percentile_s(counts: list[int], fraction: float) -> float:
    found = percentile(counts, fraction)
    return np.nan if found is None else found / SECOND
