"""Counting: what was due, what came of it, and how long it took, per traffic source.

Kept in three ways at once: totals since the start, the last whole second (by when requests
ended: for a live display), and a series of seconds by when requests were *due* (for the
question what a fault did to the requests that fell into it).
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from seakeep.load.histogram import Histogram, exact_percentiles, merge
from seakeep.load.plan import Lane
from seakeep.load.results import DECLINED, FAILURES, Answer, Failure, Result
from seakeep.load.snapshot import ClientState, Latencies, SecondRow, Snapshot, SourceSnapshot
from seakeep.model.ids import RegionName
from seakeep.model.time import MILLISECOND, SECOND, Duration, Instant, in_seconds

FAILURES_KEPT = 100_000
LATE_AFTER: Duration = 10 * MILLISECOND
"""A request that leaves this long after it was due counts as late."""
INTERVAL_MIN: Duration = SECOND // 2
"""The rest at the end of a run may be shorter; it would make a poor "last second"."""


@dataclass(slots=True)
class _Cell:
    """One second of the series while requests due in it are still under way."""

    open: int = 0
    ok: int = 0
    declined: int = 0
    failed: int = 0
    latencies: list[Duration] = field(default_factory=list)


@dataclass(slots=True)
class _Interval:
    """What ended since the last tick."""

    ok: int = 0
    declined: int = 0
    failed: int = 0
    latencies: list[Duration] = field(default_factory=list)


class SourceRecorder:
    """The counts of one lane."""

    def __init__(self, lane: Lane, keep_intervals: bool) -> None:
        self.lane = lane
        self.due = 0
        self.sent = 0
        self.late = 0
        self.in_flight = 0
        self.regions: Counter[str] = Counter()
        self.counts: Counter[Result] = Counter()
        self.histograms: dict[Result, Histogram] = {}
        self.interval_histogram = Histogram() if keep_intervals else None
        self.interval = _Interval()
        self.last = _Interval()
        self.rps = 0.0
        self.cells: dict[int, _Cell] = {}
        self.series: list[SecondRow] = []

    def count_due(self, due: Duration) -> None:
        self.due += 1
        cell = self.cells.get(due // SECOND)
        if cell is None:
            cell = self.cells[due // SECOND] = _Cell()
        cell.open += 1

    def count_end(self, due: Duration, result: Result, latency: Duration) -> None:
        self.counts[result] += 1
        histogram = self.histograms.get(result)
        if histogram is None:
            histogram = self.histograms[result] = Histogram()
        histogram.record(latency)
        cell = self.cells[due // SECOND]
        cell.open -= 1
        for place in (cell, self.interval):
            if result.ok:
                place.ok += 1
            elif result.declined:
                place.declined += 1
            else:
                place.failed += 1
            if result.timed:
                place.latencies.append(latency)
        if result.timed and self.interval_histogram is not None:
            self.interval_histogram.record(latency)

    def tick(self, now: Duration, elapsed: Duration) -> Histogram | None:
        """Close the interval of length `elapsed` that ends at `now`, and the seconds of the
        series that nothing can change any more. Returns the interval's histogram if kept."""
        if elapsed >= INTERVAL_MIN:
            self.last = self.interval
            self.interval = _Interval()
            ended = self.last.ok + self.last.declined + self.last.failed
            self.rps = ended / in_seconds(elapsed)
        self._close_cells(now)
        closed = self.interval_histogram
        if closed is not None:
            self.interval_histogram = Histogram()
        return closed

    def _close_cells(self, now: Duration) -> None:
        for second in sorted(self.cells):
            cell = self.cells[second]
            if second >= now // SECOND or cell.open:
                # Rows leave in order, so that the series has no holes that fill up later.
                break
            self.series.append(_row(second, cell))
            del self.cells[second]

    def all_rows(self) -> tuple[SecondRow, ...]:
        """The series so far; its last seconds may still change."""
        pending = (_row(second, self.cells[second]) for second in sorted(self.cells))
        return (*self.series, *pending)

    def timed(self) -> list[Histogram]:
        """The histograms that belong into latency percentiles."""
        return [self.histograms[result] for result in Result if self._is_timed(result)]

    def _is_timed(self, result: Result) -> bool:
        return result.timed and result in self.histograms


def _row(second: int, cell: _Cell) -> SecondRow:
    p50, p99 = exact_percentiles(cell.latencies, (50, 99))
    return SecondRow(
        second=second,
        ok=cell.ok,
        declined=cell.declined,
        failed=cell.failed,
        open=cell.open,
        p50=p50,
        p99=p99,
    )


