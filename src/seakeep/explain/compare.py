"""Two specs under the same scenarios and seeds. With equal seeds both meet the very same requests
(common random numbers), so differences are taken run by run and then averaged: what chance does to
both alike drops out, and the interval is far narrower than those of the two by themselves."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from seakeep.explain.judge import (
    describe,
    estimate,
    scalings,
    time_to_detect,
    time_to_recover,
)
from seakeep.explain.simulation_document import document, estimate_document
from seakeep.model.proof import Estimate, Proof, Report
from seakeep.model.run import Flow, Run
from seakeep.model.system import System
from seakeep.model.time import HOUR

FORMAT = "seakeep.comparison/1"
Figure = Callable[[Run], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One figure of one scenario."""

    scenario: str
    what: str
    """`web availability 99.9%: good`, `browsers p99`, `web instance-hours`."""
    unit: str
    """`fraction`, `seconds`, `hours` or `count`."""
    one: Estimate
    other: Estimate
    difference: Estimate
    """This spec's less the other's."""

    @property
    def is_certain(self) -> bool:
        """Whether it is more than chance, with 95 % confidence."""
        low, high = self.difference.low, self.difference.high
        return low is not None and high is not None and not low <= 0 <= high


def differences(one: Report, other: Report) -> tuple[Difference, ...]:
    """Of the scenarios that both have, and the seeds that ended in both."""
    theirs = {proof.scenario.name: proof for proof in other.proofs}
    found = []
    for proof in one.proofs:
        match = theirs.get(proof.scenario.name)
        if match is None:
            continue
        for what, unit, mine, its in (*_figures(one, other), *_reactions(one, other, proof)):
            difference = _difference(proof, match, what, unit, mine, its)
            if difference is not None:
                found.append(difference)
    return tuple(found)


def comparison_document(one: Report, other: Report) -> dict[str, Any]:
    """Both documents, and the differences."""
    return {
        "format": FORMAT,
        "this": document(one),
        "other": document(other),
        "differences": [
            {
                "scenario": found.scenario,
                "what": found.what,
                "unit": found.unit,
                "this": estimate_document(found.one),
                "other": estimate_document(found.other),
                "difference": estimate_document(found.difference),
            }
            for found in differences(one, other)
        ],
    }


def _difference(
    mine: Proof, its: Proof, what: str, unit: str, of_mine: Figure, of_its: Figure
) -> Difference | None:
    others = {run.seed: run for run in its.runs}
    pairs = []
    for run in mine.runs:
        if run.seed in others:
            ours, theirs = of_mine(run), of_its(others[run.seed])
            if ours is not None and theirs is not None:
                pairs.append((ours, theirs))
    if not pairs:
        return None
    return Difference(
        scenario=mine.scenario.name,
        what=what,
        unit=unit,
        one=estimate([ours for ours, _ in pairs]),
        other=estimate([theirs for _, theirs in pairs]),
        difference=estimate([ours - theirs for ours, theirs in pairs]),
    )


# --- figures ------------------------------------------------------------------


def _figures(one: Report, other: Report) -> Iterator[tuple[str, str, Figure, Figure]]:
    """(what, unit, of this spec's runs, of the other's)."""
    its_objectives = [describe(objective) for objective in other.system.objectives]
    for index, objective in enumerate(one.system.objectives):
        name = describe(objective)
        if name in its_objectives:
            yield f"{name}: good", "fraction", _good(index), _good(its_objectives.index(name))
    for name in one.system.traffic:
        if name not in other.system.traffic:
            continue
        for label, share in (("p50", 0.5), ("p99", 0.99)):
            latency = _latency(name, share)
            yield f"{name} {label}", "seconds", latency, latency
        yield f"{name} not ok", "fraction", _not_ok(name), _not_ok(name)
    for name in one.system.services:
        if name in other.system.services:
            yield f"{name} instance-hours", "hours", _hours(name), _hours(name)


def _reactions(
    one: Report, other: Report, proof: Proof
) -> Iterator[tuple[str, str, Figure, Figure]]:
    """The same of what only a scenario has."""
    scenario = proof.scenario

    def detect(run: Run) -> float | None:
        return time_to_detect(scenario, run)

    def recover(system: System) -> Figure:
        return lambda run: time_to_recover(system, scenario, run)

    if scenario.steps:
        yield "time to detect", "seconds", detect, detect
        yield "time to recover", "seconds", recover(one.system), recover(other.system)
    yield "scaling actions", "count", scalings, scalings


def _good(index: int) -> Figure:
    def figure(run: Run) -> float | None:
        total = int(run.objectives[index].total.sum())
        return int(run.objectives[index].good.sum()) / total if total else None

    return figure


def _latency(name: str, share: float) -> Figure:
    return lambda run: run.traffic[name].latency.percentile_s(share)


def _not_ok(name: str) -> Figure:
    def figure(run: Run) -> float | None:
        flow: Flow = run.traffic[name]
        ended = flow.requests - flow.in_flight
        return (ended - flow.ok) / ended if ended else None

    return figure


def _hours(name: str) -> Figure:
    return lambda run: run.instance_ns.get(name, 0) / HOUR
