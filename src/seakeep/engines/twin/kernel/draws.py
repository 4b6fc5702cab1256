"""Random draws from the world's own tables of streams and distributions."""

from typing import Any

import numpy as np

from seakeep.engines.twin import numbers
from seakeep.engines.twin.kernel.memory import compiled, table

_streams = table(numbers.STREAM)
_distributions = table(numbers.DISTRIBUTION)


@compiled
def uniform(w: Any, stream: int) -> float:
    """In (0, 1)."""
    return numbers.uniform(_streams(w.streams, w.streams_size), stream)


@compiled
def below(w: Any, stream: int, count: int) -> int:
    """0 <= x < count, count > 0."""
    return numbers.below(_streams(w.streams, w.streams_size), stream, count)


@compiled
def two_below(w: Any, stream: int, count: int) -> tuple[int, int]:
    """Two of them, from one draw."""
    drawn = numbers.bits(_streams(w.streams, w.streams_size), stream)
    many, half = np.uint64(count), np.uint64(32)
    one = ((drawn >> half) * many) >> half
    other = ((drawn & np.uint64(0xFFFFFFFF)) * many) >> half
    return int(one), int(other)


@compiled
def key_of(w: Any, stream: int) -> int:
    """Somebody: 62 bits."""
    return int(numbers.bits(_streams(w.streams, w.streams_size), stream) >> np.uint64(2))


@compiled
def exponential(w: Any, stream: int) -> float:
    """Mean 1."""
    return numbers.exponential(_streams(w.streams, w.streams_size), stream)


@compiled
def duration(w: Any, stream: int, distribution: int) -> int:
    """ns, rounded to the nearest."""
    known = _distributions(w.dists, w.dists_size)
    streams = _streams(w.streams, w.streams_size)
    return int(numbers.draw(streams, stream, known, distribution) + 0.5)
