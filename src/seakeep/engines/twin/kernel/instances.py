"""What instances do with the requests that reach them: work, call others, answer."""

from typing import Any

from seakeep.engines.twin.kernel.answers import answered
from seakeep.engines.twin.kernel.cpu import leave_node, take_first
from seakeep.engines.twin.kernel.draws import duration, uniform
from seakeep.engines.twin.kernel.events import do, later, push
from seakeep.engines.twin.kernel.memory import compiled
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
from seakeep.engines.twin.kernel.slots import begin_work, enqueue, free_slot, go_on, stand_still
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
    REFUSED,
    RESUME,
    SERVING,
    UNAVAILABLE,
    UNREACHABLE,
    WORKED,
    ZOMBIE,
)
from seakeep.model.time import MILLISECOND

CONNECT_TIMEOUT = 500 * MILLISECOND
"""After which a balancer takes an address for dead that does not answer at all."""


@compiled
def reach(w: Any, t: int, i: int) -> None:
    """A try arrives at an instance."""
    row = try_at(w.tries, t)
    row.instance = i
    row.queued_at = w.now
    instance = instance_at(w.instances, i)
    instance.asked_at = w.now
    if instance.state == SERVING or instance.state == FROZEN:
        if instance.busy < instance.slots:
            begin_work(w, t)
        elif instance.queued < instance.queue:
            enqueue(w, t)
        else:
            answered(w, t, FULL)
    elif instance.state == DARK:
        row.state = HANGING
        row.instance = -1
        push(w, w.now + CONNECT_TIMEOUT, UNREACHABLE, t, row.gen)
    else:
        answered(w, t, REFUSED)


@compiled
def worked(w: Any, t: int) -> None:
    """A try's work is done, or the wait that came after it."""
    row = try_at(w.tries, t)
    instance = instance_at(w.instances, row.instance)
    if instance.frozen:
        stand_still(w, t)
        return
    if instance.paused > row.paused_seen:
        late = instance.paused - row.paused_seen
        row.paused_seen = instance.paused
        push(w, w.now + late, WORKED, t, row.gen)
        return
    if row.state == CALLING:
        _call_next(w, t)
        return
    service = service_at(w.services, instance.service)
    if instance.errors > 0.0 and uniform(w, instance.stream) < instance.errors:
        _finish(w, t, ERROR)
    elif service.calls == service.calls_end:
        _finish(w, t, OK)
    else:
        row.state = CALLING
        row.call = service.calls
        row.left = -1
        row.outstanding = 0
        _call_next(w, t)


@compiled
def node_worked(w: Any, n: int, gen: int) -> None:
    """The work that is done first on a node with shared CPU is done."""
    if node_at(w.nodes, n).gen != gen:
        return
    t = take_first(w, n)
    row = try_at(w.tries, t)
    if row.state == ZOMBIE:
        give_try(w, t)
        leave_node(w, n, 0.0)
        return
    row.shares = 0
    leave_node(w, n, service_at(w.services, instance_at(w.instances, row.instance).service).cpu)
    worked(w, t)


@compiled
def _call_next(w: Any, t: int) -> None:
    """Make the calls that are next: all parallel ones, or one of the others."""
    row = try_at(w.tries, t)
    instance = instance_at(w.instances, row.instance)
    service = service_at(w.services, instance.service)
    while row.call < service.calls_parallel:
        call = call_at(w.calls, row.call)
        for _ in range(_times(w, instance, call)):
            _call(w, t, call.service)
        row.call += 1
    while row.outstanding == 0 and row.call < service.calls_end:
        call = call_at(w.calls, row.call)
        if row.left < 0:
            row.left = _times(w, instance, call)
        if row.left == 0:
            row.call += 1
            row.left = -1
        else:
            row.left -= 1
            _call(w, t, call.service)
    if row.outstanding == 0:
        _finish(w, t, OK)


@compiled
def _times(w: Any, instance: Any, call: Any) -> int:
    more = call.part > 0.0 and uniform(w, instance.stream) < call.part
    return int(call.whole) + int(more)


@compiled
def _call(w: Any, t: int, target: int) -> None:
    """Call another service, through the balancer of the same region."""
    row = try_at(w.tries, t)
    row.outstanding += 1
    instance = instance_at(w.instances, row.instance)
    service = service_at(w.services, target)
    front = front_at(w.fronts, instance.region * w.services_count + target)
    s = take_span(w)
    span = span_at(w.spans, s)
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
        flow_at(w.flows, service.flow).requests += 1
    do(w, CALL, s, span.gen)


@compiled
def called(w: Any, s: int) -> None:
    """A call has its answer. One that failed fails the request it was made for, which does not wait
    for the others."""
    span = span_at(w.spans, s)
    t, gen, code = span.parent, span.parent_gen, span.code
    give_span(w, s)
    row = try_at(w.tries, t)
    if row.gen != gen or row.state != CALLING:
        return
    row.outstanding -= 1
    instance = instance_at(w.instances, row.instance)
    if code != OK:
        _finish(w, t, UNAVAILABLE)
    elif row.outstanding == 0:
        row.paused_seen = instance.paused
        if instance.frozen:
            stand_still(w, t)
            row.paused_seen += w.now - instance.frozen_at
        else:
            _call_next(w, t)


@compiled
def _finish(w: Any, t: int, code: int) -> None:
    """The instance answers; its slot is free."""
    row = try_at(w.tries, t)
    instance = instance_at(w.instances, row.instance)
    instance.done += 1
    free_slot(w, row.instance)
    if row.span < 0:
        give_try(w, t)
    else:
        answered(w, t, code)


# --- stops ------------------------------------------------------------------


@compiled
def set_motion(w: Any, i: int) -> None:
    """Stop or go on, by what the instance's state and its pauses say."""
    instance = instance_at(w.instances, i)
    stands = instance.pausing or instance.state == FROZEN
    if stands and not instance.frozen:
        instance.frozen = 1
        instance.frozen_at = w.now
    elif instance.frozen and not stands:
        go_on(w, i)


@compiled
def pause(w: Any, i: int, gen: int) -> None:
    """As of a garbage collector."""
    instance = instance_at(w.instances, i)
    if instance.gen != gen:
        return
    instance.pausing = 1
    set_motion(w, i)
    time = duration(w, instance.stream, service_at(w.services, instance.service).pause_time)
    later(w, time, RESUME, i, gen)


@compiled
def resume(w: Any, i: int, gen: int) -> None:
    if instance_at(w.instances, i).gen != gen:
        return
    instance_at(w.instances, i).pausing = 0
    set_motion(w, i)
    plan_pause(w, i)


@compiled
def plan_pause(w: Any, i: int) -> None:
    instance = instance_at(w.instances, i)
    every = service_at(w.services, instance.service).pause_every
    if every >= 0:
        wait = duration(w, instance.stream, every)
        push(w, w.now + max(1, wait), PAUSE, i, instance.gen)
