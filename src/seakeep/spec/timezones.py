"""The clocks of places: an IANA time zone → its offsets from UTC, written out.

A zone's rules are in a database that each machine has in its own edition. They are read here,
once, and become a part of the system, so that no decision reads a file, and a replay elsewhere
finds the same hours.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from seakeep.model.scale import Offset
from seakeep.model.time import SECOND

FIRST, LAST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2060, 1, 1, tzinfo=UTC)
"""Beyond, the last offset stands."""
STEP = timedelta(days=5)
"""No zone changes twice within it."""


class UnknownZone(ValueError):
    """The database has no zone of this name."""


@lru_cache(maxsize=64)
def offsets_of(name: str) -> tuple[Offset, ...]:
    """The zone's offsets, the oldest first. Raises UnknownZone."""
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UnknownZone(name) from error

    def offset_at(at: datetime) -> timedelta:
        return at.astimezone(zone).utcoffset() or timedelta()

    found = [(FIRST, offset_at(FIRST))]
    at = FIRST
    while at < LAST:
        after = at + STEP
        if offset_at(after) != found[-1][1]:
            low, high = at, after
            while high - low > timedelta(seconds=1):
                middle = low + timedelta(seconds=(high - low).total_seconds() // 2)
                low, high = (middle, high) if offset_at(middle) == found[-1][1] else (low, middle)
            found.append((high, offset_at(high)))
        at = after
    return tuple(
        Offset(
            since=0 if index == 0 else round(since.timestamp()) * SECOND,
            offset=round(offset.total_seconds()) * SECOND,
        )
        for index, (since, offset) in enumerate(found)
    )


def zone_names() -> list[str]:
    """Every zone that there is, for a suggestion."""
    return sorted(available_timezones())
