"""What happens when: a 4-ary heap of events by time, and among equals in the order in which they
were made.

The top is taken by making a hole of it; the first event that the handler makes falls into the hole,
so that an event that leads to one other costs one pass down and none up. What is to happen at once
goes into `todo` instead, a queue that is emptied before time goes on.
"""

from typing import Any

from seakeep.engines.twin.kernel.memory import compiled
from seakeep.engines.twin.kernel.records import event_at, todo_at
from seakeep.engines.twin.kernel.words import KINDS, ROW_BITS


@compiled
def push(w: Any, at: int, kind: int, index: int, gen: int) -> None:
    """Let an event of this kind happen to row `index` at an instant not before now."""
    order = w.sequence * KINDS + kind
    target = gen << ROW_BITS | index
    w.sequence += 1
    if w.hole:
        w.hole = 0
        _fall(w, at, order, target)
        return
    heap, place = w.events, w.events_used
    w.events_used = place + 1
    if place + 1 + w.margin > w.events_size:
        w.low = 1
    while place > 0:
        above = (place - 1) >> 2
        one = event_at(heap, above)
        if one.at < at or (one.at == at and one.order < order):
            break
        _put(event_at(heap, place), one.at, one.order, one.target)
        place = above
    _put(event_at(heap, place), at, order, target)


@compiled
def fill_hole(w: Any) -> None:
    """The handler made no event: the last one takes the place of the first."""
    w.hole = 0
    w.events_used -= 1
    if w.events_used > 0:
        last = event_at(w.events, w.events_used)
        _fall(w, last.at, last.order, last.target)


@compiled
def _put(place: Any, at: int, order: int, target: int) -> None:
    place.at = at
    place.order = order
    place.target = target


@compiled
def _fall(w: Any, at: int, order: int, target: int) -> None:
    """From the top down, to where nothing below comes before it."""
    heap, used, place = w.events, w.events_used, 0
    while True:
        below = 4 * place + 1
        if below >= used:
            break
        end = min(below + 4, used)
        one = event_at(heap, below)
        least, least_at, least_order = below, one.at, one.order
        below += 1
        while below < end:
            one = event_at(heap, below)
            if one.at < least_at or (one.at == least_at and one.order < least_order):
                least, least_at, least_order = below, one.at, one.order
            below += 1
        if at < least_at or (at == least_at and order < least_order):
            break
        one = event_at(heap, least)
        _put(event_at(heap, place), least_at, least_order, one.target)
        place = least
    _put(event_at(heap, place), at, order, target)


@compiled
def do(w: Any, kind: int, index: int, gen: int) -> None:
    """Let it happen now, after what is being done and what was to be done before."""
    task = todo_at(w.todo, w.todo_tail)
    task.kind = kind
    task.target = gen << ROW_BITS | index
    w.todo_tail += 1
    if w.todo_tail + w.margin > w.todo_size:
        w.low = 1


@compiled
def later(w: Any, delay: int, kind: int, index: int, gen: int) -> None:
    """After a delay, which may be none."""
    if delay > 0:
        push(w, w.now + delay, kind, index, gen)
    else:
        do(w, kind, index, gen)
