"""What recurs is expected, and nothing else is."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from seakeep.decide.forecast import Learned, expected, learned
from seakeep.model.codec import decode, encode
from seakeep.model.scale import Forecast
from seakeep.model.time import HOUR, MINUTE

DAILY = Forecast(season=24 * HOUR, slot=HOUR, ahead=30 * MINUTE)
START = 20_000 * 24 * HOUR


def lived(needs, forecast=DAILY, step=10 * MINUTE, memory=None, wall=START):
    """The memory after these needs, one every ten minutes."""
    memory = memory or Learned()
    for number, need in enumerate(needs):
        memory = learned(memory, forecast, wall + number * step, need)
    return memory


def wave(slots):
    """Six needs an hour, up and down once a day."""
    return [10 + 8 * math.sin(2 * math.pi * (n // 6) / 24) for n in range(slots * 6)]


def test_an_empty_memory_expects_nothing():
    assert expected(Learned(), DAILY, START) is None
    assert expected(lived(wave(3)), DAILY, START + 10 * HOUR) is None


def test_after_one_season_the_next_is_expected():
    memory = lived(wave(25))
    for hour in range(1, 24):
        at = START + 24 * HOUR + hour * HOUR
        assert (
            expected(memory, DAILY, at)
            == max(10 + 8 * math.sin(2 * math.pi * hour / 24) for hour in (hour,))
            or expected(memory, DAILY, at) >= 10 + 8 * math.sin(2 * math.pi * hour / 24) - 1e-5
        )


def test_it_looks_ahead():
    """At 11:40 it expects what comes at 12."""
    needs = [2.0] * (12 * 6) + [9.0] * 6 + [2.0] * (11 * 6) + [2.0] * 6
    memory = lived(needs)
    noon = START + 24 * HOUR + 12 * HOUR
    assert expected(memory, DAILY, noon - 40 * MINUTE) == 2.0
    assert expected(memory, DAILY, noon - 20 * MINUTE) == 9.0
    assert expected(memory, DAILY, noon + 70 * MINUTE) == 2.0


def test_a_higher_level_is_learned():
    memory = lived(wave(24 * 3))
    raised = lived([need + 6 for need in wave(24 * 8)], memory=memory, wall=START + 72 * HOUR)
    at = START + 11 * 24 * HOUR + 6 * HOUR
    assert expected(raised, DAILY, at) > expected(memory, DAILY, at) + 4


def test_slots_that_were_not_seen_whole_teach_nothing():
    memory = lived([5.0] * 3, wall=START + 30 * MINUTE)  # from the middle of a slot
    assert lived([5.0], memory=memory, wall=START + HOUR).peaks == {}
    memory = lived([5.0, 5.0, None, 5.0, 5.0, 5.0, 5.0])  # unknown for a while
    assert memory.peaks == {}
    memory = lived([5.0] * 3)
    assert lived([5.0], memory=memory, wall=START + 5 * HOUR).peaks == {}, "a jump"


def test_another_season_begins_anew():
    memory = lived(wave(30))
    weekly = Forecast(season=7 * 24 * HOUR, slot=HOUR, ahead=HOUR)
    assert expected(memory, weekly, START) is None
    assert learned(memory, weekly, START, 1.0).peaks == {}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.floats(0, 500)), max_size=300),
    st.integers(0, 10**19),
)
def test_it_is_bounded_and_never_negative(needs, wall):
    memory = lived(needs, wall=wall)
    assert len(memory.peaks) <= 24
    assert decode(Learned, encode(memory)) == memory
    coming = expected(memory, DAILY, wall + 25 * HOUR)
    assert coming is None or 0 <= coming <= 1500
