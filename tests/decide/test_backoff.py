"""Waits between tries."""

from hypothesis import given
from hypothesis import strategies as st

from seakeep.decide import health, parts
from seakeep.decide.backoff import Backoff
from seakeep.model.time import MILLISECOND, SECOND


def test_health_waits_not_at_all_then_doubles_to_a_minute():
    waits = [health.BACKOFF.delay(tries) // SECOND for tries in range(10)]
    assert waits == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_parts_wait_two_seconds_at_most():
    waits = [parts.BACKOFF.delay(tries) // MILLISECOND for tries in range(6)]
    assert waits == [0, 500, 1000, 2000, 2000, 2000]


@given(st.integers(1, 10**12), st.integers(1, 10**14), st.integers(-1, 10**6))
def test_waits_never_shrink_and_stay_within_the_cap(first, cap, tries):
    backoff = Backoff(first=first, cap=cap)
    assert 0 <= backoff.delay(tries) <= backoff.delay(tries + 1) <= cap
