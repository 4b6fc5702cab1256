"""Waking up on time.

The timers of asyncio and uvloop are rounded to whole milliseconds, and latency counts from
when a request was due: the rounding would be reported as the system's. On Linux a timerfd
wakes the loop within tens of microseconds instead; elsewhere the loop's own timer serves.
"""

import asyncio
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Protocol

from seakeep.model.time import SECOND, Instant, in_seconds

CLOCK_MONOTONIC = 1
TFD_TIMER_ABSTIME = 1


class Alarm(Protocol):
    """Calls back once, at the instant that was set last."""

    def set(self, at: Instant) -> None:
        """On the clock of `time.monotonic_ns`. An instant in the past calls back at once."""

    def close(self) -> None:
        """Call back no more."""


def alarm(loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> Alarm:
    """The most precise alarm that this machine has."""
    if sys.platform.startswith("linux") and ctypes.sizeof(ctypes.c_long) == 8:
        with contextlib.suppress(OSError, AttributeError):
            return _TimerFd(loop, ring)
    return _LoopTimer(loop, ring)


class _LoopTimer:
    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None

    def set(self, at: Instant) -> None:
        self.close()
        delay = max(0, at - time.monotonic_ns())
        self._handle = self._loop.call_later(in_seconds(delay), self._ring)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


class _TimerFd:
    """timerfd_create(2), which the standard library has from Python 3.13 on only."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._libc = ctypes.CDLL(None, use_errno=True)
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self._fd: int = self._libc.timerfd_create(CLOCK_MONOTONIC, flags)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = _Itimerspec()
        loop.add_reader(self._fd, self._expired)

    def set(self, at: Instant) -> None:
        if self._fd < 0:
            return
        # A zero value would disarm the timer.
        self._spec.it_value.tv_sec, self._spec.it_value.tv_nsec = divmod(max(at, 1), SECOND)
        if self._libc.timerfd_settime(self._fd, TFD_TIMER_ABSTIME, ctypes.byref(self._spec), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _expired(self) -> None:
        # Already read, or set anew since it expired: nothing has expired then.
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 8)
            self._ring()
