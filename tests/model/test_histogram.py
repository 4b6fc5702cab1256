"""Merged counts and percentiles of them."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from seakeep.model.histogram import BOUNDS, merged, percentile
from seakeep.model.time import MILLISECOND, SECOND

COUNTS = st.lists(st.integers(0, 50), max_size=len(BOUNDS)).map(tuple)
QUANTILES = st.floats(0.01, 0.999)


def test_bounds_grow_from_a_millisecond_by_a_third_at_most():
    assert (BOUNDS[0], BOUNDS[-1]) == (MILLISECOND, 80 * SECOND)
    steps = [b / a for a, b in pairwise(BOUNDS)]
    assert min(steps) > 1
    assert max(steps) < 1.34


def test_a_percentile_lies_within_its_bucket():
    counts = (0,) * 20 + (90, 10)  # 80 to 100 ms, and 100 to 120
    assert percentile(counts, 0.45) == 90 * MILLISECOND
    assert percentile(counts, 0.95) == 110 * MILLISECOND
    assert percentile((), 0.5) is None
    assert percentile((0, 0), 0.5) is None


def test_percentiles_are_read_from_merged_counts():
    """99 fast ones here and 1 slow one there: the slow region's own p95 says nothing."""
    fast, slow = (99,), (0,) * 30 + (1,)
    assert percentile(merged([fast, slow]), 0.95) < MILLISECOND
    assert merged([fast, slow]) == (99,) + (0,) * 29 + (1,)


@given(st.lists(COUNTS, max_size=4), QUANTILES, QUANTILES)
def test_percentiles_rise_and_stay_within_what_there_is(histograms, one, other):
    counts = merged(histograms)
    assert sum(counts) == sum(map(sum, histograms))
    low, high = percentile(counts, min(one, other)), percentile(counts, max(one, other))
    if sum(counts):
        assert 0 <= low <= high <= BOUNDS[-1]
