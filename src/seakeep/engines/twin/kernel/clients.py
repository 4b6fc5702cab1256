"""Clients: when they ask, whom, and for how long.

A source is many clients in `GROUPS` groups that look the system's name up for themselves (see
`load.resolve`). A look-up ends when its answer is there: what comes meanwhile waits for it.
"""

from typing import Any

from seakeep.engines.twin.kernel.answers import leave_client
from seakeep.engines.twin.kernel.draws import duration, exponential, key_of, uniform
from seakeep.engines.twin.kernel.events import do, later, push, push_here
from seakeep.engines.twin.kernel.memory import apart, compiled, inlined, outlined
from seakeep.engines.twin.kernel.pools import give_session, take_session, take_span
from seakeep.engines.twin.kernel.records import (
    answer_at,
    flow_at,
    front_at,
    group_at,
    number_at,
    region_at,
    service_at,
    session_at,
    source_at,
    span_at,
    step_at,
    way_at,
    wheel_at,
)
from seakeep.engines.twin.kernel.requests import begin_try, begin_try_here, let_in
from seakeep.engines.twin.kernel.waves import wave
from seakeep.engines.twin.kernel.words import (
    ARRIVE,
    AT_EDGE,
    CLIENT,
    CLIENT_FAILED,
    COMING,
    CONSTANT,
    DARK,
    DIURNAL,
    FROZEN,
    IMPATIENT,
    INSIDE,
    LATE,
    LOG,
    LOST,
    PAGE,
    REFUSED,
    SERVING,
    STEP,
    UNRESOLVED,
)
from seakeep.model.time import MILLISECOND, SECOND

GROUPS = 20
DNS_TIMEOUT = 500 * MILLISECOND
DNS_AVOID = 10 * SECOND
DNS_AGAIN = SECOND // 2
CLIENT_TIMEOUT = 5 * SECOND
"""Of clients without a patience of their own, when nobody answers."""


# --- when -------------------------------------------------------------------


@inlined
def arrive(w: Any, place: int, gen: int) -> None:
    """The next request of a source is due, or the next session."""
    source = source_at(w, place)
    if source.gen != gen:
        return
    kept = True
    if source.shape == DIURNAL:
        now = 1.0 + source.amplitude * wave(
            (w.now - source.began_at) % source.period, source.period
        )
        kept = uniform(w, source.stream) * (1.0 + source.amplitude) < now
    plan_here(w, place)
    if not kept:
        return
    if source.sessions:
        _begin_session(w, place)
    else:
        source.next_group = source.next_group + 1 if source.next_group < GROUPS - 1 else 0
        s = _ask(w, place, source.next_group, -1, -1)
        if s >= 0 and comes_in(w, s):
            begin_try_here(w, s)


@inlined
def plan_here(w: Any, place: int) -> None:
    """Push the event of a source's next arrival, if there is one."""
    source = source_at(w, place)
    rate = source.rate_per_ns * source.factor
    if source.shape == LOG:
        if source.offset < source.offsets_count:
            at = source.began_at + number_at(source.offsets, source.offset).value
            source.offset += 1
            push(w, max(w.now, at), ARRIVE, place, source.gen)
    elif rate > 0.0:
        if source.shape == CONSTANT:
            at = source.paced_from + int(source.paced / rate + 0.5)
            source.paced += 1
        else:
            gap = exponential(w, source.stream) / rate
            if source.shape == DIURNAL:
                gap /= 1.0 + source.amplitude
            at = w.now + int(min(gap + source.carry, 4e18))
            source.carry = 0.0
        push_here(w, max(w.now, at), ARRIVE, place, source.gen)


plan_arrival = outlined(plan_here)


@compiled
def change_rate(w: Any, place: int) -> None:
    """Arrivals anew from now on: exponential gaps have no memory."""
    source = source_at(w, place)
    source.gen += 1
    source.paced_from = w.now
    source.paced = 0
    if source.on:
        plan_arrival(w, place)


@compiled
def take_step(w: Any, place: int) -> None:
    """A source's rate changes as the spec says."""
    source = source_at(w, place)
    source.rate_per_ns = step_at(source.steps, source.step).rate_per_ns
    source.step += 1
    if source.step < source.steps_count:
        push(w, source.began_at + step_at(source.steps, source.step).at, STEP, place, 0)
    change_rate(w, place)


# --- sessions ---------------------------------------------------------------


@apart
def _begin_session(w: Any, place: int) -> None:
    source = source_at(w, place)
    source.next_group = (source.next_group + 1) % GROUPS
    index = take_session(w)
    session = session_at(w, index)
    session.source = place
    session.group = source.next_group
    session.key = key_of(w, source.stream)
    _ask_page(w, index)


@compiled
def _ask_page(w: Any, index: int) -> None:
    session = session_at(w, index)
    session.outstanding = 1
    session.resources = 0
    _ask_soon(w, session.source, session.group, index, session.key)


@compiled
def ask_resources(w: Any, index: int) -> None:
    """The page is there: now what it consists of."""
    session = session_at(w, index)
    count = source_at(w, session.source).resources
    session.outstanding = count
    session.resources = 1
    for _ in range(count):
        _ask_soon(w, session.source, session.group, index, session.key)


