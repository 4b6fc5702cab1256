"""Two specs under the same scenarios, side by side. With the same seeds both met the very same
requests (common random numbers), so that what differs is the specs' doing."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from seakeep.explain.report import verdicts, words
from seakeep.explain.report.markup import Content, Markup, tag
from seakeep.explain.report.tables import estimate, table
from seakeep.model.proof import Estimate, Proof, Report, Verdict
from seakeep.model.system import Objective, System


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One spec's part in one scenario."""

    system: System
    proof: Proof


def comparison(report: Report, other: Report) -> Markup:
    """What is expected and what it costs, by scenario; only of scenarios that both have."""
    theirs = {
        proof.scenario.name: _Side(system=other.system, proof=proof) for proof in other.proofs
    }
    pairs = [
        (_Side(system=report.system, proof=proof), theirs[proof.scenario.name])
        for proof in report.proofs
        if proof.scenario.name in theirs
    ]
    return tag(
        "section",
        tag("h2", "The two specs compared"),
        tag("p", _intro(report, other)),
        [_scenario(one, two) for one, two in pairs]
        or tag("p", "They have no scenario in common.", class_="note"),
        id="comparison",
    )


def _intro(report: Report, other: Report) -> str:
    names = f"This spec is revision {report.system.revision}, "
    names += f"the other one revision {other.system.revision}"
    if other.system.name != report.system.name:
        names += f" of {other.system.name}"
    return (
        f"{names}. Both met the same chance: equal seeds give equal requests, so that the "
        "difference is the specs' doing. The rest of this page is about this spec."
    )


def _scenario(one: _Side, two: _Side) -> Markup:
    found = {verdict.what: verdict for verdict in two.proof.verdicts}
    rows = [
        (verdict.what, _verdict(verdict, found.get(verdict.what), one, two))
        for verdict in one.proof.verdicts
    ]
    mine, its = one.proof, two.proof
    rows += [
        ("time to detect", _figures(mine.detect, its.detect, words.seconds)),
        ("time to recover", _figures(mine.recover, its.recover, words.seconds)),
        ("scaling actions", _figures(mine.scalings, its.scalings, words.number)),
        ("instance-hours", _figures(_hours(mine), _hours(its), words.number)),
    ]
    columns = ("This spec", "The other", "Difference")
    return table(["Scenario ", mine.scenario.name], "Expectation or figure", columns, rows)


def _verdict(mine: Verdict, its: Verdict | None, one: _Side, two: _Side) -> list[Content]:
    shown: list[Content] = [[verdicts.badge(mine.held), " ", verdicts.measured(mine)]]
    if its is None:
        return [*shown, words.NOTHING, words.NOTHING]
    shown.append([verdicts.badge(its.held), " ", verdicts.measured(its)])
    return [*shown, _difference(mine, its, one, two)]


def _difference(mine: Verdict, its: Verdict, one: _Side, two: _Side) -> Content:
    """Of the means, and in how many runs with equal seeds it was that way round."""
    if mine.objective is None:
        return _change(mine.measured.mean, its.measured.mean, words.seconds, more_is_better=False)
    target = mine.target
    said = _change(
        mine.measured.mean,
        its.measured.mean,
        lambda amount: words.points(amount, target),
        more_is_better=True,
    )
    by_seed = _gains(mine.objective, one, two)
    better, worse = sum(gain > 0 for gain in by_seed), sum(gain < 0 for gain in by_seed)
    if len(by_seed) < 2 or not better + worse:
        return said
    pairs = f"better with {better}, worse with {worse} of {len(by_seed)} seeds"
    return [said, " ", tag("span", pairs, class_="interval")]


def _change(
    mine: float, its: float, write: Callable[[float], str], *, more_is_better: bool
) -> Content:
    if mine == its:
        return "equal"
    if not (math.isfinite(mine) and math.isfinite(its)):
        better = math.isfinite(mine)
        return tag("span", "better" if better else "worse", class_="better" if better else "worse")
    side = "better" if (mine > its) is more_is_better else "worse"
    return tag("span", f"{write(abs(mine - its))} {side}", class_=side)


def _gains(objective: Objective, one: _Side, two: _Side) -> list[float]:
    """This spec's share of good requests less the other's, for each seed that both ran."""
    mine, its = _shares(objective, one), _shares(objective, two)
    return [mine[seed] - its[seed] for seed in mine if seed in its]


def _shares(objective: Objective, side: _Side) -> dict[int, float]:
    """Of good requests, by seed; empty when the spec has no such objective."""
    if objective not in side.system.objectives:
        return {}
    index = side.system.objectives.index(objective)
    found = {}
    for run in side.proof.runs:
        good = run.objectives[index] if index < len(run.objectives) else None
        total = 0 if good is None else int(good.total.sum())
        if good is not None and total:
            found[run.seed] = int(good.good.sum()) / total
    return found


def _figures(
    mine: Estimate | None, its: Estimate | None, write: Callable[[float], str]
) -> list[Content]:
    shown: list[Content] = [estimate(mine, write), estimate(its, write)]
    if mine is None or its is None:
        return [*shown, words.NOTHING]
    by = mine.mean - its.mean
    if by == 0 or not math.isfinite(by):
        return [*shown, "equal" if by == 0 else words.NOTHING]
    return [*shown, f"{write(abs(by))} {'more' if by > 0 else 'less'}"]


def _hours(proof: Proof) -> Estimate:
    """Of all services; the sum's interval is not known from those of its parts."""
    return Estimate(mean=sum(one.mean for one in proof.instance_hours.values()))
