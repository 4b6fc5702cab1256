"""What a rollout sees of its service in one step, what it remembers, and the plan that follows."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil

from seakeep.decide.rollout_plan import RolloutPlan
from seakeep.decide.rollout_verdict import NOTHING, Side, side_of
from seakeep.model.decision import Number
from seakeep.model.histogram import percentile
from seakeep.model.ids import InstanceId
from seakeep.model.observation import Phase, RevisionReading
from seakeep.model.rolling import Strategy
from seakeep.model.rollout import RolloutRecord, Stage
from seakeep.model.system import Service
from seakeep.model.time import MILLISECOND, SECOND, Duration, Instant
from seakeep.model.view import Health, InstanceView, View

CHECKED_EVERY: Duration = SECOND
"""A record that was asked for and does not show is asked for again after this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is remembered of one attempt. When it is lost, every wait begins anew."""

    revision: str
    attempt: int
    ready_since: Mapping[InstanceId, Instant] = field(default_factory=dict)
    """New instances that have been READY without a break."""
    proven: tuple[InstanceId, ...] = ()
    """New instances that have counted as ready once, in the order of the view."""
    stuck_since: Instant | None = None
    """Since when new instances are not ready and none has got so."""
    step: int = 0
    step_since: Instant | None = None
    """Since when all that the present step wants is there."""
    held: int = 0
    """New instances when the rollout was last moving."""
    counted_from: tuple[RevisionReading, ...] | None = None
    """What versions had answered when this attempt began."""
    old_side: Side = NOTHING
    new_side: Side = NOTHING
    """What they have answered since."""
    asked: tuple[str, Instant] | None = None
    """The last record that was asked for, by its action, and when."""

    def compared(self) -> dict[str, dict[str, Number | None]] | None:
        """What both versions answered so far; None when nothing was heard."""
        if not self.old_side.requests and not self.new_side.requests:
            return None
        return {"old": _figures(self.old_side), "new": _figures(self.new_side)}


def _figures(side: Side) -> dict[str, Number | None]:
    def in_ms(quantile: float) -> float | None:
        value = percentile(side.latency, quantile)
        return None if value is None else round(value / MILLISECOND, 1)

    return {
        "requests": side.requests,
        "failures": side.failures,
        "error_rate": side.error_rate,
        "p50_ms": in_ms(0.5),
        "p95_ms": in_ms(0.95),
    }


@dataclass(slots=True, kw_only=True)
class Census:
    """A service in change, counted."""

    wanted: int
    at: Instant
    new_live: int = 0
    """Not lost and not leaving; so everywhere below."""
    new_firm: int = 0
    """Those that serve, have served, or are only in doubt."""
    old_live: int = 0
    """Of every other version, on their way out included."""
    old_ready: int = 0
    """Of the good version."""
    others_live: int = 0
    """Neither of the good nor of the new version, and not leaving."""
    ripe: tuple[InstanceId, ...] = ()
    """New ones that count as ready."""
    unripe: tuple[InstanceId, ...] = ()
    """New ones that are READY and do not count yet."""
    ready_since: dict[InstanceId, Instant] = field(default_factory=dict)
    stuck: InstanceView | None = None
    """The first new one that is not ready."""
    canary_steps: int = 0
    wakes: list[Instant] = field(default_factory=list)

    @property
    def new_ripe(self) -> int:
        return len(self.ripe)

    @property
    def figures(self) -> dict[str, Number]:
        return {"wanted": self.wanted, "new_ready": self.new_ripe, "old_live": self.old_live}


def census_of(
    service: Service, record: RolloutRecord, view: View, progress: Progress, wanted: int
) -> Census:
    """One pass over the service's instances."""
    rollout, at = service.rollout, view.at
    census = Census(wanted=wanted, at=at, canary_steps=_canary_steps(service, wanted))
    ripe: list[InstanceId] = []
    unripe: list[InstanceId] = []
    for one in view.by_service.get(service.name, ()):
        state, health = one.state, one.health
        leaves = state.draining_since is not None or state.phase is Phase.STOPPING
        if state.revision != record.target:
            census.old_live += health is not Health.LOST
            is_good = state.revision == record.good.revision
            census.old_ready += is_good and health is Health.READY and not leaves
            census.others_live += not is_good and health is not Health.LOST and not leaves
            continue
        if leaves or health is Health.LOST:
            continue
        census.new_live += 1
        census.new_firm += health not in (Health.STARTING, Health.FAILED)
        if health is not Health.READY:
            if health is not Health.UNKNOWN and census.stuck is None:
                census.stuck = one
            continue
        since = census.ready_since[state.id] = progress.ready_since.get(state.id, at)
        if at >= since + rollout.min_ready:
            ripe.append(state.id)
        else:
            unripe.append(state.id)
            census.wakes.append(since + rollout.min_ready)
    census.ripe, census.unripe = tuple(ripe), tuple(unripe)
    return census


def _canary_steps(service: Service, wanted: int) -> int:
    """A lone instance can only have a canary beside it where there may be one more."""
    return len(service.rollout.canary) if wanted > 1 or service.rollout.surge else 0


