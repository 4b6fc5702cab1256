"""The clock of this machine, shared by every process of the embedded engine.

CLOCK_BOOTTIME counts from the machine's start and goes on while it sleeps: readings of the
supervisor, of node agents and of the processes that come after them can be compared.
"""

import time

from seakeep.model.time import Instant

_CLOCK_ID = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_clock() -> Instant:
    """Nanoseconds since the machine started."""
    return time.clock_gettime_ns(_CLOCK_ID)


class BootClock:
    """`boot_clock` as a `seakeep.model.time.Clock`."""

    def now(self) -> Instant:
        return boot_clock()
