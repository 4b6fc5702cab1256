"""The stages of a rollout, one decision at a time."""

from dataclasses import replace

import pytest
from tests.decide.views import AT, instance, starting, view_of
from tests.world import service, system_of

from seakeep.decide.rollout import RolloutController
from seakeep.model.order import Order, OrderKind, rollout_argument
from seakeep.model.rolling import CanaryStep, OnFailure, Rollout, Strategy
from seakeep.model.rollout import RolloutRecord, Stage
from seakeep.model.time import SECOND

PLACES = ("us-east/a/0", "us-east/b/0")
OLD = service("web", {"us-east": 1.0}, replicas=2).workload


def system(revision="w2", **rollout):
    web = service("web", {"us-east": 1.0}, replicas=2, revision=revision,
                  rollout=Rollout(**rollout))  # fmt: skip
    return system_of({"us-east": {"a": 1, "b": 1}}, [web])


def record(target="w2", stage=Stage.ROLLING, **fields):
    return RolloutRecord(service="web", good=OLD, target=target, stage=stage, attempt=1, **fields)


def web(number, revision):
    return instance(f"web-{number}", PLACES[number % 2], revision=revision)


def order(kind, argument="", by="ann@desk"):
    return Order(kind=kind, subject="web", given_at=AT, given_by=by, argument=argument)


def decide(of, instances, known=None, orders=(), memory=None, at=AT):
    view = replace(
        view_of(of, instances, at=at),
        rollouts={} if known is None else {"web": known},
        orders={one.id: one for one in orders},
    )
    controller = RolloutController(1)
    return controller.decide(of, view, memory or controller.initial())


def codes(decision):
    return [reason.code for reason in decision.reasons]


def asked(decision):
    return [(one.record.stage, one.record.step, one.record.attempt) for one in decision.actions]


BOTH = [web(1, "w1"), web(2, "w1")]
THIS = rollout_argument("w2", 1)


def test_the_first_version_is_good_once_all_of_it_is_ready():
    of = system("w1")
    assert decide(of, [web(1, "w1")]).actions == ()
    decision = decide(of, BOTH)
    assert codes(decision) == ["rollout.first"]
    assert decision.actions[0].record.good.revision == "w1"
    assert decide(of, [web(1, "w0"), web(2, "w1")]).actions == ()


@pytest.mark.parametrize(
    ("known", "orders", "found", "stages"),
    [
        (record("w1", Stage.SETTLED), [], ["rollout.begin"], [(Stage.ROLLING, 0, 2)]),
        (record(), [], ["rollout.rolling"], []),
        (record(), [order(OrderKind.PAUSE)], ["rollout.held.paused"], []),
        (record(), [order(OrderKind.UNDO, THIS)], ["rollout.undo"], [(Stage.UNDONE, 0, 1)]),
        (record(), [order(OrderKind.UNDO, "w2:7")], ["rollout.rolling"], []),
        (record(), [order(OrderKind.RESUME, THIS)], ["rollout.rolling"], []),
        (
            record(),
            [order(OrderKind.PAUSE), order(OrderKind.UNDO, THIS, "bob@desk")],
            ["rollout.undo"],
            [(Stage.UNDONE, 0, 1)],
        ),
        (record(stage=Stage.STOPPED), [], ["rollout.stopped"], []),
        (
            record(stage=Stage.STOPPED, step=1),
            [order(OrderKind.RESUME, THIS)],
            ["rollout.resume"],
            [(Stage.ROLLING, 1, 2)],
        ),
        (record(stage=Stage.UNDONE), [], ["rollout.undone"], []),
        (
            record(stage=Stage.UNDONE),
            [order(OrderKind.UNDO, THIS), order(OrderKind.RESUME, THIS)],
            ["rollout.resume"],
            [(Stage.ROLLING, 0, 2)],
        ),
        (record("w9", Stage.UNDONE), [], ["rollout.begin"], [(Stage.ROLLING, 0, 2)]),
    ],
)
def test_stages(known, orders, found, stages):
    decision = decide(system(), BOTH, known, orders)
    assert codes(decision)[:1] == found
    assert asked(decision) == stages


