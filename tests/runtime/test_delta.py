"""Patches between observations are exact, whatever the two are."""

import dataclasses

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from seakeep.model.codec import decode, dump_tree, dumps, encode, hiding, load_tree
from seakeep.model.observation import (
    Address,
    InstanceState,
    Observation,
    Phase,
    ProbeReading,
    Sample,
)
from seakeep.model.rollout import RolloutRecord, Stage
from seakeep.model.system import ProbeKind
from seakeep.model.time import SECOND
from seakeep.runtime.delta import delta, patched
from tests.runtime.journals import two_regions
from tests.runtime.strategies import values

OBSERVATIONS = values(Observation)


def both_ways(before: Observation, after: Observation) -> None:
    patch = load_tree(dump_tree(delta(before, after)))
    result = patched(before, patch)
    assert result == after
    assert dumps(result) == dumps(after)


@settings(max_examples=150, deadline=None)
@given(OBSERVATIONS, OBSERVATIONS)
def test_any_pair(before: Observation, after: Observation) -> None:
    both_ways(before, after)
    both_ways(before, before)


SMALL_TEXT = st.sampled_from(["a", "b", "c"])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_pairs_that_share_most(data: st.DataObject) -> None:
    """Few names and numbers, so that keys collide, repeat and come back in another order."""
    near = values(
        Observation, {str: SMALL_TEXT, int: st.integers(0, 3), float: st.sampled_from([0.0, 1.5])}
    )
    both_ways(data.draw(near), data.draw(near))


def instance(ordinal: int, at: int) -> Sample[InstanceState]:
    return Sample(
        value=InstanceState(
            id=f"web-{ordinal}",
            service="web",
            region="us-east",
            zone="a",
            node="us-east/a/0",
            revision="0123456789abcdef",
            address=Address(host=f"127.1.1.{ordinal}", port=8080),
            phase=Phase.RUNNING,
            pid=4000 + ordinal,
            created_at=5,
            started_at=6,
            restarts=0,
            probes=tuple(
                ProbeReading(kind=kind, ok=True, count=at // SECOND, passed=True, checked_at=9)
                for kind in (ProbeKind.STARTUP, ProbeKind.READINESS)
            ),
        ),
        observed_at=at - ordinal % 5,
        source=f"node:us-east/a/{ordinal % 5}",
    )


def quiet(at: int, probes_at: int) -> Observation:
    samples = tuple(
        dataclasses.replace(instance(n, probes_at), observed_at=at - n % 5) for n in range(20)
    )
    return Observation(seq=at // SECOND, at=at, instances=samples)


def test_a_quiet_step_of_twenty_instances_is_short() -> None:
    before, after = quiet(10**18, 10**18), quiet(10**18 + SECOND, 10**18)
    both_ways(before, after)
    assert len(dump_tree(delta(before, after))) < 300


def test_equal_changes_are_grouped() -> None:
    before, after = quiet(10**18, 10**18), quiet(10**18 + SECOND, 10**18 + SECOND)
    both_ways(before, after)
    patch = delta(before, after)
    assert len(patch["instances"]["~"]) == 1
    assert len(dump_tree(patch)) < 700


def test_a_patch_reads_plainly() -> None:
    before = Observation(seq=1, at=100, instances=(instance(1, 100), instance(2, 100)))
    gone = Observation(
        seq=2, at=200, instances=(dataclasses.replace(instance(2, 100), observed_at=150),)
    )
    assert delta(before, gone) == {"seq": 2, "at": 200, "instances": {"-": ["web-1"], "heard": 50}}
    assert orjson.loads(dumps(before)) == encode(before)
    assert decode(Observation, encode(before)) == before


def test_of_secrets_that_are_hidden_only_the_names_are_in_a_patch() -> None:
    workload = two_regions().services["web"].workload

    def seen(seq: int, secret: str) -> Observation:
        good = dataclasses.replace(workload, env=(("KEY", secret),))
        record = RolloutRecord(service="web", good=good, target="r", stage=Stage.SETTLED)
        return Observation(seq=seq, at=seq, rollouts=(record,))

    before, after = seen(1, "hunter1"), seen(2, "hunter2")
    both_ways(before, after)
    with hiding():
        patch = dump_tree(delta(before, after))
    assert b"hunter" not in patch
    assert b'["KEY","(hidden)"]' in patch
