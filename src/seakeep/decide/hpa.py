"""The arithmetic of the Kubernetes HorizontalPodAutoscaler, with nothing of ours in it.

    desired = ceil(current x value / target)

and everything that upstream has learned to wrap around that line: tolerance, instances that are
not ready or tell nothing, stabilisation, policies. Transcribed from `pkg/controller/podautoscaler`
(`replica_calculator.go`, `horizontal.go`; Kubernetes, Apache-2.0), and checked against its own
tables in `tests/decide/cases/hpa.json`. Amounts are whole numbers in thousandths, as upstream's
are, and where upstream computes in floats or truncates, so does this.

One thing is added: `spare`, how many times more instances there are than carry load. Where
capacity is held for a loss (`headroom`), the value per instance lies below its target by design;
the deviation is then measured against the instances that the load needs. 1 is upstream.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from seakeep.model.scale import PolicyKind, ScaleRules, Select
from seakeep.model.time import Duration, Instant


class NoMetric(Exception):
    """A metric that cannot be had; the message says why."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one metric wants."""

    replicas: int
    value: int
    """As measured: percent of the request, or thousandths per instance (of the whole for a
    metric that is not per instance)."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    down: float
    up: float

    def holds(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


# --- one metric -------------------------------------------------------------


class Standing(Enum):
    """What an instance's own reading is worth."""

    COUNTS = auto()
    UNREADY = auto()
    """Not ready yet, or its reading not trusted yet."""
    MISSING = auto()
    """It runs, and tells nothing."""
    IGNORED = auto()
    """Failed or on its way out."""


