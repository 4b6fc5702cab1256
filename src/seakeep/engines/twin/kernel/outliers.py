"""Ejection by real traffic, as Envoy's outlier detection does it (see `_outlier_detection` in
`engines.local.envoy.clusters` for the settings and why).

So many gateway failures in a row eject an endpoint at once, unless too many are out already. It
comes back at the first of Envoy's ticks at which 5 s times the number of its ejections are over, at
most 15 s; every tick of good standing takes one off that number.
"""

from typing import Any

from seakeep.engines.twin.kernel.events import push
from seakeep.engines.twin.kernel.memory import apart, compiled, inlined
from seakeep.engines.twin.kernel.records import cluster_at, endpoint_at, notice_at, service_at
from seakeep.engines.twin.kernel.words import UNEJECT
from seakeep.model.time import MILLISECOND, SECOND

TICK = 500 * MILLISECOND
OUT_BASE = 5 * SECOND
OUT_MAX = 15 * SECOND
OUT_SHARE_MAX = 0.5


@inlined
def judge(w: Any, e: int, failed: bool) -> None:
    """An endpoint has answered, or failed to."""
    if failed:
        _failed(w, e)
    else:
        endpoint_at(w, e).failures = 0


@apart
def _failed(w: Any, e: int) -> None:
    endpoint = endpoint_at(w, e)
    endpoint.failures += 1
    cluster = cluster_at(w, endpoint.cluster)
    if endpoint.failures < service_at(w, cluster.service).outlier:
        return
    if endpoint.ejected or not endpoint.used:
        return
    if cluster.ejected + 1 > OUT_SHARE_MAX * cluster.count:
        return
    good = (w.now - endpoint.returned_at) // TICK
    times = max(0, endpoint.backoff - good)
    endpoint.backoff = times + 1
    endpoint.ejected = 1
    endpoint.failures = 0
    cluster.ejected += 1
    cluster.dirty = 1
    over = w.now + min(OUT_BASE * endpoint.backoff, OUT_MAX)
    push(w, (over + TICK - 1) // TICK * TICK, UNEJECT, e, endpoint.gen)
    _notice(w, e, 1)


@compiled
def take_back(w: Any, e: int) -> None:
    """Put an endpoint back into rotation, if it is out."""
    endpoint = endpoint_at(w, e)
    if not endpoint.ejected:
        return
    endpoint.ejected = 0
    endpoint.failures = 0
    endpoint.returned_at = w.now
    cluster = cluster_at(w, endpoint.cluster)
    cluster.ejected -= 1
    cluster.dirty = 1
    _notice(w, e, 0)


@compiled
def _notice(w: Any, e: int, out: int) -> None:
    endpoint = endpoint_at(w, e)
    note = notice_at(w, w.notices_used)
    note.at = w.now
    note.cluster = endpoint.cluster
    note.instance = endpoint.instance
    note.region = endpoint.region
    note.out = out
    w.notices_used += 1
    if w.notices_used + w.margin > w.notices_size:
        w.low = 1
