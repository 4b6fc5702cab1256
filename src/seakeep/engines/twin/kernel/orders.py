"""What the control plane does to a world: processes, edges, nodes and checks change.

An order comes as a task to be done now; what it is about stands in the tables already.
"""

from typing import Any

from seakeep.engines.twin.kernel.answers import (
    drop_gateway,
    pass_on,
    settle,
)
from seakeep.engines.twin.kernel.clients import CLIENT_TIMEOUT, change_rate, plan_arrival
from seakeep.engines.twin.kernel.cpu import empty_node, join_node, set_capacity
from seakeep.engines.twin.kernel.events import do, push
from seakeep.engines.twin.kernel.instances import plan_pause, set_motion
from seakeep.engines.twin.kernel.memory import compiled
from seakeep.engines.twin.kernel.pools import give_try
from seakeep.engines.twin.kernel.records import (
    instance_at,
    node_at,
    region_at,
    service_at,
    source_at,
    span_at,
    step_at,
    try_at,
)
from seakeep.engines.twin.kernel.words import (
    BACK,
    CALLER,
    CLIENT,
    CLIENT_FAILED,
    DARK,
    DEAD,
    FROZEN,
    GATEWAY,
    HANGING,
    INSIDE,
    LATE,
    LOG,
    LOST,
    REMOTE,
    RESET,
    SERVING,
    STARTING,
    STEP,
    ZOMBIE,
)


@compiled
def start_source(w: Any, place: int) -> None:
    """A source's clients begin to ask."""
    source = source_at(w, place)
    source.on = 1
    source.paced_from = w.now
    if source.steps_count > 0:
        at = source.began_at + step_at(source.steps, 0).at
        push(w, max(w.now, at), STEP, place, 0)
    plan_arrival(w, place)


@compiled
def factor_changed(w: Any, place: int) -> None:
    if source_at(w, place).shape != LOG:
        change_rate(w, place)


# --- processes --------------------------------------------------------------


@compiled
def process_changed(w: Any, i: int) -> None:
    """`ordered` is the state that an instance's process is in from now on."""
    instance = instance_at(w, i)
    before, state = instance.state, instance.ordered
    if before == state:
        return
    instance.state = state
    gone = state == STARTING or state == DEAD or state == DARK
    was = before == SERVING or before == FROZEN
    if gone and was:
        _empty(w, i, state == DARK)
    if not gone and not was:
        instance.gen += 1
        instance.pausing = 0
        plan_pause(w, i)
    if not gone:
        set_motion(w, i)


@compiled
def process_removed(w: Any, i: int) -> None:
    instance = instance_at(w, i)
    _empty(w, i, False)
    instance.present = 0
    instance.state = DEAD


@compiled
def _empty(w: Any, i: int, dark: bool) -> None:
    """What is in an instance is lost. Who waits for it is told so by a reset, unless nothing is
    told any more."""
    instance = instance_at(w, i)
    instance.gen += 1
    instance.frozen = 0
    instance.pausing = 0
    instance.stuck = -1
    instance.busy = 0
    instance.queued = 0
    instance.queue_first = -1
    instance.queue_last = -1
    shares = service_at(w, instance.service).cpu > 0.0
    if shares:
        empty_node(w, instance.node)
    for t in range(w.tries_size):
        row = try_at(w, t)
        if row.instance < 0:
            continue
        if row.instance == i:
            _lose(w, t, dark)
        elif shares and row.shares and instance_at(w, row.instance).node == instance.node:
            _join_again(w, t)


@compiled
def _lose(w: Any, t: int, dark: bool) -> None:
    row = try_at(w, t)
    row.instance = -1
    row.shares = 0
    row.stuck = 0
    if row.span < 0 or row.state == ZOMBIE:
        give_try(w, t)
    elif dark:
        row.state = HANGING
    else:
        row.state = REMOTE
        row.peer = -1
        row.code = RESET
        do(w, BACK, t, row.gen)


@compiled
def _join_again(w: Any, t: int) -> None:
    """A try of another instance on the node works on."""
    row = try_at(w, t)
    if row.state == ZOMBIE:
        row.shares = 0
        give_try(w, t)
        return
    instance = instance_at(w, row.instance)
    rest = max(0.0, row.finish - node_at(w, instance.node).clock)
    join_node(w, instance.node, t, rest, service_at(w, instance.service).cpu)


@compiled
def capacity_changed(w: Any, n: int) -> None:
    set_capacity(w, n, node_at(w, n).ordered)


# --- edges ------------------------------------------------------------------


@compiled
def edge_changed(w: Any, r: int) -> None:
    """`ordered` is the state that a region's balancer is in from now on."""
    region = region_at(w, r)
    before, state = region.state, region.ordered
    region.state = state
    if before != SERVING or state == SERVING:
        return
    dark = state == DARK or state == FROZEN
    for s in range(w.spans_size):
        span = span_at(w, s)
        if span.region == r and span.state == INSIDE:
            _cut_short(w, s, dark)


@compiled
def _cut_short(w: Any, s: int, dark: bool) -> None:
    """A request whose balancer is gone."""
    span = span_at(w, s)
    if span.kind == CLIENT:
        settle(w, s, RESET)
        if dark:
            span.state = LOST
            span.code = LATE
            push(w, max(w.now, span.made_at + CLIENT_TIMEOUT), CLIENT_FAILED, s, span.gen)
        else:
            pass_on(w, s, RESET)
    elif span.kind == CALLER:
        settle(w, s, RESET)
        pass_on(w, s, RESET)
    elif span.kind == GATEWAY:
        t, gen = span.parent, span.parent_gen
        drop_gateway(w, s)
        row = try_at(w, t)
        if row.gen == gen and row.state == REMOTE:
            row.peer = -1
            row.code = RESET
            if dark:
                row.state = HANGING
            else:
                do(w, BACK, t, gen)
