"""Tables of ring_hash and maglev: which member of a priority a key belongs to.

A member's place on the ring, or its turns in the table, follow from its name alone, so that a
change moves only the keys that it must (Maglev: Eisenbud et al., NSDI 2016). A ring row is
(hash, member); a row of Maglev's table is a member.
"""

from typing import Any

import numpy as np

from seakeep.engines.twin.kernel.memory import compiled
from seakeep.engines.twin.kernel.records import endpoint_at, mark_at, number_at
from seakeep.engines.twin.kernel.words import MAGLEV

RING_SIZE_MIN = 1024
MAGLEV_SIZE = 65537


@compiled
def mixed(value: int) -> int:
    """62 bits that look random (the finaliser of SplitMix64)."""
    x = np.uint64(value)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return int((x ^ (x >> np.uint64(31))) >> np.uint64(2))


@compiled
def make_table(w: Any, cluster: Any, tier: Any, policy: int) -> None:
    """Of the members that are to be chosen from. Python has made room for it."""
    count = tier.total if tier.panic else tier.well
    tier.ring_count = 0
    if count == 0:
        return
    if policy == MAGLEV:
        _fill_maglev(w, cluster.members, tier, count)
    else:
        _fill_ring(w, cluster.members, tier, count)


@compiled
def _fill_ring(w: Any, members: int, tier: Any, count: int) -> None:
    each = (RING_SIZE_MIN + count - 1) // count
    for place in range(count):
        member = number_at(members, tier.first + place).value
        name = endpoint_at(w, member).hash
        for turn in range(each):
            mark = mark_at(tier.ring, place * each + turn)
            mark.hash = mixed(name + turn)
            mark.member = member
    tier.ring_count = each * count
    _sort(tier.ring, tier.ring_count)


@compiled
def _sort(ring: int, count: int) -> None:
    """By hash (Shell's sort with Knuth's gaps)."""
    gap = 1
    while gap < count // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for place in range(gap, count):
            one = mark_at(ring, place)
            hashed, member, at = one.hash, one.member, place
            while at >= gap and mark_at(ring, at - gap).hash > hashed:
                before, here = mark_at(ring, at - gap), mark_at(ring, at)
                here.hash, here.member = before.hash, before.member
                at -= gap
            here = mark_at(ring, at)
            here.hash, here.member = hashed, member
        gap //= 3


@compiled
def _fill_maglev(w: Any, members: int, tier: Any, count: int) -> None:
    for place in range(MAGLEV_SIZE):
        number_at(tier.ring, place).value = -1
    for place in range(count):
        endpoint = endpoint_at(w, number_at(members, tier.first + place).value)
        endpoint.spot = mixed(endpoint.hash) % MAGLEV_SIZE
        endpoint.skip = mixed(endpoint.hash + 1) % (MAGLEV_SIZE - 1) + 1
    filled = 0
    while filled < MAGLEV_SIZE:
        member = number_at(members, tier.first + filled % count).value
        endpoint = endpoint_at(w, member)
        at = endpoint.spot
        while number_at(tier.ring, at).value >= 0:
            at = (at + endpoint.skip) % MAGLEV_SIZE
        number_at(tier.ring, at).value = member
        endpoint.spot = (at + endpoint.skip) % MAGLEV_SIZE
        filled += 1
    tier.ring_count = MAGLEV_SIZE


@compiled
def by_hash(tier: Any, policy: int, key: int) -> int:
    hashed = mixed(key)
    if policy == MAGLEV:
        return number_at(tier.ring, hashed % MAGLEV_SIZE).value
    low, high = 0, tier.ring_count
    while low < high:
        middle = (low + high) // 2
        if mark_at(tier.ring, middle).hash < hashed:
            low = middle + 1
        else:
            high = middle
    return mark_at(tier.ring, low % tier.ring_count).member
