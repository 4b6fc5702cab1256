"""Whether a scenario's expectations hold: the headline in plain words, and the tables."""

import math
from collections.abc import Sequence

from seakeep.explain.report import words
from seakeep.explain.report.faults import spans
from seakeep.explain.report.markup import Content, Markup, tag
from seakeep.explain.report.tables import estimate
from seakeep.explain.report.tables import table as figures
from seakeep.model.proof import Estimate, Proof, Verdict
from seakeep.model.run import Run
from seakeep.model.system import Objective, ObjectiveKind
from seakeep.model.time import SECOND
from seakeep.model.units import format_duration, format_percent


def badge(held: bool) -> Markup:
    """A sign and a word, so that colour is not needed to tell them apart."""
    kind, sign, word = ("held", "✓", "held") if held else ("broken", "✗", "broken")
    return tag("span", tag("span", sign, aria_hidden="true"), f" {word}", class_=f"badge {kind}")


# --- in a sentence or two ---------------------------------------------------------


def headline(proof: Proof) -> Markup:
    """What came of a scenario, by how much."""
    said = _said(proof)
    kind = "" if not proof.runs else "held" if proof.held else "broken"
    return tag("p", said, class_=f"headline {kind}")


def _said(proof: Proof) -> Content:
    if not proof.runs:
        return "No run of this scenario has ended, so nothing is known."
    broken = [verdict for verdict in proof.verdicts if not verdict.held]
    invariants = sum(bool(run.broken) for run in proof.runs)
    if broken:
        rest = len(broken) - 1
        more = (
            f" And {words.counted(rest, 'more expectation')} broke: see the table." if rest else ""
        )
        return [tag("strong", "Broken."), " ", told(broken[0]), more]
    if invariants:
        return [
            tag("strong", "Broken."),
            f" Something happened that must never happen, in {words.counted(invariants, 'run')}.",
        ]
    if not proof.verdicts:
        return "Nothing was expected of this scenario, so nothing could break: see the figures."
    return [tag("strong", "Held."), f" {_all_held(proof)} ", _closest(proof)]


def _all_held(proof: Proof) -> str:
    runs, many = len(proof.runs), len(proof.verdicts)
    each = "its one run" if runs == 1 else f"each of {runs} runs"
    if many == 1:
        return f"The one expectation is met in {each}."
    return f"{'Both' if many == 2 else f'All {many}'} expectations are met in {each}."


def closest(verdicts: Sequence[Verdict]) -> Verdict:
    """The one with the least to spare, relative to what could be."""
    return min(verdicts, key=_slack)


def _closest(proof: Proof) -> str:
    lead = "" if len(proof.verdicts) == 1 else "Closest to its limit: "
    return lead + told(closest(proof.verdicts))


def _slack(verdict: Verdict) -> float:
    if not verdict.measured.runs:
        return math.inf
    room = 1 - verdict.target if verdict.objective is not None else verdict.target
    return verdict.margin / room if room > 0 else math.inf


def told(verdict: Verdict) -> str:
    """One verdict as a sentence."""
    seed = "" if verdict.worst_seed is None else f" (seed {verdict.worst_seed})"
    objective = verdict.objective
    if objective is None:
        return f"{verdict.what}: {_recovered(verdict, seed)}"
    if not verdict.measured.runs:
        return f"{verdict.what}: there were no requests to judge it by."
    if verdict.target == objective.target:
        asked = f"{objective.service} promises that {format_percent(objective.target)} of requests"
    else:
        asked = (
            f"to keep within its part of the error budget, {objective.service} needs that "
            f"{target(verdict)} of requests"
        )
    return (
        f"{asked} {_good(objective)}; on average {amount_of(verdict, verdict.measured.mean)} did, "
        f"and the worst run{seed} was {gap(verdict)}."
    )


def _good(objective: Objective) -> str:
    if objective.kind is ObjectiveKind.LATENCY and objective.threshold is not None:
        return f"are answered well within {format_duration(objective.threshold)}"
    return "are answered without an error"


def _recovered(verdict: Verdict, seed: str) -> str:
    limit = words.seconds(verdict.target)
    if not math.isfinite(verdict.margin) or not math.isfinite(verdict.measured.mean):
        return f"in the worst run{seed} it never came, and {limit} were allowed."
    worst = words.seconds(verdict.target - verdict.margin)
    if verdict.margin < 0:
        late = words.seconds(-verdict.margin)
        return f"the worst run{seed} took {worst}, {late} longer than allowed."
    return f"the worst run{seed} took {worst}, of the {limit} that are allowed."


# --- tables -----------------------------------------------------------------------


def table(proof: Proof) -> Markup:
    if not proof.verdicts:
        return tag("p", "No objective or recovery is stated for it.", class_="note")
    spread = any(verdict.measured.low is not None for verdict in proof.verdicts)
    names = ("Expectation", "Outcome", "Target", "Measured", "Worst run", "Error budget used")
    rows = [tag("tr", _cells(verdict)) for verdict in proof.verdicts]
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


def _cells(verdict: Verdict) -> list[Markup]:
    return [
        tag("th", verdict.what, scope="row"),
        tag("td", badge(verdict.held)),
        tag("td", target(verdict)),
        tag("td", measured(verdict)),
        tag("td", _worst(verdict)),
        tag("td", _budget(verdict)),
    ]


def target(verdict: Verdict) -> str:
    if verdict.objective is None:
        return format_duration(round(verdict.target * SECOND))
    if verdict.target == verdict.objective.target:
        return format_percent(verdict.target)
    return words.percent(verdict.target, words.digits_of(verdict.target))


def measured(verdict: Verdict) -> Content:
    if not verdict.measured.runs:
        return "no requests"
    return estimate(verdict.measured, lambda amount: amount_of(verdict, amount))


def amount_of(verdict: Verdict, amount: float) -> str:
    """In the verdict's own unit."""
    if verdict.objective is None:
        return words.seconds(amount)
    return words.share(min(1.0, max(0.0, amount)), verdict.target)


def _worst(verdict: Verdict) -> str:
    seed = "" if verdict.worst_seed is None else f", seed {verdict.worst_seed}"
    return gap(verdict) + seed


def gap(verdict: Verdict) -> str:
    """How far the worst run is from the target: `1.24 points short`, `33.5 s to spare`."""
    if not verdict.measured.runs:
        return words.NOTHING
    if not math.isfinite(verdict.margin):
        return "never"
    if verdict.objective is None:
        size, side = words.seconds(abs(verdict.margin)), ("to spare", "too long")
    else:
        size, side = words.points(verdict.margin, verdict.target), ("to spare", "short")
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