class Recorder:
    """The counts of one run. Not thread-safe: lives in the loop that sends."""

    def __init__(self, lanes: tuple[Lane, ...], keep_intervals: bool = False) -> None:
        self.sources = tuple(SourceRecorder(lane, keep_intervals) for lane in lanes)
        self.lateness = Histogram()
        self.failures: deque[Failure] = deque(maxlen=FAILURES_KEPT)
        self.failures_forgotten = 0
        self.in_flight = 0
        self.ticked_at: Duration = 0

    def count_due(self, lane: int, due: Duration) -> None:
        self.sources[lane].count_due(due)

    def count_sent(self, lane: int, lateness: Duration) -> None:
        source = self.sources[lane]
        source.sent += 1
        source.in_flight += 1
        self.in_flight += 1
        self.lateness.record(lateness)
        if lateness > LATE_AFTER:
            source.late += 1

    def count_answer(
        self,
        lane: int,
        due: Duration,
        answer: Answer,
        began_at: Instant,
        ended_at: Instant,
        region: RegionName | None = None,
    ) -> None:
        """The end of a request that was sent. `began_at`: the run's start; `region`: whose edge
        it went to."""
        source = self.sources[lane]
        source.in_flight -= 1
        self.in_flight -= 1
        if region is not None:
            source.regions[region] += 1
        self._count_end(lane, due, answer, began_at, ended_at, region)

    def count_unsent(
        self, lane: int, due: Duration, answer: Answer, began_at: Instant, ended_at: Instant
    ) -> None:
        """A due request that this client had no room for."""
        self._count_end(lane, due, answer, began_at, ended_at, None)

    def _count_end(
        self,
        lane: int,
        due: Duration,
        answer: Answer,
        began_at: Instant,
        ended_at: Instant,
        region: RegionName | None,
    ) -> None:
        source = self.sources[lane]
        source.count_end(due, answer.result, ended_at - began_at - due)
        if answer.result.ok or answer.result.declined:
            return
        if len(self.failures) == FAILURES_KEPT:
            self.failures_forgotten += 1
        self.failures.append(
            Failure(
                source=source.lane.source,
                service=source.lane.service,
                region=region,
                due_at=began_at + due,
                ended_at=ended_at,
                result=answer.result,
                status=answer.status,
                detail=answer.detail,
            )
        )

    def tick(self, now: Duration) -> list[tuple[Lane, Histogram]]:
        """Close the interval that ends at `now` (since the start); the histograms of what
        ended in it, per lane, when they are kept."""
        elapsed = now - self.ticked_at
        self.ticked_at = now
        closed = [(source.lane, source.tick(now, elapsed)) for source in self.sources]
        return [(lane, histogram) for lane, histogram in closed if histogram is not None]

    def snapshot(self, at: Instant, elapsed: Duration) -> Snapshot:
        """Everything so far. `elapsed`: since the start, not beyond the last due time."""
        return Snapshot(
            at=at,
            elapsed=elapsed,
            sources=tuple(self._source_snapshot(source) for source in self.sources),
            total=self._total_snapshot(),
            client=self.client_state(),
        )

    def client_state(self) -> ClientState:
        p50, p99 = self.lateness.percentiles((50, 99))
        return ClientState(
            sent=sum(source.sent for source in self.sources),
            late=sum(source.late for source in self.sources),
            late_after=LATE_AFTER,
            overloaded=sum(source.counts[Result.OVERLOADED] for source in self.sources),
            lateness_p50=p50 or 0,
            lateness_p99=p99 or 0,
            lateness_max=self.lateness.max,
        )

    def _source_snapshot(self, source: SourceRecorder) -> SourceSnapshot:
        lane = source.lane
        return SourceSnapshot(
            source=lane.source,
            service=lane.service,
            region=_main_region(source),
            regions=dict(sorted(source.regions.items())),
            due=source.due,
            sent=source.sent,
            ok=_ok(source.counts),
            declined=_counted(source.counts, DECLINED),
            failed=_counted(source.counts, FAILURES),
            late=source.late,
            in_flight=source.in_flight,
            rps=source.rps,
            interval=_exact(source.last.latencies),
            total=latencies_of(merge(source.timed())),
        )

    def _total_snapshot(self) -> SourceSnapshot:
        counts: Counter[Result] = Counter()
        for source in self.sources:
            counts.update(source.counts)
        return SourceSnapshot(
            source="total",
            service="",
            region=None,
            regions=_all_regions(self.sources),
            due=sum(source.due for source in self.sources),
            sent=sum(source.sent for source in self.sources),
            ok=_ok(counts),
            declined=_counted(counts, DECLINED),
            failed=_counted(counts, FAILURES),
            late=sum(source.late for source in self.sources),
            in_flight=self.in_flight,
            rps=sum(source.rps for source in self.sources),
            interval=_exact([v for source in self.sources for v in source.last.latencies]),
            total=latencies_of(merge(h for source in self.sources for h in source.timed())),
        )


def _main_region(source: SourceRecorder) -> RegionName | None:
    """Where most of its requests went; before there are any, where they are to go."""
    if not source.regions:
        return source.lane.target.region
    return min(source.regions, key=lambda name: (-source.regions[name], name))


def _all_regions(sources: Iterable[SourceRecorder]) -> dict[RegionName, int]:
    total: Counter[str] = Counter()
    for source in sources:
        total.update(source.regions)
    return dict(sorted(total.items()))


def _ok(counts: Counter[Result]) -> int:
    return counts[Result.OK_2XX] + counts[Result.OK_3XX]


def _counted(counts: Counter[Result], which: tuple[Result, ...]) -> dict[Result, int]:
    return {result: counts[result] for result in which if counts[result]}


def _exact(values: list[Duration]) -> Latencies:
    p50, p90, p99, p999 = exact_percentiles(values, (50, 90, 99, 99.9))
    return Latencies(
        count=len(values), p50=p50, p90=p90, p99=p99, p999=p999, max=max(values, default=None)
    )


def latencies_of(histogram: Histogram) -> Latencies:
    """The figures of a histogram that people read."""
    p50, p90, p99, p999, most = histogram.percentiles((50, 90, 99, 99.9, 100))
    return Latencies(count=histogram.count, p50=p50, p90=p90, p99=p99, p999=p999, max=most)
