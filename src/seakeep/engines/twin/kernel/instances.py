"""What instances do with the requests that reach them: work, call others, answer."""

from typing import Any

from seakeep.engines.twin.kernel.answers import answered, close_try, end_here, is_over
from seakeep.engines.twin.kernel.cpu import leave_node, take_first
from seakeep.engines.twin.kernel.draws import duration, uniform
from seakeep.engines.twin.kernel.events import do, later, push
from seakeep.engines.twin.kernel.memory import apart, compiled, inlined
from seakeep.engines.twin.kernel.pools import give_span, give_try, take_span
from seakeep.engines.twin.kernel.records import (
    call_at,
    flow_at,
    front_at,
    instance_at,
    node_at,
    service_at,
    span_at,
    try_at,
)
from seakeep.engines.twin.kernel.slots import (
    begin_work,
    enqueue,
    free_slot,
    free_slot_here,
    go_on,
    leave_queue,
    stand_still,
)
from seakeep.engines.twin.kernel.words import (
    CALL,
    CALLER,
    CALLING,
    DARK,
    ERROR,
    FROZEN,
    FULL,
    HANGING,
    INSIDE,
    OK,
    PAUSE,
    QUEUED,
    QUEUED_LONG,
    REFUSED,
    RESUME,
    SERVING,
    UNAVAILABLE,
    UNREACHABLE,
    WORKED,
    WORKING,
    ZOMBIE,
)
from seakeep.model.time import MILLISECOND

CONNECT_TIMEOUT = 500 * MILLISECOND
"""After which a balancer takes an address for dead that does not answer at all."""
STILL = 50 * MILLISECOND
"""Between two looks whether an instance that stands still has gone on."""


@inlined
def reach(w: Any, t: int, i: int) -> None:
    """A try arrives at an instance."""
    row = try_at(w, t)
    row.instance = i
    row.queued_at = w.now
    instance = instance_at(w, i)
    instance.asked_at = w.now
    if instance.state == SERVING or instance.state == FROZEN:
        if instance.busy < instance.slots:
            begin_work(w, t)
        elif instance.queued < instance.queue:
            enqueue(w, t)
            timeout = service_at(w, instance.service).queue_timeout
            if timeout >= 0:
                push(w, w.now + duration(w, instance.stream, timeout), QUEUED_LONG, t, row.gen)
        else:
            answered(w, t, FULL)
    elif instance.state == DARK:
        row.state = HANGING
        row.instance = -1
        push(w, w.now + CONNECT_TIMEOUT, UNREACHABLE, t, row.gen)
    else:
        answered(w, t, REFUSED)


@compiled
def queued_long(w: Any, t: int, gen: int) -> None:
    """A try has waited for a slot for as long as it may. An instance that stands still cannot say
    so, and does when it goes on."""
    row = try_at(w, t)
    if row.gen != gen or row.state != QUEUED:
        return
    if instance_at(w, row.instance).frozen:
        push(w, w.now + STILL, QUEUED_LONG, t, gen)
        return
    leave_queue(w, t)
    if row.span < 0:
        give_try(w, t)
    else:
        answered(w, t, FULL)


@inlined
def worked(w: Any, t: int) -> None:
    """A try's work is done, or the wait that came after it."""
    row = try_at(w, t)
    instance = instance_at(w, row.instance)
    if instance.frozen:
        stand_still(w, t)
        return
    if instance.paused > row.paused_seen:
        late = instance.paused - row.paused_seen
        row.paused_seen = instance.paused
        push(w, w.now + late, WORKED, t, row.gen)
        return
    code = OK
    if row.state == WORKING:
        service = service_at(w, instance.service)
        if instance.errors > 0.0 and uniform(w, instance.stream) < instance.errors:
            code = ERROR
        elif service.calls != service.calls_end:
            row.state = CALLING
            row.call = service.calls
            row.left = -1
            row.outstanding = 0
    if row.state != CALLING or code == ERROR or _call_next(w, t):
        instance.done += 1
        free_slot_here(w, row.instance)
        if row.span < 0:
            give_try(w, t)
        else:
            s = close_try(w, t, code)
            if is_over(w, s, code):
                end_here(w, s, code)


@compiled
def node_worked(w: Any, n: int, gen: int) -> None:
    """The work that is done first on a node with shared CPU is done."""
    if node_at(w, n).gen != gen:
        return
    t = take_first(w, n)
    row = try_at(w, t)
    row.shares = 0
    if row.state == ZOMBIE:
        give_try(w, t)
        leave_node(w, n, 0.0)
        return
    leave_node(w, n, service_at(w, instance_at(w, row.instance).service).cpu)
    do(w, WORKED, t, row.gen)


