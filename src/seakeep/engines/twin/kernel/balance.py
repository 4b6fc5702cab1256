"""Which endpoint a try goes to: Envoy's policies over the members of one priority.

- least_request: the less busy of two that are drawn.
- round_robin: in turn.
- With unequal weights, and while an endpoint is in its slow start, both become earliest deadline
  first, where an endpoint comes again after 1 / weight; load_aware divides the weight by the
  requests under way.
- random.
- ring_hash and maglev: by the request's key, from a table of all members.
"""

from typing import Any

from seakeep.engines.twin.kernel.draws import below, two_below, uniform
from seakeep.engines.twin.kernel.hashing import by_hash, make_table
from seakeep.engines.twin.kernel.memory import apart, compiled, inlined
from seakeep.engines.twin.kernel.priorities import choose_tier, refresh_loads
from seakeep.engines.twin.kernel.records import (
    cluster_at,
    endpoint_at,
    number_at,
    service_at,
    span_at,
    tier_at,
)
from seakeep.engines.twin.kernel.words import (
    LOAD_AWARE,
    MAGLEV,
    RANDOM,
    RING_HASH,
    ROUND_ROBIN,
)

ATTEMPTS_MAX = 5
"""How often it is drawn again when an endpoint was drawn that this request has tried."""
SLOW_SHARE = 0.1
"""Of its weight, what an endpoint has when its slow start begins."""


@inlined
def choose(w: Any, s: int) -> int:
    """The endpoint for a span's next try; -1 when there is nobody."""
    span = span_at(w, s)
    cluster = cluster_at(w, span.cluster)
    if cluster.dirty:
        _refresh(w, span.cluster)
    place = cluster.only
    if place < 0 or span.excluded != 0:
        place = choose_tier(w, cluster, span.excluded)
        if place < 0:
            return -1
    tier = tier_at(cluster.tiers, place)
    count = tier.total if tier.panic else tier.well
    if count == 0:
        return -1
    found = _one(w, cluster, tier, count, span.key)
    if span.tried > 0 and count > 1:
        again = ATTEMPTS_MAX
        while again > 0 and _tried(span, found):
            found = _one(w, cluster, tier, count, span.key + again)
            again -= 1
    return found


@inlined
def _tried(span: Any, endpoint: int) -> bool:
    for place in range(min(span.tried, 6)):
        if span.before[place] == endpoint:
            return True
    return False


@inlined
def _one(w: Any, cluster: Any, tier: Any, count: int, key: int) -> int:
    members = cluster.members
    policy = service_at(w, cluster.service).policy
    if count == 1:
        return number_at(members, tier.first).value
    if policy == RING_HASH or policy == MAGLEV:
        return by_hash(tier, policy, key)
    if policy == RANDOM:
        return number_at(members, tier.first + below(w, cluster.stream, count)).value
    if policy == LOAD_AWARE or cluster.weighted or cluster.slow_until > w.now:
        return _next_due(w, cluster, tier, count, policy)
    if policy == ROUND_ROBIN:
        tier.turn = (tier.turn + 1) % count
        return number_at(members, tier.first + tier.turn).value
    one, other = two_below(w, cluster.stream, count)
    first = number_at(members, tier.first + one).value
    second = number_at(members, tier.first + other).value
    if endpoint_at(w, first).active > endpoint_at(w, second).active:
        return second
    return first


@apart
def _next_due(w: Any, cluster: Any, tier: Any, count: int, policy: int) -> int:
    best = number_at(cluster.members, tier.first).value
    for place in range(1, count):
        one = number_at(cluster.members, tier.first + place).value
        if endpoint_at(w, one).due < endpoint_at(w, best).due:
            best = one
    chosen = endpoint_at(w, best)
    service = service_at(w, cluster.service)
    weight = chosen.weight * _ramp(w, service, chosen)
    if policy == LOAD_AWARE:
        weight /= chosen.active + 1
    chosen.due += 1.0 / weight
    return best


@compiled
def _ramp(w: Any, service: Any, endpoint: Any) -> float:
    """The share of its weight that an endpoint has in its slow start."""
    age = w.now - endpoint.added_at
    if service.slow_start <= 0 or age >= service.slow_start:
        return 1.0
    return max(SLOW_SHARE, age / service.slow_start)


@apart
def _refresh(w: Any, c: int) -> None:
    """After a change of the endpoints or of their health."""
    cluster = cluster_at(w, c)
    cluster.dirty = 0
    refresh_loads(w, c)
    service = service_at(w, cluster.service)
    cluster.slow_until = 0
    for place in range(cluster.tiers_count):
        tier = tier_at(cluster.tiers, place)
        for member in range(tier.total):
            endpoint = endpoint_at(w, number_at(cluster.members, tier.first + member).value)
            if service.slow_start > 0:
                until = endpoint.added_at + service.slow_start
                cluster.slow_until = max(cluster.slow_until, until)
        if cluster.weighted or cluster.slow_until > w.now or service.policy == LOAD_AWARE:
            _start_over(w, cluster, tier)
        if service.policy == RING_HASH or service.policy == MAGLEV:
            make_table(w, cluster, tier, service.policy)


@compiled
def _start_over(w: Any, cluster: Any, tier: Any) -> None:
    """Deadlines anew, each somewhere within its first round, so that balancers do not all begin
    with the same endpoint."""
    for member in range(tier.total):
        endpoint = endpoint_at(w, number_at(cluster.members, tier.first + member).value)
        endpoint.due = uniform(w, cluster.stream) / endpoint.weight
