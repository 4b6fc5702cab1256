"""Axes: where an amount lies, and which amounts are written beside it. All pictures share one
coordinate system, `WIDTH` by `HEIGHT`, which the page stretches to the room that there is."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from seakeep.explain.report import words
from seakeep.model.time import DAY, HOUR, MINUTE, SECOND, Duration, Instant

WIDTH = 1000
HEIGHT = 200

TIME_STEPS: tuple[Duration, ...] = (
    *(count * SECOND for count in (1, 2, 5, 10, 15, 30)),
    *(count * MINUTE for count in (1, 2, 5, 10, 15, 30)),
    *(count * HOUR for count in (1, 2, 3, 6, 12)),
    *(count * DAY for count in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Amounts from bottom to top. What lies beyond is drawn at the border."""

    low: float
    high: float
    logarithmic: bool
    ticks: tuple[float, ...]
    write: Callable[[float], str]

    def fraction(self, amount: float) -> float:
        """0 at the bottom, 1 at the top."""
        if self.logarithmic:
            whole = math.log10(self.high / self.low)
            part = math.log10(max(amount, self.low) / self.low)
        else:
            whole, part = self.high - self.low, amount - self.low
        return min(1.0, max(0.0, part / whole))

    def y(self, amount: float) -> int:
        return round(HEIGHT * (1 - self.fraction(amount)))


def linear(greatest: float, write: Callable[[float], str]) -> Scale:
    """From 0 to `greatest` or a little more."""
    step = _step((greatest if greatest > 0 and math.isfinite(greatest) else 1.0) / 3)
    count = max(1, math.ceil(greatest / step - 1e-9)) if greatest > 0 else 1
    ticks = tuple(step * index for index in range(count + 1))
    return Scale(low=0.0, high=ticks[-1], logarithmic=False, ticks=ticks, write=write)


def whole(greatest: float) -> Scale:
    """From 0 to `greatest` or a little more, marked at whole numbers only."""
    step = max(1.0, _step(greatest / 3)) if greatest > 0 else 1.0
    count = max(1, math.ceil(greatest / step - 1e-9))
    ticks = tuple(step * index for index in range(count + 1))
    return Scale(low=0.0, high=ticks[-1], logarithmic=False, ticks=ticks, write=words.number)


def logarithmic(least: float, greatest: float, write: Callable[[float], str]) -> Scale:
    """Over whole powers of ten and their halves, roughly: 1, 3, 10, 30 ..."""
    low, high = _below(least), _above(max(greatest, least))
    if high <= low:
        high = low * 10
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    powers = [10.0**power for power in range(first, last + 1)]
    steps = (1, 3) if len(powers) <= 3 else (1,)
    ticks = tuple(
        power * step
        for power in powers
        for step in steps
        if low * 0.999 <= power * step <= high * 1.001
    )
    return Scale(low=low, high=high, logarithmic=True, ticks=ticks, write=write)


def _step(rough: float) -> float:
    """The next of 1, 2, 5, 10 ... at or above."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10, 20) if step * power >= rough * (1 - 1e-9))


def _below(amount: float) -> float:
    power = 10.0 ** math.floor(math.log10(amount))
    return max(step * power for step in (1, 3) if step * power <= amount * (1 + 1e-9))


def _above(amount: float) -> float:
    power = 10.0 ** math.floor(math.log10(amount))
    return min(step * power for step in (1, 3, 10) if step * power >= amount * (1 - 1e-9))


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """The time axis of a scenario."""

    duration: Duration

    def fraction(self, at: Instant) -> float:
        return min(1.0, max(0.0, at / self.duration)) if self.duration > 0 else 0.0

    def x(self, at: Instant) -> int:
        return round(WIDTH * self.fraction(at))

    @property
    def ticks(self) -> tuple[Instant, ...]:
        step = next((step for step in TIME_STEPS if self.duration <= 7 * step), TIME_STEPS[-1])
        return tuple(range(0, self.duration + 1, step))[:50]
