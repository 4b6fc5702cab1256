"""What came of a scenario, by how much, in a sentence or two."""

import math

from seakeep.explain.report import words
from seakeep.explain.report.markup import Content, Markup, tag
from seakeep.explain.report.verdicts import amount_of, gap, spent
from seakeep.model.proof import Proof, Verdict
from seakeep.model.scenario import Scenario
from seakeep.model.system import Objective, ObjectiveKind
from seakeep.model.units import format_duration, format_percent


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
        return [tag("strong", "Broken."), " ", told(broken[0], proof.scenario), more]
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


def _closest(proof: Proof) -> str:
    lead = "" if len(proof.verdicts) == 1 else "Closest to its limit: "
    return lead + told(closest(proof), proof.scenario)


def shortly(proof: Proof) -> str:
    """In a few words, for a table of all scenarios."""
    if not proof.runs:
        return "no run has ended"
    if any(run.broken for run in proof.runs):
        return "something happened that must never happen"
    broken = [verdict for verdict in proof.verdicts if not verdict.held]
    if broken:
        return "; ".join(f"{one.what}: {gap(one, proof.scenario)}" for one in broken[:3])
    if not proof.verdicts:
        return "nothing was expected"
    verdict = closest(proof)
    return f"closest to its limit: {verdict.what}, {gap(verdict, proof.scenario)}"


def closest(proof: Proof) -> Verdict:
    """Of a scenario's verdicts: the one with the least to spare, relative to what there was."""
    return min(proof.verdicts, key=lambda verdict: _slack(verdict, proof.scenario))


def _slack(verdict: Verdict, scenario: Scenario) -> float:
    """1: everything to spare; 0: nothing; negative when broken."""
    if not verdict.measured.runs:
        return math.inf
    used = spent(verdict, scenario)
    if used is not None and scenario.budget:
        return 1 - used / scenario.budget
    room = 1 - verdict.target if verdict.objective is not None else verdict.target
    return verdict.margin / room if room > 0 else math.inf


def told(verdict: Verdict, scenario: Scenario) -> str:
    """One verdict as a sentence."""
    seed = "" if verdict.worst_seed is None else f" (seed {verdict.worst_seed})"
    objective = verdict.objective
    if objective is None:
        return f"{verdict.what}: {_recovered(verdict, seed)}"
    if not verdict.measured.runs:
        return f"{verdict.what}: there were no requests to judge it by."
    mean = amount_of(verdict, verdict.measured.mean)
    promised = (
        f"{objective.service} promises that {format_percent(objective.target)} of requests "
        f"{_good(objective)}"
    )
    used = spent(verdict, scenario)
    if used is None:
        by = gap(verdict, scenario)
        return f"{promised}; on average {mean} were, and the worst run{seed} was {by}."
    window = format_duration(objective.window)
    allowed = words.percent(scenario.budget or 0.0, 0)
    return (
        f"{promised}, and may spend {allowed} of its error budget for {window} here; on average "
        f"{mean} were, and the worst run{seed} spent {words.budget(used)}."
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
