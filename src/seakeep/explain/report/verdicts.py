"""Whether a scenario's expectations hold, in tables."""

import math
from collections.abc import Sequence

from seakeep.explain.report import words
from seakeep.explain.report.faults import spans
from seakeep.explain.report.markup import Content, Markup, tag
from seakeep.explain.report.tables import estimate
from seakeep.explain.report.tables import table as figures
from seakeep.model.proof import Estimate, Proof, Verdict
from seakeep.model.run import Run
from seakeep.model.scenario import Scenario
from seakeep.model.time import SECOND
from seakeep.model.units import format_duration, format_percent


def badge(held: bool) -> Markup:
    """A sign and a word, so that colour is not needed to tell them apart."""
    kind, sign, word = ("held", "✓", "held") if held else ("broken", "✗", "broken")
    return tag("span", tag("span", sign, aria_hidden="true"), f" {word}", class_=f"badge {kind}")


def table(proof: Proof) -> Markup:
    if not proof.verdicts:
        return tag("p", "No objective or recovery is stated for it.", class_="note")
    spread = any(verdict.measured.low is not None for verdict in proof.verdicts)
    names = ("Expectation", "Outcome", "Target", "Measured", "Worst run", "Error budget used")
    rows = [tag("tr", _cells(verdict, proof.scenario)) for verdict in proof.verdicts]
    note = (
        f"Measured: means over {len(proof.runs)} runs, and below each where the true mean is, with "
        "95% confidence. An expectation holds when it does in every run."
        if spread
        else "From a single run: how much is luck is not known."
    )
    shown = tag(
        "table",
        tag("caption", "What was expected, and what came of it"),
        tag("thead", tag("tr", [tag("th", name, scope="col") for name in names])),
        tag("tbody", rows),
        class_="verdicts",
    )
    return Markup(tag("div", shown, class_="scroll") + tag("p", note, class_="note"))


def _cells(verdict: Verdict, scenario: Scenario) -> list[Markup]:
    return [
        tag("th", verdict.what, scope="row"),
        tag("td", badge(verdict.held)),
        tag("td", _target(verdict, scenario)),
        tag("td", measured(verdict)),
        tag("td", _worst(verdict, scenario)),
        tag("td", _budget(verdict)),
    ]


def _target(verdict: Verdict, scenario: Scenario) -> str:
    if verdict.objective is None:
        return format_duration(round(verdict.target * SECOND))
    if scenario.budget is not None:
        return f"at most {words.percent(scenario.budget, 0)} of its budget"
    return format_percent(verdict.target)


def measured(verdict: Verdict) -> Content:
    if not verdict.measured.runs:
        return "no requests"
    return estimate(verdict.measured, lambda amount: amount_of(verdict, amount))


def amount_of(verdict: Verdict, amount: float) -> str:
    """In the verdict's own unit."""
    if verdict.objective is None:
        return words.seconds(amount)
    return words.share(min(1.0, max(0.0, amount)), verdict.objective.target)


def _worst(verdict: Verdict, scenario: Scenario) -> str:
    seed = "" if verdict.worst_seed is None else f", seed {verdict.worst_seed}"
    return gap(verdict, scenario) + seed


def spent(verdict: Verdict, scenario: Scenario) -> float | None:
    """Of a verdict on what the scenario may spend of an error budget: the share of it, over the
    objective's whole window, that the worst run used up. None of other verdicts."""
    objective = verdict.objective
    if scenario.budget is None or objective is None or not verdict.measured.runs:
        return None
    bad = 1 - (verdict.target + verdict.margin)
    over = objective.window / max(scenario.duration, 1)
    return max(0.0, bad) / max(1 - objective.target, 1e-12) / over


def gap(verdict: Verdict, scenario: Scenario) -> str:
    """How far the worst run is from the target: `1.24 points short`, `33.5s to spare`. Where the
    scenario may use up some error budget: `at 40% of the budget it may use`."""
    if not verdict.measured.runs:
        return words.NOTHING
    if not math.isfinite(verdict.margin):
        return "never"
    used = spent(verdict, scenario)
    if used is not None:
        return f"at {words.budget(used / (scenario.budget or 1.0))} of the budget it may use"
    if verdict.objective is None:
        size, side = words.seconds(abs(verdict.margin)), ("to spare", "too long")
    else:
        size, side = words.points(verdict.margin, verdict.objective.target), ("to spare", "short")
    return f"{size} {side[verdict.margin < 0]}"


def _budget(verdict: Verdict) -> Content:
    if verdict.budget is None or verdict.objective is None:
        return words.NOTHING
    used = words.budget(verdict.budget.mean)
    return f"{used} of that for {format_duration(verdict.objective.window)}"


def key_figures(proof: Proof) -> Markup:
    """Beside the verdicts: how soon, how busy, how much."""
    hours = sum(one.mean for one in proof.instance_hours.values())
    told_of: list[tuple[str, Content]] = [
        ("Time to detect", _time(proof.detect, proof)),
        ("Time to recover", _time(proof.recover, proof)),
        ("Peak utilisation", _peak(proof)),
        ("Scaling actions", estimate(proof.scalings, words.number)),
        ("Instance-hours", words.number(hours)),
    ]
    return tag(
        "dl",
        [tag("div", tag("dt", name), tag("dd", figure)) for name, figure in told_of],
        class_="key-figures",
    )


def _time(value: Estimate | None, proof: Proof) -> Content:
    if value is None:
        return "never" if spans(proof.scenario) else "no fault"
    shown = estimate(value, words.seconds)
    if value.runs == len(proof.runs):
        return shown
    return [shown, tag("span", f"in {value.runs} of {len(proof.runs)} runs", class_="interval")]


def _peak(proof: Proof) -> str:
    if not proof.peak_utilisation:
        return words.NOTHING
    name, worst = max(proof.peak_utilisation.items(), key=lambda pair: pair[1].mean)
    return f"{words.percent(worst.mean, 0)} ({name})"


def services(proof: Proof) -> Markup:
    """Of each service: how busy at most, and what it cost."""
    names = list(dict.fromkeys((*proof.peak_utilisation, *proof.instance_hours)))
    rows = [
        (
            name,
            (
                estimate(proof.peak_utilisation.get(name), _whole),
                estimate(proof.instance_hours.get(name), words.number),
            ),
        )
        for name in names
    ]
    caption = "How busy each service was at most, and what it cost"
    return figures(caption, "Service", ("Peak utilisation", "Instance-hours"), rows)


def _whole(fraction: float) -> str:
    return words.percent(max(0.0, fraction), 0)


def invariants(runs: Sequence[Run]) -> Markup:
    """What must never happen, and did."""
    found = [(run.seed, text) for run in runs for text in run.broken]
    if not found:
        return Markup()
    items = [tag("li", f"seed {seed}: {text}") for seed, text in found[:20]]
    if len(found) > 20:
        items.append(tag("li", f"and {len(found) - 20} more"))
    return tag(
        "div",
        tag("p", tag("strong", "This must never happen, and did:")),
        tag("ul", items),
        class_="alarm",
        role="note",
    )
