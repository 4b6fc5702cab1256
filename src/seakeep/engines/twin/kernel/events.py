"""What happens when: a 4-ary heap of events by time, and among equals in the order in which they
were made.

The top is taken by making a hole of it; the first event that the handler makes falls into the hole,
so that an event that leads to one other costs one pass down and none up. What is to happen at once
goes into `todo` instead, a queue that is emptied before time goes on.
"""

from typing import Any

from seakeep.engines.twin.kernel.memory import inlined, outlined
from seakeep.engines.twin.kernel.records import event_at, todo_at
from seakeep.engines.twin.kernel.words import KINDS, ROW_BITS

NEVER = (1 << 63) - 1


@inlined
def push_here(w: Any, at: int, kind: int, index: int, gen: int) -> None:
    """Let an event of this kind happen to row `index` at an instant not before now."""
    order = w.sequence * KINDS + kind
    target = gen << ROW_BITS | index
    w.sequence += 1
    if w.hole:
        w.hole = 0
        _fall(w, at, order, target)
        return
    place = w.events_used
    w.events_used = place + 1
    if place + 1 + w.margin > w.events_size:
        w.low = 1
    while place > 0:
        above = (place - 1) >> 2
        one = event_at(w, above)
        if one.at < at or (one.at == at and one.order < order):
            break
        _put(event_at(w, place), one.at, one.order, one.target)
        place = above
    _put(event_at(w, place), at, order, target)


push = outlined(push_here)


@inlined
def fill_hole(w: Any) -> None:
    """The handler made no event: the last one takes the place of the first."""
    w.hole = 0
    w.events_used -= 1
    last = event_at(w, w.events_used)
    at, order, target = last.at, last.order, last.target
    last.at = NEVER
    if w.events_used > 0:
        _fall(w, at, order, target)


@inlined
def _put(place: Any, at: int, order: int, target: int) -> None:
    place.at = at
    place.order = order
    place.target = target


@inlined
def _sooner(w: Any, one: int, other: int) -> int:
    """The earlier of two places. Without a branch: nobody could predict it."""
    a, b = event_at(w, one), event_at(w, other)
    return other if (b.at < a.at) | ((b.at == a.at) & (b.order < a.order)) else one


@inlined
def _fall(w: Any, at: int, order: int, target: int) -> None:
    """From the top down, to where nothing below comes before it. Behind the last event there is
    nothing but NEVER, so that there are always four below."""
    used, place = w.events_used, 0
    while True:
        below = 4 * place + 1
        if below >= used:
            break
        left = _sooner(w, below, below + 1)
        least = _sooner(w, left, _sooner(w, below + 2, below + 3))
        one = event_at(w, least)
        if at < one.at or (at == one.at and order < one.order):
            break
        _put(event_at(w, place), one.at, one.order, one.target)
        place = least
    _put(event_at(w, place), at, order, target)


@inlined
def do(w: Any, kind: int, index: int, gen: int) -> None:
    """Let it happen now, after what is being done and what was to be done before."""
    task = todo_at(w, w.todo_tail)
    task.kind = kind
    task.target = gen << ROW_BITS | index
    w.todo_tail += 1
    if w.todo_tail + w.margin > w.todo_size:
        w.low = 1


@inlined
def later(w: Any, delay: int, kind: int, index: int, gen: int) -> None:
    """After a delay, which may be none."""
    if delay > 0:
        push(w, w.now + delay, kind, index, gen)
    else:
        do(w, kind, index, gen)
