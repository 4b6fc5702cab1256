"""Latency histograms: HDR, 1 µs to 1 h, three significant digits, in nanoseconds.

Totals are merged, percentiles are never averaged. This is the only module that knows the
library (hdrhistogram, the Python port of HdrHistogram with its C core).
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]

from seakeep.model.time import HOUR, MICROSECOND, Duration

SIGNIFICANT_DIGITS = 3


class Histogram:
    """Counts of durations. About 190 KB."""

    __slots__ = ("_hdr",)

    def __init__(self) -> None:
        self._hdr = HdrHistogram(MICROSECOND, HOUR, SIGNIFICANT_DIGITS)

    def record(self, duration: Duration) -> None:
        """Count one duration; beyond the range it counts as the nearest end of it."""
        self._hdr.record_value(min(max(duration, MICROSECOND), HOUR))

    def add(self, other: "Histogram") -> None:
        """Add the counts of another one."""
        self._hdr.add(other._hdr)

    @property
    def count(self) -> int:
        return int(self._hdr.get_total_count())

    @property
    def max(self) -> Duration:
        """The largest duration, to three digits; 0 when nothing was counted."""
        return int(self._hdr.get_max_value())

    def percentiles(self, wanted: Sequence[float]) -> tuple[Duration | None, ...]:
        """The durations at the percentiles (0-100) in `wanted`; None when nothing was counted.

        The library's definition (highest equivalent value); its own query walks the whole
        array in Python for each, too long a pause while a load is running."""
        hdr = self._hdr
        if not hdr.get_total_count():
            return (None,) * len(wanted)
        last = hdr._counts_index_for(hdr.max_value)
        cumulated = list(accumulate(hdr.counts[: last + 1]))
        targets = (hdr.get_target_count_at_percentile(p) for p in wanted)
        values = (hdr.get_value_from_index(bisect_left(cumulated, t)) for t in targets)
        return tuple(int(hdr.get_highest_equivalent_value(value)) for value in values)

    def encode(self) -> str:
        """Compressed V2 encoding in base64, as in the HdrHistogram log format."""
        return str(self._hdr.encode().decode("ascii"))


def decode_histogram(text: str) -> Histogram:
    """The histogram that `encode` wrote. Raises ValueError."""
    histogram = Histogram()
    try:
        histogram._hdr.decode_and_add(text)
    except Exception as error:
        raise ValueError(f"not an HdrHistogram: {error}") from error
    return histogram


def merge(histograms: Iterable[Histogram]) -> Histogram:
    """A new histogram with the counts of all."""
    merged = Histogram()
    for histogram in histograms:
        merged.add(histogram)
    return merged


def exact_percentiles(
    durations: Sequence[Duration], wanted: Sequence[float]
) -> tuple[Duration | None, ...]:
    """Percentiles (nearest rank) of values at hand; None when there are none."""
    if not durations:
        return (None,) * len(wanted)
    ordered = sorted(durations)
    count = len(ordered)
    return tuple(ordered[max(1, -int(-p * count // 100)) - 1] for p in wanted)
