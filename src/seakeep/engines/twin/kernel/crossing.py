"""The way from one region to another, for one message: latency, jitter, loss, bandwidth, cuts."""

from typing import Any

from seakeep.engines.twin.kernel.draws import exponential, uniform
from seakeep.engines.twin.kernel.memory import compiled
from seakeep.engines.twin.kernel.records import link_at
from seakeep.model.time import MILLISECOND

AGAIN = 200 * MILLISECOND
"""After how long a lost message is sent again (TCP's least, RFC 6298 as Linux has it), doubling."""
AGAIN_MAX = 10


@compiled
def way_of(w: Any, origin: int, target: int, size: int) -> int:
    """ns that a message of `size` bytes takes; -1 when it never arrives."""
    link = link_at(w, origin * w.regions_count + target)
    if link.cut:
        return -1
    took = link.latency + link.added
    if link.bytes_per_ns > 0.0 and size > 0:
        start = max(w.now, link.free_at)
        link.free_at = start + int(size / link.bytes_per_ns)
        took += link.free_at - w.now
    if link.jitter > 0.0:
        took += int(link.jitter * exponential(w, link.stream))
    if link.loss > 0.0:
        again, times = AGAIN, 0
        while times < AGAIN_MAX and uniform(w, link.stream) < link.loss:
            took += again
            again, times = 2 * again, times + 1
        if times == AGAIN_MAX:
            return -1
    return took
