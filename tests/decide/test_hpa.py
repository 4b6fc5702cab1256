"""The arithmetic of the HorizontalPodAutoscaler, by upstream's own tables."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seakeep.decide.hpa import (
    NoMetric,
    Standing,
    Tolerance,
    by_instance,
    by_resource,
    by_total,
    by_value,
    paced,
    remembered,
    stabilised,
)
from seakeep.model.scale import DOWN, UP, PolicyKind, ScalePolicy, ScaleRules, Select
from seakeep.model.time import SECOND

FILE = Path(__file__).parent / "cases" / "hpa.json"
CASES = json.loads(FILE.read_text())["cases"]
NOW = 100_000 * SECOND


def of_kind(kind):
    chosen = [case for case in CASES if case["kind"] == kind]
    return pytest.mark.parametrize("case", chosen, ids=[case["id"] for case in chosen])


def standing(pod, usage):
    """`groupPods`: what a pod's sample is worth."""
    if pod["deleted"] or pod["phase"] == "Failed":
        return Standing.IGNORED
    if pod["phase"] == "Pending":
        return Standing.UNREADY
    if pod["name"] not in usage:
        return Standing.MISSING
    return Standing.COUNTS if pod["ready"] and pod["cpu_fresh"] else Standing.UNREADY


def proposal_of(given):
    tolerance = Tolerance(given["tolerance"], given["tolerance"])
    current = given["current_replicas"]
    if given["metric_type"] == "Resource":
        usage = given["usage_milli_by_pod"]
        return by_resource(
            current,
            {pod["name"]: standing(pod, usage) for pod in given["pods"]},
            usage,
            {
                pod["name"]: pod["request_milli"]
                for pod in given["pods"]
                if pod["request_milli"] is not None
            },
            given["target_average_utilization_percent"],
            tolerance,
        )
    levels, ready = given["levels_milli"], given["pods_ready"]
    if given["metric_type"] == "Pods":
        usage = {str(index): level for index, level in enumerate(levels)}
        standings = dict.fromkeys(usage, Standing.COUNTS)
        return by_instance(
            current, standings, usage, given["target_average_value_milli"], tolerance
        )
    if given["target_value_milli"] is not None:
        return by_value(current, sum(ready), sum(levels), given["target_value_milli"], tolerance)
    return by_total(sum(levels), given["target_average_value_milli"], current, tolerance)


@of_kind("replica_calculation")
def test_one_metric(case):
    expected = case["expected"]
    if "error_contains" in expected:
        with pytest.raises(NoMetric, match=expected["error_contains"]):
            proposal_of(case["input"])
        return
    proposal = proposal_of(case["input"])
    value = expected.get("utilization_percent", expected.get("usage_milli"))
    assert (proposal.replicas, proposal.value) == (expected["replicas"], value)


def rules_of(given, default):
    if given is None:
        return default
    return ScaleRules(
        window=given["stabilizationWindowSeconds"] * SECOND,
        select=Select(given["selectPolicy"].lower()),
        policies=tuple(
            ScalePolicy(
                kind=PolicyKind.PERCENT if one["type"] == "Percent" else PolicyKind.INSTANCES,
                amount=one["value"],
                period=one["periodSeconds"] * SECOND,
            )
            for one in given["policies"]
        ),
    )


def dated(events):
    return [(NOW - one["age_seconds"] * SECOND, one["change"]) for one in events]


WORDS = {
    "ScaleUpLimit": "policy",
    "ScaleDownLimit": "policy",
    "TooManyReplicas": "max",
    "TooFewReplicas": "min",
    "DesiredWithinRange": "",
}


@of_kind("behavior_rate")
def test_policies(case):
    given = case["input"]
    assert paced(
        NOW,
        given["current_replicas"],
        given["desired_replicas"],
        (given["min_replicas"], given["max_replicas"]),
        (rules_of(given["scale_up"], UP), rules_of(given["scale_down"], DOWN)),
        (dated(given["scale_up_events"]), dated(given["scale_down_events"])),
    ) == (case["expected"]["replicas"], WORDS[case["expected"]["reason"]])


@of_kind("stabilization")
def test_stabilisation(case):
    given = case["input"]
    history = [
        (NOW - one["age_seconds"] * SECOND, one["replicas"]) for one in given["recommendations"]
    ]
    windows = (
        given["scale_up_window_seconds"] * SECOND,
        given["scale_down_window_seconds"] * SECOND,
    )
    current, desired = given["current_replicas"], given["desired_replicas"]
    assert stabilised(NOW, current, desired, history, *windows) == case["expected"]["replicas"]


def test_every_case_of_the_file_is_run():
    kinds = {"replica_calculation", "behavior_rate", "stabilization"}
    assert {case["kind"] for case in CASES} == kinds
    assert len(CASES) == 44


@pytest.mark.parametrize(
    ("select", "expected"), [(Select.MAX, 20), (Select.MIN, 14), (Select.DISABLED, 10)]
)
def test_which_policy_counts(select, expected):
    rules = ScaleRules(window=0, policies=UP.policies, select=select)
    assert paced(NOW, 10, 100, (1, 1000), (rules, DOWN), ((), ()))[0] == expected


def test_no_instance_and_no_demand_wants_none():
    assert by_total(0, 1000, 0, Tolerance(0.1, 0.1)).replicas == 0
    assert by_total(1, 1000, 0, Tolerance(0.1, 0.1)).replicas == 1
    assert by_value(0, 0, 2500, 1000, Tolerance(0.1, 0.1)).replicas == 3


def test_spare_instances_lower_the_value_and_not_the_wish():
    """Six instances at 2/3 of the target carry what four would at the whole of it."""
    tolerance = Tolerance(0.1, 0.1)
    assert by_total(32_000, 8_000, 6, tolerance, spare=1.5).replicas == 4
    usage = {str(index): 667 for index in range(6)}
    standings = dict.fromkeys(usage, Standing.COUNTS)
    assert by_instance(4, standings, usage, 1000, tolerance, spare=1.5).replicas == 4


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), max_size=40),
    st.integers(0, 12) | st.integers(20, 60),
    st.integers(0, 12) | st.integers(20, 60),
    st.integers(1, 12),
)
def test_forgotten_recommendations_would_never_have_mattered(steps, up_s, down_s, current):
    """What `remembered` drops bears on no later answer."""
    windows = (up_s * SECOND, down_s * SECOND)
    at, every, few = 0, [], ()
    for gap, desired in steps:
        at += gap * SECOND
        assert stabilised(at, current, desired, every, *windows) == stabilised(
            at, current, desired, few, *windows
        )
        every.append((at, desired))
        few = remembered(at, desired, few, *windows)
