"""What is counted, and where: flows (totals and histograms), lines and goals (by bucket of time),
loads (at the end of each bucket), and what balancers tell controllers.
"""

from typing import Any

import numpy as np

from seakeep.engines.twin.kernel.memory import apart, compiled, digits_of, inlined
from seakeep.engines.twin.kernel.records import (
    flow_at,
    front_at,
    goal_at,
    good_at,
    instance_at,
    line_at,
    load_at,
    number_at,
    revision_at,
    service_at,
    source_at,
    span_at,
)
from seakeep.engines.twin.kernel.words import (
    CALLER,
    CLIENT,
    FAILED,
    LIMITED,
    MEANING,
    OK,
    REJECTED,
    SERVING,
    WELL,
)
from seakeep.model.hdr import BITS_MAX, SUB, SUB_BITS

LONGEST = (1 << BITS_MAX) - 1
_MEANING = np.array(MEANING)
FOREVER = 1 << 62


@inlined
def bucket_of(value: int) -> int:
    """As `model.hdr.bucket_of`."""
    shift = max(0, digits_of(value) - SUB_BITS - 1)
    return SUB * shift + (value >> shift)


@inlined
def bin_of(w: Any, value: int) -> int:
    """Among `model.histogram.BOUNDS`: the first that is not less. `bins` holds the first that may
    be, for every power of two and eighth of it; no eighth has more than one bound in it."""
    digits = digits_of(value)
    eighth = (value >> max(0, digits - 4)) & 7
    place = number_at(w.bins, 8 * digits + eighth).value
    return place + int(number_at(w.bounds, place).value < value)


@inlined
def _add(counts: int, value: int) -> None:
    number_at(counts, bucket_of(min(value, LONGEST))).value += 1


@inlined
def count_wait(w: Any, flow: int, value: int) -> None:
    one = flow_at(w, flow)
    _add(one.wait, value)
    one.wait_sum += value
    if value > one.wait_max:
        one.wait_max = value


@inlined
def count_end(w: Any, flow: int, code: int, took: int) -> None:
    """That a request has ended: with `code`, after so many ns."""
    one = flow_at(w, flow)
    if code == OK:
        one.ok += 1
        _add(one.latency, took)
        one.latency_sum += took
        if took > one.latency_max:
            one.latency_max = took
        return
    meaning = _MEANING[code]
    if meaning == FAILED:
        one.failed += 1
    elif meaning == REJECTED:
        one.rejected += 1
    else:
        one.timed_out += 1


@inlined
def count_client(w: Any, s: int, code: int) -> None:
    """That a client has its answer, or goes without."""
    span = span_at(w, s)
    if not span.counted:
        return
    took = w.now - span.made_at
    source = source_at(w, span.source)
    count_end(w, source.flow, code, took)
    if w.bucket_now < 0:
        return
    row = (span.source * w.regions_count + span.region) * w.buckets + w.bucket_now
    line = line_at(w, row)
    meaning = _MEANING[code]
    if meaning == WELL:
        line.ok += 1
        line.latency[bin_of(w, took)] += 1
    elif meaning == FAILED:
        line.failed += 1
    elif meaning == REJECTED:
        line.rejected += 1
    else:
        line.timed_out += 1
    service = service_at(w, source.service)
    if service.goals_first < service.goals_last:
        _count_goals(w, source.service, CLIENT, code, took)


@inlined
def count_service(w: Any, s: int, code: int) -> None:
    """That a balancer is done with a request of a client or a service."""
    span = span_at(w, s)
    took = w.now - span.start
    front = front_at(w, span.region * w.services_count + span.service)
    service = service_at(w, span.service)
    front.in_flight -= 1
    meaning = _MEANING[code]
    front.requests += 1
    if meaning != WELL:
        front.failures += 1
    elif service.timed:
        front.latency[bin_of(w, took)] += 1
    if span.counted:
        count_end(w, service.flow, code, took)
        if span.kind == CALLER and w.bucket_now >= 0:
            _count_goals(w, span.service, CALLER, code, took)


@compiled
def count_refusal(w: Any, s: int, code: int) -> None:
    """That a limit, or shedding, turned a request away."""
    span = span_at(w, s)
    front = front_at(w, span.region * w.services_count + span.service)
    if code == LIMITED:
        front.limited += 1
    else:
        front.shed += 1
    count_unmade(w, s, code)


@compiled
def count_unmade(w: Any, s: int, code: int) -> None:
    """That a request ended before a balancer dealt with it."""
    span = span_at(w, s)
    if span.counted:
        count_end(w, service_at(w, span.service).flow, code, 0)
        if span.kind == CALLER and w.bucket_now >= 0:
            _count_goals(w, span.service, CALLER, code, 0)


@apart
def _count_goals(w: Any, s: int, kind: int, code: int, took: int) -> None:
    service = service_at(w, s)
    for place in range(service.goals_first, service.goals_last):
        goal = goal_at(w, place)
        if goal.clients == (kind == CLIENT):
            row = good_at(w, goal.goal * w.buckets + w.bucket_now)
            row.total += 1
            if code == OK and (goal.within < 0 or took < goal.within):
                row.good += 1


@apart
def count_revision(w: Any, revision: int, code: int, took: int) -> None:
    one = revision_at(w, revision)
    one.requests += 1
    if code == OK:
        one.latency[bin_of(w, took)] += 1
    else:
        one.failures += 1


@apart
def close_bucket(w: Any) -> None:
    """Write down how loaded everything is at the end of a bucket, and begin the next."""
    if w.bucket_now >= 0:
        for place in range(w.instances_count):
            instance = instance_at(w, place)
            if instance.present:
                line = instance.service * w.regions_count + instance.region
                row = load_at(w, line * w.buckets + w.bucket_now)
                row.instances += 1
                row.busy += instance.busy
                row.queued += instance.queued
                if instance.state == SERVING:
                    row.ready += 1
                    row.slots += instance.slots
    w.bucket_now += 1
    w.bucket_end += w.bucket
    if w.bucket_now >= w.buckets:
        w.bucket_now = -1
        w.bucket_end = FOREVER
