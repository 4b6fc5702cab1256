"""How simulations are shown on a terminal: a block per scenario, a table of two specs compared."""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from rich import box
from rich.table import Table
from rich.text import Text

from seakeep.cli import output
from seakeep.explain.compare import Difference, differences
from seakeep.explain.report import verdicts, words
from seakeep.model.hdr import merged
from seakeep.model.proof import Estimate, Proof, Report, Verdict
from seakeep.model.units import format_duration, format_percent

Write: TypeAlias = Callable[[float], str]

BROKEN_MAX = 10
"""Broken invariants that are told of one scenario."""
WRITERS: Mapping[str, Write] = {
    "fraction": lambda amount: words.percent(amount, 3),
    "seconds": words.seconds,
    "hours": words.number,
}
"""How a figure is written, by its unit."""


def show(report: Report) -> None:
    """Everything that was found out, one scenario after the other."""
    for index, proof in enumerate(report.proofs):
        if index:
            output.data("")
        output.data(_head(proof))
        if proof.verdicts:
            output.data("")
            output.table(_verdicts(proof))
        if proof.runs and proof.runs[0].traffic:
            output.data("")
            output.table(_traffic(proof))
            output.data("")
        for line in _figures(proof):
            output.data(line)
        for alarm in _invariants(proof):
            output.data(alarm)


def _head(proof: Proof) -> Text:
    scenario = proof.scenario
    seeds = output.counted(len(proof.runs), "seed")
    said = ("held", "bold green") if proof.held else ("broken", "bold red")
    if not proof.runs:
        said = ("not run", "bold yellow")
    length = format_duration(scenario.duration)
    if scenario.budget is not None:
        seeds += f", {format_percent(scenario.budget)} of each error budget"
    return Text.assemble((scenario.name, "bold"), f" ({length}, {seeds}): ", said)


def _verdicts(proof: Proof) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("expected", "", "measured", "worst run", "of its budget"):
        table.add_column(name)
    for verdict in proof.verdicts:
        table.add_row(
            verdict.what,
            Text("held", "green") if verdict.held else Text("broken", "red"),
            _measured(verdict),
            verdicts.gap(verdict, proof.scenario),
            words.NOTHING if verdict.budget is None else words.budget(verdict.budget.mean),
        )
    return table


def _traffic(proof: Proof) -> Table:
    """What clients met, all runs together."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("traffic")
    for name in ("requests", "ok", "p50", "p99", "max", "queued (mean)"):
        table.add_column(name, justify="right")
    for name in proof.runs[0].traffic:
        flows = [run.traffic[name] for run in proof.runs]
        requests = sum(flow.requests - flow.in_flight for flow in flows)
        latency = merged(flow.latency for flow in flows)
        waits = merged(flow.wait for flow in flows)
        table.add_row(
            name,
            f"{requests:,}",
            words.percent(sum(flow.ok for flow in flows) / requests, 3) if requests else "",
            *(
                words.NOTHING if figure is None else words.short_seconds(figure)
                for figure in (
                    latency.percentile_s(0.5),
                    latency.percentile_s(0.99),
                    latency.max_s,
                    waits.mean_s,
                )
            ),
        )
    return table


def _measured(verdict: Verdict) -> str:
    if not verdict.measured.runs:
        return "no requests"
    return _with_interval(verdict.measured, lambda amount: verdicts.amount_of(verdict, amount))


def _with_interval(value: Estimate, write: Write) -> str:
    """`99.87% (99.81% to 99.93%)`."""
    mean = write(value.mean)
    if value.low is None or value.high is None:
        return mean
    low, high = write(value.low), write(value.high)
    return mean if low == high == mean else f"{mean} ({low} to {high})"


def _figures(proof: Proof) -> Iterator[str]:
    if not proof.runs:
        return
    if proof.scenario.steps:
        noticed = "nobody noticed"
        if proof.detect is not None:
            noticed = f"noticed after {_with_interval(proof.detect, words.seconds)}"
        well = ""
        if proof.recover is not None:
            well = f", well again after {_with_interval(proof.recover, words.seconds)}"
        elif any(verdict.objective is not None for verdict in proof.verdicts):
            well = ", and it was never well again"
        yield noticed + well
    busy = [
        f"{name} {words.percent(peak.mean, 0)}"
        for name, peak in proof.peak_utilisation.items()
        if peak.mean
    ]
    if busy:
        yield f"busiest: {', '.join(busy)} of worker slots"
    hours = sum(one.mean for one in proof.instance_hours.values())
    yield (
        f"{words.number(proof.scalings.mean)} scaling actions, {words.number(hours)} instance-hours"
    )


def _invariants(proof: Proof) -> Iterator[Text]:
    found = [(run.seed, text) for run in proof.runs for text in run.broken]
    for seed, text in found[:BROKEN_MAX]:
        yield Text.assemble(("must never happen: ", "bold red"), f"{text} (seed {seed})")
    if len(found) > BROKEN_MAX:
        yield Text(f"and {len(found) - BROKEN_MAX} more")


# --- two specs ----------------------------------------------------------------


def show_comparison(one: Report, other: Report) -> None:
    """What differs by more than chance, and by how much."""
    found = differences(one, other)
    output.data("")
    if not found:
        output.data("the two specs have no scenario in common")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("scenario", "figure", "this", "other", "difference"):
        table.add_column(name)
    for difference in found:
        table.add_row(difference.scenario, difference.what, *_compared(difference))
    output.table(table)
    output.data("differences: means over equal seeds, with 95% confidence; ~ may be chance")


def _compared(found: Difference) -> tuple[str, str, Text]:
    write = WRITERS[found.unit]
    by = _with_interval(found.difference, lambda amount: _signed(amount, write))
    if found.difference.mean == 0:
        shown = Text("equal", "dim")
    elif found.is_certain:
        shown = Text(by)
    else:
        shown = Text(f"~ {by}", "dim")
    return write(found.one.mean), write(found.other.mean), shown


def _signed(amount: float, write: Write) -> str:
    return f"{'-' if amount < 0 else '+'}{write(abs(amount))}"
