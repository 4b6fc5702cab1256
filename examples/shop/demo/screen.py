"""What the demo shows: places, traffic and decisions live, and a table of figures at the end."""

import time

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from demo.stage import Result
from demo.traffic import Load, SourceFigures
from demo.watch import Document, Watch

MARKS = {
    "ready": ("●", "green"),
    "starting": ("◐", "cyan"),
    "unready": ("◌", "yellow"),
    "failed": ("✗", "red"),
    "unknown": ("?", "magenta"),
    "lost": ("✗", "red"),
    "draining": ("◍", "blue"),
}
LINES_SHOWN = 11


class Screen:
    """Draws the latest of everything whenever it is asked to."""

    def __init__(self, watch: Watch, load: Load) -> None:
        self._watch = watch
        self._load = load
        self._began = time.monotonic()
        self.act = "starting"
        self.results: list[Result] = []
        self._last: Document | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        status = self._watch.now.status
        self._last = status or self._last
        head = Text.assemble(
            (f" {time.monotonic() - self._began:5.0f} s  ", "bold"),
            (self.act, "bold yellow"),
        )
        yield Group(
            head,
            self._places(alive=status is not None),
            self._traffic(),
            self._decisions(),
            *([results_table(self.results)] if self.results else []),
        )

    def _places(self, alive: bool) -> Panel:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for region in self._last["regions"] if self._last else []:
            up = region["edge"]["running"]
            table.add_row(
                Text(region["name"], style="bold"),
                Text("edge up", "green") if up else Text("edge down", "red"),
                region["edge"]["address"] or "",
            )
            for zone in region["zones"]:
                dark = not any(node["running"] for node in zone["nodes"])
                marks = Text("no power", "red") if dark else Text()
                here = [item for node in zone["nodes"] for item in node["instances"]]
                for item in sorted(here, key=lambda item: (item["service"], item["age_s"])):
                    health = "draining" if item["draining"] else item["health"]
                    mark, style = MARKS.get(health, ("?", ""))
                    marks.append(f"{mark} ", style)
                    marks.append(f"{item['id']}  ", "dim" if health == "ready" else style)
                table.add_row(Text(f"  zone {zone['name']}"), "", marks)
        title = "the system" if alive else "the system, on its own: Seakeep is dead"
        return Panel(table, title=title, box=box.ROUNDED, border_style="" if alive else "red")

    def _traffic(self) -> Panel:
        table = Table(box=None, padding=(0, 3, 0, 0))
        for name in (
            "clients",
            "enter at",
            "req/s",
            "p50",
            "p99",
            "requests",
            "failed",
            "declined",
        ):
            table.add_column(name, justify="left" if name in ("clients", "enter at") else "right")
        for item in self._load.traffic.sources:
            table.add_row(*_source_row(item))
        return Panel(table, title="traffic", box=box.ROUNDED)

    def _decisions(self) -> Panel:
        text = Text(no_wrap=True, overflow="ellipsis")
        shown = [line for line in self._watch.lines if not line.is_detail][-LINES_SHOWN:]
        for line in shown:
            text.append(line.text + "\n", "" if line.is_action else "dim")
        text.append("\n" * (LINES_SHOWN - len(shown)))
        text.rstrip()
        return Panel(text, title="actions and their reasons", box=box.ROUNDED)


def _source_row(item: SourceFigures) -> tuple[str | Text, ...]:
    return (
        item.source,
        item.region,
        f"{item.rps:.0f}",
        _ms(item.p50_ms),
        _ms(item.p99_ms),
        f"{item.ok + item.failed:,}",
        Text(f"{item.failed:,}", "red" if item.failed else "green"),
        f"{item.declined:,}" if item.declined else "",
    )


def results_table(results: list[Result]) -> Table:
    """One row an act."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), title="what happened")
    table.title_justify = "left"
    for name in ("event", "detected", "recovered", "requests", "failed", "to reach", "", "note"):
        right = name in ("detected", "recovered", "requests", "failed")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for result in results:
        table.add_row(
            result.name,
            _seconds(result.detect_s),
            _seconds(result.recover_s),
            f"{result.requests:,}",
            _failed(result),
            result.target,
            Text("✓ met", "green") if result.met else Text("✗ missed", "red"),
            result.note,
        )
    return table


def _failed(result: Result) -> str:
    if not result.failures:
        return "0"
    parts = (f"{count} {source}" for source, count in result.failed.items() if count)
    return ", ".join(parts)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
