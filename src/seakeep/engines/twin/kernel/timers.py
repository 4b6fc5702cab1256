"""Timeouts of one length each: they run out in the order in which they began, so each is a list
with one event for its head. One that is stopped in time costs no event at all.

The event is not moved when the head leaves: it finds a later head, and waits again.
"""

from typing import Any

from seakeep.engines.twin.kernel.events import push
from seakeep.engines.twin.kernel.memory import compiled, inlined
from seakeep.engines.twin.kernel.records import span_at, span_timer_at, try_at, try_timer_at
from seakeep.engines.twin.kernel.words import SPAN_TIMER, TRY_TIMER


@inlined
def start_span_timer(w: Any, timer: int, index: int) -> None:
    """Nothing without a timer (-1)."""
    row = span_at(w, index)
    row.timer = timer
    if timer < 0:
        return
    one = span_timer_at(w, timer)
    row.expires = w.now + one.length
    row.timer_before = one.last
    row.timer_after = -1
    if one.last >= 0:
        span_at(w, one.last).timer_after = index
    else:
        one.first = index
    one.last = index
    if not one.armed:
        one.armed = 1
        push(w, row.expires, SPAN_TIMER, timer, 0)


@inlined
def stop_span_timer(w: Any, index: int) -> None:
    row = span_at(w, index)
    if row.timer < 0:
        return
    one = span_timer_at(w, row.timer)
    row.timer = -1
    if row.timer_before >= 0:
        span_at(w, row.timer_before).timer_after = row.timer_after
    else:
        one.first = row.timer_after
    if row.timer_after >= 0:
        span_at(w, row.timer_after).timer_before = row.timer_before
    else:
        one.last = row.timer_before


@compiled
def late_span(w: Any, timer: int) -> int:
    """The next span whose time is up; -1 when there is none, and the event waits again."""
    one = span_timer_at(w, timer)
    if one.first < 0:
        one.armed = 0
        return -1
    row = span_at(w, one.first)
    if row.expires > w.now:
        push(w, row.expires, SPAN_TIMER, timer, 0)
        return -1
    return one.first


@inlined
def start_try_timer(w: Any, timer: int, index: int) -> None:
    """Nothing without a timer (-1)."""
    row = try_at(w, index)
    row.timer = timer
    if timer < 0:
        return
    one = try_timer_at(w, timer)
    row.expires = w.now + one.length
    row.timer_before = one.last
    row.timer_after = -1
    if one.last >= 0:
        try_at(w, one.last).timer_after = index
    else:
        one.first = index
    one.last = index
    if not one.armed:
        one.armed = 1
        push(w, row.expires, TRY_TIMER, timer, 0)


@inlined
def stop_try_timer(w: Any, index: int) -> None:
    row = try_at(w, index)
    if row.timer < 0:
        return
    one = try_timer_at(w, row.timer)
    row.timer = -1
    if row.timer_before >= 0:
        try_at(w, row.timer_before).timer_after = row.timer_after
    else:
        one.first = row.timer_after
    if row.timer_after >= 0:
        try_at(w, row.timer_after).timer_before = row.timer_before
    else:
        one.last = row.timer_before


@compiled
def late_try(w: Any, timer: int) -> int:
    """As `late_span`."""
    one = try_timer_at(w, timer)
    if one.first < 0:
        one.armed = 0
        return -1
    row = try_at(w, one.first)
    if row.expires > w.now:
        push(w, row.expires, TRY_TIMER, timer, 0)
        return -1
    return one.first
