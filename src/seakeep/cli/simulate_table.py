"""How simulations are shown on a terminal: a block per scenario, a table of two specs compared."""

import math
from collections.abc import Callable, Iterator
from typing import TypeAlias

from rich import box
from rich.table import Table
from rich.text import Text

from seakeep.cli import output
from seakeep.explain.compare import Difference, differences
from seakeep.explain.judge import time_to_detect, time_to_recover
from seakeep.explain.report import verdicts, words
from seakeep.explain.report.comparison import WRITERS, is_alike
from seakeep.model.hdr import merged
from seakeep.model.proof import Estimate, Proof, Report, Verdict
from seakeep.model.units import format_duration, format_percent

Write: TypeAlias = Callable[[float], str]

BROKEN_MAX = 10
"""Broken invariants that are told of one scenario."""
HUNG_SHOWN = 0.01
"""Requests without an answer when the scenario ends are told of from this share on."""
LABEL = 18
"""Cells that the names of figures take."""


def show(report: Report) -> None:
    """Everything that was found out, one scenario after the other."""
    for index, proof in enumerate(report.proofs):
        if index:
            output.data("")
        output.data(_head(proof))
        if proof.verdicts:
            output.table(_verdicts(proof))
            output.data("")
        if proof.runs and proof.runs[0].traffic:
            output.table(_traffic(proof))
            output.data("")
        for name, figure in _figures(report, proof):
            output.data(f"{name:{LABEL}}{figure}")
        for alarm in _invariants(proof):
            output.data(alarm)
    if len(report.proofs) > 1:
        output.data("")
        output.data(_together(report))


def _head(proof: Proof) -> Text:
    scenario = proof.scenario
    said = format_duration(scenario.duration)
    said += f", {output.counted(len(proof.runs), 'seed')}"
    return Text.assemble((scenario.name, "bold"), ": ", _outcome(proof), (f" ({said})", "dim"))


def _outcome(proof: Proof) -> Text:
    if not proof.runs:
        return Text("not run", "bold yellow")
    if proof.held and not proof.verdicts:
        return Text("nothing was expected", "bold")
    return Text("held", "bold green") if proof.held else Text("broken", "bold red")


def _together(report: Report) -> Text:
    """`4 scenarios: 3 held, 1 broken (region-loss)`. Where nothing is expected, nothing breaks."""
    broken = [proof.scenario.name for proof in report.proofs if not proof.held]
    held = sum(bool(proof.runs) and proof.held for proof in report.proofs)
    unknown = len(report.proofs) - len(broken) - held
    parts = [Text(f"{held} held", "green" if held else "")]
    if broken:
        parts.append(Text(f"{len(broken)} broken ({', '.join(broken)})", "red"))
    if unknown:
        parts.append(Text(f"{unknown} not run", "yellow"))
    return Text.assemble(f"{len(report.proofs)} scenarios: ", Text(", ").join(parts))


# --- verdicts -----------------------------------------------------------------


