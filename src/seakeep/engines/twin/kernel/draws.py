"""Random draws from the world's own tables of streams and distributions."""

from typing import Any

import numpy as np

from seakeep.engines.twin import numbers
from seakeep.engines.twin.kernel.memory import apart, compiled, inlined, table, view

_streams = table(numbers.STREAM)
_distributions = table(numbers.DISTRIBUTION)
distribution_at = view(numbers.DISTRIBUTION)


@inlined
def uniform(w: Any, stream: int) -> float:
    """In (0, 1)."""
    return numbers.uniform(_streams(w.streams, w.streams_size), stream)


@inlined
def below(w: Any, stream: int, count: int) -> int:
    """0 <= x < count, count > 0."""
    return numbers.below(_streams(w.streams, w.streams_size), stream, count)


@inlined
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


@inlined
def exponential(w: Any, stream: int) -> float:
    """Mean 1."""
    return numbers.exponential(_streams(w.streams, w.streams_size), stream)


@inlined
def duration(w: Any, stream: int, distribution: int) -> int:
    """ns, rounded to the nearest."""
    row = distribution_at(w.dists, distribution)
    if row.kind == numbers.EXPONENTIAL:
        drawn = min(row.a * exponential(w, stream), numbers.LONGEST_NS)
    elif row.kind == numbers.CONSTANT:
        drawn = row.a
    else:
        drawn = _other(w, stream, distribution)
    return int(drawn + 0.5)


@apart
def _other(w: Any, stream: int, distribution: int) -> float:
    known = _distributions(w.dists, w.dists_size)
    return numbers.draw(_streams(w.streams, w.streams_size), stream, known, distribution)
