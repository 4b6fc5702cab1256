"""`seakeep simulate`: does the system hold? Asked of the twin, before it ships."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from seakeep.cli import output
from seakeep.cli.check import load_or_fail
from seakeep.cli.project import DEFAULT_SPEC, parsed
from seakeep.cli.simulate_progress import runs_progress
from seakeep.cli.simulate_table import show, show_comparison
from seakeep.explain.compare import comparison_document
from seakeep.explain.report import render
from seakeep.explain.simulation_document import document
from seakeep.explain.stability import stability
from seakeep.load.plan import PlanError
from seakeep.model import units
from seakeep.model.proof import Report
from seakeep.model.scenario import Scenario
from seakeep.model.system import System, scenarios_of
from seakeep.runtime.arrival_logs import mean_rate, read_logs
from seakeep.runtime.atomic import write_atomic
from seakeep.runtime.prove import Logs, ProofError, cores, prove

SEED_MAX = 2**52
"""Readers of JSON take larger numbers for others."""
SEEDS = 5
SEEDS_MAX = 1_000
"""All runs are held in memory, a megabyte or two each."""

Seed = Annotated[int, typer.Option("--seed", min=0, max=SEED_MAX, help="The first seed.")]
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
        help="Try another value than the spec's: services.web.replicas.max=20; may be repeated.",
    ),
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, max=1024, help="Runs at a time. [all cores]")
]


def simulate(
    spec: Annotated[Path, typer.Argument(help="The spec.")] = DEFAULT_SPEC,
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
        Path | None,
        typer.Option("--compare", help="Another spec to set beside it; --set is not for that."),
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

      seakeep simulate --compare seakeep.before.yaml

      seakeep simulate --set services.web.replicas.max=20 --compare seakeep.yaml

      seakeep simulate --json | jq '.scenarios[].runs[].traffic'
    """
    path = file or spec
    system = _lasting(load_or_fail(path, overrides=changes or ()), duration)
    options = _options(path, changes, duration)
    chosen = [_Plan.of(path, system, _scenarios(system, scenario), options)]
    if compare is not None:
        other = _lasting(load_or_fail(compare), duration)
        options = _options(compare, None, duration)
        chosen.append(_Plan.of(compare, other, _shared(chosen[0], other, compare), options))
    if report is not None:
        _check_writable(report)
    found = _prove(chosen, range(seed, seed + seeds), jobs or cores())
    one, beside = found[0], found[1] if len(found) > 1 else None
    if json:
        output.print_json(document(one) if beside is None else comparison_document(one, beside))
    else:
        show(one)
        if beside is not None:
            changed = f"{path}, changed," if changes else str(path)
            show_comparison(one, beside, (changed, str(compare)))
        if report is None:
            _look_closer(chosen[0], one)
    if report is not None:
        _write(report, render(one, beside))
    _end(found)


def _end(found: Sequence[Report]) -> NoReturn:
    if any(report.interrupted for report in found):
        done = sum(len(proof.runs) for report in found for proof in report.proofs)
        ended = output.counted(done, "run")
        output.fail(f"interrupted: {ended} had ended by then", "it can be begun again", code=130)
    raise typer.Exit(0 if found[0].held else 1)


def _check_writable(report: Path) -> None:
    """Before anything runs."""
    if report.is_dir():
        output.fail(f"--report: {report} is a folder", f"name a file: {report / 'report.html'}")
    if not report.parent.is_dir():
        output.fail(f"--report: there is no folder {report.parent}", "create it, or name another")
    if not os.access(report.parent, os.W_OK):
        output.fail(f"--report: {report.parent} may not be written to", "name another folder")


def _write(report: Path, page: str) -> None:
    try:
        if report.is_symlink() or (report.exists() and not report.is_file()):
            report.write_text(page, encoding="utf-8")  # a device or a pipe is not to be replaced
        else:
            write_atomic(report, page.encode(), mode=0o644)
    except OSError as error:
        message = f"--report: cannot write {report}: {error.strerror or error}"
        output.fail(message, "name another file; what was found out is above", code=1)
    output.note(f"report: {report}")


