"""`seakeep simulate`: does the system hold? Asked of the twin, before it ships."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from seakeep.cli import output
from seakeep.cli.check import load_or_fail
from seakeep.cli.project import parsed
from seakeep.cli.simulate_table import show, show_comparison
from seakeep.explain.compare import comparison_document
from seakeep.explain.report import render
from seakeep.explain.simulation_document import document
from seakeep.explain.stability import stability
from seakeep.model import units
from seakeep.model.proof import Report
from seakeep.model.run import Run
from seakeep.model.scenario import Scenario
from seakeep.model.system import System, scenarios_of
from seakeep.runtime.arrival_logs import mean_rate, read_logs
from seakeep.runtime.atomic import write_atomic
from seakeep.runtime.prove import ProofError, Task, prove
from seakeep.runtime.simulate import Logs, ScenarioError

SEEDS = 5
SEEDS_MAX = 10_000

Seed = Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="The first seed.")]
Seeds = Annotated[
    int, typer.Option("--seeds", min=1, max=SEEDS_MAX, help="How many, one after the other.")
]
Chosen = Annotated[
    list[str] | None, typer.Option("--scenario", "-s", help="Only this one; may be repeated.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Try another value than the file's: services.web.replicas.max=20; may be repeated.",
    ),
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, max=1024, help="Runs at a time. [all cores]")
]


def simulate(
    spec: Annotated[Path, typer.Argument(help="The spec.")] = Path("seakeep.yaml"),
    file: Annotated[
        Path | None, typer.Option("--spec", "-f", help="The spec, as other verbs take it.")
    ] = None,
    scenario: Chosen = None,
    seed: Seed = 1,
    seeds: Seeds = SEEDS,
    changes: Overrides = None,
    duration: Annotated[
        str | None, typer.Option("--duration", help="Instead of each scenario's own: 1h.")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option("--compare", help="Another spec, to set beside this one.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write an HTML page about it to this file.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print everything, in format seakeep.simulation/1.")
    ] = False,
    jobs: Jobs = None,
) -> None:
    """Prove a system before it ships: run its scenarios in the twin.

    Every scenario of the spec runs with several seeds, on all cores, under the controllers that
    run the system for real. Exits with 1 when an objective breaks, 2 when the spec is wrong, 130
    on Ctrl-C (what has finished by then is told).

    Examples:

      seakeep simulate

      seakeep simulate --scenario region-loss --seeds 20 --report report.html

      seakeep simulate --set services.web.replicas.max=20

      seakeep simulate --compare seakeep.before.yaml

      seakeep simulate --json | jq '.scenarios[].runs[].traffic'
    """
    path = file or spec
    chosen = [(path, _system(path, changes, duration))]
    if compare is not None:
        chosen.append((compare, _system(compare, changes, duration)))
    if report is not None and not report.parent.is_dir():
        output.fail(f"--report: there is no folder {report.parent}", "create it, or name another")
    found = _prove(chosen, scenario, range(seed, seed + seeds), jobs or os.cpu_count() or 1)
    one, other = found[0], found[1] if len(found) > 1 else None
    if report is not None:
        write_atomic(report, render(one, other).encode(), mode=0o644)
        output.note(f"report: {report}")
    if json:
        output.print_json(document(one) if other is None else comparison_document(one, other))
    else:
        show(one)
        if other is not None:
            show_comparison(one, other)
    _end(found)


def _end(found: Sequence[Report]) -> NoReturn:
    if any(report.interrupted for report in found):
        done = sum(len(proof.runs) for report in found for proof in report.proofs)
        ended = output.counted(done, "run")
        output.fail(f"interrupted: {ended} had ended by then", "it can be begun again", code=130)
    raise typer.Exit(0 if found[0].held else 1)


# --- what to run --------------------------------------------------------------


def _system(path: Path, changes: list[str] | None, duration: str | None) -> System:
    system = load_or_fail(path, overrides=changes or ())
    if duration is None:
        return system
    length = parsed(units.parse_duration, duration, "--duration")
    if not length:
        output.fail("--duration: nothing happens in no time", "write 10m")
    longer = {
        name: replace(one, duration=length, steps=tuple(s for s in one.steps if s.at < length))
        for name, one in scenarios_of(system).items()
    }
    return replace(system, scenarios=longer)


def _scenarios(system: System, names: list[str] | None) -> tuple[Scenario, ...]:
    known = scenarios_of(system)
    unknown = [name for name in dict.fromkeys(names or ()) if name not in known]
    for name in unknown:
        close = get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"
        output.error(f"--scenario: there is no scenario '{name}'", hint)
    if unknown:
        raise typer.Exit(2)
    return tuple(known[name] for name in names) if names else tuple(known.values())


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be run of one spec."""

    system: System
    scenarios: tuple[Scenario, ...]
    logs: Logs


def _plan(path: Path, system: System, names: list[str] | None) -> _Plan:
    scenarios = _scenarios(system, names)
    try:
        logs = read_logs(system, path.resolve().parent)
    except ScenarioError as error:
        output.fail(str(error), error.hint)
    return _Plan(system, scenarios, logs)


def _warn(plan: _Plan) -> None:
    """What cannot be stable is explained before it runs; each thing once."""
    rates = {name: mean_rate(due) for name, due in plan.logs.items()}
    told = set()
    for scenario in plan.scenarios:
        for finding in stability(plan.system, scenario, rates):
            if finding.message not in told:
                told.add(finding.message)
                output.warn(finding.message, finding.hint)


# --- running ------------------------------------------------------------------


def _prove(
    chosen: Sequence[tuple[Path, System]],
    names: list[str] | None,
    seeds: Sequence[int],
    jobs: int,
) -> list[Report]:
    plans = [_plan(path, system, names) for path, system in chosen]
    for plan in plans:
        _warn(plan)
    total = sum(len(plan.scenarios) for plan in plans) * len(seeds)
    found: list[Report] = []
    with _progress(total) as advance:
        for plan in plans:
            try:
                found.append(
                    prove(plan.system, plan.scenarios, seeds, jobs=jobs, logs=plan.logs,
                          progress=advance)
                )  # fmt: skip
            except (ScenarioError, ProofError) as error:
                code = 2 if isinstance(error, ScenarioError) else 1
                output.fail(str(error), error.hint, code=code)
            if found[-1].interrupted:
                break
    return found


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Task, Run], None]]:
    """A bar on a terminal; elsewhere a line now and then."""
    if not output.messages.is_terminal or output.messages.is_dumb_terminal:
        with output.progress() as say:
            done = 0

            def count(task: Task, _: Run) -> None:
                nonlocal done
                done += 1
                say(f"{done} of {total} runs: {task.scenario.name}, seed {task.seed}")

            yield count
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("runs"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=output.messages, transient=True) as bar:
        shown = bar.add_task("simulating", total=total)

        def advance(task: Task, _: Run) -> None:
            bar.update(shown, advance=1, description=task.scenario.name)

        yield advance