def test_back_at_the_good_version_nothing_is_tried():
    decision = decide(system("w1"), BOTH, record("w2", Stage.STOPPED))
    assert codes(decision) == ["rollout.back"]
    assert decision.memory.plans == {}


def test_what_was_rolled_out_can_be_taken_back_to_its_predecessor():
    before = replace(OLD, revision="w0")
    known = record("w1", Stage.SETTLED, previous=before)
    undo = order(OrderKind.UNDO, rollout_argument("w1", 1))
    decision = decide(system("w1"), BOTH, known, [undo])
    assert decision.actions[0].record.good == before
    assert decision.actions[0].record.stage is Stage.UNDONE
    again = decide(system("w1"), BOTH, replace(known, previous=None), [undo])
    assert codes(again) == ["rollout.undo.nothing"]


def test_only_so_many_are_tried_at_once_as_are_proven_and_the_bounds_allow():
    plan = decide(system(), BOTH, record()).memory.plans["web"]
    assert (plan.old_wanted, plan.new_wanted) == (1, 1)
    plan = decide(system(), [web(1, "w1"), web(3, "w2")], record()).memory.plans["web"]
    assert (plan.old_wanted, plan.new_wanted) == (0, 2)


def test_ready_counts_after_min_ready():
    of = system(min_ready=5 * SECOND)
    members = [web(1, "w1"), web(3, "w2")]
    first = decide(of, members, record())
    assert first.memory.plans["web"].unripe == {"web-3"}
    assert first.wake_at == AT + 5 * SECOND
    later = decide(of, members, record(), memory=first.memory, at=AT + 5 * SECOND)
    assert later.memory.plans["web"].unripe == frozenset()


@pytest.mark.parametrize(
    ("on_failure", "stage", "code"),
    [
        (OnFailure.STOP, Stage.STOPPED, "rollout.stop.not_ready"),
        (OnFailure.ROLLBACK, Stage.UNDONE, "rollout.rollback.not_ready"),
    ],
)
def test_a_version_that_gets_no_further_is_bad(on_failure, stage, code):
    of = system(deadline=9 * SECOND, on_failure=on_failure)
    members = [*BOTH, starting("web-3", PLACES[0], revision="w2")]
    first = decide(of, members, record())
    assert first.wake_at == AT + 9 * SECOND
    decision = decide(of, members, record(), memory=first.memory, at=AT + 9 * SECOND)
    assert codes(decision) == [code]
    assert asked(decision) == [(stage, 0, 1)]
    assert decision.actions[0].record.code == code


def test_a_canary_goes_on_after_its_time_and_a_lone_instance_has_one_beside_it():
    of = system(canary=(CanaryStep(weight=0.1, lasts=9 * SECOND),))
    members = [web(1, "w1"), web(3, "w2")]
    first = decide(of, members, record())
    assert codes(first) == ["rollout.held.canary"]
    assert first.memory.plans["web"].weight == 0.1
    later = decide(of, members, record(), memory=first.memory, at=AT + 9 * SECOND)
    assert asked(later) == [(Stage.ROLLING, 1, 1)]


def test_blue_green_parks_the_new_set_switches_and_keeps_the_old_one():
    of = system(strategy=Strategy.BLUE_GREEN, keep=9 * SECOND)
    four = [*BOTH, web(3, "w2"), web(4, "w2")]
    first = decide(of, four, record())
    assert asked(first) == [(Stage.ROLLING, 1, 1)]
    plan = first.memory.plans["web"]
    assert (plan.old_wanted, plan.new_wanted, plan.serves) == (2, 2, "w1")
    kept = decide(of, four, record(step=1))
    assert codes(kept) == ["rollout.held.keep"]
    assert kept.memory.plans["web"].serves == "w2"
    done = decide(of, four, record(step=1), memory=kept.memory, at=AT + 9 * SECOND)
    assert asked(done) == [(Stage.ROLLING, 2, 1)]
    last = decide(of, four[2:], record(step=2))
    assert asked(last) == [(Stage.SETTLED, 0, 1)]
    assert last.actions[0].record.good.revision == "w2"
    assert last.actions[0].record.previous == OLD
