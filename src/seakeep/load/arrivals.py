"""When requests are due: pure generators over a random stream that is handed in.

Each yields an endless (or, where the rate ends at zero, finite) non-decreasing sequence of
whole nanoseconds since the start. Nothing here knows a clock: the same stream gives the same
arrivals, whatever came back for earlier ones.
"""

import math
from collections.abc import Iterator, Sequence
from random import Random
from typing import assert_never

from seakeep.model.system import Shape, TrafficSource
from seakeep.model.time import DAY, SECOND, Duration


def arrivals(source: TrafficSource, random: Random, factor: float = 1.0) -> Iterator[Duration]:
    """Due times of one traffic source, every rate multiplied by `factor`."""
    rate = source.rate_per_s * factor
    match source.shape:
        case Shape.POISSON:
            return poisson(rate, random)
        case Shape.CONSTANT:
            return constant(rate)
        case Shape.DIURNAL:
            return diurnal(rate, source.amplitude, source.period or DAY, random)
        case Shape.STEP:
            scaled = [(at, step_rate * factor) for at, step_rate in source.steps]
            return steps([(0, rate), *scaled], random)
        case Shape.LOG:
            raise ValueError(f"{source.name} follows an access log: `seakeep load --replay` does")
        case _:
            assert_never(source.shape)


def constant(rate_per_s: float) -> Iterator[Duration]:
    """Evenly spaced, the first at 0; computed from the index, so that it does not drift."""
    if rate_per_s <= 0:
        return
    index = 0
    while True:
        yield round(index * SECOND / rate_per_s)
        index += 1


def poisson(rate_per_s: float, random: Random) -> Iterator[Duration]:
    """Independent clients: exponential gaps with mean 1 / rate."""
    yield from steps([(0, rate_per_s)], random)


def steps(rates: Sequence[tuple[Duration, float]], random: Random) -> Iterator[Duration]:
    """Poisson whose rate changes at given times: (since the start, requests/s from then on),
    sorted by time. Exact: exponential gaps have no memory, so a gap that crosses a change is
    drawn anew from there."""
    for index, (start, rate_per_s) in enumerate(rates):
        end = rates[index + 1][0] if index + 1 < len(rates) else math.inf
        if rate_per_s <= 0:
            continue
        at = start + random.expovariate(rate_per_s) * SECOND
        while at < end:
            yield int(at)
            at += random.expovariate(rate_per_s) * SECOND


def diurnal(
    rate_per_s: float, amplitude: float, period: Duration, random: Random
) -> Iterator[Duration]:
    """Poisson whose rate is a sine wave, `rate x (1 + amplitude x sin)`, starting at its mean
    and rising. By thinning (Lewis and Shedler 1979): candidates at the peak rate, each kept
    with probability rate(t) / peak. The amplitude lies in 0..1."""
    if not 0 <= amplitude <= 1:
        raise ValueError(f"amplitude {amplitude} is not between 0 and 1")
    peak = rate_per_s * (1 + amplitude)
    for at in poisson(peak, random):
        now = rate_per_s * (1 + amplitude * math.sin(2 * math.pi * (at % period) / period))
        if random.random() * peak < now:
            yield at
