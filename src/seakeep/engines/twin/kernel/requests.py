"""Requests at a balancer: let in, tried, tried again, given up."""

from typing import Any

from seakeep.engines.twin.kernel.answers import (
    abandon,
    answered,
    decide,
    end,
    leave_client,
    pass_on,
    settle,
    unhold,
)
from seakeep.engines.twin.kernel.balance import choose
from seakeep.engines.twin.kernel.crossing import way_of
from seakeep.engines.twin.kernel.events import do, later, push
from seakeep.engines.twin.kernel.instances import CONNECT_TIMEOUT, reach
from seakeep.engines.twin.kernel.measure import count_refusal, count_unmade
from seakeep.engines.twin.kernel.memory import apart, compiled, inlined, outlined
from seakeep.engines.twin.kernel.outliers import judge
from seakeep.engines.twin.kernel.pools import take_span, take_try
from seakeep.engines.twin.kernel.priorities import is_well
from seakeep.engines.twin.kernel.records import (
    cluster_at,
    endpoint_at,
    front_at,
    number_at,
    region_at,
    route_limit_at,
    service_at,
    source_at,
    span_at,
    try_at,
)
from seakeep.engines.twin.kernel.shedding import enter_shed, take_token
from seakeep.engines.twin.kernel.timers import (
    late_span,
    late_try,
    start_span_timer,
    start_try_timer,
    stop_try_timer,
)
from seakeep.engines.twin.kernel.words import (
    ACROSS,
    BACK,
    CALLED,
    CLIENT,
    DARK,
    GATEWAY,
    GONE,
    HANGING,
    HELD,
    HELD_LONG,
    INSIDE,
    LATE,
    LIMITED,
    NOBODY,
    OVERFLOW,
    REFUSED,
    RELEASE,
    REMOTE,
    SERVING,
    SHED_AWAY,
    TRAVELLING,
    TRY_LATE,
    UNAVAILABLE,
    UNREACHABLE,
)


@inlined
def let_in(w: Any, s: int) -> bool:
    """A request of a client or of a service comes to its region's balancer. False when it is turned
    away."""
    span = span_at(w, s)
    span.start = w.now
    service = service_at(w, span.service)
    front = front_at(w, span.region * w.services_count + span.service)
    span.retries_left = service.attempts
    if service.attempts > 0:
        span.tried = 0
        span.excluded = 0
        span.backoff = 0
    if front.guarded and not _guard(w, s):
        return False
    front.in_flight += 1
    start_span_timer(w, service.timer, s)
    return True


@apart
def _guard(w: Any, s: int) -> bool:
    """Whether a request is let in. One that is not has its answer."""
    span = span_at(w, s)
    code = _refusal(w, span, front_at(w, span.region * w.services_count + span.service))
    if code >= 0:
        count_refusal(w, s, code)
        pass_on(w, s, code)
    return code < 0


@compiled
def _refusal(w: Any, span: Any, front: Any) -> int:
    """What refuses a request: limits, then shedding. -1: nothing."""
    if span.kind == CLIENT:
        source = source_at(w, span.source)
        first = source.limits_first + span.region * source.limits_count
        for place in range(first, first + source.limits_count):
            limit = route_limit_at(w, place)
            if not take_token(w, limit.limit + limit.clients * span.group):
                return LIMITED
        normal = source.priority
    else:
        for place in range(front.limits_first, front.limits_last):
            if not take_token(w, route_limit_at(w, place).limit):
                return LIMITED
        normal = 1
    if normal > 0 and front.sheds >= 0:
        shed = front.sheds + normal - 1
        if not enter_shed(w, shed):
            return SHED_AWAY
        span.shed = shed
    return -1


@inlined
def _remember(span: Any, e: int, tier: int) -> None:
    """Where a request has been, for its retries. Every second time its priority is left alone from
    then on (previous_priorities with an update_frequency of 2)."""
    if span.tried < 6:
        span.before[span.tried] = e
    span.tried += 1
    if span.tried % 2 == 0:
        span.excluded |= 1 << min(tier, 30)


@inlined
def begin_try_here(w: Any, s: int) -> None:
    """The first, or the next."""
    span = span_at(w, s)
    cluster = cluster_at(w, span.cluster)
    service = service_at(w, span.service)
    full = cluster.active >= service.breaker_requests
    e = -1 if full else choose(w, s)
    if e < 0:
        end(w, s, OVERFLOW if full else NOBODY)
        return
    endpoint = endpoint_at(w, e)
    endpoint.active += 1
    cluster.active += 1
    if span.retries_left > 0 or span.tried > 0:
        _remember(span, e, endpoint.tier)
    t = take_try(w)
    row = try_at(w, t)
    row.span = s
    row.endpoint = e
    row.sent_at = w.now
    row.key = span.key
    row.counted = span.counted
    row.own = span.source
    row.sibling = span.tries
    span.tries = t
    span.trying += 1
    start_try_timer(w, service.try_timer if span.kind != GATEWAY else -1, t)
    if endpoint.instance >= 0:
        reach(w, t, endpoint.instance)
    elif endpoint.region >= 0:
        _send(w, t, span.region, endpoint.region)
    else:
        _hold(w, t)


@compiled
def call(w: Any, s: int) -> None:
    """A service calls another."""
    span = span_at(w, s)
    state = region_at(w, span.region).state
    if state == SERVING:
        if let_in(w, s):
            begin_try(w, s)
    else:
        count_unmade(w, s, REFUSED)
        span.code = REFUSED
        later(w, CONNECT_TIMEOUT if state == DARK else 0, CALLED, s, span.gen)


begin_try = outlined(begin_try_here)


