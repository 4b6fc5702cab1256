"""Figures and times in plain words."""

import math
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

from seakeep.explain.wording import duration
from seakeep.model.time import HOUR, SECOND, Instant
from seakeep.model.units import format_duration

NOTHING = "–"
"""Where there is no figure."""


def percent(fraction: float, digits: int = 2, *, rounding: str = ROUND_HALF_EVEN) -> str:
    """`99.87%`. What is not quite all is never written as all, nor what is not nothing as
    nothing."""
    if not math.isfinite(fraction):
        return NOTHING
    exact = _exact(fraction)
    last = Decimal(1).scaleb(-digits)
    shown = exact.quantize(last, rounding=rounding)
    if shown == 100 and exact < 100:
        shown = exact.quantize(last, rounding=ROUND_FLOOR)
    if shown == 0:
        return f"< {last:f}%" if exact > 0 else "0%"
    return f"{shown:f}%" if shown != 100 else "100%"


def _exact(fraction: float) -> Decimal:
    """As a percentage; without the dust of binary fractions, which rounding down would show."""
    return Decimal(repr(round(float(fraction), 12))) * 100


def digits_of(target: float) -> int:
    """Digits after the point of a percentage, so that it can be told from `target`: one more
    than the target's own, but at least two, and three of a target that is no round number."""
    if round(target, 7) != target:
        return 3
    exponent = (Decimal(repr(float(target))) * 100).normalize().as_tuple().exponent
    return max(2, 1 - exponent) if isinstance(exponent, int) else 2


def share(fraction: float, target: float) -> str:
    """A fraction of good requests beside its target; rounded down, so that what falls short
    never looks as if it had not."""
    return percent(fraction, digits_of(target), rounding=ROUND_FLOOR)


def points(difference: float, target: float) -> str:
    """The size of a difference of percentages: `0.13 points`; never rounded to nothing."""
    exact = abs(_exact(difference))
    shown = exact.quantize(Decimal(1).scaleb(-digits_of(target)), rounding=ROUND_CEILING)
    return f"{shown.normalize():f} point{'' if shown == 1 else 's'}"


def budget(fraction: float) -> str:
    """A share of an error budget: `12%`, `0.4%`; `37 times` when it is far more than all."""
    if not math.isfinite(fraction):
        return NOTHING
    if fraction >= 10:
        return f"{fraction:,.0f} times"
    return percent(fraction, 0 if fraction >= 0.1 else 2)


def seconds(amount: float) -> str:
    """`1.25s`, `300ms`, `4m10s`; of seconds. What has no end is `never`."""
    if not math.isfinite(amount):
        return "never"
    return duration(round(amount * SECOND))


def moment(at: Instant) -> str:
    """A time since the beginning, to a tenth of a second: `31.2s`, `1m31.2s`, `2h05m10s`."""
    if at < 0:
        return "-" + moment(-at)
    tenths = (at + SECOND // 20) // (SECOND // 10)
    if tenths < 600:
        return f"{tenths // 10}.{tenths % 10}s"
    minutes, rest = divmod(tenths, 600)
    if at < HOUR:
        return f"{minutes}m{rest // 10:02}.{rest % 10}s"
    return f"{minutes // 60}h{minutes % 60:02}m{rest // 10:02}s"


def short_seconds(amount: float) -> str:
    """On an axis: `1s`, `300ms`, `30us`."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if amount >= size * 0.9995:
            return f"{amount / size:.3g}{unit}"
    return f"{amount * 1e9:.3g}ns"


def precise_seconds(amount: float) -> str:
    """Three digits of what is shorter than a second: `8.62ms`, `1.25s`, `4m10s`."""
    return short_seconds(amount) if 0 < amount < 1 else seconds(amount)


def tick(at: Instant) -> str:
    """On a time axis, in the middle of a sentence: `30s`, `1m30s`."""
    return "0" if at == 0 else format_duration(at)


def rate(per_s: float) -> str:
    """`118 requests/s`, `6 requests/min`."""
    if per_s and per_s * 60 < 10:
        return f"{number(per_s * 60)} requests/min"
    return f"{number(per_s)} requests/s"


def number(amount: float) -> str:
    """Three digits or so, thousands apart."""
    if not math.isfinite(amount):
        return NOTHING
    if abs(amount) >= 100 or amount == int(amount):
        return f"{amount:,.0f}"
    if 0 < amount < 0.001:
        return "< 0.001"
    return f"{amount:.3g}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 run`, `5 runs`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """`a, b and c`, or `a, b, c and 4 more`."""
    if len(names) > most:
        return ", ".join(names[:most]) + f" and {len(names) - most} more"
    if len(names) < 2:
        return "".join(names)
    return ", ".join(names[:-1]) + " and " + names[-1]