@compiled
def think(w: Any, index: int) -> None:
    """A page load is over: the client goes, or looks at it for a while."""
    session = session_at(w, index)
    source = source_at(w, session.source)
    if uniform(w, source.stream) * source.pages < 1.0:
        give_session(w, index)
        return
    later(w, duration(w, source.stream, source.think), PAGE, index, session.gen)


@compiled
def next_page(w: Any, index: int) -> None:
    _ask_page(w, index)


# --- whom -------------------------------------------------------------------


@inlined
def _ask(w: Any, place: int, group: int, session: int, key: int) -> int:
    """A client makes a request. The span, when it is at an edge at once; else -1."""
    source = source_at(w, place)
    s = take_span(w)
    span = span_at(w, s)
    span.kind = CLIENT
    span.state = COMING
    span.made_at = w.now
    span.service = source.service
    span.source = place
    span.group = group
    span.session = session
    span.counted = w.counted_from <= w.now and w.now < w.counted_until
    span.key = place * GROUPS + group
    if source.by_header:
        span.key = key if key >= 0 else key_of(w, source.stream)
    if span.counted:
        flow_at(w, source.flow).requests += 1
    if source.patience >= 0:
        push(w, w.now + duration(w, source.stream, source.patience), IMPATIENT, s, span.gen)
    wait = 0
    span.region = source.nearest
    if source.dns:
        wait = _resolve(w, source, place, group)
        span.region = group_at(w, source.groups + group).region
    if span.region < 0:
        span.region = source.nearest
        push(w, w.now + wait, CLIENT_FAILED, s, span.gen)
        span.code = UNRESOLVED
        return -1
    wait += way_at(w, place * w.regions_count + span.region).latency
    if wait > 0:
        push(w, w.now + wait, AT_EDGE, s, span.gen)
        return -1
    return s


@compiled
def _ask_soon(w: Any, place: int, group: int, session: int, key: int) -> None:
    """The same, of a client in a session."""
    s = _ask(w, place, group, session, key)
    if s >= 0:
        do(w, AT_EDGE, s, span_at(w, s).gen)


@apart
def _resolve(w: Any, source: Any, place: int, number: int) -> int:
    """How long a group's client waits until it knows where to go."""
    group = group_at(w, source.groups + number)
    if w.now < group.until:
        return max(0, group.ready_at - w.now)
    took, asked = 0, 0
    for avoided in range(2):
        for turn in range(w.regions_count):
            server = number_at(source.servers, turn).value
            way = way_at(w, place * w.regions_count + server)
            if (asked >> turn) & 1 or (avoided == 0 and way.avoid_until > w.now):
                continue
            asked |= 1 << turn
            state = region_at(w, server).dns
            answer = -1
            if state == SERVING:
                took += 2 * way.latency
                answer = _answer(w, place, server)
            else:
                took += DNS_TIMEOUT if state == DARK or state == FROZEN else 2 * way.latency
                way.avoid_until = w.now + took + DNS_AVOID
            if answer >= 0:
                kept = source.ttl * group.factor
                if group.region < 0:
                    kept *= group.stagger
                group.region = answer
                group.ready_at = w.now + took
                group.until = w.now + took + int(kept + 0.5)
                return took
    group.ready_at = w.now + took
    group.until = w.now + took + DNS_AGAIN
    return took


@compiled
def _answer(w: Any, place: int, server: int) -> int:
    """The region that a DNS server sends a source's client to; -1 when it knows none."""
    answer = answer_at(w, server * w.sources_count + place)
    if answer.wheel < 0:
        return int(answer.region)
    wheel = wheel_at(w, answer.wheel)
    found = number_at(wheel.turns, wheel.next).value
    wheel.next = (wheel.next + 1) % wheel.count
    return int(found)


@compiled
def come(w: Any, s: int) -> None:
    """A request arrives at an edge."""
    if comes_in(w, s):
        begin_try(w, s)


@inlined
def comes_in(w: Any, s: int) -> bool:
    """Whether it is to be tried."""
    span = span_at(w, s)
    state = region_at(w, span.region).state
    if state == SERVING:
        span.state = INSIDE
        front = front_at(w, span.region * w.services_count + span.service)
        span.cluster = front.cluster
        if span.counted:
            flow_at(w, service_at(w, span.service).flow).requests += 1
        return let_in(w, s)
    _find_edge_down(w, s, state)
    return False


@apart
def _find_edge_down(w: Any, s: int, state: int) -> None:
    span = span_at(w, s)
    if state == DARK or state == FROZEN:
        span.state = LOST
        span.code = LATE
        push(w, max(w.now, span.made_at + CLIENT_TIMEOUT), CLIENT_FAILED, s, span.gen)
    else:
        span.state = LOST
        span.code = REFUSED
        way = way_at(w, span.source * w.regions_count + span.region)
        later(w, way.latency, CLIENT_FAILED, s, span.gen)


@compiled
def fail_client(w: Any, s: int) -> None:
    """A client finds that it gets no answer."""
    leave_client(w, s, span_at(w, s).code)
