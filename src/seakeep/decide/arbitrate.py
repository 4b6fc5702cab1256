"""The composite controller: runs the others on one view, orders what they want, settles conflicts.

Order of a step's actions, which is the order in which they are submitted: what is built up comes
before what is taken down, and traffic is moved before anything that serves it is touched.

    RecordRollout, StartPart, StartInstance, SetEndpoints, AnswerDns, SetLimit, RestartInstance,
    DrainInstance, StopInstance, RetirePart

Of two actions on one subject the one later in that order wins (an instance that is to be drained
or stopped is not restarted); the other leaves a reason. An action that is pending already, its
outcome unknown, is not asked for again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, assert_never

from seakeep.decide.dns import DnsController, DnsMemory
from seakeep.decide.draining import Draining, DrainMemory, ground_of
from seakeep.decide.ground import resting
from seakeep.decide.health import HealthController, HealthMemory
from seakeep.decide.limits import LimitsController, LimitsMemory
from seakeep.decide.parts import PartsController, PartsMemory
from seakeep.decide.placement import Placement, PlacementMemory
from seakeep.decide.rollout import RolloutController, RolloutMemory
from seakeep.decide.scaling import ScalingController, short_of_room
from seakeep.decide.scaling_memory import ScalingMemory
from seakeep.decide.standby import StandbyController, StandbyMemory, with_stances
from seakeep.decide.traffic import TrafficController, TrafficMemory
from seakeep.model.action import (
    Action,
    AnswerDns,
    DrainInstance,
    RecordRollout,
    RestartInstance,
    RetirePart,
    SetEndpoints,
    SetLimit,
    StartInstance,
    StartPart,
    StopInstance,
)
from seakeep.model.decision import Decision, Reason
from seakeep.model.ids import ActionId
from seakeep.model.system import System
from seakeep.model.time import Instant
from seakeep.model.view import View

REASONS = {
    "arbitrate.superseded": (
        "{superseded} is dropped: {winner}, which is about {subject} too, overrules it"
    ),
    "arbitrate.pending": "{subject} is not asked for again: {pending} has not ended yet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneMemory:
    parts: PartsMemory
    health: HealthMemory
    scaling: ScalingMemory
    draining: DrainMemory
    standby: StandbyMemory
    rollout: RolloutMemory
    placement: PlacementMemory
    traffic: TrafficMemory
    dns: DnsMemory
    limits: LimitsMemory

    def without_caches(self) -> "PlaneMemory":
        """What bears on decisions. Caches only spare work: they make most of a memory's size,
        and are made anew in one step."""
        return PlaneMemory(
            parts=self.parts.without_caches(),
            health=self.health,
            scaling=self.scaling,
            draining=self.draining,
            standby=self.standby,
            rollout=self.rollout.without_caches(),
            placement=self.placement.without_caches(),
            traffic=self.traffic.without_caches(),
            dns=self.dns.without_caches(),
            limits=self.limits,
        )


class ControlPlane:
    """Every controller of this system as one. `epoch` is the engine's: it goes into all guards,
    and an engine that has seen a higher one refuses them."""

    def __init__(self, epoch: int) -> None:
        self._parts = PartsController(epoch)
        self._health = HealthController(epoch)
        self._scaling = ScalingController()
        self._draining = Draining()
        self._standby = StandbyController()
        self._rollout = RolloutController(epoch)
        self._placement = Placement(epoch)
        self._traffic = TrafficController(epoch)
        self._dns = DnsController(epoch)
        self._limits = LimitsController(epoch)

    def initial(self) -> PlaneMemory:
        return PlaneMemory(
            parts=self._parts.initial(),
            health=self._health.initial(),
            scaling=self._scaling.initial(),
            draining=self._draining.initial(),
            standby=self._standby.initial(),
            rollout=self._rollout.initial(),
            placement=self._placement.initial(),
            traffic=self._traffic.initial(),
            dns=self._dns.initial(),
            limits=self._limits.initial(),
        )

    def decide(self, system: System, view: View, memory: PlaneMemory) -> Decision[PlaneMemory]:
        parts = self._parts.decide(system, view, memory.parts)
        health = self._health.decide(system, view, memory.health)
        scaling = self._scaling.decide(system, view, memory.scaling)
        wanted, layouts = scaling.memory.wanted, scaling.memory.layouts
        draining = self._draining.decide(system, view, memory.draining, wanted, layouts)
        ground = ground_of(view, draining.memory)
        standby = self._standby.decide(system, view, memory.standby, wanted, ground)
        ground = with_stances(ground, standby.memory)
        rollout = self._rollout.decide(system, view, memory.rollout, wanted)
        plans = rollout.memory.plans
        placement = self._placement.decide(
            system, view, memory.placement, wanted, layouts, ground, plans
        )
        traffic = self._traffic.decide(system, view, memory.traffic, ground, plans)
        rolls = {name: of.rolls for name, of in traffic.memory.services.items()}
        dns = self._dns.decide(system, view, memory.dns, rolls, ground.out, resting(system, ground))
        limits = self._limits.decide(system, view, memory.limits)
        each: tuple[Decision[Any], ...] = (
            parts, health, scaling, draining, standby, rollout, placement, traffic, dns, limits,
        )  # fmt: skip
        actions, reasons = settle(
            [action for one in each for action in one.actions],
            [
                *parts.reasons,
                *health.reasons,
                *scaling.reasons,
                *rollout.reasons,
                *short_of_room(scaling.memory, placement.reasons),
                *draining.reasons,
                *standby.reasons,
                *placement.reasons,
                *traffic.reasons,
                *dns.reasons,
                *limits.reasons,
            ],
            view.pending,
        )
        return Decision(
            memory=PlaneMemory(
                parts=parts.memory,
                health=health.memory,
                scaling=scaling.memory,
                draining=draining.memory,
                standby=standby.memory,
                rollout=rollout.memory,
                placement=placement.memory,
                traffic=traffic.memory,
                dns=dns.memory,
                limits=limits.memory,
            ),
            actions=actions,
            reasons=reasons,
            wake_at=_after(view.at, (one.wake_at for one in each)),
        )


def settle(
    actions: Iterable[Action], reasons: Iterable[Reason], pending: frozenset[ActionId]
) -> tuple[tuple[Action, ...], tuple[Reason, ...]]:
    """The actions to submit, in order, and the reasons, those of dropped actions replaced."""
    ranked = sorted(actions, key=rank)  # stable: each controller's own order stays
    winners: dict[str, Action] = {subject_of(action): action for action in ranked}
    dropped: dict[ActionId, Reason] = {}
    kept: list[Action] = []
    for action in ranked:
        subject = subject_of(action)
        winner = winners[subject]
        if winner is not action:
            dropped[action.id] = Reason(
                code="arbitrate.superseded",
                subject=subject,
                numbers=(("superseded", action.id), ("winner", winner.id)),
            )
        elif action.id in pending:
            dropped[action.id] = Reason(
                code="arbitrate.pending", subject=subject, numbers=(("pending", action.id),)
            )
        else:
            kept.append(action)
    if not dropped:
        return tuple(kept), tuple(reasons)
    surviving = [reason for reason in reasons if reason.action not in dropped]
    return tuple(kept), (*surviving, *dropped.values())


def rank(action: Action) -> int:
    """The place of an action in a step, by its kind."""
    match action:
        case RecordRollout():
            return -1
        case StartPart():
            return 0
        case StartInstance():
            return 1
        case SetEndpoints():
            return 2
        case AnswerDns():
            return 3
        case SetLimit():
            return 4
        case RestartInstance():
            return 5
        case DrainInstance():
            return 6
        case StopInstance():
            return 7
        case RetirePart():
            return 8
        case _:
            assert_never(action)


def subject_of(action: Action) -> str:
    """What an action is done to: an instance, a part, a cluster or a limit of a balancer, or the
    answers of a DNS server."""
    match action:
        case StartInstance() | RestartInstance() | DrainInstance() | StopInstance():
            return action.instance
        case StartPart() | RetirePart():
            return action.part
        case SetEndpoints():
            return f"{action.region}/{action.cluster}"
        case SetLimit():
            return f"{action.region}/{action.limit}"
        case AnswerDns():
            return f"{action.region}/dns answers"
        case RecordRollout():
            return f"rollout:{action.record.service}"
        case _:
            assert_never(action)


def _after(at: Instant, wakes: Iterable[Instant | None]) -> Instant | None:
    """The earliest of the wishes; one that has passed already means: as soon as possible."""
    return min((max(wake, at + 1) for wake in wakes if wake is not None), default=None)
