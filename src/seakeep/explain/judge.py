"""Runs of a scenario -> does every objective hold, and how fast were troubles noticed and over?

An objective is judged by the requests of the scenario itself, the warm-up left out: the fraction
of good ones must reach its target in every run. Where the scenario says `expect: {budget: 5%}`,
it may instead use up that share of the objective's error budget, over its whole window: then the
fraction that must be good is

    1 - budget x (1 - target) x window / duration

An objective is *met at* a time when it holds in the stretch of `STRETCH` from then on, chance
allowed for: of n requests n (1 - target) may be bad, and something is wrong only when a Poisson
count with that mean would be as high as the number of bad ones less often than once in 1 /
`CHANCE`. The system has *recovered* at the first instant from which on every objective is met
until the end, to the resolution of the run's buckets.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import pdtrc, stdtrit

from seakeep.model.ids import ServiceName
from seakeep.model.proof import Estimate, Proof, Verdict
from seakeep.model.run import EventKind, Good, Run, RunEvent
from seakeep.model.scenario import Scenario
from seakeep.model.system import Objective, ObjectiveKind, System
from seakeep.model.time import HOUR, SECOND, Duration, in_seconds
from seakeep.model.units import format_duration, format_percent

STRETCH: Duration = 10 * SECOND
CHANCE = 0.001
CONFIDENCE = 0.95
WELL = ("ready", "runs", "starting")
"""Verdicts on instances and parts that tell of no trouble."""
ROUTINE = ("placement.", "traffic.endpoints", "rollout.")
"""Codes of actions that a deploy leads to as well. Where trouble does, its verdict comes first."""
ALARMS = ("rollout.rollback.", "rollout.stop.")
"""But these."""
SCALINGS = ("scaling.up", "scaling.down", "scaling.wake", "scaling.idle", "scaling.bounds")
"""Codes of the reasons for another number of instances."""


def judge(system: System, scenario: Scenario, runs: Sequence[Run]) -> Proof:
    """What the runs of one scenario say together. `runs` may be empty (interrupted)."""
    ordered = tuple(sorted(runs, key=lambda run: run.seed))
    verdicts = [_objective(one, index, scenario, ordered)
                for index, one in enumerate(system.objectives) if ordered]  # fmt: skip
    if ordered and scenario.recovery is not None:
        verdicts.append(_recovery(system, scenario, scenario.recovery, ordered))
    return Proof(
        scenario=scenario,
        runs=ordered,
        verdicts=tuple(verdicts),
        detect=_known(time_to_detect(scenario, run) for run in ordered),
        recover=_known(time_to_recover(system, scenario, run) for run in ordered),
        peak_utilisation=_by_service(system, ordered, peak_utilisation),
        scalings=estimate([float(scalings(run)) for run in ordered], least=0),
        instance_hours=_by_service(system, ordered, _instance_hours),
    )


def estimate(values: Sequence[float], least: float = -math.inf, most: float = math.inf) -> Estimate:
    """The mean and its interval, by Student's t, cut off at the least and the most that the figure
    can be; exact figures have one of no width. Of nothing: 0, of no run."""
    runs = len(values)
    if not runs:
        return Estimate(mean=0.0, runs=0)
    mean = math.fsum(values) / runs
    if runs == 1 or not math.isfinite(mean):
        return Estimate(mean=mean, runs=runs)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (runs - 1))
    half = _quantile(runs - 1) * spread / math.sqrt(runs)
    low, high = max(least, mean - half), min(most, mean + half)
    return Estimate(mean=mean, low=low, high=high, runs=runs)


def _quantile(freedom: int) -> float:
    """Of Student's t; rounded, so that it does not differ in the last bits between machines."""
    return round(float(stdtrit(freedom, 0.5 + CONFIDENCE / 2)), 9)


def _known(values: Iterable[float | None]) -> Estimate | None:
    """Of those runs that have a value, `runs` says how many; None when none has."""
    known = [value for value in values if value is not None]
    return estimate(known, least=0) if known else None


# --- objectives ---------------------------------------------------------------


def describe(objective: Objective) -> str:
    """`web availability 99.9%`, `web latency 95% < 300ms`."""
    text = f"{objective.service} {objective.kind.value} {format_percent(objective.target)}"
    if objective.kind is ObjectiveKind.LATENCY and objective.threshold is not None:
        text += f" < {format_duration(objective.threshold)}"
    return text


def _objective(
    objective: Objective, index: int, scenario: Scenario, runs: tuple[Run, ...]
) -> Verdict:
    what, target = describe(objective), objective.target
    over = objective.window / scenario.duration
    if scenario.budget is not None:
        target = max(0.0, 1 - scenario.budget * (1 - objective.target) * over)
    good = {run.seed: _fraction(run.objectives[index]) for run in runs}
    asked = {seed: fraction for seed, fraction in good.items() if fraction is not None}
    if not asked:
        measured = Estimate(mean=1.0, runs=0)
        return Verdict(what=what, objective=objective, held=True, target=target,
                       measured=measured, margin=1 - target)  # fmt: skip
    worst = min(asked, key=lambda seed: asked[seed])
    used = [(1 - fraction) / (1 - objective.target) / over for fraction in asked.values()]
    return Verdict(
        what=what,
        objective=objective,
        held=asked[worst] >= target,
        target=target,
        measured=estimate(list(asked.values()), least=0, most=1),
        margin=asked[worst] - target,
        budget=estimate(used, least=0),
        worst_seed=worst,
    )


