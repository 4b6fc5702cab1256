"""Endpoint weights: of `balance: load_aware`, and of a canary.

Load-aware, an instance's weight follows the CPU it has left.

headroom = 1 - used / declared, taken from 0.05 to 1; weight = 100 x headroom, rounded, 1 to 100.

Weights feed back: a member that gets more requests uses more CPU and is then given fewer. Three
things keep that from swinging. The use is smoothed (an exponential mean with a time constant of
5 s) so that one reading cannot move it far; weights change at most every 5 s; and only when some
weight would move by more than 20 % of what it is. Under constant input the mean converges, and
the weights stand still.

A canary's weights give all new instances of a region together their share of its requests. A
region that has but one version has nothing to share. Envoy's weights are whole numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from seakeep.decide.rollout_plan import RolloutPlan
from seakeep.model.ids import InstanceId, RegionName
from seakeep.model.system import BalancePolicy, Service
from seakeep.model.time import SECOND, Duration, Instant
from seakeep.model.view import Health, InstanceView

CHANGE_EVERY_MIN: Duration = 5 * SECOND
CHANGE_FRACTION_MIN = 0.2
SMOOTHED_OVER: Duration = 5 * SECOND
HEADROOM_MIN = 0.05
WEIGHT_MAX = 100
CANARY_WEIGHTS = 10_000
"""What the weights of a region add up to in a canary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightMemory:
    weights: Mapping[InstanceId, int] = field(default_factory=dict)
    """As last told to balancers; empty for every other policy (all weigh 1)."""
    used: Mapping[InstanceId, float] = field(default_factory=dict)
    """Smoothed millicores."""
    smoothed_at: Instant = 0
    changed_at: Instant | None = None


def weigh(
    service: Service,
    instances: tuple[InstanceView, ...],
    memory: WeightMemory,
    at: Instant,
) -> WeightMemory:
    """The weights of a service's instances. Equal weights, and hence the same object, for every
    policy but LOAD_AWARE. `memory.weights` is the same object when no weight changed."""
    if service.balance.policy is not BalancePolicy.LOAD_AWARE:
        return memory if not memory.weights else WeightMemory()
    used = _smooth(instances, memory, at)
    declared = service.workload.resources.cpu_millicores
    wanted = {name: weight_of(of, declared) for name, of in used.items()}
    if memory.changed_at is None:
        return WeightMemory(weights=wanted, used=used, smoothed_at=at, changed_at=at)
    old = memory.weights
    joined = any(name not in old for name in wanted)
    due = at - memory.changed_at >= CHANGE_EVERY_MIN and any(
        abs(weight - old.get(name, weight)) > CHANGE_FRACTION_MIN * old.get(name, weight)
        for name, weight in wanted.items()
    )
    if due:
        return WeightMemory(weights=wanted, used=used, smoothed_at=at, changed_at=at)
    weights = old
    if joined:  # a newcomer needs a weight now; the others keep theirs
        weights = {name: old.get(name, weight) for name, weight in wanted.items()}
    return WeightMemory(weights=weights, used=used, smoothed_at=at, changed_at=memory.changed_at)


def _smooth(
    instances: tuple[InstanceView, ...], memory: WeightMemory, at: Instant
) -> dict[InstanceId, float]:
    step = at - memory.smoothed_at
    share = step / (step + SMOOTHED_OVER)
    used: dict[InstanceId, float] = {}
    for one in instances:
        now = one.state.cpu_millicores
        before = memory.used.get(one.state.id)
        used[one.state.id] = now if before is None else before + share * (now - before)
    return used


def weight_of(used_millicores: float, declared_millicores: int) -> int:
    """1 to 100, in proportion to the share of the declared CPU that is left."""
    if declared_millicores <= 0:
        return WEIGHT_MAX
    headroom = 1 - used_millicores / declared_millicores
    return max(1, round(WEIGHT_MAX * min(1.0, max(HEADROOM_MIN, headroom))))


def tilt(
    instances: tuple[InstanceView, ...],
    weights: Mapping[InstanceId, int],
    plan: RolloutPlan,
    before: Mapping[InstanceId, int],
) -> Mapping[InstanceId, int]:
    """The weights with the plan's share for the new version; `before` when it says the same."""
    if plan.weight is None:
        return weights
    new = plan.new.revision
    sums: dict[tuple[RegionName, bool], int] = {}
    for one in instances:
        state = one.state
        if one.health is Health.READY and state.draining_since is None:
            side = (state.region, state.revision == new)
            sums[side] = sums.get(side, 0) + weights.get(state.id, 1)
    tilted = {}
    for one in instances:
        state = one.state
        is_new, weight = state.revision == new, weights.get(state.id, 1)
        mine = sums.get((state.region, is_new), 0)
        if mine and (state.region, not is_new) in sums:
            share = plan.weight if is_new else 1 - plan.weight
            weight = max(1, round(CANARY_WEIGHTS * share * weight / mine))
        tilted[state.id] = weight
    return before if tilted == before else tilted
