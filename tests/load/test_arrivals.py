import itertools
import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seakeep.load.arrivals import arrivals, constant, diurnal, poisson, steps
from seakeep.load.plan import Target, plan_for_targets
from seakeep.model.observation import Address
from seakeep.model.system import Location, Shape, TrafficSource
from seakeep.model.time import HOUR, SECOND


def source(name="a", shape=Shape.POISSON, rate=100.0, **more):
    place = Location(latitude_deg=0, longitude_deg=0)
    return TrafficSource(
        name=name, location=place, service="web", rate_per_s=rate, shape=shape, **more
    )


def until(stream, end):
    return list(itertools.takewhile(lambda at: at < end, stream))


def within_sigmas(count, mean, sigmas=6):
    """A Poisson count; six sigmas: a false alarm once in 500 million."""
    return abs(count - mean) <= sigmas * math.sqrt(mean)


def test_constant_is_even_and_does_not_drift():
    stream = constant(3)
    assert [next(stream) for _ in range(4)] == [0, 333_333_333, 666_666_667, SECOND]
    assert next(itertools.islice(constant(3), 3_000_000, None)) == 1_000_000 * SECOND


def test_poisson_has_its_rate_and_exponential_gaps():
    due = until(poisson(200, Random(7)), 100 * SECOND)
    assert within_sigmas(len(due), 20_000)
    gaps = [b - a for a, b in itertools.pairwise(due)]
    longer = sum(gap > SECOND / 200 for gap in gaps)
    assert longer / len(gaps) == pytest.approx(math.exp(-1), abs=0.02)


def test_steps_change_the_rate_when_they_say():
    due = until(steps([(0, 50), (100 * SECOND, 0), (200 * SECOND, 500)], Random(3)), 300 * SECOND)
    counts = [sum(a * SECOND <= at < (a + 100) * SECOND for at in due) for a in (0, 100, 200)]
    assert within_sigmas(counts[0], 5_000)
    assert counts[1] == 0
    assert within_sigmas(counts[2], 50_000)


def test_a_rate_that_ends_at_zero_ends_the_stream():
    assert list(steps([(0, 10), (SECOND, 0)], Random(1)))[-1] < SECOND
    assert list(constant(0)) == []


def test_diurnal_peaks_a_quarter_into_its_period_and_keeps_its_mean():
    due = until(diurnal(100, 0.5, HOUR, Random(5)), HOUR)
    assert within_sigmas(len(due), 100 * 3600)
    tenth = HOUR // 10
    near_peak = sum(abs(at - HOUR // 4) < tenth // 2 for at in due)
    near_trough = sum(abs(at - 3 * HOUR // 4) < tenth // 2 for at in due)
    assert near_peak / 360 == pytest.approx(100 * 1.49, rel=0.03)
    assert near_trough / 360 == pytest.approx(100 * 0.51, rel=0.03)


def test_diurnal_refuses_an_impossible_amplitude():
    with pytest.raises(ValueError, match="between 0 and 1"):
        next(diurnal(1, 1.5, HOUR, Random(1)))


@given(
    shape=st.sampled_from([shape for shape in Shape if shape is not Shape.LOG]),
    rate=st.floats(0.5, 1e5),
    factor=st.floats(0.1, 10),
    seed=st.integers(0, 2**32),
    change=st.integers(0, 10 * SECOND),
)
def test_every_shape_is_ordered_and_a_function_of_its_seed(shape, rate, factor, seed, change):
    wanted = source(shape=shape, rate=rate, steps=((change, rate * 2),), amplitude=0.9)
    first = list(itertools.islice(arrivals(wanted, Random(seed), factor), 300))
    again = list(itertools.islice(arrivals(wanted, Random(seed), factor), 300))
    assert first == again
    assert all(isinstance(at, int) and at >= 0 for at in first)
    assert all(a <= b for a, b in itertools.pairwise(first))


def test_adding_a_source_leaves_the_arrivals_of_the_others_alone():
    target = Target(address=Address(host="127.0.0.1", port=1), host="x")
    a, b = source("a"), source("b", rate=300)

    def due_of(sources, name):
        plan = plan_for_targets([(s, target) for s in sources], seed=9)
        index = [lane.source for lane in plan.lanes].index(name)
        head = itertools.islice(plan.requests(), 4_000)
        return [request.due for request in head if request.lane == index][:500]

    assert due_of([a], "a") == due_of([b, a], "a")
    assert due_of([a], "a") != due_of([b], "b")


def test_the_merged_stream_is_in_order_of_due_time():
    target = Target(address=Address(host="127.0.0.1", port=1), host="x")
    sources = [source("a"), source("b", Shape.CONSTANT, 50), source("c", Shape.DIURNAL)]
    plan = plan_for_targets([(s, target) for s in sources], seed=1)
    due = [request.due for request in itertools.islice(plan.requests(), 2_000)]
    assert due == sorted(due)
