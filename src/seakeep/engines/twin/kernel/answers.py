"""How tries and requests end.

answered     a try has an answer, or failed
decide       whether its request is tried again
end          a request has its answer: who asked gets it
abandon      a request goes on without one of its tries
"""

from typing import Any

from seakeep.engines.twin.kernel.crossing import way_of
from seakeep.engines.twin.kernel.draws import uniform
from seakeep.engines.twin.kernel.events import do, later, push
from seakeep.engines.twin.kernel.measure import count_client, count_revision, count_service
from seakeep.engines.twin.kernel.memory import apart, compiled, inlined, outlined
from seakeep.engines.twin.kernel.outliers import judge
from seakeep.engines.twin.kernel.pools import give_span, give_try
from seakeep.engines.twin.kernel.records import (
    cluster_at,
    endpoint_at,
    flow_at,
    front_at,
    service_at,
    session_at,
    shed_at,
    source_at,
    span_at,
    try_at,
    way_at,
)
from seakeep.engines.twin.kernel.shedding import leave_shed
from seakeep.engines.twin.kernel.slots import give_up
from seakeep.engines.twin.kernel.timers import stop_span_timer, stop_try_timer
from seakeep.engines.twin.kernel.words import (
    ANSWERED,
    AT_CLIENT,
    BACK,
    CALLED,
    CALLING,
    CLIENT,
    ERROR,
    FULL,
    GATEWAY,
    GONE,
    HANGING,
    HELD,
    NOBODY,
    OK,
    OVERFLOW,
    QUEUED,
    REFUSED,
    REMOTE,
    RESET,
    RESOURCES,
    RETRY,
    THOUGHT,
    TRY_LATE,
    UNAVAILABLE,
    WORKING,
)
from seakeep.model.time import MILLISECOND

BACK_OFF = 10 * MILLISECOND
BACK_OFF_MAX = 200 * MILLISECOND
RETRIES_MIN = 10
"""Retries that a balancer lets be under way whatever the budget says."""


@inlined
def detach(w: Any, t: int) -> None:
    """The balancer's side of a try is over: what remains of it is the instance's."""
    row = try_at(w, t)
    endpoint = endpoint_at(w, row.endpoint)
    endpoint.active -= 1
    cluster_at(w, endpoint.cluster).active -= 1
    stop_try_timer(w, t)
    span = span_at(w, row.span)
    span.trying -= 1
    if span.tries == t:
        span.tries = row.sibling
    else:
        one = span.tries
        while try_at(w, one).sibling != t:
            one = try_at(w, one).sibling
        try_at(w, one).sibling = row.sibling
    row.span = -1


@apart
def _leave(w: Any, t: int) -> None:
    """What becomes of a try, but for one at a gateway, when nobody waits for it."""
    row = try_at(w, t)
    if row.state == QUEUED or row.state == WORKING or row.state == CALLING:
        cluster = cluster_at(w, endpoint_at(w, row.endpoint).cluster)
        if service_at(w, cluster.service).cancel:
            give_up(w, t)
        return
    if row.state == HELD:
        unhold(w, t)
    give_try(w, t)


@compiled
def unhold(w: Any, t: int) -> None:
    row = try_at(w, t)
    cluster = cluster_at(w, endpoint_at(w, row.endpoint).cluster)
    if row.queue_before >= 0:
        try_at(w, row.queue_before).queue_after = row.queue_after
    else:
        cluster.held_first = row.queue_after
    if row.queue_after >= 0:
        try_at(w, row.queue_after).queue_before = row.queue_before
    else:
        cluster.held_last = row.queue_before
    cluster.held -= 1


@compiled
def abandon(w: Any, t: int) -> None:
    row = try_at(w, t)
    detach(w, t)
    if row.state == REMOTE:
        if row.peer >= 0 and span_at(w, row.peer).gen == row.peer_gen:
            drop_gateway(w, row.peer)
        row.peer = -1
        give_try(w, t)
    else:
        _leave(w, t)


@compiled
def drop_gateway(w: Any, s: int) -> None:
    """The caller in the other region does not wait any more."""
    span = span_at(w, s)
    _let_go(w, s)
    while span.tries >= 0:  # all of them within the region
        t = span.tries
        detach(w, t)
        _leave(w, t)
    give_span(w, s)


@inlined
def _close(w: Any, s: int) -> None:
    """A request ends: so do its tries."""
    _let_go(w, s)
    span = span_at(w, s)
    while span.tries >= 0:
        abandon(w, span.tries)


@inlined
def _let_go(w: Any, s: int) -> None:
    """What a request holds at its balancer, but for its tries."""
    span = span_at(w, s)
    stop_span_timer(w, s)
    if span.retrying:
        span.retrying = 0
        cluster_at(w, span.cluster).retries -= 1


