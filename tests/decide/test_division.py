"""The division of replicas, against the cases of KubeFed and Karmada and by its own laws."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seakeep.decide import division
from seakeep.decide.division import Division, Party, displaced, divide

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "cases" / "planner.json").read_text(encoding="utf-8")
)["cases"]

HASHED = "upstream gives a remainder by a hash of names; ours goes by name"

DIFFERENT: dict[str, tuple[dict[str, int], str]] = {
    "kf-01-equal-remainder": ({"A": 17, "B": 17, "C": 16}, HASHED),
    "kf-02-single-replica": ({"A": 1, "B": 0, "C": 0, "D": 0}, HASHED),
    "kf-05-scale-down-known-defect": (
        {"A": 10, "B": 40},
        "upstream pins a defect and names the wanted answer in a comment: ours",
    ),
    "kf-11-min-exceeds-total": (
        {"A": 17, "B": 17, "C": 16},
        "upstream serves minimums one cluster after another, in hash order; ours shares what"
        " there is in proportion to them",
    ),
}
"""What we answer instead, on purpose, and why."""

OVERFLOW_DIFFERENT = {
    "kf-06-capacity-overflow": (
        {"C": 6},
        "C would get 16 of 50 from us, not 17 (the remainder again), and has room for 10",
    ),
}

NOT_OURS = {
    "km-09-aggregated-shrink-to-one",
    "km-10-aggregated-prefers-used-clusters",
    "km-11-aggregated-spill-to-third",
    "km-12-cluster-lost-and-new-one",
    "km-14-aggregated-first-schedule",
}
"""Karmada's Aggregated strategy: as few clusters as will do. A Seakeep spec spreads by weight and
has no such wish."""


def cases(family: str) -> list[Any]:
    return [
        pytest.param(case["input"], case["expected"], case["id"], id=case["id"])
        for case in CASES
        if case["family"] == family and case["id"] not in NOT_OURS
    ]


def test_every_case_is_used_or_named() -> None:
    known = {case["id"] for case in CASES}
    assert len(known) == len(CASES) == 29
    assert {*DIFFERENT, *OVERFLOW_DIFFERENT, *NOT_OURS} <= known


def kubefed_parties(given: dict[str, Any]) -> list[Party]:
    named = given["preferences"]
    parties = []
    for name in given["available_clusters"]:
        rule = named.get(name, named.get("*"))
        parties.append(
            Party(
                name=name,
                weight=rule.get("weight", 0) if rule else 0,
                min=rule.get("minReplicas", 0) if rule else 0,
                # weight 0 means "minimum only" there; with us it would take overflow
                max=(
                    rule.get("maxReplicas", None if rule["weight"] else rule.get("minReplicas", 0))
                    if rule
                    else 0
                ),
                capacity=given["estimated_capacity"].get(name),
                current=given["current"].get(name, 0),
            )
        )
    return parties


@pytest.mark.parametrize(("given", "expected", "name"), cases("kubefed"))
def test_kubefed(given: dict[str, Any], expected: dict[str, Any], name: str) -> None:
    parties = kubefed_parties(given)
    total = given["total_replicas"]
    result = divide(total, parties, keep=not given["rebalance"])
    assert dict(result.plan) == DIFFERENT.get(name, (expected["plan"],))[0]
    overflow = displaced(total, parties, result)
    if not given["rebalance"] and not result.unplaced:
        overflow = {}  # what found another place does not count as overflow there
    assert overflow == OVERFLOW_DIFFERENT.get(name, (expected["overflow"],))[0]


@pytest.mark.parametrize(("given", "expected", "name"), cases("karmada"))
def test_karmada(given: dict[str, Any], expected: dict[str, Any], name: str) -> None:
    total, previous = given["replicas"], given.get("previous", {})
    if given["strategy"] == "StaticWeight":
        weights: dict[str, int] = {}
        for rule in given["weight_rules"]:
            weights[rule["cluster"]] = max(rule["weight"], weights.get(rule["cluster"], 0))
        parties = [
            Party(name=one, weight=weights.get(one, 0), max=None if one in weights else 0)
            for one in given["clusters"]
        ]
        result, before = divide(total, parties), {}
    else:
        result, before = karmada_dynamic(total, given["available"], previous)
    if "error" in expected:
        assert result.unplaced > 0  # we place what fits and say what does not
        return
    assert result.unplaced == 0
    plan = {one: count + before.get(one, 0) for one, count in result.plan.items()}
    assert {one: count for one, count in plan.items() if count} == expected["assignment"]


def karmada_dynamic(
    total: int, available: dict[str, int], previous: dict[str, int]
) -> tuple[Division, dict[str, int]]:
    """Karmada's Steady mode: scaling down shrinks in proportion to what ran; scaling up divides
    only what is new, in proportion to the room beyond what runs."""
    if sum(previous.values()) > total:
        shrunk = [
            Party(name=one, weight=count, max=count, current=count)
            for one, count in previous.items()
        ]
        return divide(total, shrunk, keep=False), {}
    before = {one: count for one, count in previous.items() if one in available}
    room = [Party(name=one, weight=free, capacity=free) for one, free in available.items()]
    return divide(total - sum(before.values()), room), before


def test_a_tie_goes_to_who_holds_the_seat_then_by_preference_then_by_name() -> None:
    def plan(**b: int) -> dict[str, int]:
        return dict(divide(1, [Party(name="a", weight=0.5), Party(name="b", weight=0.5, **b)]).plan)

    assert plan() == {"a": 1, "b": 0}
    assert plan(current=1) == {"a": 0, "b": 1}
    assert plan(preference=1) == {"a": 0, "b": 1}


def test_weight_zero_takes_only_what_finds_no_room() -> None:
    parties = [
        Party(name="main", weight=1.0, capacity=3),
        Party(name="spare-1", weight=0.0),
        Party(name="spare-2", weight=0.0, capacity=1),
    ]
    assert divide(3, parties).plan == {"main": 3, "spare-1": 0, "spare-2": 0}
    assert divide(6, parties).plan == {"main": 3, "spare-1": 2, "spare-2": 1}
    assert displaced(6, parties, divide(6, parties)) == {"main": 3}


def test_beyond_all_room_the_rest_is_named() -> None:
    result = divide(9, [Party(name="a", weight=1, capacity=2), Party(name="b", weight=1, max=3)])
    assert (dict(result.plan), result.unplaced) == ({"a": 2, "b": 3}, 4)


def test_thirds_are_equal_however_they_are_written() -> None:
    parties = [
        Party(name="a", weight=1 / 3),
        Party(name="b", weight=0.333333),
        Party(name="c", weight=1 - 2 / 3),
    ]
    assert set(divide(3_000, parties).plan.values()) == {1_000}


def test_no_party_and_nothing_to_divide() -> None:
    assert divide(3, []) == Division(plan={}, unplaced=3)
    assert divide(0, [Party(name="a", weight=1)]) == Division(plan={"a": 0}, unplaced=0)


# --- laws -------------------------------------------------------------------

counts = st.one_of(st.none(), st.integers(0, 60))


@st.composite
def parties(draw: st.DrawFn, *, bounded: bool = True) -> list[Party]:
    return [
        Party(
            name=name,
            weight=draw(st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.3, 0.6, 1 / 3])),
            min=draw(st.integers(0, 5)) if bounded else 0,
            max=draw(counts) if bounded else None,
            capacity=draw(counts) if bounded else None,
            current=draw(st.integers(0, 30)),
            preference=draw(st.integers(-2, 2)),
        )
        for name in draw(st.permutations("abcdef"))[: draw(st.integers(1, 6))]
    ]


def limit(party: Party) -> int:
    return min(10**9 if bound is None else bound for bound in (party.max, party.capacity))


@given(parties(), st.integers(0, 200), st.booleans())
def test_everything_is_placed_that_fits(some: list[Party], total: int, keep: bool) -> None:
    result = divide(total, some, keep=keep)
    placed = sum(result.plan.values())
    assert placed + result.unplaced == total
    assert all(0 <= result.plan[party.name] <= limit(party) for party in some)
    if result.unplaced:
        assert all(result.plan[party.name] == limit(party) for party in some)


@given(parties(), st.integers(0, 200))
def test_one_more_never_takes_from_anyone(some: list[Party], total: int) -> None:
    few, more = divide(total, some).plan, divide(total + 1, some).plan
    assert all(few[name] <= more[name] for name in few)


@given(parties(), st.integers(0, 200))
def test_keeping_only_adds_or_only_removes(some: list[Party], total: int) -> None:
    plan = divide(total, some, keep=True).plan
    changes = [plan[one.name] - min(one.current, limit(one)) for one in some]
    if total >= sum(min(one.current, limit(one)) for one in some):
        assert min(changes) >= 0
    else:
        assert max(changes) <= 0


@given(parties(bounded=False), st.integers(0, 200))
def test_shares_are_as_near_to_the_quota_as_any_move_makes_them(
    some: list[Party], total: int
) -> None:
    """Webster's minimum: no pair of parties can trade a seat and be nearer to their weights."""
    plan = divide(total, some).plan
    weighted = [one for one in some if one.weight > 0]
    for rich in weighted:
        for poor in weighted:
            if plan[rich.name] > 0 and rich.name != poor.name:
                last = rich.weight / (2 * plan[rich.name] - 1)
                following = poor.weight / (2 * plan[poor.name] + 1)
                assert last >= following * (1 - 1e-5)


