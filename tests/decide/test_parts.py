"""Which parts are started and retired, and when."""

import dataclasses

import pytest
from tests.decide.views import AT, instance, part, parts_of, view_of
from tests.world import service, system_of

from seakeep.decide.parts import FORGET_AFTER, HUNG_AFTER, PartsController
from seakeep.model.action import Guard, RetirePart, StartPart
from seakeep.model.decision import Reason
from seakeep.model.observation import PartKind
from seakeep.model.time import MILLISECOND, SECOND

WEB = service("web", {"us-east": 1.0})
TWO = system_of({"us-east": {"a": 1}, "eu-west": {"a": 1}}, [WEB])
ONE = system_of({"us-east": {"a": 1}}, [WEB])
CONTROLLER = PartsController(epoch=7)


def decide(system, parts, memory=None, *, at=AT, instances=(), pending=()):
    view = view_of(system, instances, at=at, parts=parts, pending=pending)
    return CONTROLLER.decide(system, view, memory or CONTROLLER.initial())


def ids(decision) -> list[str]:
    return [action.id for action in decision.actions]


def test_starts_everything_that_the_spec_wants():
    assert ids(decide(TWO, [])) == [
        "start:edge:us-east:0",
        "start:link:us-east:0",
        "start:node:us-east/a/0:0",
        "start:edge:eu-west:0",
        "start:link:eu-west:0",
        "start:node:eu-west/a/0:0",
    ]


def test_a_single_region_has_no_link():
    assert ids(decide(ONE, [])) == ["start:edge:us-east:0", "start:node:us-east/a/0:0"]


def test_what_runs_is_left_alone():
    decision = decide(TWO, parts_of(TWO))
    assert (decision.actions, decision.reasons, decision.wake_at) == ((), (), None)


def silent_for(duration, memory=None):
    view = view_of(ONE, (), at=AT + duration, parts=parts_of(ONE))
    view = dataclasses.replace(view, silent={"edge:us-east": AT})
    return CONTROLLER.decide(ONE, view, memory or CONTROLLER.initial())


def test_a_part_that_runs_and_does_not_answer_is_given_time_then_replaced():
    held = silent_for(HUNG_AFTER - 1)
    assert held.actions == ()
    assert [reason.code for reason in held.reasons] == ["parts.held.silent"]
    assert held.wake_at == AT + HUNG_AFTER
    replaced = silent_for(HUNG_AFTER, held.memory)
    assert ids(replaced) == ["start:edge:us-east:0"]
    assert [reason.code for reason in replaced.reasons] == ["parts.start.silent"]
    again = silent_for(HUNG_AFTER + 100 * MILLISECOND, replaced.memory)
    assert again.actions == (), "the second try waits, although the part still says that it runs"
    assert ids(silent_for(HUNG_AFTER + 10 * SECOND, again.memory)) == ["start:edge:us-east:0.2"]


def test_a_part_that_died_is_started_at_once():
    dead = part("node:us-east/a/0", running=False, restarts=2, detail="exit code 1")
    decision = decide(ONE, [part("edge:us-east"), dead])
    assert decision.actions == (
        StartPart(
            id="start:node:us-east/a/0:2",
            guard=Guard(revision="r1", epoch=7, expires_at=AT + 15 * SECOND, restarts=2),
            part="node:us-east/a/0",
            kind=PartKind.NODE,
            region="us-east",
            zone="a",
        ),
    )
    assert decision.reasons == (
        Reason(
            code="parts.start",
            subject="node:us-east/a/0",
            numbers=(("detail", "exit code 1"), ("tries", 1)),
            action="start:node:us-east/a/0:2",
        ),
    )


def test_without_power_it_is_tried_every_two_seconds_in_the_end():
    dead = [part("edge:us-east"), part("node:us-east/a/0", running=False, detail="no power")]
    at, memory, tried = AT, None, []
    for _ in range(7):
        decision = decide(ONE, dead, memory, at=at)
        tried.append((at - AT, ids(decision)))
        waiting = decide(ONE, dead, decision.memory, at=at)
        assert waiting.actions == ()
        assert [reason.code for reason in waiting.reasons] == ["parts.held.backoff"]
        at, memory = waiting.wake_at, waiting.memory
    seconds = [at / SECOND for at, _ in tried]
    assert seconds == [0, 0.5, 1.5, 3.5, 5.5, 7.5, 9.5]
    assert tried[0][1] == ["start:node:us-east/a/0:0"]
    assert tried[6][1] == ["start:node:us-east/a/0:0.7"]


def test_a_start_under_way_is_not_repeated():
    first = decide(ONE, [part("edge:us-east")])
    later = decide(ONE, [part("edge:us-east")], first.memory, at=AT + SECOND, pending=ids(first))
    assert (later.actions, later.reasons) == ((), ())


def test_a_part_that_crashes_again_waits_and_one_that_ran_for_a_while_does_not():
    down = [part("edge:us-east"), part("node:us-east/a/0", running=False)]

    def up(since):
        return [part("edge:us-east"), part("node:us-east/a/0", restarts=1, changed_at=since)]

    memory = decide(ONE, down).memory
    crashed = [
        part("edge:us-east"),
        part("node:us-east/a/0", running=False, restarts=1),
    ]
    memory = decide(ONE, up(AT), memory, at=AT + 200 * MILLISECOND).memory
    assert decide(ONE, crashed, memory, at=AT + 300 * MILLISECOND).actions == ()
    memory = decide(ONE, up(AT), memory, at=AT + FORGET_AFTER).memory
    again = decide(ONE, crashed, memory, at=AT + FORGET_AFTER)
    assert ids(again) == ["start:node:us-east/a/0:1"]


@pytest.mark.parametrize("left", [0, 1])
def test_a_region_taken_out_is_retired_when_nothing_is_left_in_it(left):
    """The link of the only region left goes with it."""
    instances = [instance("web-1"), *[instance("web-2", "eu-west/a/0")] * left]
    decision = decide(ONE, parts_of(TWO), instances=instances)
    if left:
        assert decision.actions == ()
        assert sorted((one.code, one.subject) for one in decision.reasons) == [
            ("parts.held.retire", "edge:eu-west"),
            ("parts.held.retire", "link:eu-west"),
            ("parts.held.retire", "link:us-east"),
            ("parts.held.retire", "node:eu-west/a/0"),
        ]
    else:
        assert all(isinstance(action, RetirePart) for action in decision.actions)
        assert sorted(ids(decision)) == [
            "retire:edge:eu-west:0",
            "retire:link:eu-west:0",
            "retire:link:us-east:0",
            "retire:node:eu-west/a/0:0",
        ]


def test_a_node_taken_out_goes_when_it_is_empty_whatever_runs_beside_it():
    big = system_of({"us-east": {"a": 2}}, [WEB])
    on_other = decide(ONE, parts_of(big), instances=[instance("web-1", "us-east/a/0")])
    assert ids(on_other) == ["retire:node:us-east/a/1:0"]
    on_it = decide(ONE, parts_of(big), instances=[instance("web-1", "us-east/a/1")])
    assert on_it.actions == ()
