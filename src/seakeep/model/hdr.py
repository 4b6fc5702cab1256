"""Histograms of durations with high dynamic range: relative error at most 1/256.

Buckets as in HdrHistogram (http://hdrhistogram.org): within each power of two, 2^SUB_BITS of
equal width; below 2^SUB_BITS ns every value has its own. Equal bounds everywhere make merging
exact: counts are added. The sum and the greatest value are kept beside, so that the mean and the
maximum are exact.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seakeep.model.time import SECOND

SUB_BITS = 7
SUB = 1 << SUB_BITS
BITS_MAX = 50
"""Of a duration: 2^50 ns are 13 days. Longer ones count as that long."""
BUCKETS = SUB * (BITS_MAX - SUB_BITS + 1)


def bucket_of(value_ns: int) -> int:
    """The index of the bucket that holds a duration, 0 <= value_ns < 2^BITS_MAX."""
    shift = max(0, value_ns.bit_length() - SUB_BITS - 1)
    return SUB * shift + (value_ns >> shift)


def middle_of(bucket: int) -> float:
    """The duration, ns, that stands for a bucket."""
    shift = max(0, bucket // SUB - 1)
    return float(((bucket - SUB * shift) << shift) + (1 << shift) / 2 - 0.5)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Histogram:
    counts: NDArray[np.int64]
    """Shape (BUCKETS,)."""
    sum_ns: int = 0
    max_ns: int = 0

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def mean_s(self) -> float | None:
        """None of nothing, as are the others."""
        return self.sum_ns / self.total / SECOND if self.total else None

    @property
    def max_s(self) -> float | None:
        return self.max_ns / SECOND if self.total else None

    def percentile_s(self, fraction: float) -> float | None:
        """The shortest duration, in seconds, that `fraction` of all do not exceed."""
        total = self.total
        if not total:
            return None
        rank = max(1, int(np.ceil(fraction * total)))
        bucket = int(np.searchsorted(np.cumsum(self.counts), rank))
        return min(middle_of(bucket), float(self.max_ns)) / SECOND


def empty() -> Histogram:
    return Histogram(counts=np.zeros(BUCKETS, dtype=np.int64))


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """All of them together."""
    parts = list(histograms)
    counts = np.zeros(BUCKETS, dtype=np.int64)
    for part in parts:
        counts += part.counts
    return Histogram(
        counts=counts,
        sum_ns=sum(part.sum_ns for part in parts),
        max_ns=max((part.max_ns for part in parts), default=0),
    )
