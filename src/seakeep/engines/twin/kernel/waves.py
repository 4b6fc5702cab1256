"""A sine wave of additions and multiplications alone, the same to the last bit everywhere."""

from typing import Any

from seakeep.engines.twin.kernel.memory import compiled

TURN = 6.283185307179586


@compiled
def wave(at: Any, period: Any) -> float:
    """sin(2 pi at / period), 0 <= at < period, within 1e-9: Taylor's polynomial on a quarter."""
    part = at / period
    sign = 1.0
    if part >= 0.5:
        part, sign = part - 0.5, -1.0
    if part > 0.25:
        part = 0.5 - part
    x = part * TURN
    z = x * x
    series = 1.0 / 6227020800.0
    series = 1.0 / 39916800.0 - z * series
    series = 1.0 / 362880.0 - z * series
    series = 1.0 / 5040.0 - z * series
    series = 1.0 / 120.0 - z * series
    series = 1.0 / 6.0 - z * series
    return sign * x * (1.0 - z * series)
