"""Pending actions and guards."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seakeep.act.admit import admit
from seakeep.act.track import MARGIN, Tracker
from seakeep.model.action import DrainInstance, Guard
from seakeep.model.observation import Outcome, OutcomeStatus
from seakeep.model.time import SECOND

GUARD = Guard(revision="r1", epoch=2, expires_at=15 * SECOND, restarts=3)


def drain(name: str, *, expires_at: int = 15 * SECOND) -> DrainInstance:
    guard = replace(GUARD, expires_at=expires_at)
    return DrainInstance(id=f"drain:{name}", guard=guard, instance=name)


def done(action: str, at: int) -> Outcome:
    return Outcome(action=action, status=OutcomeStatus.DONE, at=at)


# --- admit ---


@pytest.mark.parametrize(
    ("now", "refusal"),
    [
        ({}, None),
        ({"epoch": 1}, None),  # an engine that has not heard of the new controller yet
        ({"epoch": 3}, "epoch 2 was superseded by 3"),
        ({"revision": "r2"}, "decided for spec r1, now r2"),
        ({"now": 15 * SECOND - 1}, None),
        ({"now": 15 * SECOND}, "expired 0.000 s ago"),
        ({"now": 16 * SECOND}, "expired 1.000 s ago"),
        ({"restarts": 4}, "decided at restart 3, the subject is at 4"),
        ({"restarts": None}, "decided at restart 3, the subject is gone"),
    ],
)
def test_a_guard_is_checked_again(now, refusal):
    world = {"revision": "r1", "epoch": 2, "now": 10 * SECOND, "restarts": 3} | now
    assert admit(drain("web-1"), **world) == refusal


@pytest.mark.parametrize("restarts", [None, 0, 7])
def test_a_guard_without_restarts_does_not_ask_for_them(restarts):
    action = replace(drain("web-1"), guard=replace(GUARD, restarts=None))
    assert admit(action, revision="r1", epoch=2, now=0, restarts=restarts) is None


# --- track ---


def test_an_action_is_pending_until_its_outcome():
    tracker = Tracker().submitted([drain("web-1"), drain("web-2")], 10 * SECOND)
    assert tracker.pending == {"drain:web-1", "drain:web-2"}
    tracker, outcomes = tracker.seen([done("drain:web-1", 11 * SECOND)], 11 * SECOND)
    assert tracker.pending == {"drain:web-2"}
    assert outcomes == (done("drain:web-1", 11 * SECOND),)


def test_an_action_without_outcome_times_out_after_its_expiry_and_margin():
    tracker = Tracker().submitted([drain("web-1")], 10 * SECOND)
    due = 15 * SECOND + MARGIN
    assert tracker.wake_at == due
    waiting, outcomes = tracker.seen([], due - 1)
    assert (waiting, outcomes) == (tracker, ())
    tracker, outcomes = tracker.seen([], due)
    assert tracker.pending == frozenset()
    assert tracker.wake_at is None
    assert outcomes == (
        Outcome(
            action="drain:web-1",
            status=OutcomeStatus.FAILED,
            at=due,
            detail="timed out: no outcome by its deadline",
        ),
    )


def test_an_outcome_that_arrives_with_the_deadline_counts():
    tracker = Tracker().submitted([drain("web-1")], 10 * SECOND)
    late = done("drain:web-1", 16 * SECOND)
    tracker, outcomes = tracker.seen([late], 60 * SECOND)
    assert outcomes == (late,)
    assert not tracker.pending


def test_an_outcome_that_nobody_waits_for_is_passed_on():
    stranger = done("drain:web-9", 11 * SECOND)
    assert Tracker().seen([stranger], 11 * SECOND) == (Tracker(), (stranger,))


def test_what_is_pending_is_not_submitted_again_and_keeps_its_deadline():
    tracker = Tracker().submitted([drain("web-1")], 10 * SECOND)
    again = drain("web-1", expires_at=30 * SECOND)
    assert tracker.fresh([again, drain("web-2"), drain("web-2")]) == (drain("web-2"),)
    assert tracker.submitted([again], 12 * SECOND) == tracker


@given(
    st.lists(st.tuples(st.sampled_from(["submit", "end", "wait"]), st.integers(0, 4)), max_size=30)
)
def test_every_submitted_action_ends_exactly_once(events):
    """Whatever happens in whatever order, nothing is forgotten and nothing ends twice."""
    tracker, at = Tracker(), 0
    submitted = ended = 0
    for verb, number in events:
        at += SECOND
        action = drain(f"web-{number}", expires_at=at + 2 * SECOND)
        if verb == "submit":
            submitted += len(tracker.fresh([action]))
            tracker = tracker.submitted([action], at)
        else:
            outcomes = [done(action.id, at)] if verb == "end" else []
            known = tracker.pending
            tracker, seen = tracker.seen(outcomes, at)
            ended += sum(outcome.action in known for outcome in seen)
        assert submitted - ended == len(tracker.pending)
    tracker, seen = tracker.seen([], at + 60 * SECOND)
    assert submitted == ended + len(seen)
    assert not tracker.pending
