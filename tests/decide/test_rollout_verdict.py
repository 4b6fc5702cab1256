"""The comparison of two versions: what it finds, and how often it is wrong."""

import math
import random
from bisect import bisect_left

import pytest

from seakeep.decide.rollout_verdict import (
    Side,
    difference_low,
    quantile_high,
    quantile_low,
    side_of,
    wilson,
    worse,
)
from seakeep.model.histogram import BOUNDS
from seakeep.model.observation import RevisionReading
from seakeep.model.rolling import Comparison
from seakeep.model.time import MILLISECOND

BOUNDS_OF = Comparison(requests=100, errors=0.01, slower=0.5)


def times(values_ms):
    counts = [0] * len(BOUNDS)
    for value in values_ms:
        counts[min(bisect_left(BOUNDS, value * MILLISECOND), len(BOUNDS) - 1)] += 1
    return tuple(counts)


def side(requests, failures=0, ms=10.0):
    return Side(requests=requests, failures=failures, latency=times([ms] * requests))


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (side(1_000), side(1_000), None),
        (side(1_000), side(99, 99), None),  # too few to say anything
        (side(99), side(1_000, 1_000), None),
        (side(1_000), side(100, 30), "errors"),
        (side(1_000, 300), side(1_000, 300), None),  # both are bad
        (side(1_000), side(1_000, 10), None),  # 1 %: within the margin
        (side(100_000, 100), side(100_000, 1_500), "errors"),
        (side(1_000), side(1_000, ms=100), "latency"),
        (side(1_000), side(1_000, ms=12), None),
        (side(1_000, ms=1), side(1_000, ms=5), None),  # nobody minds
        (side(1_000, ms=100), side(1_000), None),  # faster
    ],
)
def test_what_counts_as_worse(old, new, found):
    verdict = worse(old, new, BOUNDS_OF)
    assert (verdict[0] if verdict else None) == found


def test_nothing_is_compared_when_told_so():
    assert worse(side(1_000), side(1_000, 1_000), Comparison(requests=0)) is None


def test_a_slow_tail_is_found_though_the_median_is_the_same():
    new = Side(requests=1_000, latency=times([10] * 850 + [400] * 150))
    verdict = worse(side(1_000), new, BOUNDS_OF)
    assert verdict is not None
    assert dict(verdict[1])["quantile_percent"] == 95


def test_wilson_by_a_published_figure():
    """Newcombe 1998 (one proportion), 81 of 263 at 95 %: 0.2553 to 0.3662."""
    low, high = wilson(81, 263, z=1.959964)
    assert math.isclose(low, 0.2553, abs_tol=5e-5)
    assert math.isclose(high, 0.3662, abs_tol=5e-5)


def test_the_bounds_of_a_quantile_hold_it():
    counts = times(range(1, 1_001))
    assert quantile_low(counts, 0.5) <= 500 * MILLISECOND <= quantile_high(counts, 0.5)
    assert quantile_low(counts, 0.95) <= 950 * MILLISECOND <= quantile_high(counts, 0.95)


def test_readings_are_taken_from_where_the_attempt_began_and_summed_over_regions():
    def reading(region, requests, failures, revision="w2"):
        return RevisionReading(region=region, service="web", revision=revision, requests=requests,
                               failures=failures, latency=(requests,))  # fmt: skip

    before = [reading("us-east", 100, 10), reading("eu-west", 50, 5)]
    now = [reading("us-east", 160, 12), reading("eu-west", 20, 1), reading("us-east", 9, 9, "w1")]
    found = side_of(now, before, "w2")  # the balancer of eu-west was started again
    assert (found.requests, found.failures, found.latency) == (80, 3, (80,))


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.02, 0.2])
def test_two_like_versions_are_hardly_ever_told_apart_however_often_one_looks(rate):
    """200 rollouts of 300 looks each, 20 requests of either version between two looks."""
    draw = random.Random(7)
    stopped = 0
    for _ in range(200):
        old = new = (0, 0)
        for _ in range(300):
            old = (old[0] + 20, old[1] + sum(draw.random() < rate for _ in range(20)))
            new = (new[0] + 20, new[1] + sum(draw.random() < rate for _ in range(20)))
            if old[0] < 100:
                continue
            sides = (Side(requests=n, failures=k) for n, k in (old, new))
            if difference_low(*sides) > 0.01:
                stopped += 1
                break
    assert stopped <= 2, f"{stopped} of 200 stopped for nothing"
