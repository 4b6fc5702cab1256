"""Which priority of a cluster a request goes to, as Envoy 1.40 reckons it.

A priority's health is min(100, 140 x healthy / all), where endpoints that have not been checked yet
count on neither side. While all healths together reach 100, each priority takes as much load as its
health, the first first. Otherwise loads are scaled up; a priority of which less than the panic
threshold is healthy then serves with all of its endpoints, and when that goes for every priority,
load follows the numbers of endpoints.

All in whole percents, rounded down, with what is left over to the first that can serve.
"""

from typing import Any

from seakeep.engines.twin.kernel.draws import below
from seakeep.engines.twin.kernel.memory import apart, compiled
from seakeep.engines.twin.kernel.records import (
    cluster_at,
    endpoint_at,
    number_at,
    service_at,
    tier_at,
)
from seakeep.engines.twin.kernel.words import PASSING, UNCHECKED

OVERPROVISIONING = 140


@compiled
def is_well(endpoint: Any) -> bool:
    return bool(endpoint.told and endpoint.check == PASSING and not endpoint.ejected)


@compiled
def _sort_tier(w: Any, members: int, tier: Any) -> None:
    """The healthy members first, all in their order otherwise."""
    well, unchecked = 0, 0
    for place in range(tier.total):
        member = number_at(members, tier.first + place).value
        endpoint = endpoint_at(w, member)
        if is_well(endpoint):
            for at in range(place, well, -1):
                before = number_at(members, tier.first + at - 1).value
                number_at(members, tier.first + at).value = before
            number_at(members, tier.first + well).value = member
            well += 1
        elif endpoint.check == UNCHECKED and endpoint.told and not endpoint.ejected:
            unchecked += 1
    tier.well = well
    tier.fit = tier.total - unchecked


@compiled
def refresh_loads(w: Any, c: int) -> None:
    """Health, panic and load of every priority, from the health of its endpoints."""
    cluster = cluster_at(w, c)
    panic = service_at(w, cluster.service).panic
    whole, everywhere = 0, True
    for place in range(cluster.tiers_count):
        tier = tier_at(cluster.tiers, place)
        _sort_tier(w, cluster.members, tier)
        tier.health = 0
        if tier.fit > 0:
            tier.health = min(100, OVERPROVISIONING * tier.well // tier.fit)
        whole += tier.health
    whole = min(100, whole)
    for place in range(cluster.tiers_count):
        tier = tier_at(cluster.tiers, place)
        share = 100.0 * tier.well / tier.fit if tier.fit > 0 else 0.0
        tier.panic = whole < 100 and share < panic
        everywhere = everywhere and tier.panic != 0
    if everywhere:
        _spread_in_panic(cluster)
    else:
        _spread(cluster, whole)
    cluster.only = -1
    for place in range(cluster.tiers_count):
        if tier_at(cluster.tiers, place).load == 100:
            cluster.only = place


@compiled
def _spread(cluster: Any, whole: int) -> None:
    rest, first = 100, -1
    for place in range(cluster.tiers_count):
        tier = tier_at(cluster.tiers, place)
        if first < 0 and tier.health > 0:
            first = place
        tier.load = min(rest, tier.health * 100 // whole) if whole > 0 else 0
        rest -= tier.load
    if cluster.tiers_count > 0:
        tier_at(cluster.tiers, max(first, 0)).load += rest


@compiled
def _spread_in_panic(cluster: Any) -> None:
    whole, rest, first = 0, 100, -1
    for place in range(cluster.tiers_count):
        whole += tier_at(cluster.tiers, place).total
    for place in range(cluster.tiers_count):
        tier = tier_at(cluster.tiers, place)
        if first < 0 and tier.total > 0:
            first = place
        tier.load = 100 * tier.total // max(1, whole)
        rest -= tier.load
    if first >= 0:
        tier_at(cluster.tiers, first).load += rest


@apart
def choose_tier(w: Any, cluster: Any, excluded: int) -> int:
    """The priority of the next try; -1 when the cluster is empty. A request that has tried the
    priorities in `excluded` (a bit each) goes to another, if any other can serve (Envoy's
    previous_priorities)."""
    if excluded != 0:
        found = _beyond(cluster, excluded, below(w, cluster.stream, 100))
        if found >= 0:
            return found
    if cluster.only >= 0 or cluster.tiers_count == 0:
        return cluster.only
    number, so_far = below(w, cluster.stream, 100), 0
    for place in range(cluster.tiers_count):
        so_far += tier_at(cluster.tiers, place).load
        if number < so_far:
            return place
    return cluster.tiers_count - 1


@compiled
def _beyond(cluster: Any, excluded: int, number: int) -> int:
    """The priority that a number below 100 falls on when load is spread over those that are not
    excluded; -1 when none of them can serve."""
    whole = 0
    for place in range(cluster.tiers_count):
        if not (excluded >> place) & 1:
            whole += tier_at(cluster.tiers, place).health
    whole = min(100, whole)
    so_far, first = 0, -1
    for place in range(cluster.tiers_count):
        tier = tier_at(cluster.tiers, place)
        if (excluded >> place) & 1 or tier.health == 0:
            continue
        if first < 0:
            first = place
        so_far += min(100 - so_far, tier.health * 100 // whole)
        if number < so_far:
            return place
    return first
