"""The tables of a world: what one row of each holds.

Times are ns, int64. What points into another table is the row's number, -1 for none. Tables that
grow with what is in flight (spans, tries, events, todo) have free lists through `next`, and every
row a `gen` that changes when it is given back, so that what still points to it can tell.

A *span* is one request as one balancer sees it: of a client at the edge, of a service that calls
another, or of another region at the gateway. A *try* is one attempt of a span at one endpoint.
"""

from typing import Any

import numpy as np

from seakeep.engines.twin import numbers
from seakeep.engines.twin.kernel.memory import row_in, view
from seakeep.model.histogram import BOUNDS

BINS = len(BOUNDS)


def _record(fields: str, **nested: Any) -> "np.dtype[Any]":
    """From lines of `type: name name ...`."""
    found: list[Any] = []
    for line in fields.strip().splitlines():
        kind, _, names = line.strip().partition(":")
        found += [(name, kind) for name in names.split()]
    found += [(name, kind, shape) for name, (kind, shape) in nested.items()]
    return np.dtype(found, align=True)


WORLD = _record(
    """
    i8: now sequence hole low margin
    i8: events events_used events_size
    i8: todo todo_head todo_tail todo_size
    i8: spans spans_free spans_left spans_size
    i8: tries tries_free tries_left tries_size
    i8: sessions sessions_free sessions_left sessions_size
    i8: notices notices_used notices_size
    i8: streams streams_size dists dists_size
    i8: sources groups answers wheels ways
    i8: services calls regions fronts clusters endpoints instances nodes
    i8: links limits route_limits sheds span_timers try_timers revisions
    i8: flows lines loads goods goals bins bounds
    i8: regions_count services_count sources_count instances_count zones_count
    i8: counted_from counted_until bucket bucket_now bucket_end buckets
    """
)

EVENT = _record(
    """
    i8: at order target
    """
)
"""`order` is a running number times KINDS plus the kind; `target` the row that it is about, and the
row's `gen` above ROW_BITS."""

TODO = _record(
    """
    i8: kind target
    """
)

SPAN = _record(
    """
    i8: made_at start expires key
    i8: next service region cluster source group session
    i8: gen parent_gen
    i8: parent tries trying retries_left backoff tried excluded
    i8: timer timer_before timer_after shed weighs code
    i8: kind state counted retrying
    """,
    before=("i8", (6,)),
)

TRY = _record(
    """
    i8: due expires queued_at paused_seen sent_at key
    f8: finish
    i8: next span endpoint instance peer sibling
    i8: gen peer_gen
    i8: queue_before queue_after timer timer_before timer_after
    i8: call left outstanding child brother code own
    i8: state counted stuck shares
    """
)

SESSION = _record(
    """
    i8: key
    i8: next source group outstanding resources
    i8: gen
    i8: pages
    """
)

SOURCE = _record(
    """
    f8: rate_per_ns factor amplitude pages carry ttl
    i8: began_at period steps steps_count step offsets offsets_count offset paced paced_from
    i8: servers
    i8: service shape stream flow groups next_group nearest
    i8: think resources patience priority limits_first limits_count
    i8: gen
    i8: on sessions dns by_header
    """
)

GROUP = _record(
    """
    f8: factor stagger
    i8: until ready_at
    i8: region
    """
)

ANSWER = _record("i8: region wheel")
"""What a region's DNS server answers to a source: a region, or the next turn of a wheel."""

WHEEL = _record("i8: turns count next")

WAY = _record("i8: latency avoid_until server_latency")
"""From a source's clients to a region."""

ROUTE_LIMIT = _record("i8: limit clients")

LIMIT = _record(
    """
    f8: tokens burst per_ns
    i8: filled_at
    """
)

SHED = _record(
    """
    f8: target_ns
    i8: window_end samples
    i8: bound active least
    """,
    counts=("i8", (736,)),
)

SERVICE = _record(
    """
    f8: errors cpu warm_factor budget panic bias slow_start
    i8: warm_time leak response_bytes hold_time retriable
    i8: work slots queue queue_timeout pause_every pause_time
    i8: calls calls_parallel calls_end
    i8: timer try_timer attempts outlier policy breaker_requests breaker_pending
    i8: flow goals_first goals_last hold_max
    i8: cancel hedge by_zone timed held http by_header
    """
)

CALL = _record(
    """
    f8: part
    i8: service whole
    """
)

REGION = _record("i8: state ordered dns")