def _verdicts(proof: Proof) -> Table:
    table = _table("", "expected", "measured", "worst run", "budget")
    for verdict in proof.verdicts:
        table.add_row(
            Text("held", "green") if verdict.held else Text("broken", "red"),
            verdict.what,
            _measured(verdict),
            _worst(proof, verdict),
            _budget(proof, verdict),
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(name)
    return table


def _measured(verdict: Verdict) -> str:
    if not verdict.measured.runs:
        return "no requests"
    objective = verdict.objective
    if objective is None:
        return _spread(verdict.measured, words.seconds)
    digits = words.digits_of(objective.target)
    return _spread(
        verdict.measured,
        lambda amount: verdicts.amount_of(verdict, amount),
        lambda half: f"{half * 100:.{digits}f}",
    )


def _worst(proof: Proof, verdict: Verdict) -> str:
    """How far it is from the target; of a scenario that may use up error budget, how much."""
    used = verdicts.spent(verdict, proof.scenario)
    return verdicts.gap(verdict, proof.scenario) if used is None else f"uses {words.budget(used)}"


def _budget(proof: Proof, verdict: Verdict) -> str:
    """The share of the error budget that is used up, and the one that may be."""
    if verdict.budget is None:
        return words.NOTHING
    used = words.budget(verdict.budget.mean)
    may = proof.scenario.budget
    return used if may is None else f"{used} of {format_percent(may)}"


def _spread(value: Estimate, write: Write, write_half: Write | None = None) -> str:
    """`13.6s ± 2.4s`: the mean and how far from it the true one may be."""
    mean = write(value.mean)
    if value.low is None or value.high is None or value.low == value.high:
        return mean
    half = max(value.high - value.mean, value.mean - value.low)
    return f"{mean} ± {(write_half or write)(half)}"


def _traffic(proof: Proof) -> Table:
    """What clients met, all runs together."""
    table = _table("traffic")
    columns = ["requests", "ok", "p50", "p99", "max", "mean wait"]
    met = {name: [run.traffic[name] for run in proof.runs] for name in proof.runs[0].traffic}
    hung = {name: sum(flow.in_flight for flow in flows) for name, flows in met.items()}
    total = {name: sum(flow.requests for flow in flows) for name, flows in met.items()}
    if any(hung[name] > total[name] * HUNG_SHOWN for name in met):
        columns.append("no answer yet")
    for column in columns:
        table.add_column(column, justify="right")
    for name, flows in met.items():
        latency, wait = merged(one.latency for one in flows), merged(one.wait for one in flows)
        ended = total[name] - hung[name]
        times = latency.percentile_s(0.5), latency.percentile_s(0.99), latency.max_s, wait.mean_s
        figures = [
            f"{total[name]:,}",
            words.percent(sum(one.ok for one in flows) / ended, 3) if ended else words.NOTHING,
            *map(_short, times),
            f"{hung[name]:,}",
        ]
        table.add_row(name, *figures[: len(columns)])
    return table


def _short(seconds: float | None) -> str:
    if seconds is None:
        return words.NOTHING
    return words.short_seconds(seconds) if seconds else "0"


# --- figures ------------------------------------------------------------------


def _figures(report: Report, proof: Proof) -> Iterator[tuple[str, str]]:
    """What there is to say beside the verdicts: name, figure."""
    if not proof.runs:
        return
    scenario = proof.scenario
    if scenario.steps:
        yield (
            "time to detect",
            _time(
                proof,
                proof.detect,
                sum(time_to_detect(scenario, run) is None for run in proof.runs),
            ),
        )
    if scenario.steps and report.system.objectives:
        never = sum(time_to_recover(report.system, scenario, run) is None for run in proof.runs)
        yield "time to recover", _time(proof, proof.recover, never)
    peaks = sorted(proof.peak_utilisation.items(), key=lambda item: -item[1].mean)
    busy = [f"{name} {words.percent(peak.mean, 0)}" for name, peak in peaks if peak.mean]
    if busy:
        yield "peak utilisation", ", ".join(busy)
    yield "scaling actions", _spread(proof.scalings, words.number)
    spent = proof.instance_hours
    hours = words.number(math.fsum(one.mean for one in spent.values()))
    parts = ", ".join(f"{name} {words.number(one.mean)}" for name, one in spent.items())
    yield "instance-hours", hours if len(spent) < 2 else f"{hours} ({parts})"


def _time(proof: Proof, value: Estimate | None, never: int) -> str:
    if value is None:
        return "never"
    shown = _spread(value, words.seconds)
    return f"{shown}; never in {never} of {len(proof.runs)} runs" if never else shown


def _invariants(proof: Proof) -> Iterator[Text]:
    found = [(run.seed, text) for run in proof.runs for text in run.broken]
    for seed, text in found[:BROKEN_MAX]:
        yield Text.assemble(("must never happen: ", "bold red"), f"{text} (seed {seed})")
    if len(found) > BROKEN_MAX:
        yield Text(f"and {len(found) - BROKEN_MAX} more")


# --- two specs ----------------------------------------------------------------


def show_comparison(one: Report, other: Report, names: tuple[str, str]) -> None:
    """What held under both, and how their figures differ. `names`: of the two specs."""
    theirs = {proof.scenario.name: proof for proof in other.proofs}
    found = differences(one, other)
    both = [proof for proof in one.proofs if proof.scenario.name in theirs]
    for proof in both:
        name = proof.scenario.name
        output.data("")
        output.data(Text.assemble((name, "bold"), ": ", f"{names[0]} beside {names[1]}"))
        table = _table("figure", "this", "other", "difference")
        outcomes = {verdict.what: verdict for verdict in theirs[name].verdicts}
        for verdict in proof.verdicts:
            table.add_row(verdict.what, *map(_held, (verdict, outcomes.get(verdict.what))), "")
        for difference in found:
            if difference.scenario == name:
                table.add_row(difference.what, *_compared(difference))
        output.table(table)
    output.data("")
    if both:
        output.data("this less other, over runs with equal seeds; ~ may be chance (95% confidence)")
    else:
        output.data("the two specs have no scenario in common")


def _held(verdict: Verdict | None) -> Text:
    if verdict is None:
        return Text(words.NOTHING)
    return Text("held", "green") if verdict.held else Text("broken", "red")


def _compared(found: Difference) -> tuple[str, str, Text]:
    write = WRITERS[found.unit]
    if is_alike(found):
        shown = Text("alike", "dim")
    else:
        sign = "-" if found.difference.mean < 0 else "+"
        by = _spread(found.difference, lambda amount: write(abs(amount)))
        known = found.is_certain or found.difference.low is None
        shown = Text(f"{sign}{by}") if known else Text(f"~ {sign}{by}", "dim")
    return write(found.one.mean), write(found.other.mean), shown