@given(parties(), st.integers(0, 120))
def test_adding_the_best_seat_and_removing_the_worst_ends_at_the_ideal(
    some: list[Party], total: int
) -> None:
    """What rebalancing rests on: from any distribution, in as many moves as seats differ, and
    then it stays."""
    held = {one.name: min(one.current, limit(one)) for one in some}
    start = divide(total, with_current(some, held), keep=True).plan
    ideal = divide(total, with_current(some, start)).plan
    moves = sum(max(0, ideal[name] - start[name]) for name in start)
    at = dict(start)
    for _ in range(moves):
        now = divide(total, with_current(some, at)).plan
        better = next(name for name in at if now[name] > at[name])
        at[better] += 1
        at = dict(divide(sum(at.values()) - 1, with_current(some, at), keep=True).plan)
    assert divide(total, with_current(some, at)).plan == at


def with_current(some: list[Party], held: Any) -> list[Party]:
    return [
        Party(
            name=one.name,
            weight=one.weight,
            min=one.min,
            max=one.max,
            capacity=one.capacity,
            current=held[one.name],
        )
        for one in some
    ]


@given(parties(), st.integers(0, 500), st.booleans())
def test_the_short_cut_changes_nothing(some: list[Party], total: int, keep: bool) -> None:
    quick = divide(total, some, keep=keep)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(division, "_sure_seats", lambda *_: [0] * len(some))
        assert divide(total, some, keep=keep) == quick
