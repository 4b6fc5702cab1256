"""Worker slots of instances, and the queues before them.

An instance that stands still (frozen, or in a pause) does not lose what it is doing: whatever would
be done meanwhile is kept in a list, and is done later by as long as the stop lasted.
"""

from typing import Any

from seakeep.engines.twin.kernel.cpu import join_node, leave_node
from seakeep.engines.twin.kernel.draws import duration
from seakeep.engines.twin.kernel.events import do, later, push_here
from seakeep.engines.twin.kernel.measure import count_wait
from seakeep.engines.twin.kernel.memory import apart, compiled, inlined, outlined
from seakeep.engines.twin.kernel.pools import give_try
from seakeep.engines.twin.kernel.records import instance_at, service_at, source_at, try_at
from seakeep.engines.twin.kernel.words import QUEUED, WORKED, WORKING, ZOMBIE


@inlined
def begin_work(w: Any, t: int) -> None:
    """Take a slot, which is free."""
    row = try_at(w, t)
    instance = instance_at(w, row.instance)
    service = service_at(w, instance.service)
    instance.busy += 1
    row.state = WORKING
    if row.counted:
        waited = w.now - row.queued_at
        count_wait(w, service.flow, waited)
        if row.own >= 0:
            count_wait(w, source_at(w, row.own).flow, waited)
    work = 0
    if service.work >= 0:
        work = _time(w, instance, service)
    row.paused_seen = instance.paused
    if instance.frozen:
        row.paused_seen += w.now - instance.frozen_at
    if service.cpu > 0.0 and work > 0:
        instance.cpu_ns += work * service.cpu
        row.shares = 1
        join_node(w, instance.node, t, work, service.cpu)
    elif work > 0:
        push_here(w, w.now + work, WORKED, t, row.gen)
    else:
        do(w, WORKED, t, row.gen)


@inlined
def _time(w: Any, instance: Any, service: Any) -> int:
    """ns of work, alone on the node."""
    work = duration(w, instance.stream, service.work)
    factor = instance.slowness
    age = w.now - instance.started_at
    if age < service.warm_time:
        factor *= 1.0 + (service.warm_factor - 1.0) * (1.0 - age / service.warm_time)
    if factor == 1.0:
        return work
    return int(work * factor + 0.5)


@inlined
def enqueue(w: Any, t: int) -> None:
    row = try_at(w, t)
    instance = instance_at(w, row.instance)
    row.state = QUEUED
    row.queue_before = instance.queue_last
    row.queue_after = -1
    if instance.queue_last >= 0:
        try_at(w, instance.queue_last).queue_after = t
    else:
        instance.queue_first = t
    instance.queue_last = t
    instance.queued += 1


@inlined
def leave_queue(w: Any, t: int) -> None:
    row = try_at(w, t)
    instance = instance_at(w, row.instance)
    if row.queue_before >= 0:
        try_at(w, row.queue_before).queue_after = row.queue_after
    else:
        instance.queue_first = row.queue_after
    if row.queue_after >= 0:
        try_at(w, row.queue_after).queue_before = row.queue_before
    else:
        instance.queue_last = row.queue_before
    instance.queued -= 1


@inlined
def free_slot_here(w: Any, i: int) -> None:
    """Somebody is done: the next."""
    instance = instance_at(w, i)
    instance.busy -= 1
    if instance.queue_first >= 0:
        t = instance.queue_first
        leave_queue(w, t)
        begin_work(w, t)


free_slot = outlined(free_slot_here)


@apart
def give_up(w: Any, t: int) -> None:
    """An instance notices that nobody waits for a request any more."""
    row = try_at(w, t)
    i = row.instance
    if row.state == QUEUED:
        leave_queue(w, t)
        give_try(w, t)
        return
    instance = instance_at(w, i)
    service = service_at(w, instance.service)
    shares = row.shares and not row.stuck
    if shares or row.stuck:
        row.state = ZOMBIE  # something still points to it
    else:
        give_try(w, t)
    if shares:
        leave_node(w, instance.node, service.cpu)
    free_slot(w, i)


@apart
def stand_still(w: Any, t: int) -> None:
    """What was to happen to a try now happens when its instance goes on."""
    row = try_at(w, t)
    instance = instance_at(w, row.instance)
    row.stuck = 1
    row.due = w.now
    row.queue_after = instance.stuck
    instance.stuck = t


@compiled
def go_on(w: Any, i: int) -> None:
    """After a stop."""
    instance = instance_at(w, i)
    instance.frozen = 0
    instance.paused += w.now - instance.frozen_at
    t = instance.stuck
    instance.stuck = -1
    while t >= 0:
        row = try_at(w, t)
        rest = row.queue_after
        row.stuck = 0
        row.shares = 0
        if row.state == ZOMBIE:
            give_try(w, t)
        else:
            at = row.due + instance.paused - row.paused_seen
            row.paused_seen = instance.paused
            later(w, at - w.now, WORKED, t, row.gen)
        t = rest
