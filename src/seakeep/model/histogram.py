"""How long answers take: counts of requests by time, over bounds that never change.

Equal bounds everywhere make merging exact: counts are added. Percentiles are read from merged
counts and never averaged.
"""

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import TypeAlias

from seakeep.model.time import MILLISECOND, Duration

Counts: TypeAlias = tuple[int, ...]
"""Requests per bucket; shorter than `BOUNDS` when the rest is 0."""

BOUNDS: tuple[Duration, ...] = tuple(
    round(step * 10**power * MILLISECOND)
    for power in range(5)
    for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
)
"""Upper bounds, ns: 1 ms to 80 s, at most a third apart, which is as far as a percentile can be
off within its bucket."""


def merged(histograms: Iterable[Counts]) -> Counts:
    """The counts of all together."""
    return tuple(map(sum, zip_longest(*histograms, fillvalue=0)))


def percentile(counts: Sequence[int], quantile: float) -> float | None:
    """The time, ns, that the fraction `quantile` of requests stays within; None when there are
    none. Within a bucket requests are taken to be spread evenly."""
    total = sum(counts)
    if total == 0:
        return None
    rank = quantile * total
    below = 0
    for index, count in enumerate(counts):
        if count and below + count >= rank:
            low = BOUNDS[index - 1] if index else 0
            return low + (BOUNDS[index] - low) * max(0.0, rank - below) / count
        below += count
    return float(BOUNDS[len(counts) - 1])
