"""Which failed instances are restarted, when, and which wait."""

from dataclasses import replace

import pytest
from tests.decide.views import AT, exited, hung, instance, reading, starting, view_of
from tests.world import service, system_of

from seakeep.decide.health import BACKOFF, FORGET_AFTER, HealthController
from seakeep.model.action import Guard, RestartInstance
from seakeep.model.decision import Reason
from seakeep.model.observation import Phase
from seakeep.model.system import ProbeKind
from seakeep.model.time import SECOND
from seakeep.model.view import Health

SYSTEM = system_of({"us-east": {"a": 2}}, [service("web", {"us-east": 1.0})])
CONTROLLER = HealthController(epoch=7)


def decide(instances, memory=None, *, at=AT, pending=()):
    view = view_of(SYSTEM, instances, at=at, pending=pending)
    return CONTROLLER.decide(SYSTEM, view, memory or CONTROLLER.initial())


def restarted(decision) -> list[str]:
    return [action.id for action in decision.actions]


def test_a_dead_process_is_restarted_at_once():
    decision = decide([instance("web-1"), exited("web-2")])
    assert decision.actions == (
        RestartInstance(
            id="restart:web-2:0",
            guard=Guard(revision="r1", epoch=7, expires_at=AT + 5 * SECOND, restarts=0),
            instance="web-2",
        ),
    )
    assert decision.reasons == (
        Reason(
            code="health.restart.exited",
            subject="web-2",
            numbers=(("detail", "exit code 1"), ("failures", 1), ("restarts", 0)),
            action="restart:web-2:0",
        ),
    )


def test_a_failed_probe_is_told_with_its_count():
    startup = replace(reading(ProbeKind.STARTUP, False, 30), passed=False)
    decision = decide(
        [
            hung("web-1"),
            instance("web-2", "us-east/a/1", Health.FAILED, "startup: x30", probes=(startup,)),
        ]
    )
    assert [(one.code, dict(one.numbers)["count"]) for one in decision.reasons] == [
        ("health.restart.liveness", 3),
        ("health.restart.startup", 30),
    ]


@pytest.mark.parametrize(
    "one",
    [
        instance("web-1"),
        instance("web-1", health=Health.UNREADY),
        instance("web-1", health=Health.STARTING, started_at=AT - 3600 * SECOND),
        instance("web-1", health=Health.UNKNOWN, last_word=Health.FAILED),
        instance("web-1", health=Health.LOST, last_word=Health.FAILED),
        exited("web-1", draining_since=AT - SECOND),
        hung("web-1", phase=Phase.STOPPING),
    ],
    ids=lambda one: f"{one.health}-{one.state.phase}",
)
def test_others_are_left_alone(one):
    assert decide([one]).actions == ()


def test_a_silent_node_is_told_of_and_looked_at_again():
    decision = decide([instance("web-1", health=Health.UNKNOWN, detail="no report")])
    assert decision.reasons == (
        Reason(
            code="health.silent",
            subject="us-east/a/0",
            numbers=(("instances", 1), ("detail", "no report")),
        ),
    )
    assert decision.wake_at is not None


def test_further_failures_wait_longer_and_longer():
    """Each process lives for a tenth of a second."""
    memory, at, waits = None, AT, []
    for restarts in range(9):
        failed_at = at + SECOND // 10
        dead = exited("web-1", restarts=restarts, started_at=at, exited_at=failed_at)
        first = decide([dead], memory, at=failed_at)
        if not first.actions:
            assert first.wake_at is not None
            early = decide([dead], first.memory, at=first.wake_at - 1)
            assert early.actions == ()
            assert [reason.code for reason in early.reasons] == ["health.held.backoff"]
            first = decide([dead], early.memory, at=first.wake_at)
            at = early.wake_at
        else:
            at = failed_at
        assert restarted(first) == [f"restart:web-1:{restarts}"]
        waits.append(at - failed_at)
        memory = first.memory
    assert waits == [BACKOFF.delay(number) for number in range(9)]
    assert waits == sorted(waits)


def test_waiting_says_so_in_the_same_words_every_time():
    dead = exited("web-1", restarts=3, started_at=AT - SECOND)
    first = decide([dead])
    second = decide([dead], first.memory, at=AT + SECOND)
    assert first.actions == second.actions == ()
    assert first.reasons == second.reasons
    assert dict(first.reasons[0].numbers) == {
        "detail": "exit code 1",
        "failures": 4,
        "delay_ns": 4 * SECOND,
        "until_ns": AT + 4 * SECOND,
    }


