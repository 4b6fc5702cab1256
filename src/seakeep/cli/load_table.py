"""How a load run is shown: the line while it runs, the table when it has ended, the notes."""

from collections.abc import Mapping
from typing import TextIO

from rich import box
from rich.table import Table

from seakeep.cli.output import QuietConsole
from seakeep.load.replay import ReplayReport
from seakeep.load.results import Result
from seakeep.load.snapshot import Latencies, Snapshot, SourceSnapshot
from seakeep.model.time import MILLISECOND, SECOND, Duration, in_seconds

PLAIN_WIDTH = 200
"""Columns where there is no terminal: nothing is cut off."""

CLEAR_LINE = "\r\x1b[K"


WIDE = ("source", "edge", "requests", "ok", "declined", "failed", "rps", "p50", "p90", "p99",
        "p99.9", "max", "late")  # fmt: skip
NARROW = ("source", "requests", "declined", "failed", "rps", "p50", "p99", "max", "late")
WIDE_FROM = 120
"""Columns of the terminal from which all figures fit; narrower ones get the main figures."""


def show(final: Snapshot, file: TextIO) -> None:
    """The table: a row per source, and their total when there are several."""
    console = QuietConsole(file=file, width=None if file.isatty() else PLAIN_WIDTH, highlight=False)
    is_wide = console.width >= WIDE_FROM
    hidden = () if final.total.declined else ("declined",)
    columns = [name for name in (WIDE if is_wide else NARROW) if name not in hidden]
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1 if is_wide else 0)
    )
    for name in columns:
        is_name = name in ("source", "edge")
        table.add_column(name, justify="left" if is_name else "right", no_wrap=name != "source")
    rows = [*final.sources, final.total] if len(final.sources) > 1 else final.sources
    for source in rows:
        if source is final.total:
            table.add_section()
        cells = _cells(source, final.elapsed)
        if not is_wide:
            cells["failed"] = f"{source.failures:,}"
            cells["declined"] = f"{sum(source.declined.values()):,}"
        table.add_row(*(cells[name] for name in columns))
    console.print(table)
    if not is_wide and final.total.failures:
        console.print(f"failed: {_by_class(final.total.failed)}", markup=False)
    if not is_wide and final.total.declined:
        console.print(f"declined: {_by_class(final.total.declined)}", markup=False)


def _cells(source: SourceSnapshot, elapsed: Duration) -> dict[str, str]:
    seconds = in_seconds(elapsed)
    total = source.total
    return {
        "source": _plain(source.source),
        "edge": _edges(source),
        "requests": f"{source.due:,}",
        "ok": f"{source.ok:,}",
        "declined": _by_class(source.declined),
        "failed": _by_class(source.failed),
        "rps": f"{source.due / seconds:,.1f}" if seconds else "-",
        "p50": format_latency(total.p50),
        "p90": format_latency(total.p90),
        "p99": format_latency(total.p99),
        "p99.9": format_latency(total.p999),
        "max": format_latency(total.max),
        "late": f"{source.late:,}",
    }


def _edges(source: SourceSnapshot) -> str:
    """`us-east`, or `us-east 95%, eu-west 5%` where DNS led clients to several."""
    total = sum(source.regions.values())
    if len(source.regions) < 2 or source.source == "total":
        return source.region or ""
    ranked = sorted(source.regions.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{name} {count / total:.0%}" for name, count in ranked)


def _by_class(counts: Mapping[Result, int]) -> str:
    """`0`, or `12 (5xx 10, reset 2)`."""
    parts = ", ".join(f"{result.value} {count:,}" for result, count in counts.items())
    return f"{sum(counts.values()):,} ({parts})" if parts else "0"


def _plain(name: str) -> str:
    """A name without what rich would take for markup."""
    return name.replace("[", r"\[")


def format_latency(duration: Duration | None) -> str:
    """Three digits, as people read latencies: `850µs`, `12.3ms`, `1.25s`."""
    if duration is None:
        return "-"
    if duration < MILLISECOND:
        return f"{duration / 1_000:.0f}µs"
    if duration < SECOND:
        ms = duration / MILLISECOND
        return f"{ms:.2f}ms" if ms < 10 else f"{ms:.1f}ms" if ms < 100 else f"{ms:.0f}ms"
    return f"{in_seconds(duration):.2f}s"


def notes(final: Snapshot, report: ReplayReport | None, seed: int | None) -> list[str]:
    """What the table does not say. `seed` is None where nothing was drawn."""
    lines = []
    if final.total.in_flight:
        lines.append(f"still in flight when it ended, not counted: {final.total.in_flight:,}")
    if report is not None:
        lines.extend(_replay_notes(report))
    if seed is not None:
        lines.append(f"seed {seed}")
    return lines


def _replay_notes(report: ReplayReport) -> list[str]:
    lines = []
    if report.unparsed:
        lines.append(f"not replayed: {report.unparsed:,} of {report.lines:,} lines do not parse")
        lines.extend(f"  line {number}: {why}" for number, why in report.first_unparsed)
        if report.unparsed > len(report.first_unparsed):
            lines.append("  ...")
    if report.skipped:
        parts = (f"{method} {count:,}" for method, count in sorted(report.skipped.items()))
        lines.append(f"not replayed, by method: {', '.join(parts)} (see --methods)")
    if report.inner_calls:
        lines.append(f"calls between services, not replayed: {report.inner_calls:,}")
    if report.disordered:
        lines.append(f"far out of order in the log, sent when found: {report.disordered:,}")
    if report.broken_off:
        lines.append(f"the log could not be read to its end: {report.broken_off}")
    return lines


def show_progress(now: Snapshot, duration: Duration | None, file: TextIO) -> None:
    """One line over the last one."""
    file.write(CLEAR_LINE + progress_line(now, duration))
    file.flush()


def clear_progress(file: TextIO) -> None:
    if file.isatty():
        file.write(CLEAR_LINE)
        file.flush()


def progress_line(now: Snapshot, duration: Duration | None) -> str:
    """`12s of 30s  198/s  p50 3.1ms p99 20ms  failed 0  in flight 2`."""
    total = now.total
    whole = f" of {in_seconds(duration):.0f}s" if duration is not None else ""
    late = f"  late {total.late:,}" if total.late else ""
    declined = sum(total.declined.values())
    away = f"  declined {declined:,}" if declined else ""
    return (
        f"{in_seconds(now.elapsed):.0f}s{whole}  {total.rps:,.0f}/s  {_pair(total.interval)}"
        f"{away}  failed {total.failures:,}  in flight {total.in_flight:,}{late}"
    )


def _pair(latencies: Latencies) -> str:
    return f"p50 {format_latency(latencies.p50)} p99 {format_latency(latencies.p99)}"
