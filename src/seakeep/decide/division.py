"""How N replicas are divided over parties (regions, zones) by weight: pure arithmetic.

The method is Webster's (Sainte-Laguë): seats go one by one to the party with the highest
weight / (2 x seats + 1). It is a divisor method, so it is house-monotone: with the same weights
one replica more never takes a replica from anyone, which largest remainder cannot promise (the
Alabama paradox; Balinski & Young, *Fair Representation*, 1982). Karmada divides this way too.

Everything here rests on one total order over seats, "seat s of party p": a division is its first
N seats. What bounds a party (minimum, capacity, what it has already) only moves or removes seats
in that order, so adding the best free seat and then removing the worst held one ends at the same
division from wherever it began, and cannot oscillate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from typing import TypeAlias

WEIGHT_UNIT = 1_000_000
"""Weights count in millionths, so that equal quotients are equal numbers."""

_STEPS = 1024
"""How finely the search for sure seats looks."""

_KEPT, _MINIMUM, _SHARE, _OVERFLOW = range(4)

_Seat: TypeAlias = tuple[int, float, bool, int, int, int]
"""Class, minus quotient, not held, minus preference, seats before it, party: smallest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """One that replicas are divided over. All counts are replicas."""

    name: str
    weight: float
    """Relative to the others'. Parties of weight 0 take only what the others cannot."""
    min: int = 0
    max: int | None = None
    capacity: int | None = None
    """How many it can hold, those it holds included; None is unbounded."""
    current: int = 0
    preference: int = 0
    """Between seats of equal claim, a higher one wins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    plan: Mapping[str, int]
    """Every party's replicas, in the order of the parties."""
    unplaced: int
    """What no party has room for."""


def divide(total: int, parties: Sequence[Party], *, keep: bool = False) -> Division:
    """Divide `total` replicas by weight.

    Minimums come first (in proportion, when they exceed the total), then shares by weight up to
    each party's maximum and capacity, then overflow to parties of weight 0. A tie goes to the
    party that holds the seat already, then by preference, then to fewer seats, then by name.

    With `keep`, what exists stays where it is as far as the total allows: a growing total only
    adds, a shrinking one only removes.
    """
    limits = [_limit(party) for party in parties]
    floors = [0] * len(parties)
    if keep:
        kept = [min(party.current, limit) for party, limit in zip(parties, limits, strict=True)]
        if sum(kept) <= total:
            floors = kept
        else:
            limits = kept
    order = sorted(range(len(parties)), key=lambda index: parties[index].name)
    rank = {index: position for position, index in enumerate(order)}

    weights = [round(party.weight * WEIGHT_UNIT) for party in parties]
    seats = _sure_seats(total, parties, weights, floors, limits)
    heap: list[tuple[_Seat, int]] = [
        (_seat(party, weights[index], floors[index], seats[index], rank[index]), index)
        for index, party in enumerate(parties)
        if seats[index] < limits[index]
    ]
    heapify(heap)
    left = total - sum(seats)
    while left > 0 and heap:
        index = heap[0][1]
        seats[index] += 1
        left -= 1
        if seats[index] < limits[index]:
            party = parties[index]
            seat = _seat(party, weights[index], floors[index], seats[index], rank[index])
            heapreplace(heap, (seat, index))
        else:
            heappop(heap)
    plan = {party.name: count for party, count in zip(parties, seats, strict=True)}
    return Division(plan=plan, unplaced=max(0, left))


def displaced(total: int, parties: Sequence[Party], division: Division) -> dict[str, int]:
    """How many more each party would hold if capacity did not bound it; only those above 0."""
    free = tuple(
        Party(
            name=party.name,
            weight=party.weight,
            min=party.min,
            max=party.max,
            current=party.current,
            preference=party.preference,
        )
        for party in parties
    )
    ideal = divide(total, free).plan
    return {
        party.name: ideal[party.name] - division.plan[party.name]
        for party in parties
        if party.capacity is not None
        and division.plan[party.name] == max(0, party.capacity)
        and ideal[party.name] > division.plan[party.name]
    }


def _limit(party: Party) -> int:
    bounds = [bound for bound in (party.max, party.capacity) if bound is not None]
    return max(0, min(bounds)) if bounds else 1 << 62


def _seat(party: Party, weight: int, floor: int, seat: int, rank: int) -> _Seat:
    """The claim of a party's seat number `seat` (from 0). Grows with `seat`."""
    odd = 2 * seat + 1
    if seat < floor:
        claim = (_KEPT, 0.0)
    elif seat < party.min:
        claim = (_MINIMUM, -party.min / odd)
    elif weight > 0:
        claim = (_SHARE, -weight / odd)
    else:
        claim = (_OVERFLOW, -1 / odd)
    return (*claim, seat >= party.current, -party.preference, seat, rank)


def _sure_seats(
    total: int,
    parties: Sequence[Party],
    weights: Sequence[int],
    floors: Sequence[int],
    limits: Sequence[int],
) -> list[int]:
    """Seats that every party is sure to get, to spare the queue most of its work.

    For any m, the seats with quotient of at least 1 / (2m) are the first seats in order; when
    they are not more than the total, all of them are given (Pukelsheim, *Proportional
    Representation*, 2017: jump and step).
    """
    firm = [
        min(limit, max(floor, party.min))
        for party, floor, limit in zip(parties, floors, limits, strict=True)
    ]
    whole = sum(weights)
    if sum(firm) > total:
        return [0] * len(parties)
    if whole == 0 or total - sum(firm) <= 4 * len(parties):
        return firm

    unit = whole * _STEPS  # m = numerator / unit, in whole numbers: a tie must never be split

    def at(numerator: int) -> list[int]:
        seats = [(2 * weight * numerator + unit) // (2 * unit) for weight in weights]
        return list(map(min, limits, map(max, firm, seats)))

    sure = firm
    low, high = 0, 2 * total * _STEPS
    for _ in range(16):
        middle = (low + high) // 2
        seats = at(middle)
        missing = total - sum(seats)
        if missing < 0:
            high = middle
        else:
            low, sure = middle, seats
            if missing <= len(parties):
                break
    return sure
