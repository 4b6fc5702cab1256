"""`seakeep check`: is the spec right? Every problem at once, each with its place."""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from rich.text import Text

from seakeep.cli import output
from seakeep.model.system import System, nodes_of
from seakeep.spec import Loaded, Problem, Severity, SpecError, load

SHOWN_MAX = 100
"""Problems told on a terminal; a file that is no spec at all may have thousands."""
WIDTH_MAX = 110
"""Cells of a source line that are shown around the place."""


def check(
    spec: Annotated[Path, typer.Argument(help="The spec.")] = Path("seakeep.yaml"),
    file: Annotated[
        Path | None, typer.Option("--spec", "-f", help="The spec, as other verbs take it.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print problems as a list.")] = False,
) -> None:
    """Check a spec: every error at once, and what to write.

    Each comes with its file, line and column. Exits with 2 when there are errors; warnings
    alone are fine.

    Examples:

      seakeep check

      seakeep check staging/seakeep.yaml

      seakeep check --json | jq -r '.[] | "\\(.file):\\(.line) \\(.message)"'
    """
    path = file or spec
    try:
        loaded = load(path)
    except SpecError as error:
        if json:
            output.print_json([as_json(problem) for problem in error.problems])
        else:
            tell(error.problems)
        raise typer.Exit(2) from None
    if json:
        output.print_json([as_json(problem) for problem in loaded.warnings])
        return
    tell(loaded.warnings)
    output.data(summary(path, loaded))


def load_or_fail(path: Path, *, to_run: bool = False, overrides: Sequence[str] = ()) -> System:
    """The system of a spec; warnings and errors go to stderr, and errors end the command."""
    try:
        loaded = load(path, to_run=to_run, overrides=overrides)
    except SpecError as error:
        tell(error.problems)
        raise typer.Exit(2) from None
    tell(loaded.warnings)
    return loaded.system


def summary(path: Path, loaded: Loaded) -> str:
    """`seakeep.yaml: ok: shop: 2 regions, 5 zones, 5 nodes, 3 services`."""
    system = loaded.system
    counts = [
        (len(system.regions), "region"),
        (sum(len(region.zones) for region in system.regions.values()), "zone"),
        (len(nodes_of(system)), "node"),
        (len(system.services), "service"),
        (len(system.traffic), "traffic source"),
        (len(system.objectives), "objective"),
        (len(system.scenarios), "scenario"),
    ]
    parts = ", ".join(output.counted(number, word) for number, word in counts if number)
    return f"{shown_path(path)}: ok: {system.name}: {parts}"


def as_json(problem: Problem) -> dict[str, Any]:
    return {
        "file": str(problem.file),
        "line": problem.line,
        "column": problem.column,
        "severity": problem.severity.value,
        "message": problem.message,
        "hint": problem.hint,
    }


def tell(problems: tuple[Problem, ...]) -> None:
    """Each problem on stderr with the line that it is about, and how many there are."""
    for problem in problems[:SHOWN_MAX]:
        output.messages.print(_told(problem))
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    warnings = len(problems) - errors
    if len(problems) > SHOWN_MAX:
        rest = len(problems) - SHOWN_MAX
        output.note(f"and {rest} more; --json prints all")
    if errors:
        tail = f" and {output.counted(warnings, 'warning')}" if warnings else ""
        output.note(f"{output.counted(errors, 'error')}{tail}")


def shown_path(path: Path) -> str:
    """Relative to the current folder when it lies within."""
    try:
        return str(Path(os.path.abspath(path)).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _told(problem: Problem) -> Text:
    colour = "red" if problem.severity is Severity.ERROR else "yellow"
    text = Text.assemble(
        (f"{shown_path(problem.file)}:{problem.line}:{problem.column}: ", "bold"),
        (f"{problem.severity.value}: ", f"bold {colour}"),
        problem.message,
    )
    excerpt = _excerpt(problem)
    if excerpt is not None:
        source, caret = excerpt
        number = f"{problem.line:>5}"
        text.append(f"\n{number} | ", "dim").append(source)
        text.append(f"\n{' ' * len(number)} | ", "dim").append(caret, f"bold {colour}")
    if problem.hint:
        text.append("\n  hint: ", "bold").append(problem.hint)
    return text


def _excerpt(problem: Problem) -> tuple[str, str] | None:
    """The line in question and a caret below the column; None when there is no such line."""
    lines = _lines(problem.file)
    if not 1 <= problem.line <= len(lines) or not lines[problem.line - 1].strip():
        return None
    line = "".join(
        c if c.isprintable() else " " if c == "\t" else "?" for c in lines[problem.line - 1]
    )
    column = min(problem.column - 1, len(line))
    start = max(0, column - WIDTH_MAX // 2) if len(line) > WIDTH_MAX else 0
    source = line[start : start + WIDTH_MAX]
    return source, " " * cell_len(source[: column - start]) + "^"


@lru_cache(maxsize=64)
def _lines(file: Path) -> list[str]:
    """The lines of a file that was just read; none when it cannot be read as text."""
    try:
        if not file.is_file() or file.stat().st_size > 5 * 2**20:
            return []
        text = file.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError):
        return []
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
