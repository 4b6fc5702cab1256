"""`seakeep logs`: what instances, edges and the supervisor printed."""

import re
import time
from collections import deque
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from seakeep.cli import output
from seakeep.cli.project import DEFAULT_SPEC, Spec, layout_of
from seakeep.engines.local.layout import Layout, flat

POLL_S = 0.2
COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green",
           "bright_yellow", "bright_magenta", "bright_blue")  # fmt: skip


def logs(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Services, instances (web-3), edge:REGION, link:REGION, node:REGION/ZONE/N, "
            "or supervisor; all services when none is named."
        ),
    ] = None,
    spec: Spec = DEFAULT_SPEC,
    follow: Annotated[bool, typer.Option("--follow", "-F", help="Go on as it grows.")] = False,
    tail: Annotated[int, typer.Option("--tail", "-n", min=0, help="Last lines of each.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="Print a document a line.")] = False,
) -> None:
    """Show what instances printed, each line behind its name.

    Works without a supervisor, too. The access log of an edge is edge:REGION.access.

    Examples:

      seakeep logs web --tail 50

      seakeep logs web-3 --follow

      seakeep logs edge:us-east.access
    """
    layout = layout_of(spec)
    files = _files(layout, names or [])
    if not files and not follow:
        _fail_without_log(layout, names or [])
    offsets: dict[Path, int] = {}
    try:
        for path in files:
            offsets[path] = _print_tail(path, tail, json)
        while follow:
            time.sleep(POLL_S)
            for path in _files(layout, names or []):
                offsets[path] = _print_from(path, offsets.get(path, 0), json)
    except KeyboardInterrupt:
        return


def _fail_without_log(layout: Layout, names: list[str]) -> None:
    known = [path.stem for path in sorted(layout.logs.glob("*.log"), key=_in_order)]
    if not known:
        output.fail("there are no logs yet", hint="`seakeep up` starts the system", code=1)
    what = ", ".join(names) if names else "any service"
    output.fail(f"there is no log of {what}", hint=f"there are: {', '.join(known)}")


def _files(layout: Layout, names: list[str]) -> list[Path]:
    """The log files of the names, in order; of a service those of all its instances."""
    found = []
    for path in sorted(layout.logs.glob("*.log"), key=_in_order):
        stem = path.stem
        service, _, ordinal = stem.rpartition("-")
        is_instance = ordinal.isdecimal()
        if (not names and is_instance) or any(
            stem == flat(name) or (is_instance and service == name) for name in names
        ):
            found.append(path)
    return found


def _in_order(path: Path) -> list[tuple[int, str]]:
    """web-2 before web-10."""
    parts = re.split(r"(\d+)", path.stem)
    return [(int(part) if part.isdecimal() else -1, part) for part in parts]


def _print_tail(path: Path, lines: int, json: bool) -> int:
    with path.open("rb") as file:
        for line in deque(file, lines):
            _print(path, line, json)
        return file.tell()


def _print_from(path: Path, offset: int, json: bool) -> int:
    """Print what came after `offset`, whole lines only; the new offset. A file that shrank was
    rotated and is read from its start."""
    if path.stat().st_size < offset:
        offset = 0
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                break
            _print(path, line, json)
            offset += len(line)
    return offset


def _print(path: Path, line: bytes, json: bool) -> None:
    name, text = path.stem, line.decode(errors="replace").rstrip()
    if json:
        output.print_json_line({"name": name, "line": text})
    elif output.console.is_terminal:
        output.data(Text.assemble((f"{name} | ", _colour(name)), _shown(text)))
    else:
        output.data(f"{name} | {text}")


def _shown(text: str) -> Text:
    """With its colours, but without whatever else it may hold that a terminal obeys."""
    shown = Text.from_ansi(text)
    if all(c.isprintable() or c == "\t" for c in shown.plain):
        return shown
    return Text("".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}"
                        for c in text))  # fmt: skip


def _colour(name: str) -> str:
    """The same name, the same colour; neighbours differ."""
    digits = re.findall(r"\d+", name)
    number = int(digits[-1]) if digits else 0
    return COLOURS[(sum(name.rstrip("0123456789").encode()) + number) % len(COLOURS)]