def by_resource(
    current: int,
    standings: Mapping[str, Standing],
    usage: Mapping[str, int],
    requests: Mapping[str, int],
    target_percent: int,
    tolerance: Tolerance,
    *,
    spare: float = 1.0,
) -> Proposal:
    """By the mean use of what instances ask for (`GetResourceReplicas`). Raises NoMetric."""
    if not usage:
        raise NoMetric("no metrics returned from resource metrics API")

    def percent_of(metrics: Mapping[str, int]) -> int:
        known = [name for name in metrics if name in requests]
        asked = sum(requests[name] for name in known)
        if asked == 0:
            raise NoMetric("no metrics returned matched known pods")
        return sum(metrics[name] for name in known) * 100 // asked

    fallback = max(100, target_percent)
    return _weighed_up(
        current,
        standings,
        usage,
        percent_of,
        {name: requests.get(name, 0) * fallback // 100 for name in standings},
        target_percent,
        tolerance,
        spare,
    )


def by_instance(
    current: int,
    standings: Mapping[str, Standing],
    usage_milli: Mapping[str, int],
    target_milli: int,
    tolerance: Tolerance,
    *,
    spare: float = 1.0,
) -> Proposal:
    """By the mean of what instances report (`GetMetricReplicas`). Raises NoMetric."""
    return _weighed_up(
        current,
        standings,
        usage_milli,
        lambda metrics: sum(metrics.values()) // len(metrics),
        dict.fromkeys(standings, target_milli),
        target_milli,
        tolerance,
        spare,
    )


def _weighed_up(
    current: int,
    standings: Mapping[str, Standing],
    usage: Mapping[str, int],
    mean_of: Callable[[Mapping[str, int]], int],
    fallback: Mapping[str, int],
    target: int,
    tolerance: Tolerance,
    spare: float,
) -> Proposal:
    """Instances that say nothing are taken to use nothing when it would scale up, and all of
    their due when it would scale down; ones that are not ready to use nothing when it would
    scale up. Whatever that turns the wrong way round changes nothing."""
    of = {kind: [n for n, s in standings.items() if s is kind] for kind in Standing}
    unready, missing = of[Standing.UNREADY], of[Standing.MISSING]
    left_out = {*unready, *of[Standing.IGNORED]}
    metrics = {name: value for name, value in usage.items() if name not in left_out}
    if not metrics:
        raise NoMetric("did not receive metrics for targeted pods (pods might be unready)")
    value = mean_of(metrics)
    ratio = value / target * spare
    up_with_unready = bool(unready) and ratio > 1.0
    if not up_with_unready and not missing:
        if tolerance.holds(ratio):
            return Proposal(current, value)
        return Proposal(math.ceil(ratio * (len(of[Standing.COUNTS]) / spare)), value)
    if missing and ratio < 1.0:
        metrics |= {name: fallback[name] for name in missing}
    elif missing and ratio > 1.0:
        metrics |= dict.fromkeys(missing, 0)
    if up_with_unready:
        metrics |= dict.fromkeys(unready, 0)
    again = mean_of(metrics) / target * spare
    if tolerance.holds(again) or (ratio < 1.0 < again) or (again < 1.0 < ratio):
        return Proposal(current, value)
    replicas = math.ceil(again * (len(metrics) / spare))
    if (again < 1.0 and replicas > current) or (again > 1.0 and replicas < current):
        return Proposal(current, value)
    return Proposal(replicas, value)


def by_total(
    total_milli: int,
    target_milli: int,
    replicas: int,
    tolerance: Tolerance,
    *,
    spare: float = 1.0,
) -> Proposal:
    """By a total that instances share (`GetExternalPerPodMetricReplicas`): `replicas` there are
    now, `target_milli` each is due."""
    if replicas == 0:
        return Proposal(math.ceil(total_milli / target_milli), total_milli)
    ratio = total_milli / (target_milli * (replicas / spare))
    value = math.ceil(total_milli / replicas)
    if tolerance.holds(ratio):
        return Proposal(round(replicas / spare) if spare != 1.0 else replicas, value)
    return Proposal(math.ceil(total_milli / target_milli), value)


def by_value(
    current: int,
    ready: int,
    value_milli: int,
    target_milli: int,
    tolerance: Tolerance,
    *,
    spare: float = 1.0,
) -> Proposal:
    """By a value that is not per instance, such as a latency (`GetObjectMetricReplicas`)."""
    ratio = value_milli / target_milli
    if current == 0:
        return Proposal(math.ceil(ratio), value_milli)
    if tolerance.holds(ratio):
        return Proposal(current, value_milli)
    return Proposal(math.ceil(ratio * (ready / spare)), value_milli)


# --- stabilisation ----------------------------------------------------------

Dated = tuple[Instant, int]
"""When, and how many: a recommendation, or a change."""


def stabilised(
    now: Instant,
    current: int,
    desired: int,
    recommendations: Iterable[Dated],
    up_window: Duration,
    down_window: Duration,
) -> int:
    """The most cautious of the latest recommendations, either way
    (`stabilizeRecommendationWithBehaviors`)."""
    least = most = desired
    for at, replicas in recommendations:
        if at > now - up_window:
            least = min(least, replicas)
        if at > now - down_window:
            most = max(most, replicas)
    return min(max(current, least), most)


def remembered(
    now: Instant,
    desired: int,
    recommendations: Sequence[Dated],
    up_window: Duration,
    down_window: Duration,
) -> tuple[Dated, ...]:
    """The recommendations that can still matter, the newest last: within a window, and not
    outdone by a later one."""
    kept: list[Dated] = [(now, desired)]
    least = most = desired
    for at, replicas in reversed(recommendations):
        as_least = at > now - up_window and replicas < least
        as_most = at > now - down_window and replicas > most
        if as_least or as_most:
            kept.append((at, replicas))
        if at > now - up_window:
            least = min(least, replicas)
        if at > now - down_window:
            most = max(most, replicas)
    return tuple(reversed(kept))


# --- policies ---------------------------------------------------------------


def paced(
    now: Instant,
    current: int,
    desired: int,
    bounds: tuple[int, int],
    rules: tuple[ScaleRules, ScaleRules],
    changes: tuple[Sequence[Dated], Sequence[Dated]],
) -> tuple[int, str]:
    """(`desired` as far as policies and bounds let it be, what stood in the way): `policy`, `max`
    or `min`, or nothing (`convertDesiredReplicasWithBehaviorRate`). `bounds` are (least, most),
    `rules` and `changes` those of (up, down); changes are counted without sign."""
    if desired > current:
        limit = max(current, up_limit(now, current, rules[0], changes))
        most, why = (limit, "policy") if bounds[1] > limit else (bounds[1], "max")
        return (most, why) if desired > most else (desired, "")
    if desired < current:
        limit = min(current, down_limit(now, current, rules[1], changes))
        least, why = (limit, "policy") if bounds[0] < limit else (bounds[0], "min")
        return (least, why) if desired < least else (desired, "")
    return desired, ""


def up_limit(
    now: Instant,
    current: int,
    rules: ScaleRules,
    changes: tuple[Sequence[Dated], Sequence[Dated]],
) -> int:
    """How many there may be at most (`calculateScaleUpLimitWithScalingRules`)."""
    if rules.select is Select.DISABLED or not rules.policies:
        return current
    limits = []
    for policy in rules.policies:
        start = current - _within(now, policy.period, changes[0])
        start += _within(now, policy.period, changes[1])
        if policy.kind is PolicyKind.INSTANCES:
            limits.append(start + int(policy.amount))
        else:
            # Rounded up, or a small number would never grow.
            limits.append(math.ceil(start * (1 + policy.amount / 100)))
    return max(limits) if rules.select is Select.MAX else min(limits)


def down_limit(
    now: Instant,
    current: int,
    rules: ScaleRules,
    changes: tuple[Sequence[Dated], Sequence[Dated]],
) -> int:
    """How many there must be at least (`calculateScaleDownLimitWithBehaviors`)."""
    if rules.select is Select.DISABLED or not rules.policies:
        return current
    limits = []
    for policy in rules.policies:
        start = current - _within(now, policy.period, changes[0])
        start += _within(now, policy.period, changes[1])
        if policy.kind is PolicyKind.INSTANCES:
            limits.append(start - int(policy.amount))
        else:
            limits.append(int(start * (1 - policy.amount / 100)))
    return min(limits) if rules.select is Select.MAX else max(limits)


def _within(now: Instant, period: Duration, changes: Iterable[Dated]) -> int:
    return sum(count for at, count in changes if at > now - period)


def lately(now: Instant, rules: ScaleRules, changes: Sequence[Dated]) -> tuple[Dated, ...]:
    """The changes that any policy still counts. Upstream keeps those of a direction for as long
    as its own longest period; the other direction's policies count what is left of them."""
    longest = max((policy.period for policy in rules.policies), default=0)
    return tuple(one for one in changes if one[0] > now - longest)