@inlined
def close_try(w: Any, t: int, code: int) -> int:
    """A try that somebody waits for has ended. Whose it was."""
    row = try_at(w, t)
    s = row.span
    judge(w, row.endpoint, code != OK and code != ERROR)
    revision = endpoint_at(w, row.endpoint).revision
    if revision >= 0:
        count_revision(w, revision, code, w.now - row.sent_at)
    detach(w, t)
    give_try(w, t)
    return int(s)


@compiled
def answered(w: Any, t: int, code: int) -> None:
    decide(w, close_try(w, t, code), code)


@compiled
def decide(w: Any, s: int, code: int) -> None:
    if is_over(w, s, code):
        end(w, s, code)


@inlined
def is_over(w: Any, s: int, code: int) -> bool:
    """Whether a request ends with what one of its tries brought; if not, it may be tried again."""
    return code == OK or (not _try_again(w, s, code) and span_at(w, s).trying == 0)


@apart
def _try_again(w: Any, s: int, code: int) -> bool:
    """Have the request tried again after a while, if it may be."""
    span = span_at(w, s)
    service = service_at(w, span.service)
    mask = 1 << REFUSED if span.kind == GATEWAY else service.retriable
    if span.retries_left <= 0 or not (mask >> code) & 1:
        return False
    cluster = cluster_at(w, span.cluster)
    if span.retrying:
        span.retrying = 0
        cluster.retries -= 1
    most = max(RETRIES_MIN, int(service.budget * cluster.active))
    if service.budget < 1.0 and cluster.retries >= most:
        return False
    span.retrying = 1
    cluster.retries += 1
    span.retries_left -= 1
    window = min(BACK_OFF << min(span.backoff, 10), BACK_OFF_MAX)
    span.backoff += 1
    delay = int(window * uniform(w, cluster.stream))
    push(w, w.now + delay, RETRY, s, span.gen)
    if span.kind != GATEWAY:
        front_at(w, span.region * w.services_count + span.service).retries += 1
        if span.counted:
            flow_at(w, service.flow).retried += 1
            if span.kind == CLIENT:
                flow_at(w, source_at(w, span.source).flow).retried += 1
    return True


@compiled
def end(w: Any, s: int, code: int) -> None:
    """The balancer is done with a request."""
    if span_at(w, s).kind == GATEWAY:
        _across(w, s, code)
    else:
        settle(w, s, code)
        pass_on(w, s, code)


@inlined
def end_here(w: Any, s: int, code: int) -> None:
    """The same, on every request's way."""
    span = span_at(w, s)
    if span.kind == CLIENT:
        settle_here(w, s, code)
        if way_at(w, span.source * w.regions_count + span.region).latency == 0:
            leave_client_here(w, s, code)
        else:
            pass_on(w, s, code)
    else:
        end(w, s, code)


@inlined
def settle_here(w: Any, s: int, code: int) -> None:
    """What is left of a request at its balancer ends, and is counted."""
    span = span_at(w, s)
    _close(w, s)
    if span.shed >= 0:
        leave_shed(w, shed_at(w, span.shed), w.now - span.start, code == GONE)
        span.shed = -1
    count_service(w, s, code)


settle = outlined(settle_here)


@compiled
def pass_on(w: Any, s: int, code: int) -> None:
    """The answer goes to who asked."""
    span = span_at(w, s)
    span.state = ANSWERED
    span.code = code
    if span.kind == CLIENT:
        way = way_at(w, span.source * w.regions_count + span.region)
        if way.latency > 0:
            push(w, w.now + way.latency, AT_CLIENT, s, span.gen)
        else:
            leave_client(w, s, code)
    else:
        do(w, CALLED, s, span.gen)


@inlined
def leave_client_here(w: Any, s: int, code: int) -> None:
    """The client has its answer, or has gone."""
    span = span_at(w, s)
    count_client(w, s, code)
    if span.session >= 0:
        _turn_page(w, span.session, code)
    give_span(w, s)


leave_client = outlined(leave_client_here)


@apart
def _turn_page(w: Any, place: int, code: int) -> None:
    """A session's page or one of its resources has come: what the client does then."""
    session = session_at(w, place)
    session.outstanding -= 1
    if session.outstanding > 0:
        return
    if code == OK and not session.resources and source_at(w, session.source).resources:
        do(w, RESOURCES, place, session.gen)
    else:
        do(w, THOUGHT, place, session.gen)


@apart
def _across(w: Any, s: int, code: int) -> None:
    """A gateway's answer goes back to the region that asked."""
    _close(w, s)
    span = span_at(w, s)
    t = span.parent
    row = try_at(w, t)
    if row.gen == span.parent_gen and row.state == REMOTE:
        row.peer = -1
        home = cluster_at(w, endpoint_at(w, row.endpoint).cluster).region
        size = service_at(w, span.service).response_bytes
        took = way_of(w, span.region, home, size)
        if took < 0:
            row.state = HANGING
        else:
            row.code = code
            if code == REFUSED or code == RESET or code == NOBODY or code == TRY_LATE:
                row.code = UNAVAILABLE
            elif code == OVERFLOW:
                row.code = FULL
            later(w, took, BACK, t, row.gen)
    give_span(w, s)
