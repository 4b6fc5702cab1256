"""Time as the core sees it: integers that arrive from outside.

An instant and a duration are whole nanoseconds, so that sums are exact and a replay is
byte-identical. Nothing here reads a clock; an engine owns one and puts its reading into
every observation.
"""

from typing import Protocol, TypeAlias

Instant: TypeAlias = int
"""Nanoseconds on the engine's clock. Comparable only within one engine's life."""

Duration: TypeAlias = int
"""Nanoseconds."""

MICROSECOND: Duration = 1_000
MILLISECOND: Duration = 1_000_000
SECOND: Duration = 1_000_000_000
MINUTE: Duration = 60 * SECOND
HOUR: Duration = 60 * MINUTE
DAY: Duration = 24 * HOUR


def seconds(amount: float) -> Duration:
    """The duration of `amount` seconds, rounded to the nanosecond."""
    return round(amount * SECOND)


def in_seconds(duration: Duration) -> float:
    """`duration` as seconds, for people and for libraries that want floats."""
    return duration / SECOND


class Clock(Protocol):
    """A source of instants. Only engines and the edges of the program hold one."""

    def now(self) -> Instant: ...