@compiled
def try_again(w: Any, s: int, gen: int) -> None:
    """A request's back-off is over, unless it has ended meanwhile."""
    span = span_at(w, s)
    if span.gen == gen and span.state == INSIDE:
        begin_try(w, s)


# --- other regions ----------------------------------------------------------


@apart
def _send(w: Any, t: int, origin: int, target: int) -> None:
    row = try_at(w, t)
    took = way_of(w, origin, target, 0)
    if took < 0 or way_of(w, target, origin, 0) < 0:  # a connection needs both ways
        row.state = HANGING
        push(w, w.now + CONNECT_TIMEOUT, UNREACHABLE, t, row.gen)
        return
    row.state = TRAVELLING
    later(w, took, ACROSS, t, row.gen)


@compiled
def across(w: Any, t: int, gen: int) -> None:
    """A try comes to the gateway of another region, which makes a request of its own of it."""
    row = try_at(w, t)
    if row.gen != gen:
        return
    endpoint = endpoint_at(w, row.endpoint)
    caller = span_at(w, row.span)
    state = region_at(w, endpoint.region).state
    row.state = REMOTE
    if state != SERVING:
        if state == DARK:
            row.state = HANGING
            push(w, w.now + CONNECT_TIMEOUT, UNREACHABLE, t, row.gen)
        else:
            row.code = REFUSED
            took = way_of(w, endpoint.region, caller.region, 0)
            later(w, max(0, took), BACK, t, row.gen)
        return
    s = take_span(w)
    span = span_at(w, s)
    span.kind = GATEWAY
    span.state = INSIDE
    span.made_at = w.now
    span.start = w.now
    span.service = caller.service
    span.region = endpoint.region
    span.cluster = front_at(w, endpoint.region * w.services_count + caller.service).gateway
    span.source = caller.source
    span.session = -1
    span.parent = t
    span.parent_gen = row.gen
    span.key = caller.key
    span.counted = row.counted
    span.tried = 0
    span.excluded = 0
    span.backoff = 0
    span.retries_left = 1
    row.peer = s
    row.peer_gen = span.gen
    start_span_timer(w, service_at(w, span.service).timer, s)
    begin_try(w, s)


@compiled
def back(w: Any, t: int, gen: int) -> None:
    """The answer of a try is there."""
    row = try_at(w, t)
    if row.gen == gen:
        answered(w, t, row.code)


@compiled
def unreachable(w: Any, t: int, gen: int) -> None:
    row = try_at(w, t)
    if row.gen == gen and row.state == HANGING:
        answered(w, t, REFUSED)


# --- while there is no instance ---------------------------------------------


@apart
def _hold(w: Any, t: int) -> None:
    """Let a try wait for a first instance."""
    row = try_at(w, t)
    c = span_at(w, row.span).cluster
    cluster = cluster_at(w, c)
    service = service_at(w, cluster.service)
    if cluster.held >= service.hold_max:
        answered(w, t, UNAVAILABLE)
        return
    row.state = HELD
    row.queue_before = cluster.held_last
    row.queue_after = -1
    if cluster.held_last >= 0:
        try_at(w, cluster.held_last).queue_after = t
    else:
        cluster.held_first = t
    cluster.held_last = t
    cluster.held += 1
    push(w, w.now + service.hold_time, HELD_LONG, t, row.gen)


@compiled
def held_long(w: Any, t: int, gen: int) -> None:
    row = try_at(w, t)
    if row.gen == gen and row.state == HELD:
        unhold(w, t)
        answered(w, t, UNAVAILABLE)


@compiled
def release(w: Any, c: int) -> None:
    """Let what waits go to instances, once there is one that takes requests: a few, and the others
    in a next step."""
    cluster = cluster_at(w, c)
    somebody = False
    for place in range(cluster.count):
        endpoint = endpoint_at(w, number_at(cluster.members, place).value)
        somebody = somebody or (endpoint.instance >= 0 and is_well(endpoint))
    if not somebody:
        return
    for _ in range(8):
        t = cluster.held_first
        if t < 0:
            return
        unhold(w, t)
        cluster.turn = (cluster.turn + 1) % cluster.count
        e = _next_well(w, cluster)
        reach(w, t, endpoint_at(w, e).instance)
    do(w, RELEASE, c, 0)


@compiled
def _next_well(w: Any, cluster: Any) -> int:
    """The members in turn; one of them is well."""
    while True:
        e = number_at(cluster.members, cluster.turn).value
        endpoint = endpoint_at(w, e)
        if endpoint.instance >= 0 and is_well(endpoint):
            return e
        cluster.turn = (cluster.turn + 1) % cluster.count


# --- giving up --------------------------------------------------------------


@compiled
def spans_late(w: Any, timer: int) -> None:
    """Timeouts of whole requests."""
    while True:
        s = late_span(w, timer)
        if s < 0:
            return
        t = span_at(w, s).tries
        while t >= 0:
            judge(w, try_at(w, t).endpoint, True)
            t = try_at(w, t).sibling
        end(w, s, LATE)


@compiled
def tries_late(w: Any, timer: int) -> None:
    """Timeouts of single tries. With hedging the try goes on beside the next one."""
    while True:
        t = late_try(w, timer)
        if t < 0:
            return
        row = try_at(w, t)
        s = row.span
        judge(w, row.endpoint, True)
        if service_at(w, span_at(w, s).service).hedge:
            stop_try_timer(w, t)
        else:
            abandon(w, t)
        decide(w, s, TRY_LATE)


@compiled
def impatient(w: Any, s: int, gen: int) -> None:
    """A client goes away."""
    span = span_at(w, s)
    if span.gen == gen:
        if span.state == INSIDE:
            settle(w, s, GONE)
        leave_client(w, s, GONE)
