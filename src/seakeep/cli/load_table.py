"""How a load run is shown: the line while it runs, the table when it has ended, the notes."""

from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table

from seakeep.load.replay import ReplayReport
from seakeep.load.snapshot import Latencies, Snapshot, SourceSnapshot
from seakeep.model.time import MILLISECOND, SECOND, Duration, in_seconds

PLAIN_WIDTH = 200
"""Columns where there is no terminal: nothing is cut off."""

CLEAR_LINE = "\r\x1b[K"


def show(final: Snapshot, file: TextIO) -> None:
    """The table: a row per source, and their total when there are several."""
    console = Console(
        file=file, width=None if file.isatty() else PLAIN_WIDTH, highlight=False, soft_wrap=False
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("source")
    table.add_column("edge")
    for name in ("requests", "ok", "failed", "rps", "p50", "p90", "p99", "p99.9", "max", "late"):
        table.add_column(name, justify="right", no_wrap=True)
    for source in final.sources:
        table.add_row(*_cells(source, final.elapsed))
    if len(final.sources) > 1:
        table.add_section()
        table.add_row(*_cells(final.total, final.elapsed))
    console.print(table)


def _cells(source: SourceSnapshot, elapsed: Duration) -> list[str]:
    seconds = in_seconds(elapsed)
    total = source.total
    durations = (total.p50, total.p90, total.p99, total.p999, total.max)
    return [
        _plain(source.source),
        source.region or "",
        f"{source.due:,}",
        f"{source.ok:,}",
        _failed(source),
        f"{source.due / seconds:,.1f}" if seconds else "-",
        *(format_latency(duration) for duration in durations),
        f"{source.late:,}",
    ]


def _failed(source: SourceSnapshot) -> str:
    """`0`, or `12 (5xx 10, reset 2)`."""
    parts = ", ".join(f"{result.value} {count:,}" for result, count in source.failed.items())
    return f"{source.failures:,} ({parts})" if parts else "0"


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
    return (
        f"{in_seconds(now.elapsed):.0f}s{whole}  {total.rps:,.0f}/s  {_pair(total.interval)}"
        f"  failed {total.failures:,}  in flight {total.in_flight:,}{late}"
    )


def _pair(latencies: Latencies) -> str:
    return f"p50 {format_latency(latencies.p50)} p99 {format_latency(latencies.p99)}"
