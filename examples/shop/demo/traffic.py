"""Load from a process of its own, so that drawing the screen delays no request."""

import asyncio
import multiprocessing
import statistics
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from seakeep.load.plan import plan_for_system
from seakeep.load.resolve import Overstay
from seakeep.load.run import LoadRun
from seakeep.load.snapshot import Snapshot, SourceSnapshot
from seakeep.model.system import Shape, System
from seakeep.model.time import SECOND, seconds
from seakeep.runtime.client import edges, servers
from seakeep.spec import load

TELL_EVERY_S = 0.25
RUN_S_MAX = 900
SEED = 7
FLOOD = "flood"
"""The name of the client that floods, among the traffic sources."""
NOBODY_OVERSTAYS = Overstay(share=0.0)
"""Every client asks again once an answer's time is over: what is measured is the system."""


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
    declined: int
    """Turned away on purpose: 429, or 503 with Retry-After."""


@dataclass(slots=True)
class Traffic:
    """What the load process has told so far."""

    sources: list[SourceFigures] = field(default_factory=list)
    failures: list[tuple[int, str, str]] = field(default_factory=list)
    """(due, source, result), due on the monotonic clock in ns."""
    ends: list[tuple[int, dict[str, int]]] = field(default_factory=list)
    """(time told, requests ended so far by source)."""
    p99s: list[tuple[int, str, float]] = field(default_factory=list)
    """(time told, source, p99 of the last second in ms)."""
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
            self._ours.send(("stop",))
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
                traffic.p99s += [
                    (told["at"], item.source, item.p99_ms)
                    for item in traffic.sources
                    if item.p99_ms is not None
                ]
                traffic.ends.append((told["at"], ended))
                traffic.warning = told["warning"]

    def surge(self, source: str, factor: float, lasts_s: float) -> None:
        """Let a source send so many times as much as it does, for a while."""
        self._ours.send(("surge", source, factor, lasts_s))

    def flood(self, path: str, rate_per_s: float, lasts_s: float) -> None:
        """Let one more client ask for a path, again and again, for a while."""
        self._ours.send(("flood", path, rate_per_s, lasts_s))

    def p99_between(self, start_ns: int, end_ns: int, source: str) -> float | None:
        """The median of a source's p99s, one a second, in ms."""
        found = [
            p99 for at, name, p99 in self.traffic.p99s if name == source and start_ns <= at < end_ns
        ]
        return statistics.median(found) if found else None

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

    def last_failure_between(self, start_ns: int, end_ns: int) -> int | None:
        """When the last request that failed was due."""
        dues = (due for due, _, _ in self.traffic.failures if start_ns <= due < end_ns)
        return max(dues, default=None)

    def _ended(self, at_ns: int) -> int:
        before = [sum(due.values()) for told, due in self.traffic.ends if told <= at_ns]
        return before[-1] if before else 0


def _generate(spec: Path, parent: Connection) -> None:
    try:
        asyncio.run(_run(spec, parent))
    except (KeyboardInterrupt, BrokenPipeError, EOFError):
        return


async def _run(spec: Path, parent: Connection) -> None:
    generator = _Generator(spec)
    while not generator.ended:
        await asyncio.sleep(TELL_EVERY_S)
        while parent.poll():
            generator.obey(parent.recv())
        parent.send(generator.news())
    await generator.settle()


class _Generator:
    """The run of the spec's traffic, and one more for each surge."""

    def __init__(self, spec: Path) -> None:
        self._spec = spec
        self._system = load(spec).system
        self._stop = asyncio.Event()
        self._runs: list[LoadRun] = []
        self._told: list[int] = []
        self._tasks: list[asyncio.Task[Snapshot]] = []
        self._begin(self._system, (), 1.0, RUN_S_MAX)

    def _begin(self, system: System, sources: Sequence[str], factor: float, lasts_s: float) -> None:
        """Send what the sources (all, when none is named) send, `factor` times."""
        plan = plan_for_system(
            system, edges(self._spec.parent), seed=SEED + len(self._runs), sources=sources,
            factor=factor, servers=servers(self._spec.parent), overstay=NOBODY_OVERSTAYS,
        )  # fmt: skip
        run = LoadRun(plan, timeout=3 * SECOND)
        self._runs.append(run)
        self._told.append(0)
        self._tasks.append(asyncio.create_task(run.run(seconds(lasts_s), self._stop)))

    @property
    def ended(self) -> bool:
        return self._stop.is_set() or self._tasks[0].done()

    def obey(self, words: tuple[Any, ...]) -> None:
        match words:
            case ("stop",):
                self._stop.set()
            case ("surge", source, factor, lasts_s):
                self._begin(self._system, (source,), factor - 1, lasts_s)
            case ("flood", path, rate_per_s, lasts_s):
                like = next(iter(self._system.traffic.values()))
                flood = replace(
                    like, name=FLOOD, path=path, rate_per_s=rate_per_s, shape=Shape.CONSTANT
                )
                only = replace(self._system, traffic={FLOOD: flood})
                self._begin(only, (), 1.0, lasts_s)

    async def settle(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    def news(self) -> dict[str, Any]:
        failures = []
        for number, run in enumerate(self._runs):
            fresh = run.failures(after=self._told[number])
            self._told[number] += len(fresh)
            failures += [(f.due_at, f.source, f.result.value) for f in fresh]
        snapshots = [run.snapshot() for run in self._runs]
        sources: dict[str, list[SourceSnapshot]] = {}
        for snapshot in snapshots:
            for item in snapshot.sources:
                sources.setdefault(item.source, []).append(item)
        return {
            "at": time.monotonic_ns(),
            "sources": [_together(items) for items in sources.values()],
            "failures": failures,
            "warning": snapshots[0].client.warning,
        }


def _together(items: list[SourceSnapshot]) -> dict[str, Any]:
    """One source's figures from its runs. Percentiles cannot be added: the highest stands."""
    return {
        "source": items[0].source,
        "region": items[0].region or "",
        "rps": sum(item.rps for item in items),
        "p50_ms": _highest(item.interval.p50 for item in items),
        "p99_ms": _highest(item.interval.p99 for item in items),
        "ok": sum(item.ok for item in items),
        "failed": sum(item.failures for item in items),
        "declined": sum(sum(item.declined.values()) for item in items),
    }


def _highest(values: Iterable[int | None]) -> float | None:
    known = [value / 1e6 for value in values if value is not None]
    return max(known, default=None)