def _fraction(good: Good) -> float | None:
    """Of requests that were good; None without requests."""
    total = int(good.total.sum())
    return int(good.good.sum()) / total if total else None


# --- troubles -----------------------------------------------------------------


def first_fault(scenario: Scenario) -> Duration | None:
    """When it begins; None without faults."""
    return min((step.at for step in scenario.steps), default=None)


def time_to_detect(scenario: Scenario, run: Run) -> float | None:
    """Seconds from the first fault until a balancer or a controller did something about it, or said
    that something is wrong; None when nobody did, or there is no fault."""
    began = first_fault(scenario)
    if began is None:
        return None
    first = next((one.at for one in run.events if one.at >= began and _notices(one)), None)
    return None if first is None else in_seconds(first - began)


def _notices(event: RunEvent) -> bool:
    match event.kind:
        case EventKind.EJECT:
            return True
        case EventKind.HEALTH:
            return event.code not in WELL
        case EventKind.ACTION:
            return event.code.startswith(ALARMS) or not event.code.startswith(ROUTINE)
        case _:
            return False


def time_to_recover(system: System, scenario: Scenario, run: Run) -> float | None:
    """Seconds from the first fault until every objective was met for good; None when that never
    was, and without a fault or an objective."""
    began = first_fault(scenario)
    return None if began is None or not system.objectives else _recovered(system, run, began)


def _recovered(system: System, run: Run, since: Duration) -> float | None:
    """Seconds from `since` until every objective was met for good; None when that never was."""
    met = _met(system, run)
    first = int(since // run.bucket)
    wrong = np.flatnonzero(~met[first:])
    if not len(wrong):
        return 0.0
    after = first + int(wrong[-1]) + 1
    if after >= len(met):
        return None
    return in_seconds(after * run.bucket - since)


def _met(system: System, run: Run) -> NDArray[np.bool_]:
    """By bucket: whether every objective is met at its beginning."""
    buckets = max((len(one.total) for one in run.objectives), default=0)
    met = np.ones(buckets, dtype=np.bool_)
    span = max(1, STRETCH // run.bucket)
    for objective, one in zip(system.objectives, run.objectives, strict=True):
        total, good = _stretches(one.total, span), _stretches(one.good, span)
        bad = total - good
        met &= (bad == 0) | (pdtrc(bad - 1, total * (1 - objective.target)) >= CHANCE)
    return met


def _stretches(counts: NDArray[np.int64], span: int) -> NDArray[np.int64]:
    """By bucket: the sum over the `span` buckets from it on, or what is left of them."""
    upto = np.concatenate(([0], np.cumsum(counts)))
    ends = np.minimum(np.arange(len(counts)) + span, len(counts))
    return upto[ends] - upto[: len(counts)]


def _recovery(
    system: System, scenario: Scenario, limit: Duration, runs: tuple[Run, ...]
) -> Verdict:
    """Measured from the end of the last fault."""
    ends = [
        scenario.duration if step.lasts is None else min(step.at + step.lasts, scenario.duration)
        for step in scenario.steps
    ]
    ended = max(ends, default=0)
    took = {}
    for run in runs:
        after = _recovered(system, run, ended) if ended < scenario.duration else math.inf
        took[run.seed] = math.inf if after is None else after
    worst = max(took, key=lambda seed: took[seed])
    target = in_seconds(limit)
    return Verdict(
        what=f"recovery within {format_duration(limit)}",
        objective=None,
        held=took[worst] <= target,
        target=target,
        measured=estimate(list(took.values()), least=0),
        margin=target - took[worst],
        worst_seed=worst,
    )


# --- what it took -------------------------------------------------------------


def scalings(run: Run) -> int:
    """How often the wanted number of instances of a service changed."""
    return sum(event.code in SCALINGS for event in run.events)


def peak_utilisation(run: Run, service: ServiceName) -> float:
    """The highest share of worker slots taken, over all regions together, at the end of a
    bucket."""
    loads = [load for (name, _), load in run.loads.items() if name == service]
    if not loads:
        return 0.0
    busy = np.sum([load.busy for load in loads], axis=0)
    slots = np.sum([load.slots for load in loads], axis=0)
    return float(np.max(busy / np.maximum(slots, 1) * (slots > 0), initial=0.0))


def _instance_hours(run: Run, service: ServiceName) -> float:
    return run.instance_ns.get(service, 0) / HOUR


def _by_service(
    system: System, runs: Sequence[Run], figure: Callable[[Run, ServiceName], float]
) -> Mapping[ServiceName, Estimate]:
    return {
        name: estimate([figure(run, name) for run in runs], least=0) for name in system.services
    }
