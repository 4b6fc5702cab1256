"""Replaying an access log with its own timing, in constant memory.

Logs are written when requests end, so their times are not in order: entries are sorted within
a window. Where a log has whole seconds only, the requests of one second are spread evenly over
it, since sending them all at its start would be a burst that never was.
"""

import gzip
import heapq
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from seakeep.load.accesslog import LINE_BYTES_MAX, Entry, InnerCall, LineError, parse_line
from seakeep.load.plan import DueRequest, Lane, LoadPlan, PlanError, Requests
from seakeep.model.time import SECOND, Duration, Instant

WINDOW: Duration = 30 * SECOND
"""How far out of order the times of a log may be: longer than requests usually take."""
WINDOW_ENTRIES_MAX = 100_000
BREATH_LINES = 200
"""Lines read before others get their turn, when no request comes out of them."""
SHOWN_LINES_MAX = 5
METHODS = ("GET", "HEAD")


@dataclass(slots=True)
class ReplayReport:
    """What became of the lines of a log."""

    lines: int = 0
    unparsed: int = 0
    """Lines that are no request; not replayed."""
    first_unparsed: list[tuple[int, str]] = field(default_factory=list)
    """(line number, why) of the first few."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Requests by method that are not replayed."""
    inner_calls: int = 0
    """Calls between services in a Seakeep edge's log; not replayed."""
    disordered: int = 0
    """Requests more than the window out of order; replayed at once when they were found."""
    broken_off: str = ""
    """Why the log could not be read to its end; empty when it could."""

    def refuse(self, number: int, why: str) -> None:
        self.unparsed += 1
        if len(self.first_unparsed) < SHOWN_LINES_MAX:
            self.first_unparsed.append((number, why))


def plan_for_replay(
    path: Path,
    lanes: Sequence[Lane],
    weights: Sequence[float],
    *,
    speed: float = 1.0,
    methods: Sequence[str] = METHODS,
) -> tuple[LoadPlan, ReplayReport]:
    """Replay the log at `path` over the lanes: a log does not say where clients are, so its
    requests are dealt to the lanes in proportion to `weights`.

    `speed` 2 is twice as fast. The report fills up as the run goes. Raises PlanError when the
    log cannot be opened.
    """
    report = ReplayReport()
    open_log(path).close()

    def requests() -> Requests:
        with open_log(path) as stream:
            entries = in_order(entries_of(lines_of(stream, report), report, methods), report)
            yield from dealt(spread(entries), weights, speed)

    return LoadPlan(lanes=tuple(lanes), requests=requests), report


def due_times(path: Path, methods: Sequence[str] = METHODS) -> tuple[list[Duration], ReplayReport]:
    """When the requests of the log at `path` come, since its first. Raises PlanError."""
    report = ReplayReport()
    with open_log(path) as stream:
        entries = in_order(entries_of(lines_of(stream, report), report, methods), report)
        times = [entry.at for entry in spread(entries) if entry is not None]
    return [at - times[0] for at in times], report


def open_log(path: Path) -> BinaryIO:
    """The log's bytes; unpacked when it is gzip. Raises PlanError."""
    try:
        with path.open("rb") as probe:
            magic = probe.read(2)
        if magic == b"\x1f\x8b":
            return cast(BinaryIO, gzip.open(path, "rb"))
        return path.open("rb")
    except OSError as error:
        raise PlanError(
            f"cannot read {path}: {error.strerror or error}", "give the path of an access log"
        ) from error


def lines_of(stream: BinaryIO, report: ReplayReport) -> Iterator[tuple[int, str]]:
    """Numbered lines. A line that is too long is refused without being held in memory."""
    while True:
        try:
            raw = stream.readline(LINE_BYTES_MAX + 1)
            if not raw:
                return
            report.lines += 1
            if len(raw) > LINE_BYTES_MAX:
                while raw and not raw.endswith(b"\n"):
                    raw = stream.readline(LINE_BYTES_MAX + 1)
                report.refuse(report.lines, f"longer than {LINE_BYTES_MAX} bytes")
                continue
        except (OSError, EOFError, zlib.error) as error:
            report.broken_off = f"after line {report.lines}: {error}"
            return
        yield report.lines, raw.decode("utf-8", "surrogateescape")


def entries_of(
    lines: Iterable[tuple[int, str]], report: ReplayReport, methods: Sequence[str]
) -> Iterator[Entry | None]:
    """The requests in the lines; None now and then while there are none."""
    fruitless = 0
    for number, line in lines:
        try:
            entry = parse_line(line)
        except LineError as error:
            report.refuse(number, str(error))
        except InnerCall:
            report.inner_calls += 1
        else:
            if entry.method in methods:
                fruitless = 0
                yield entry
                continue
            report.skipped[entry.method] += 1
        fruitless += 1
        if fruitless % BREATH_LINES == 0:
            yield None


def in_order(
    entries: Iterable[Entry | None],
    report: ReplayReport,
    window: Duration = WINDOW,
    entries_max: int = WINDOW_ENTRIES_MAX,
) -> Iterator[Entry | None]:
    """Entries by time, equals in the order of the log. One that is older than what has already
    left leaves at once, with the time of the last, and is counted as disordered."""
    heap: list[tuple[Instant, int, Entry]] = []
    newest = last = -(1 << 63)
    for number, entry in enumerate(entries):
        if entry is None:
            yield None
            continue
        if entry.at < last:
            report.disordered += 1
            entry = entry._replace(at=last)
        newest = max(newest, entry.at)
        heapq.heappush(heap, (entry.at, number, entry))
        while heap and (newest - heap[0][0] > window or len(heap) > entries_max):
            last = heap[0][0]
            yield heapq.heappop(heap)[2]
        if number % BREATH_LINES == 0:
            yield None
    while heap:
        yield heapq.heappop(heap)[2]


def spread(entries: Iterable[Entry | None]) -> Iterator[Entry | None]:
    """Requests whose time is a whole second only, spread evenly over that second."""
    group: list[Entry] = []
    for entry in entries:
        if entry is None:
            yield None
            continue
        if group and (group[0].at != entry.at or len(group) == WINDOW_ENTRIES_MAX):
            yield from _spread_group(group)
            group = []
        if entry.whole_second:
            group.append(entry)
        else:
            yield from _spread_group(group)
            group = []
            yield entry
    yield from _spread_group(group)


def _spread_group(group: list[Entry]) -> Iterator[Entry]:
    for index, entry in enumerate(group):
        yield entry._replace(at=entry.at + index * SECOND // len(group))


def dealt(entries: Iterable[Entry | None], weights: Sequence[float], speed: float) -> Requests:
    """Due requests, the first at 0, dealt to the lanes in proportion to their weights: each
    goes to the lane that is furthest behind its share, the first of equals."""
    shares = _shares(weights)
    credit = [0.0] * len(shares)
    first: Instant | None = None
    due: Duration = 0
    for entry in entries:
        if entry is None:
            yield None
            continue
        if first is None:
            first = entry.at
        for index, share in enumerate(shares):
            credit[index] += share
        lane = credit.index(max(credit))
        credit[lane] -= 1
        # A mixed log may have a spread request slightly after the next one.
        due = max(due, round((entry.at - first) / speed))
        yield DueRequest(due, lane, entry.method, entry.path)


def _shares(weights: Sequence[float]) -> list[float]:
    total = sum(weights)
    if total <= 0:
        return [1 / len(weights)] * len(weights)
    return [weight / total for weight in weights]