FRONT = _record(
    """
    i8: requests failures retries in_flight limited shed pending
    i8: cluster gateway zones limits_first limits_last sheds guarded
    """,
    latency=("i8", (BINS,)),
)
"""A service in a region, as its balancer counts it."""

CLUSTER = _record(
    """
    i8: members tiers slow_until
    f8: clock
    i8: region service count tiers_count dirty active pending retries ejected stream
    i8: only held_first held_last held turn
    i8: weighted gateway
    """
)

TIER = _record(
    """
    i8: ring ring_count
    i8: first total well fit panic health load turn
    """
)
"""Of one priority: `total` members from `first` on, of which the first `well` ones are healthy;
`fit` counts those that have been checked."""

ENDPOINT = _record(
    """
    f8: weight due
    i8: added_at returned_at ejected_at out_until hash spot skip
    i8: instance region cluster tier active failures backoff revision
    i8: gen
    i8: told check ejected used
    """
)

INSTANCE = _record(
    """
    f8: slower cpu_left slowness errors cpu_ns
    i8: started_at paused frozen_at done left_behind asked_at
    i8: service region zone node state slots busy queue queue_first queue_last queued
    i8: stream stuck revision
    i8: gen
    i8: present frozen pausing ordered
    """
)

NODE = _record(
    """
    f8: capacity ordered demand clock
    i8: clock_at
    i8: root
    i8: gen
    """
)

LINK = _record(
    """
    f8: jitter loss bytes_per_ns
    i8: latency added free_at
    i8: stream cut
    """
)

TIMER = _record(
    """
    i8: length
    i8: first last armed
    """
)

REVISION = _record("i8: requests failures", latency=("i8", (BINS,)))

FLOW = _record(
    """
    i8: requests ok failed rejected timed_out retried
    i8: latency latency_sum latency_max wait wait_sum wait_max
    """
)

LINE = _record("i8: ok failed rejected timed_out", latency=("i8", (BINS,)))

LOAD = _record("i8: instances ready busy slots queued")

GOOD = _record("i8: good total")

GOAL = _record(
    """
    i8: within
    i8: goal clients
    """
)
"""An objective of a service: `within` ns, or -1 for availability; of clients or of calls."""

NOTICE = _record(
    """
    i8: at
    i8: cluster instance region out
    """
)

MARK = _record("i8: hash member")
"""Of a hash ring."""

STEP = np.dtype([("at", "i8"), ("rate_per_ns", "f8")])
NUMBER = np.dtype([("value", "i8")])


def row_of(table: str, dtype: "np.dtype[Any]") -> Any:
    """A function (world, row) -> the record, in one of the world's own tables."""
    return row_in(WORLD, table, dtype)


world_at = view(WORLD)
event_at = row_of("events", EVENT)
todo_at = row_of("todo", TODO)
span_at = row_of("spans", SPAN)
try_at = row_of("tries", TRY)
session_at = row_of("sessions", SESSION)
source_at = row_of("sources", SOURCE)
group_at = row_of("groups", GROUP)
answer_at = row_of("answers", ANSWER)
wheel_at = row_of("wheels", WHEEL)
way_at = row_of("ways", WAY)
route_limit_at = row_of("route_limits", ROUTE_LIMIT)
limit_at = row_of("limits", LIMIT)
shed_at = row_of("sheds", SHED)
service_at = row_of("services", SERVICE)
call_at = row_of("calls", CALL)
region_at = row_of("regions", REGION)
front_at = row_of("fronts", FRONT)
cluster_at = row_of("clusters", CLUSTER)
tier_at = view(TIER)
endpoint_at = row_of("endpoints", ENDPOINT)
instance_at = row_of("instances", INSTANCE)
node_at = row_of("nodes", NODE)
link_at = row_of("links", LINK)
span_timer_at = row_of("span_timers", TIMER)
try_timer_at = row_of("try_timers", TIMER)
stream_at = row_of("streams", numbers.STREAM)
distribution_at = row_of("dists", numbers.DISTRIBUTION)
revision_at = row_of("revisions", REVISION)
flow_at = row_of("flows", FLOW)
line_at = row_of("lines", LINE)
load_at = row_of("loads", LOAD)
good_at = row_of("goods", GOOD)
goal_at = row_of("goals", GOAL)
notice_at = row_of("notices", NOTICE)
mark_at = view(MARK)
number_at = view(NUMBER)
step_at = view(STEP)
