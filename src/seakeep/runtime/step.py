"""One turn of the control loop as a pure function: what was seen -> what to do.

The loop calls it with the world, a replay with the journal; both get the same bytes.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from seakeep.act.track import Tracker
from seakeep.decide.arbitrate import ControlPlane
from seakeep.model.action import Action
from seakeep.model.codec import (
    DIGEST_HEX_DIGITS,
    Json,
    decode,
    dump_tree,
    encode,
    encoder_of,
    hiding,
)
from seakeep.model.decision import Controller, Decision, Reason
from seakeep.model.observation import Observation
from seakeep.model.system import System
from seakeep.model.time import Instant
from seakeep.model.view import View
from seakeep.observe.observe import ObserveMemory, observe

encode_actions = encoder_of(tuple[Action, ...])
encode_reason = encoder_of(Reason)


@runtime_checkable
class Cached(Protocol):
    """A memory that holds more than it must."""

    def without_caches(self) -> Any:
        """The memory without what only spares work: it leads to the same decisions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepState:
    """Everything that one step leaves for the next."""

    observed: ObserveMemory
    decided: Any
    """The controller's memory."""
    tracker: Tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    decision: Decision[Any]
    """Its actions are those to submit: one that is pending already is not among them."""
    state: StepState
    view: View


class Pipeline:
    """observe, decide and track, around one controller: the whole control plane unless another
    is given. `epoch` is the engine's; it goes into the guards."""

    def __init__(self, epoch: int, controller: Controller[Any] | None = None) -> None:
        self.controller: Controller[Any] = controller or ControlPlane(epoch)

    def initial(self) -> StepState:
        """Before the first step of a run."""
        return StepState(
            observed=ObserveMemory(), decided=self.controller.initial(), tracker=Tracker()
        )

    def step(self, system: System, observation: Observation, state: StepState) -> StepResult:
        """Pure. When the spec has changed since the last step, the state carries on."""
        tracker, outcomes = state.tracker.seen(observation.outcomes, observation.at)
        view, observed = observe(
            system, observation, state.observed, pending=tracker.pending, outcomes=outcomes
        )
        decision = self.controller.decide(system, view, state.decided)
        actions = tracker.fresh(decision.actions)
        tracker = tracker.submitted(actions, observation.at)
        wake_at = _earliest(decision.wake_at, tracker.wake_at)
        return StepResult(
            decision=replace(decision, actions=actions, wake_at=wake_at),
            state=StepState(observed=observed, decided=decision.memory, tracker=tracker),
            view=view,
        )

    def encode_state(self, state: StepState) -> Json:
        """For the head of a journal's segment: what bears on later decisions, without the
        caches. Raises CodecError when the controller's memory has no JSON form."""
        decided = state.decided
        if isinstance(decided, Cached):
            decided = decided.without_caches()
        return {
            "observed": encode(state.observed.without_caches()),
            "decided": encode(decided, type(decided)),
            "tracker": encode(state.tracker),
        }

    def decode_state(self, tree: Json) -> StepState:
        """Raises CodecError."""
        kind: Any = type(self.controller.initial())
        return StepState(
            observed=decode(ObserveMemory, tree["observed"]),
            decided=decode(kind, tree["decided"]),
            tracker=decode(Tracker, tree["tracker"]),
        )


def _earliest(*instants: Instant | None) -> Instant | None:
    return min((at for at in instants if at is not None), default=None)


def decision_tree(
    actions: Iterable[Action], reasons: Iterable[Reason], wake_at: Instant | None
) -> Json:
    """What is compared of a decision: all of it but the controller's memory, and the secrets
    that a journal does not hold."""
    with hiding():
        return {
            "actions": encode_actions(actions),
            "reasons": [encode_reason(reason) for reason in reasons],
            "wake_at": wake_at,
        }


def decision_digest(decision: Decision[Any]) -> str:
    """Of the decision's canonical bytes."""
    tree = decision_tree(decision.actions, decision.reasons, decision.wake_at)
    return hashlib.sha256(dump_tree(tree)).hexdigest()[:DIGEST_HEX_DIGITS]
