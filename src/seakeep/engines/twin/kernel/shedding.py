"""Which requests a balancer turns away: token buckets, and adaptive concurrency for services that
shed (see `engines.local.envoy.shed` for how and why).
"""

from typing import Any

import numpy as np

from seakeep.engines.twin.kernel.memory import compiled, digits_of
from seakeep.engines.twin.kernel.records import limit_at, shed_at
from seakeep.model.time import MILLISECOND

BOUND_MAX = 1000
UPDATE_EVERY = 100 * MILLISECOND
FINE_BITS = 4
FINE = 1 << FINE_BITS
"""Buckets for each power of two, for the median of a window."""
FINE_BUCKETS = FINE * (50 - FINE_BITS)


@compiled
def take_token(w: Any, place: int) -> bool:
    """Whether a token bucket has one."""
    limit = limit_at(w, place)
    filled = limit.tokens + (w.now - limit.filled_at) * limit.per_ns
    limit.filled_at = w.now
    limit.tokens = min(limit.burst, filled)
    if limit.tokens < 1.0:
        return False
    limit.tokens -= 1.0
    return True


@compiled
def enter_shed(w: Any, place: int) -> bool:
    """Whether one more may be let in; it is then counted until `leave_shed`."""
    shed = shed_at(w, place)
    _turn_window(w, shed)
    if shed.active >= shed.bound:
        return False
    shed.active += 1
    return True


@compiled
def leave_shed(w: Any, shed: Any, took: int, gone: bool) -> None:
    """The time of a request whose client has gone says nothing."""
    _turn_window(w, shed)
    shed.active -= 1
    if gone:
        return
    shift = max(0, digits_of(took) - FINE_BITS - 1)
    shed.counts[min(FINE * shift + (took >> shift), FINE_BUCKETS - 1)] += 1
    shed.samples += 1


@compiled
def _turn_window(w: Any, shed: Any) -> None:
    """Ten times a second the bound moves by how long the answers took: bound x target / median,
    at least half and at most twice, and its square root on top. What happens between two events
    need not be looked at."""
    if w.now < shed.window_end:
        return
    shed.window_end = (w.now // UPDATE_EVERY + 1) * UPDATE_EVERY
    if shed.samples == 0:
        return
    gradient = max(0.5, min(2.0, shed.target_ns / max(1.0, _median(shed))))
    grown = shed.bound * gradient
    grown += np.sqrt(grown)
    shed.bound = int(max(float(shed.least), min(float(BOUND_MAX), grown)))
    shed.samples = 0
    for place in range(FINE_BUCKETS):
        shed.counts[place] = 0


@compiled
def _median(shed: Any) -> float:
    so_far, place = 0, 0
    while place < FINE_BUCKETS - 1:
        so_far += shed.counts[place]
        if 2 * so_far >= shed.samples:
            break
        place += 1
    shift = max(0, place // FINE - 1)
    low = (place - FINE * shift) << shift
    return low + (1 << shift) * 0.5
