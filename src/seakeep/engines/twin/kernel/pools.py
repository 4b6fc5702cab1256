"""Taking rows from the tables that grow, and giving them back.

A taken row keeps what its last holder left in it. Whoever takes it sets every field that matters,
but for those that are always found as a free row has them (`tables.FREE`): in lists, with timers,
or held by something.
When few are left `low` is set, and the loop stops between two events to let Python make more.
"""

from typing import Any

from seakeep.engines.twin.kernel.memory import compiled, inlined
from seakeep.engines.twin.kernel.records import session_at, span_at, try_at


@inlined
def take_span(w: Any) -> int:
    index = w.spans_free
    w.spans_free = span_at(w, index).next
    w.spans_left -= 1
    if w.spans_left < w.margin:
        w.low = 1
    return index


@inlined
def give_span(w: Any, index: int) -> None:
    row = span_at(w, index)
    row.gen += 1
    row.kind = -1
    row.next = w.spans_free
    w.spans_free = index
    w.spans_left += 1


@inlined
def take_try(w: Any) -> int:
    index = w.tries_free
    w.tries_free = try_at(w, index).next
    w.tries_left -= 1
    if w.tries_left < w.margin:
        w.low = 1
    return index


@inlined
def give_try(w: Any, index: int) -> None:
    row = try_at(w, index)
    row.gen += 1
    row.state = -1
    row.instance = -1
    row.next = w.tries_free
    w.tries_free = index
    w.tries_left += 1


@compiled
def take_session(w: Any) -> int:
    index = w.sessions_free
    w.sessions_free = session_at(w, index).next
    w.sessions_left -= 1
    if w.sessions_left < w.margin:
        w.low = 1
    return index


@compiled
def give_session(w: Any, index: int) -> None:
    row = session_at(w, index)
    row.gen += 1
    row.source = -1
    row.next = w.sessions_free
    w.sessions_free = index
    w.sessions_left += 1
