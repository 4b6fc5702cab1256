"""`seakeep logs`: what instances, edges and the supervisor printed."""

import time
from collections import deque
from pathlib import Path
from typing import Annotated

import typer

from seakeep.cli import output
from seakeep.engines.local.layout import Layout, flat, layout_for

POLL_S = 0.2


def logs(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Services, instances (web-3), edge:REGION, link:REGION, node:REGION/ZONE/N, "
            "or supervisor; all services when none is named."
        ),
    ] = None,
    spec: Annotated[Path, typer.Option("--spec", "-f", help="The spec.")] = Path("seakeep.yaml"),
    follow: Annotated[bool, typer.Option("--follow", "-F", help="Go on as it grows.")] = False,
    tail: Annotated[int, typer.Option("--tail", "-n", min=0, help="Last lines of each.")] = 20,
) -> None:
    """Show what instances printed, each line behind its instance. Works without a supervisor.

    Examples:

      seakeep logs web --tail 50

      seakeep logs web-3 --follow

      seakeep logs edge:us-east.access
    """
    layout = layout_for(spec.resolve().parent)
    files = _files(layout, names or [])
    if not files and not follow:
        what = " ".join(names) if names else "any service"
        known = ", ".join(sorted(path.stem for path in layout.logs.glob("*.log"))) or "none"
        output.fail(f"there is no log of {what}", hint=f"there are: {known}", code=2)
    offsets: dict[Path, int] = {}
    try:
        for path in files:
            offsets[path] = _print_tail(path, tail)
        while follow:
            time.sleep(POLL_S)
            for path in _files(layout, names or []):
                offsets[path] = _print_from(path, offsets.get(path, 0))
    except KeyboardInterrupt:
        raise typer.Exit() from None


def _files(layout: Layout, names: list[str]) -> list[Path]:
    """The log files of the names, sorted; of a service those of all its instances."""
    found = []
    for path in sorted(layout.logs.glob("*.log")):
        stem = path.stem
        service, _, ordinal = stem.rpartition("-")
        is_instance = ordinal.isdecimal()
        if (not names and is_instance) or any(
            stem == flat(name) or (is_instance and service == name) for name in names
        ):
            found.append(path)
    return found


def _print_tail(path: Path, lines: int) -> int:
    with path.open("rb") as file:
        for line in deque(file, lines):
            _print(path, line)
        return file.tell()


def _print_from(path: Path, offset: int) -> int:
    """Print what came after `offset`, whole lines only; the new offset. A file that shrank was
    rotated and is read from its start."""
    if path.stat().st_size < offset:
        offset = 0
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                break
            _print(path, line)
            offset += len(line)
    return offset


def _print(path: Path, line: bytes) -> None:
    output.data(f"{path.stem} | {line.decode(errors='replace').rstrip()}")