def test_a_loop_that_began_before_seakeep_did_goes_on_waiting():
    assert decide([exited("web-1", restarts=9, started_at=AT - SECOND)]).actions == ()
    long_lived = exited("web-1", restarts=9, started_at=AT - FORGET_AFTER)
    assert restarted(decide([long_lived])) == ["restart:web-1:9"]


def test_failures_are_forgotten_after_being_ready_for_a_while():
    first = decide([exited("web-1", restarts=4, started_at=AT - 999 * SECOND)])
    up = instance("web-1", restarts=5, started_at=AT)
    ready = decide([up], first.memory, at=AT + SECOND)
    soon = AT + FORGET_AFTER
    kept = decide([up], ready.memory, at=soon)
    again = exited("web-1", restarts=5, started_at=AT, exited_at=soon)
    assert decide([again], kept.memory, at=soon).actions == ()
    later = soon + SECOND
    forgotten = decide([up], kept.memory, at=later)
    assert not forgotten.memory.troubles
    again = exited("web-1", restarts=5, started_at=AT, exited_at=later)
    assert restarted(decide([again], forgotten.memory, at=later)) == ["restart:web-1:5"]


def test_a_restart_under_way_is_not_asked_for_again_and_a_lost_one_is_retried():
    dead = exited("web-1")
    first = decide([dead])
    waiting = decide([dead], first.memory, at=AT + SECOND, pending=["restart:web-1:0"])
    assert (waiting.actions, waiting.reasons) == ((), ())
    # It ended without effect: the next try waits, and has an id of its own.
    assert decide([dead], waiting.memory, at=AT + SECOND - 1).actions == ()
    later = decide([dead], waiting.memory, at=AT + SECOND)
    assert restarted(later) == ["restart:web-1:0.2"]


def test_when_everything_fails_at_once_a_fifth_is_restarted_at_a_time():
    nodes = ("us-east/a/0", "us-east/a/1")
    all_hung = [hung(f"web-{number}", nodes[number % 2]) for number in range(1, 21)]
    decision = decide(all_hung)
    assert restarted(decision) == [f"restart:web-{number}:0" for number in range(1, 5)]
    assert decision.reasons[-1] == Reason(
        code="health.held.service",
        subject="web",
        numbers=(("waiting", 16), ("restarting", 4), ("instances", 20), ("limit", 4)),
    )
    # While they are under way or starting, no more; then the next.
    waiting = decide(all_hung, decision.memory, pending=restarted(decision))
    assert waiting.actions == ()
    four = [
        starting(f"web-{number}", nodes[number % 2], restarts=1, started_at=AT)
        for number in range(1, 5)
    ]
    up = decide([*four, *all_hung[4:]], waiting.memory, at=AT + SECOND)
    assert up.actions == ()
    well = [
        instance(f"web-{number}", nodes[number % 2], restarts=1, started_at=AT)
        for number in range(1, 5)
    ]
    after = decide([*well, *all_hung[4:]], up.memory, at=AT + 2 * SECOND)
    assert restarted(after) == [f"restart:web-{number}:0" for number in range(5, 9)]


def test_one_of_two_may_always_be_restarted():
    assert restarted(decide([hung("web-1"), hung("web-2")])) == ["restart:web-1:0"]


def test_dead_processes_start_four_at_a_time_on_a_node():
    dead = [exited(f"web-{number}") for number in range(1, 11)]
    decision = decide(dead)
    assert restarted(decision) == [f"restart:web-{number}:0" for number in range(1, 5)]
    assert decision.reasons[-1] == Reason(
        code="health.held.node",
        subject="us-east/a/0",
        numbers=(("waiting", 6), ("starting", 4), ("limit", 4)),
    )
    assert decision.wake_at == AT + SECOND
    # On two nodes, four on each.
    spread = [exited(f"web-{n}", f"us-east/a/{n % 2}") for n in range(1, 11)]
    assert len(decide(spread).actions) == 8


def test_a_start_that_hangs_does_not_hold_the_node_for_ever():
    stuck = [starting(f"web-{n}", started_at=AT - 60 * SECOND) for n in range(1, 5)]
    assert restarted(decide([*stuck, exited("web-5")])) == ["restart:web-5:0"]
    fresh = [starting(f"web-{n}") for n in range(1, 5)]
    assert decide([*fresh, exited("web-5")]).actions == ()


def test_memory_of_what_is_gone_is_dropped():
    first = decide([exited("web-1")])
    assert set(first.memory.troubles) == {"web-1"}
    assert not decide([], first.memory).memory.troubles
