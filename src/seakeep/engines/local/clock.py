"""The clock of this machine, shared by every process of the embedded engine.

CLOCK_BOOTTIME counts from the machine's start and goes on while it sleeps: readings of the
supervisor, of node agents and of the processes that come after them can be compared.
"""

import time

from seakeep.model.time import MILLISECOND, Instant

STEP_MIN = 50 * MILLISECOND
"""A change of the system's clock that is told. Slewing adds up to that only slowly."""

_CLOCK_ID = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_clock() -> Instant:
    """Nanoseconds since the machine started."""
    return time.clock_gettime_ns(_CLOCK_ID)


class BootClock:
    """`boot_clock` as a `seakeep.model.time.Clock`."""

    def __init__(self) -> None:
        self._lead = time.time_ns() - boot_clock()

    def now(self) -> Instant:
        return boot_clock()

    def wall(self, at: Instant) -> Instant:
        """Unix time, in ns, of an instant a moment ago. It follows steps of the system's clock,
        but not the nanoseconds between reading one clock and the other."""
        lead = time.time_ns() - boot_clock()
        if abs(lead - self._lead) > STEP_MIN:
            self._lead = lead
        return at + self._lead
