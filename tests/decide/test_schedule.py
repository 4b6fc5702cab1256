"""Hours of places, and clocks that jump."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seakeep.decide.schedule import BELIEVED_AFTER, Calendar, in_force, local_time
from seakeep.model.scale import ScheduledBounds
from seakeep.model.time import DAY, HOUR, MINUTE, SECOND
from seakeep.spec.timezones import UnknownZone, offsets_of

WORKDAYS = (0, 1, 2, 3, 4)


def bounds(days=WORKDAYS, start=8 * HOUR, end=18 * HOUR, zone="Europe/Dublin", **fields):
    return ScheduledBounds(
        days=days, start=start, end=end, zone=zone, offsets=offsets_of(zone), **fields
    )


def wall(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("moment", "least"),
    [
        ("2026-11-25T07:59:59+00:00", None),  # a Wednesday, winter time
        ("2026-11-25T08:00:00+00:00", 20),
        ("2026-11-25T17:59:59+00:00", 20),
        ("2026-11-25T18:00:00+00:00", None),
        ("2026-07-01T07:00:00+00:00", 20),  # summer time: an hour earlier
        ("2026-07-01T06:59:59+00:00", None),
        ("2026-11-28T12:00:00+00:00", None),  # a Saturday
    ],
)
def test_by_the_clock_of_the_place(moment, least):
    assert in_force((bounds(min=20),), wall(moment)) == (least, None)


@pytest.mark.parametrize(
    ("moment", "inside"),
    [
        ("2026-11-27T21:59:00+00:00", False),  # Friday
        ("2026-11-27T22:00:00+00:00", True),
        ("2026-11-28T05:59:00+00:00", True),
        ("2026-11-28T06:00:00+00:00", False),
        ("2026-11-28T23:00:00+00:00", False),  # Saturday: it begins on Fridays only
    ],
)
def test_over_midnight_it_belongs_to_the_day_on_which_it_begins(moment, inside):
    night = bounds(days=(4,), start=22 * HOUR, end=6 * HOUR, min=3)
    assert (in_force((night,), wall(moment))[0] == 3) == inside


def test_the_largest_of_several_counts():
    both = (bounds(min=5, max=8), bounds(start=9 * HOUR, end=10 * HOUR, min=3, max=12))
    assert in_force(both, wall("2026-11-25T09:30:00+00:00")) == (5, 12)
    assert in_force(both, wall("2026-11-25T11:30:00+00:00")) == (5, 8)


@given(
    st.sampled_from(
        ["Europe/Dublin", "America/New_York", "Asia/Kathmandu", "Africa/Casablanca", "UTC"]
    ),
    st.integers(1_600_000_000, 2_800_000_000),
)
def test_the_offsets_are_those_of_the_database(zone, second):
    there = datetime.fromtimestamp(second, UTC).astimezone(ZoneInfo(zone))
    day, time = local_time(bounds(zone=zone, min=1), second * SECOND)
    assert day == (there.date() - datetime(1970, 1, 1).date()).days
    assert time == (there.hour * 3600 + there.minute * 60 + there.second) * SECOND


def test_a_zone_that_there_is_not():
    with pytest.raises(UnknownZone):
        offsets_of("Europe/Atlantis")
    with pytest.raises(UnknownZone):
        offsets_of("../../etc/passwd")


# --- clocks ---


def test_a_clock_is_believed_at_first_sight():
    assert Calendar().wall(5) is None
    assert Calendar().told(100, 0) == Calendar()
    assert Calendar().told(100, 5_000).wall(200) == 5_100


def test_a_clock_that_creeps_is_followed():
    calendar, lead = Calendar(), 0
    for second in range(600):
        lead += 100_000_000  # 100 ms a second
        calendar = calendar.told(second * SECOND, second * SECOND + lead + DAY)
    assert abs(calendar.lead - lead - DAY) <= SECOND


def test_a_jump_is_believed_once_it_has_stood():
    calendar = Calendar().told(0, DAY)
    for minute in range(10):
        at = minute * MINUTE
        calendar = calendar.told(at, at + DAY + (HOUR if minute else 0))
        believed = minute * MINUTE - MINUTE >= BELIEVED_AFTER
        assert calendar.lead == (DAY + HOUR if believed else DAY)


@given(st.lists(st.tuples(st.integers(1, 30), st.sampled_from([0, HOUR, -DAY])), max_size=60))
def test_it_never_changes_its_mind_faster_than_it_believes(jumps):
    calendar, at, changed_at = Calendar().told(1, 1 + DAY), 1, 1
    for seconds, jump in jumps:
        at += seconds * SECOND
        before, calendar = calendar, calendar.told(at, at + DAY + jump)
        if calendar.lead != before.lead:
            assert at - changed_at >= BELIEVED_AFTER
            changed_at = at