def progressed(
    service: Service, record: RolloutRecord, census: Census, progress: Progress, pauser: str
) -> Progress:
    """What to remember after this step."""
    at = census.at
    known = dict.fromkeys(progress.proven)
    fresh = [name for name in census.ripe if name not in known]
    moves = record.stage is Stage.ROLLING and not pauser
    stuck_since = progress.stuck_since
    if not moves or census.stuck is None:
        stuck_since = None
    elif fresh or stuck_since is None:
        stuck_since = at
    if stuck_since is not None:
        census.wakes.append(stuck_since + service.rollout.deadline)
    step_since = progress.step_since if progress.step == record.step else None
    if step_since is None and census.new_ripe >= _step_wants(service, record, census):
        step_since = at
    return replace(
        progress,
        ready_since=census.ready_since,
        proven=(*(name for name in known if name in census.ready_since), *fresh),
        stuck_since=stuck_since,
        step=record.step,
        step_since=step_since,
        held=census.new_live if moves else max(progress.held, census.new_live),
    )


def compared(service: Service, record: RolloutRecord, view: View, progress: Progress) -> Progress:
    """With what both versions have answered since the attempt began."""
    readings = [one for one in view.revisions if one.service == service.name]
    base = progress.counted_from
    if base is None:
        base = tuple(readings)
    elif not readings:
        return progress
    return replace(
        progress,
        counted_from=base,
        old_side=side_of(readings, base, record.good.revision),
        new_side=side_of(readings, base, record.target),
    )


def _step_wants(service: Service, record: RolloutRecord, census: Census) -> int:
    """New instances that must count as ready before a step's time runs."""
    if service.rollout.strategy is Strategy.BLUE_GREEN:
        return 0 if record.step else census.wanted
    if record.step < census.canary_steps:
        return canaries(service.rollout.canary[record.step].weight, census.wanted)
    return census.wanted


def canaries(weight: float, wanted: int) -> int:
    """New instances of a canary step: as many as its share of the requests needs, at least one,
    and never all."""
    return min(max(1, ceil(weight * wanted - 1e-9)), max(1, wanted - 1))


# --- plans ------------------------------------------------------------------


def plan_of(
    service: Service, record: RolloutRecord, census: Census, progress: Progress, pauser: str
) -> RolloutPlan:
    """How many of which version there should be now."""
    old, new = record.good, service.workload
    unripe = frozenset(census.unripe)
    wanted = census.wanted
    if record.stage is Stage.UNDONE:
        return _back(service, record, census)
    if service.rollout.strategy is Strategy.BLUE_GREEN:
        return _blue_green(service, record, census)
    weight = None
    if record.step < census.canary_steps:
        weight = service.rollout.canary[record.step].weight
    if record.stage is Stage.STOPPED:
        count = min(wanted, census.new_firm)
    else:
        count = _rolling(service, record, census, progress, pauser)
    beside = wanted - count
    if weight is not None and wanted == 1 and record.stage is Stage.ROLLING:
        beside = 1
    return RolloutPlan(
        old=old, new=new, old_wanted=beside, new_wanted=count, is_beyond=beside + count > wanted,
        unripe=unripe, weight=weight,
    )  # fmt: skip


def _rolling(
    service: Service, record: RolloutRecord, census: Census, progress: Progress, pauser: str
) -> int:
    """New instances that there may be: those that are, and as many more as may be unproven."""
    rollout, wanted = service.rollout, census.wanted
    if pauser:
        goal = max(progress.held, census.new_live)
    else:
        goal = max(census.new_live, census.new_ripe + max(1, rollout.surge + rollout.unavailable))
        if record.step < census.canary_steps:
            most = canaries(rollout.canary[record.step].weight, wanted)
            goal = min(goal, max(most, census.new_live))
    return min(wanted, goal)


def _back(service: Service, record: RolloutRecord, census: Census) -> RolloutPlan:
    """To the good version alone. All else is out of use at once, unless what is left could not
    bear it."""
    old, wanted = record.good, census.wanted
    enough = max(1, wanted - max(1, service.rollout.unavailable))
    return RolloutPlan(
        old=old, new=service.workload, old_wanted=wanted, new_wanted=0, strict=True,
        serves=old.revision if census.old_ready >= enough else "",
    )  # fmt: skip


def _blue_green(service: Service, record: RolloutRecord, census: Census) -> RolloutPlan:
    old, new, wanted = record.good, service.workload, census.wanted
    whole = max(1, wanted - service.rollout.unavailable)
    if not record.step and census.others_live and census.old_ready < whole:
        # A version that this one overtook serves: it stays until the good one can.
        return _back(service, record, census)
    plan = RolloutPlan(
        old=old, new=new, old_wanted=wanted, new_wanted=wanted, apart=True,
        serves=new.revision if record.step else old.revision,
    )  # fmt: skip
    if record.step > 1:
        return replace(plan, apart=False, old_wanted=0, strict=True)
    if record.stage is Stage.STOPPED and not record.step:
        firm = min(wanted, census.new_firm)
        return replace(plan, new_wanted=firm)
    return plan
