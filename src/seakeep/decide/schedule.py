"""Bounds by the hour, and which clock to believe.

The wall clock may jump: somebody sets it, a machine wakes, NTP steps. What counts here is its
lead over the engine's own clock, which does not jump. A lead that changes is believed only after
it has stood for a while; a clock that goes back and forth is then followed at that pace at most.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from seakeep.model.scale import ScheduledBounds
from seakeep.model.time import DAY, MINUTE, SECOND, Duration, Instant

JUMP: Duration = 5 * SECOND
"""Less is a clock that is being slewed."""
BELIEVED_AFTER: Duration = 2 * MINUTE

_THURSDAY = 3
"""1970 began on one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """The wall clock as it is believed."""

    lead: Duration | None = None
    """Of the wall clock over the engine's; None: there is no wall clock."""
    other: Duration | None = None
    """A lead that the clock has jumped to and that is not believed yet."""
    since: Instant = 0
    """When it jumped there."""

    def told(self, at: Instant, wall: Instant) -> "Calendar":
        """After the clock showed `wall` at `at`."""
        if wall == 0:
            return self
        lead = wall - at
        if self.lead is None or abs(lead - self.lead) <= JUMP:
            if self.other is None and self.lead is not None and abs(lead - self.lead) < SECOND:
                return self  # so that nothing changes in every step
            return Calendar(lead=lead)
        if self.other is None or abs(lead - self.other) > JUMP:
            return Calendar(lead=self.lead, other=lead, since=at)
        if at - self.since >= BELIEVED_AFTER:
            return Calendar(lead=lead)
        return self

    def wall(self, at: Instant) -> Instant | None:
        """Unix time, ns, of an instant."""
        return None if self.lead is None else at + self.lead


def in_force(schedule: Sequence[ScheduledBounds], wall: Instant) -> tuple[int | None, int | None]:
    """(min, max) by the schedule at a time; None where it says nothing."""
    now = [bounds for bounds in schedule if _covers(bounds, wall)]
    mins = [bounds.min for bounds in now if bounds.min is not None]
    maxs = [bounds.max for bounds in now if bounds.max is not None]
    return max(mins, default=None), max(maxs, default=None)


def _covers(bounds: ScheduledBounds, wall: Instant) -> bool:
    day, time = local_time(bounds, wall)
    weekday = (day + _THURSDAY) % 7
    if bounds.start < bounds.end:
        return weekday in bounds.days and bounds.start <= time < bounds.end
    if time >= bounds.start:
        return weekday in bounds.days
    return time < bounds.end and (weekday - 1) % 7 in bounds.days


def local_time(bounds: ScheduledBounds, wall: Instant) -> tuple[int, Duration]:
    """(days since 1970-01-01, time since midnight) by the clock of the bounds' zone."""
    offset = 0
    for one in bounds.offsets:
        if one.since > wall:
            break
        offset = one.offset
    return divmod(wall + offset, DAY)
