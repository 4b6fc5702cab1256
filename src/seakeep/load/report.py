"""The JSON document of a run. Times in it are milliseconds, as people read latencies."""

from datetime import UTC, datetime
from typing import Any

from seakeep.load.histogram import Histogram
from seakeep.load.recorder import latencies_of
from seakeep.load.replay import ReplayReport
from seakeep.load.run import LoadRun
from seakeep.load.snapshot import Latencies, SecondRow, Snapshot, SourceSnapshot
from seakeep.model.time import MILLISECOND, Duration, in_seconds

FORMAT = 1
FAILURES_SHOWN = 1_000


def document(
    run: LoadRun, final: Snapshot, *, seed: int, replay: ReplayReport | None
) -> dict[str, Any]:
    """Everything about a run that has ended."""
    client = final.client
    seconds = in_seconds(final.elapsed)
    sources = [
        _source(source, seconds)
        | {
            "latency_ms_by_result": _by_result(run, source),
            "series": [_row(row) for row in run.series(source.source)],
        }
        for source in final.sources
    ]
    failures = run.failures(FAILURES_SHOWN)
    return {
        "format": FORMAT,
        "started_at": _wall(run.began_at_wall_ns),
        "duration_s": round(seconds, 3),
        "seed": seed,
        "total": _source(final.total, seconds),
        "sources": sources,
        "client": {
            "kept_up": client.kept_up,
            "late": client.late,
            "late_after_ms": client.late_after / MILLISECOND,
            "lateness_ms": {
                "p50": _ms(client.lateness_p50),
                "p99": _ms(client.lateness_p99),
                "max": _ms(client.lateness_max),
            },
            "overloaded": client.overloaded,
        },
        "failures": [
            {
                "source": failure.source,
                "region": failure.region,
                "due_at": _wall(run.began_at_wall_ns + failure.due_at - run.began_at),
                "due_s": round(in_seconds(failure.due_at - run.began_at), 6),
                "latency_ms": _ms(failure.ended_at - failure.due_at),
                "result": failure.result.value,
                "status": failure.status,
                "detail": failure.detail,
            }
            for failure in failures
        ],
        "failures_not_shown": final.total.failures - len(failures),
        "replay": None if replay is None else replay_document(replay),
    }


def replay_document(report: ReplayReport) -> dict[str, Any]:
    return {
        "lines": report.lines,
        "unparsed": report.unparsed,
        "first_unparsed": [{"line": number, "why": why} for number, why in report.first_unparsed],
        "skipped_by_method": dict(sorted(report.skipped.items())),
        "inner_calls": report.inner_calls,
        "disordered": report.disordered,
        "broken_off": report.broken_off or None,
    }


def _source(source: SourceSnapshot, seconds: float) -> dict[str, Any]:
    return {
        "source": source.source,
        "service": source.service or None,
        "region": source.region,
        "requests_by_region": dict(source.regions),
        "requests": source.due,
        "ok": source.ok,
        "declined": sum(source.declined.values()),
        "declined_by_class": {result.value: n for result, n in source.declined.items()},
        "failed": source.failures,
        "failed_by_class": {result.value: n for result, n in source.failed.items()},
        "in_flight": source.in_flight,
        "late": source.late,
        "rps": round(source.due / seconds, 3) if seconds else 0.0,
        "latency_ms": _latencies(source.total),
    }


def _by_result(run: LoadRun, source: SourceSnapshot) -> dict[str, Any]:
    histograms: dict[str, Histogram] = {
        result.value: histogram
        for (name, _, result), histogram in run.histograms().items()
        if name == source.source
    }
    return {name: _latencies(latencies_of(histogram)) for name, histogram in histograms.items()}


def _latencies(latencies: Latencies) -> dict[str, Any]:
    return {
        "count": latencies.count,
        "p50": _ms(latencies.p50),
        "p90": _ms(latencies.p90),
        "p99": _ms(latencies.p99),
        "p99.9": _ms(latencies.p999),
        "max": _ms(latencies.max),
    }


def _row(row: SecondRow) -> dict[str, Any]:
    return {
        "second": row.second,
        "ok": row.ok,
        "declined": row.declined,
        "failed": row.failed,
        "p50_ms": _ms(row.p50),
        "p99_ms": _ms(row.p99),
    }


def _ms(duration: Duration | None) -> float | None:
    return None if duration is None else round(duration / MILLISECOND, 3)


def _wall(nanoseconds: int) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(in_seconds(nanoseconds), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
