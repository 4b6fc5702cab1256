"""Random draws from the world's own tables of streams and distributions."""

from typing import Any

import numpy as np

from seakeep.engines.twin import numbers
from seakeep.engines.twin.kernel.memory import apart, compiled, inlined, ported, table
from seakeep.engines.twin.kernel.records import distribution_at, stream_at

_numbers = ported(numbers)
_bits, _uniform, _exponential = _numbers["_bits"], _numbers["_uniform"], _numbers["_exponential"]
_drawn, _empirical = _numbers["_drawn"], _numbers["_empirical"]
_distributions = table(numbers.DISTRIBUTION)


@inlined
def uniform(w: Any, stream: int) -> float:
    """In (0, 1)."""
    return _uniform(stream_at(w, stream))


@compiled
def below(w: Any, stream: int, count: int) -> int:
    """0 <= x < count, count > 0."""
    return two_below(w, stream, count)[0]


@inlined
def two_below(w: Any, stream: int, count: int) -> tuple[int, int]:
    """Two of them, from one draw."""
    drawn = _bits(stream_at(w, stream))
    many, half = np.uint64(count), np.uint64(32)
    one = ((drawn >> half) * many) >> half
    other = ((drawn & np.uint64(0xFFFFFFFF)) * many) >> half
    return int(one), int(other)


@compiled
def key_of(w: Any, stream: int) -> int:
    """Somebody: 62 bits."""
    return int(_bits(stream_at(w, stream)) >> np.uint64(2))


@inlined
def exponential(w: Any, stream: int) -> float:
    """Mean 1."""
    return _exponential(stream_at(w, stream))


@inlined
def duration(w: Any, stream: int, distribution: int) -> int:
    """ns, rounded to the nearest."""
    row = distribution_at(w, distribution)
    if row.kind == numbers.EXPONENTIAL:
        drawn = min(row.a * exponential(w, stream), numbers.LONGEST_NS)
    elif row.kind == numbers.CONSTANT:
        drawn = row.a
    else:
        drawn = _other(w, stream, distribution)
    return int(drawn + 0.5)


@apart
def _other(w: Any, stream: int, distribution: int) -> float:
    row = distribution_at(w, distribution)
    if row.kind == numbers.EMPIRICAL:
        known = _distributions(w.dists, w.dists_size)
        return _empirical(known, distribution, uniform(w, stream))
    return _drawn(stream_at(w, stream), row)
