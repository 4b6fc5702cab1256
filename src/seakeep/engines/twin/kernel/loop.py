"""The loop: take what happens next, and let it happen."""

import gc
from pathlib import Path
from typing import Any

import numba

from seakeep.engines.twin import numbers
from seakeep.engines.twin.kernel import answers, clients, instances, orders, outliers, requests
from seakeep.engines.twin.kernel.events import fill_hole
from seakeep.engines.twin.kernel.measure import close_bucket
from seakeep.engines.twin.kernel.memory import apart, compiled, digest_of, inlined
from seakeep.engines.twin.kernel.records import (
    endpoint_at,
    event_at,
    session_at,
    span_at,
    todo_at,
    try_at,
    world_at,
)
from seakeep.engines.twin.kernel.words import (
    ACROSS,
    ARRIVE,
    AT_CLIENT,
    AT_EDGE,
    BACK,
    CALL,
    CALLED,
    CALLING,
    CAPACITY,
    CHANGE_RATE,
    CLIENT_FAILED,
    EDGE,
    HELD_LONG,
    IMPATIENT,
    KINDS,
    NODE_WORKED,
    PAGE,
    PAUSE,
    PROCESS,
    QUEUED_LONG,
    RELEASE,
    REMOVED,
    RESOURCES,
    RESUME,
    RETRY,
    ROW_BITS,
    SPAN_TIMER,
    START,
    STEP,
    THOUGHT,
    TRY_TIMER,
    UNEJECT,
    UNREACHABLE,
    WORKED,
    WORKING,
)

DONE, LOW = range(2)
ROW = (1 << ROW_BITS) - 1
_DIGEST = digest_of(Path(__file__).parent, Path(numbers.__file__))


@inlined
def _happen(w: Any, kind: int, index: int, gen: int) -> None:
    if kind == WORKED:
        row = try_at(w, index)
        if row.gen == gen and (row.state == WORKING or row.state == CALLING):
            instances.worked(w, index)
    elif kind == ARRIVE:
        clients.arrive(w, index, gen)
    elif kind == SPAN_TIMER:
        requests.spans_late(w, index)
    elif kind == TRY_TIMER:
        requests.tries_late(w, index)
    elif kind <= CALLED:
        if span_at(w, index).gen == gen:
            _span_goes_on(w, kind, index)
    elif kind == ACROSS:
        requests.across(w, index, gen)
    elif kind == BACK:
        requests.back(w, index, gen)
    elif kind == RETRY:
        requests.try_again(w, index, gen)
    elif kind == NODE_WORKED:
        instances.node_worked(w, index, gen)
    else:
        _seldom(w, kind, index, gen)


@apart
def _span_goes_on(w: Any, kind: int, index: int) -> None:
    if kind == AT_EDGE:
        clients.come(w, index)
    elif kind == AT_CLIENT:
        answers.leave_client(w, index, span_at(w, index).code)
    elif kind == CALL:
        requests.call(w, index)
    elif kind == CALLED:
        instances.called(w, index)
    elif kind == CLIENT_FAILED:
        clients.fail_client(w, index)


@apart
def _seldom(w: Any, kind: int, index: int, gen: int) -> None:
    if kind >= START:
        _obey(w, kind, index)
    elif kind >= THOUGHT:
        if session_at(w, index).gen == gen:
            _session_goes_on(w, kind, index)
    elif kind == UNREACHABLE:
        requests.unreachable(w, index, gen)
    elif kind == IMPATIENT:
        requests.impatient(w, index, gen)
    elif kind == HELD_LONG:
        requests.held_long(w, index, gen)
    elif kind == QUEUED_LONG:
        instances.queued_long(w, index, gen)
    elif kind == RELEASE:
        requests.release(w, index)
    elif kind == UNEJECT:
        if endpoint_at(w, index).gen == gen:
            outliers.take_back(w, index)
            requests.release(w, endpoint_at(w, index).cluster)
    else:
        _rarely(w, kind, index, gen)


@compiled
def _rarely(w: Any, kind: int, index: int, gen: int) -> None:
    if kind == STEP:
        clients.take_step(w, index)
    elif kind == PAUSE:
        instances.pause(w, index, gen)
    elif kind == RESUME:
        instances.resume(w, index, gen)


@compiled
def _session_goes_on(w: Any, kind: int, index: int) -> None:
    if kind == THOUGHT:
        clients.think(w, index)
    elif kind == PAGE:
        clients.next_page(w, index)
    elif kind == RESOURCES:
        clients.ask_resources(w, index)


@compiled
def _obey(w: Any, kind: int, index: int) -> None:
    if kind == START:
        orders.start_source(w, index)
    elif kind == CHANGE_RATE:
        orders.factor_changed(w, index)
    elif kind == PROCESS:
        orders.process_changed(w, index)
    elif kind == REMOVED:
        orders.process_removed(w, index)
    elif kind == EDGE:
        orders.edge_changed(w, index)
    elif kind == CAPACITY:
        orders.capacity_changed(w, index)


@inlined
def _run(w: Any, until: int) -> int:
    while True:
        if w.low:
            return LOW
        if w.todo_head < w.todo_tail:
            task = todo_at(w, w.todo_head)
            w.todo_head += 1
            if w.todo_head == w.todo_tail:
                w.todo_head = 0
                w.todo_tail = 0
            _happen(w, task.kind, task.target & ROW, task.target >> ROW_BITS)
            continue
        if w.hole:
            fill_hole(w)
        at = until + 1
        if w.events_used > 0:
            at = event_at(w, 0).at
        if min(at, until) >= w.bucket_end:
            close_bucket(w)
        elif at > until:
            w.now = max(w.now, until)
            return DONE
        else:
            w.now = at
            w.hole = 1
            top = event_at(w, 0)
            _happen(w, top.order & (KINDS - 1), top.target & ROW, top.target >> ROW_BITS)


def _entry(digest: int) -> Any:
    """The loop as one piece, cached for as long as none of its sources changes: `digest` is part
    of what the cache goes by."""

    def run(world: int, until: int) -> int:
        return _run(world_at(world, 0), until) if digest != 0 else LOW

    signature = numba.int64(numba.int64, numba.int64)
    return numba.njit(signature, cache=True, nogil=True, error_model="numpy")(run)


def load() -> Any:
    """The compiled loop: (address of the WORLD, until) -> DONE when everything up to and including
    `until` has happened; LOW when a table must grow before it goes on. Compiling takes seconds
    once, and a fraction of one later, when it comes from Numba's cache."""
    collects = gc.isenabled()
    gc.disable()  # compiling makes much that stays
    try:
        return _entry(_DIGEST)
    finally:
        if collects:
            gc.enable()
