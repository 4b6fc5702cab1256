"""What recurs: a seasonal forecast of how many instances will be needed.

Exponential smoothing with a level and an additive season, no trend (Holt-Winters, ETS(A,N,A);
Hyndman & Athanasopoulos, *Forecasting: Principles and Practice*, ch. 8). The season is cut into
slots, each of which remembers the largest need seen in it:

    error    = peak of the slot - (level + season[slot])
    level   += ALPHA x error
    season[slot] += GAMMA x (error - ALPHA x error)

A slot that is new starts with its first peak, less the level. What is to come is the largest of
`level + season` over the slots from now to `ahead`; a slot that nothing is known of says nothing,
so with an empty memory there is no forecast. A week back weighs 30 %, two weeks 21 %, and so on.
Only whole slots that the clock went through without a jump are learned from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from seakeep.model.scale import Forecast
from seakeep.model.time import Instant

ALPHA = 0.1
GAMMA = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What is remembered: a number for each slot of a season, at most."""

    season: int = 0
    slot: int = 0
    """The two as they were learned by, ns: when the spec changes them, it starts anew."""
    level: float = 0.0
    peaks: Mapping[str, float] = field(default_factory=dict)
    """By slot's index: what it stands above the level."""
    now: int = -1
    """The slot that the clock is in, counted since 1970; -1: none."""
    peak: float = 0.0
    """Of it, so far."""
    whole: bool = False
    """It is being watched from its beginning."""


def learned(memory: Learned, forecast: Forecast, wall: Instant, need: float | None) -> Learned:
    """After `need` instances were needed at a time; None: nobody knows."""
    if (memory.season, memory.slot) != (forecast.season, forecast.slot):
        memory = Learned(season=forecast.season, slot=forecast.slot)
    now = wall // forecast.slot
    seen = memory.peak if need is None else max(memory.peak, need)
    if now == memory.now:
        if need is None:
            return _with(memory, now, memory.peak, False)
        return memory if seen == memory.peak else _with(memory, now, seen, memory.whole)
    if now == memory.now + 1 and memory.whole:
        memory = _closed(memory, forecast)
    return _with(memory, now, need or 0.0, need is not None and now == memory.now + 1)


def _with(memory: Learned, now: int, peak: float, whole: bool) -> Learned:
    return Learned(
        season=memory.season,
        slot=memory.slot,
        level=memory.level,
        peaks=memory.peaks,
        now=now,
        peak=peak,
        whole=whole,
    )


def _closed(memory: Learned, forecast: Forecast) -> Learned:
    key = str(memory.now % (forecast.season // forecast.slot))
    known = memory.peaks.get(key)
    level = memory.level
    if known is None:
        stands = memory.peak - level
    else:
        error = memory.peak - (level + known)
        level += ALPHA * error
        stands = known + GAMMA * (error - ALPHA * error)
    return Learned(
        season=memory.season,
        slot=memory.slot,
        level=round(level, 6),
        peaks={**memory.peaks, key: round(stands, 6)},
        now=memory.now,
    )


def expected(memory: Learned, forecast: Forecast, wall: Instant) -> float | None:
    """The instances that will be needed at most until `ahead` from now; None: nobody knows."""
    if not memory.peaks or (memory.season, memory.slot) != (forecast.season, forecast.slot):
        return None
    slots = forecast.season // forecast.slot
    first, last = wall // forecast.slot, (wall + forecast.ahead) // forecast.slot
    keys = [str(index % slots) for index in range(first, last + 1)]
    found = [memory.level + memory.peaks[key] for key in keys if key in memory.peaks]
    return max(0.0, *found) if found else None
