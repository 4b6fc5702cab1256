"""Load from a process of its own, so that drawing the screen delays no request."""

import asyncio
import multiprocessing
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from seakeep.load.plan import plan_for_system
from seakeep.load.run import LoadRun
from seakeep.model.time import SECOND
from seakeep.runtime.client import edges
from seakeep.spec import load

TELL_EVERY_S = 0.25
RUN_S_MAX = 900
SEED = 7


@dataclass(slots=True)
class SourceFigures:
    """The last second of one traffic source, and its totals."""

    source: str
    region: str
    rps: float
    p50_ms: float | None
    p99_ms: float | None
    ok: int
    failed: int


@dataclass(slots=True)
class Traffic:
    """What the load process has told so far."""

    sources: list[SourceFigures] = field(default_factory=list)
    failures: list[tuple[int, str, str]] = field(default_factory=list)
    """(due, source, result), due on the monotonic clock in ns."""
    ends: list[tuple[int, dict[str, int]]] = field(default_factory=list)
    """(time told, requests ended so far by source)."""
    warning: str | None = None


class Load:
    """The load process, started on entry and stopped on exit."""

    def __init__(self, spec: Path) -> None:
        self.traffic = Traffic()
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_generate, args=(spec, theirs), daemon=True)
        # Read all the time: a full pipe would hold up the sender, and with it the load.
        self._reader = threading.Thread(target=self._read, name="load", daemon=True)

    def __enter__(self) -> "Load":
        self._process.start()
        self._reader.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with suppress(OSError):
            self._ours.send("stop")
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _read(self) -> None:
        traffic = self.traffic
        with suppress(EOFError, OSError):
            while True:
                told: dict[str, Any] = self._ours.recv()
                traffic.sources = [SourceFigures(**item) for item in told["sources"]]
                traffic.failures += [tuple(item) for item in told["failures"]]
                ended = {item.source: item.ok + item.failed for item in traffic.sources}
                traffic.ends.append((told["at"], ended))
                traffic.warning = told["warning"]

    def requests_between(self, start_ns: int, end_ns: int) -> int:
        """How many requests ended in an interval of the monotonic clock."""
        return self._ended(end_ns) - self._ended(start_ns)

    def failures_between(self, start_ns: int, end_ns: int) -> dict[str, int]:
        """Failures by source, of requests that were due in the interval."""
        counts = {item.source: 0 for item in self.traffic.sources}
        for due, source, _ in self.traffic.failures:
            if start_ns <= due < end_ns:
                counts[source] = counts.get(source, 0) + 1
        return counts

    def _ended(self, at_ns: int) -> int:
        before = [sum(due.values()) for told, due in self.traffic.ends if told <= at_ns]
        return before[-1] if before else 0


def _generate(spec: Path, parent: Connection) -> None:
    try:
        asyncio.run(_run(spec, parent))
    except (KeyboardInterrupt, BrokenPipeError, EOFError):
        return


async def _run(spec: Path, parent: Connection) -> None:
    system = load(spec).system
    plan = plan_for_system(system, edges(spec.parent), seed=SEED)
    run = LoadRun(plan, timeout=3 * SECOND)
    stop = asyncio.Event()
    running = asyncio.create_task(run.run(RUN_S_MAX * SECOND, stop))
    told = 0
    while not running.done():
        await asyncio.sleep(TELL_EVERY_S)
        if parent.poll():
            stop.set()
        news = run.failures(after=told)
        told += len(news)
        _tell(parent, run, [(f.due_at, f.source, f.result.value) for f in news])
        if stop.is_set():
            break
    await running


def _tell(parent: Connection, run: LoadRun, failures: list[tuple[int, str, str]]) -> None:
    snapshot = run.snapshot()
    sources = [
        {
            "source": item.source,
            "region": item.region or "",
            "rps": item.rps,
            "p50_ms": None if item.interval.p50 is None else item.interval.p50 / 1e6,
            "p99_ms": None if item.interval.p99 is None else item.interval.p99 / 1e6,
            "ok": item.ok,
            "failed": item.failures,
        }
        for item in snapshot.sources
    ]
    parent.send(
        {
            "at": time.monotonic_ns(),
            "sources": sources,
            "failures": failures,
            "warning": snapshot.client.warning,
        }
    )
