"""Order and conflicts of a step's actions."""

import re
from dataclasses import replace

import pytest
from tests.decide.views import AT, exited, instance, parts_of, view_of
from tests.world import service, system_of

from seakeep.decide.arbitrate import ControlPlane, rank, settle
from seakeep.decide.reasons import REASONS
from seakeep.model.action import (
    AnswerDns,
    DrainInstance,
    Guard,
    RestartInstance,
    RetirePart,
    SetEndpoints,
    SetLimit,
    StartInstance,
    StartPart,
    StopInstance,
)
from seakeep.model.decision import Reason
from seakeep.model.observation import PartKind
from seakeep.model.time import SECOND

WEB = service("web", {"us-east": 1.0}, replicas=2)
SYSTEM = system_of({"us-east": {"a": 2}}, [WEB])
GUARD = Guard(revision="r1", epoch=7, expires_at=AT + SECOND)


def start(name: str) -> StartInstance:
    return StartInstance(
        id=f"start:{name}",
        guard=GUARD,
        instance=name,
        service="web",
        region="us-east",
        zone="a",
        node="us-east/a/0",
        workload=WEB.workload,
    )


def restart(name: str) -> RestartInstance:
    return RestartInstance(id=f"restart:{name}:0", guard=GUARD, instance=name)


def drain(name: str) -> DrainInstance:
    return DrainInstance(id=f"drain:{name}", guard=GUARD, instance=name)


def stop(name: str) -> StopInstance:
    return StopInstance(id=f"stop:{name}", guard=GUARD, instance=name, grace=SECOND)


PART = StartPart(
    id="start:edge:eu-west:0",
    guard=GUARD,
    part="edge:eu-west",
    kind=PartKind.EDGE,
    region="eu-west",
)
RETIRE = RetirePart(id="retire:edge:eu-west:0", guard=GUARD, part="edge:eu-west")
ANSWERS = AnswerDns(id="answers:us-east", guard=GUARD, region="us-east", hosts=(), digest="d")
PUSH = SetEndpoints(
    id="endpoints:us-east:web:d",
    guard=GUARD,
    region="us-east",
    cluster="web",
    service="web",
    localities=(),
    digest="d",
)
LIMIT = SetLimit(
    id="limit:us-east:web:0:5",
    guard=GUARD,
    region="us-east",
    service="web",
    limit="web:0",
    rate_per_s=5.0,
)


def test_builds_up_first_then_moves_traffic_then_takes_down():
    takedown = [RETIRE, stop("web-1"), drain("web-2"), restart("web-3")]
    actions = [*takedown, LIMIT, ANSWERS, PUSH, start("web-4")]
    kept, _ = settle([*actions, replace(PART, part="edge:us-east")], (), frozenset())
    assert [type(action) for action in kept] == [
        StartPart,
        StartInstance,
        SetEndpoints,
        AnswerDns,
        SetLimit,
        RestartInstance,
        DrainInstance,
        StopInstance,
        RetirePart,
    ]
    assert [rank(action) for action in kept] == list(range(9))


def test_within_a_kind_the_controllers_order_stays():
    kept, _ = settle([stop("web-9"), stop("web-1"), stop("web-5")], (), frozenset())
    assert [action.instance for action in kept] == ["web-9", "web-1", "web-5"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (restart("web-1"), drain("web-1")),
        (restart("web-1"), stop("web-1")),
        (drain("web-1"), stop("web-1")),
        (PART, RETIRE),
    ],
)
def test_of_two_actions_on_one_subject_the_higher_rank_wins(one, other):
    why = [
        Reason(code="health.restart.exited", subject="x", action=one.id),
        Reason(code="placement.x", subject="x", action=other.id),
    ]
    for order in ([one, other], [other, one]):
        kept, reasons = settle(order, why, frozenset())
        assert kept == (other,)
        subject = "edge:eu-west" if one is PART else "web-1"
        assert reasons == (
            why[1],
            Reason(
                code="arbitrate.superseded",
                subject=subject,
                numbers=(("superseded", one.id), ("winner", other.id)),
            ),
        )


def test_what_is_pending_is_not_asked_for_again():
    kept, reasons = settle([stop("web-1"), stop("web-2")], (), frozenset({"stop:web-1"}))
    assert kept == (stop("web-2"),)
    assert [(one.code, one.subject) for one in reasons] == [("arbitrate.pending", "web-1")]


def test_every_guard_has_revision_epoch_and_a_time_to_live():
    plane = ControlPlane(7)
    view = view_of(SYSTEM, [exited("web-1")], parts=parts_of(SYSTEM)[1:])
    decision = plane.decide(SYSTEM, view, plane.initial())
    kinds = {type(action) for action in decision.actions}
    assert {StartPart, StartInstance, RestartInstance} <= kinds
    for action in decision.actions:
        assert (action.guard.revision, action.guard.epoch) == ("r1", 7)
        assert AT + SECOND <= action.guard.expires_at <= AT + 60 * SECOND


def test_wakes_at_the_earliest_wish_and_never_in_the_past():
    plane = ControlPlane(7)
    dead = exited("web-1", restarts=3, started_at=AT - SECOND)
    view = view_of(SYSTEM, [dead, instance("web-2")])
    decision = plane.decide(SYSTEM, view, plane.initial())
    assert decision.wake_at is not None
    assert AT < decision.wake_at <= AT + 4 * SECOND


# --- reasons ---


def test_every_reason_has_a_sentence_that_its_numbers_fill(told_reasons):
    assert len({reason.code for reason in told_reasons}) >= 15
    for reason in told_reasons:
        sentence = REASONS[reason.code].format(subject=reason.subject, **dict(reason.numbers))
        assert reason.subject in sentence or "{subject}" not in REASONS[reason.code]


CONTROLLERS = (
    "parts", "health", "scaling", "drain", "standby", "rollout", "placement", "traffic", "dns",
    "limits", "arbitrate",
)  # fmt: skip


def test_codes_are_dotted_and_begin_with_their_controller():
    for code in REASONS:
        owner = code.partition(".")[0]
        assert owner in CONTROLLERS, code
        assert re.fullmatch(r"[a-z]+(\.[a-z_]+)+", code)


@pytest.fixture(scope="module")
def told_reasons():
    """Everything that is said over an eventful life."""
    from tests.decide.test_plane import eventful_life

    return [reason for decision in eventful_life() for reason in decision.reasons]