def _look_closer(plan: "_Plan", report: Report) -> None:
    """How to see why it broke: the worst run of the first scenario that did."""
    for proof in report.proofs:
        seeds = [one.worst_seed for one in proof.verdicts if not one.held]
        seeds += [run.seed for run in proof.runs if run.broken]
        worst = next((seed for seed in seeds if seed is not None), None)
        if worst is not None:
            command = plan.again(proof.scenario.name, worst)
            output.note(f"to see why: {command} --report report.html")
            return


# --- what to run --------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is to be run of one spec."""

    system: System
    scenarios: tuple[Scenario, ...]
    logs: Logs
    options: tuple[str, ...]
    """That say so."""

    @classmethod
    def of(
        cls, path: Path, system: System, scenarios: tuple[Scenario, ...], options: tuple[str, ...]
    ) -> "_Plan":
        """With the access logs that the spec at `path` names; a bad one ends the command."""
        try:
            logs = read_logs(system, path.resolve().parent)
        except PlanError as error:
            output.fail(str(error), error.hint)
        return cls(system=system, scenarios=scenarios, logs=logs, options=options)

    def again(self, scenario: str, seed: int) -> str:
        """The command that runs one of its runs once more."""
        words = ["seakeep", "simulate", *self.options, "-s", scenario]
        return shlex.join([*words, "--seed", str(seed), "--seeds", "1"])


def _lasting(system: System, duration: str | None) -> System:
    """With scenarios of this length, if one is given."""
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


def _options(path: Path, changes: list[str] | None, duration: str | None) -> tuple[str, ...]:
    """As they were given."""
    options = [] if path == DEFAULT_SPEC else ["-f", str(path)]
    for change in changes or ():
        options += ["--set", change]
    if duration is not None:
        options += ["--duration", duration]
    return tuple(options)


def _shared(plan: _Plan, other: System, path: Path) -> tuple[Scenario, ...]:
    """The scenarios of the other spec that have the name of one that is run of this."""
    known = scenarios_of(other)
    for scenario in plan.scenarios:
        if scenario.name not in known:
            output.warn(
                f"{path} has no scenario '{scenario.name}': there is nothing to compare it by"
            )
    return tuple(known[one.name] for one in plan.scenarios if one.name in known)


def _scenarios(system: System, names: list[str] | None) -> tuple[Scenario, ...]:
    known = scenarios_of(system)
    wanted = list(dict.fromkeys(names or known))
    unknown = [name for name in wanted if name not in known]
    for name in unknown:
        close = get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"
        output.error(f"--scenario: there is no scenario '{name}'", hint)
    if unknown:
        raise typer.Exit(2)
    return tuple(known[name] for name in wanted)


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


def _prove(plans: Sequence[_Plan], seeds: Sequence[int], jobs: int) -> list[Report]:
    for plan in plans:
        _warn(plan)
    found: list[Report] = []
    with runs_progress(sum(len(plan.scenarios) for plan in plans) * len(seeds)) as bar:
        for plan in plans:
            try:
                report = prove(
                    plan.system,
                    plan.scenarios,
                    seeds,
                    jobs=jobs,
                    logs=plan.logs,
                    begun=bar.begun,
                    progress=lambda task: bar.ended(f"{task.scenario.name}, seed {task.seed}"),
                )
            except ProofError as error:
                _failed(plan, error)
            found.append(report)
            if report.interrupted:
                break
    return found


def _failed(plan: _Plan, error: ProofError) -> NoReturn:
    if error.trace and os.environ.get(output.DEBUG):
        output.note(error.trace)
    again = plan.again(error.task.scenario.name, error.task.seed)
    hint = f"please report it, with the spec; `{again}` runs into it again"
    if error.trace:
        hint += f", and {output.DEBUG}=1 in the environment shows where"
    output.fail(f"a fault in Seakeep itself: {error}", hint, code=1)