@apart
def _call_next(w: Any, t: int) -> bool:
    """Make the calls that are next: all parallel ones, or one of the others. True when there are
    none left."""
    row = try_at(w, t)
    instance = instance_at(w, row.instance)
    service = service_at(w, instance.service)
    while row.call < service.calls_parallel:
        call = call_at(w, row.call)
        for _ in range(_times(w, instance, call)):
            _call(w, t, call.service)
        row.call += 1
    while row.outstanding == 0 and row.call < service.calls_end:
        call = call_at(w, row.call)
        if row.left < 0:
            row.left = _times(w, instance, call)
        if row.left == 0:
            row.call += 1
            row.left = -1
        else:
            row.left -= 1
            _call(w, t, call.service)
    return bool(row.outstanding == 0)


@compiled
def _times(w: Any, instance: Any, call: Any) -> int:
    more = call.part > 0.0 and uniform(w, instance.stream) < call.part
    return int(call.whole) + int(more)


@compiled
def _call(w: Any, t: int, target: int) -> None:
    """Call another service, through the balancer of the same region."""
    row = try_at(w, t)
    row.outstanding += 1
    instance = instance_at(w, row.instance)
    service = service_at(w, target)
    front = front_at(w, instance.region * w.services_count + target)
    s = take_span(w)
    span = span_at(w, s)
    span.kind = CALLER
    span.state = INSIDE
    span.made_at = w.now
    span.start = w.now
    span.service = target
    span.region = instance.region
    span.cluster = front.zones + instance.zone if service.by_zone else front.cluster
    span.source = -1
    span.session = -1
    span.parent = t
    span.parent_gen = row.gen
    span.key = row.key if service.by_header else row.instance
    span.counted = w.counted_from <= w.now and w.now < w.counted_until
    if span.counted:
        flow_at(w, service.flow).requests += 1
    do(w, CALL, s, span.gen)


@compiled
def called(w: Any, s: int) -> None:
    """A call has its answer. One that failed fails the request it was made for, which does not wait
    for the others."""
    span = span_at(w, s)
    t, gen, code = span.parent, span.parent_gen, span.code
    give_span(w, s)
    row = try_at(w, t)
    if row.gen != gen or row.state != CALLING:
        return
    row.outstanding -= 1
    instance = instance_at(w, row.instance)
    if code == OK and row.outstanding > 0:
        return
    row.paused_seen = instance.paused
    if instance.frozen:
        row.paused_seen += w.now - instance.frozen_at
        if code == OK:
            stand_still(w, t)
            return
    if code != OK or _call_next(w, t):
        _finish(w, t, OK if code == OK else UNAVAILABLE)


@compiled
def _finish(w: Any, t: int, code: int) -> None:
    """The instance answers; its slot is free."""
    row = try_at(w, t)
    instance_at(w, row.instance).done += 1
    free_slot(w, row.instance)
    if row.span < 0:
        give_try(w, t)
    else:
        answered(w, t, code)


# --- stops ------------------------------------------------------------------


@compiled
def set_motion(w: Any, i: int) -> None:
    """Stop or go on, by what the instance's state and its pauses say."""
    instance = instance_at(w, i)
    stands = instance.pausing or instance.state == FROZEN
    if stands and not instance.frozen:
        instance.frozen = 1
        instance.frozen_at = w.now
    elif instance.frozen and not stands:
        go_on(w, i)


@compiled
def pause(w: Any, i: int, gen: int) -> None:
    """As of a garbage collector."""
    instance = instance_at(w, i)
    if instance.gen != gen:
        return
    instance.pausing = 1
    set_motion(w, i)
    time = duration(w, instance.stream, service_at(w, instance.service).pause_time)
    later(w, time, RESUME, i, gen)


@compiled
def resume(w: Any, i: int, gen: int) -> None:
    if instance_at(w, i).gen != gen:
        return
    instance_at(w, i).pausing = 0
    set_motion(w, i)
    plan_pause(w, i)


@compiled
def plan_pause(w: Any, i: int) -> None:
    instance = instance_at(w, i)
    every = service_at(w, instance.service).pause_every
    if every >= 0:
        wait = duration(w, instance.stream, every)
        push(w, w.now + max(1, wait), PAUSE, i, instance.gen)
