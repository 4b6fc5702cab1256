"""The probes of one process: when each is checked, and what the run of its results is.

Periods, timeouts, thresholds and the gating startup probe are Kubernetes'. Two things differ.
Regular checks of an instance are offset by a fixed fraction of their period that follows from
its id, so that many instances are not checked in the same instant. And until a startup or
readiness probe has passed it is also checked every 100 ms during the first seconds, so that a
new instance takes traffic as soon as it can; these early checks only ever count when they
pass, which leaves the thresholds of failures what they were.
"""

import asyncio
import zlib
from collections.abc import Callable, Sequence

from seakeep.engines.local.clock import boot_clock
from seakeep.engines.local.node.checks import Execute, run_check
from seakeep.model.observation import Address, ProbeReading
from seakeep.model.system import Probe, ProbeKind
from seakeep.model.time import MILLISECOND, SECOND, Duration, Instant, in_seconds

EARLY_PERIOD: Duration = 100 * MILLISECOND
EARLY_LASTS: Duration = 10 * SECOND


def brief(duration: Duration) -> str:
    """`1s`, `1.5s`, `300ms`."""
    if duration < SECOND:
        return f"{duration / MILLISECOND:g}ms"
    return f"{duration / SECOND:g}s"


class Prober:
    """Probes one process from its start to its end."""

    def __init__(
        self,
        *,
        name: str,
        probes: Sequence[Probe],
        address: Address,
        execute: Execute,
        started_at: Instant,
        readings: Sequence[ProbeReading],
        changed: Callable[[bool], None],
    ) -> None:
        """`readings` are those of an earlier agent, of the same process. `changed` hears of
        every result, with whether it may matter to somebody."""
        self._probes = {probe.kind: probe for probe in probes}
        self._address = address
        self._execute = execute
        self._started_at = started_at
        self._readings = {reading.kind: reading for reading in readings}
        self._changed = changed
        self._offset = zlib.crc32(name.encode()) % 1000
        self._up = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def readings(self) -> tuple[ProbeReading, ...]:
        """The latest of each probe that has been checked, in the order of `ProbeKind`."""
        return tuple(self._readings[kind] for kind in ProbeKind if kind in self._readings)

    def start(self) -> None:
        if ProbeKind.STARTUP not in self._probes or self._passed(ProbeKind.STARTUP):
            self._up.set()
        for probe in self._probes.values():
            self._tasks.append(asyncio.create_task(self._run(probe)))

    def stop(self) -> None:
        """Check no more. The readings stay."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()

    def _passed(self, kind: ProbeKind) -> bool:
        reading = self._readings.get(kind)
        return reading is not None and reading.passed

    async def _run(self, probe: Probe) -> None:
        if probe.kind is ProbeKind.STARTUP:
            if self._passed(probe.kind):
                return
        else:
            await self._up.wait()
        begin = max(boot_clock(), self._started_at + probe.delay)
        due = begin + probe.period * self._offset // 1000
        at = begin if self._is_early(probe, begin) else due
        while True:
            await asyncio.sleep(in_seconds(max(0, at - boot_clock())))
            now = boot_clock()
            regular = now >= due
            if regular:
                due += probe.period * (1 + (now - due) // probe.period)
            detail = await self._check(probe)
            if regular or not detail:
                self._take(probe, detail)
            if probe.kind is ProbeKind.STARTUP and self._passed(probe.kind):
                self._up.set()
                return
            now = boot_clock()
            at = min(due, now + EARLY_PERIOD) if self._is_early(probe, now) else due

    def _is_early(self, probe: Probe, now: Instant) -> bool:
        return (
            probe.kind is not ProbeKind.LIVENESS
            and probe.successes == 1
            and not self._passed(probe.kind)
            and now < self._started_at + probe.delay + EARLY_LASTS
        )

    async def _check(self, probe: Probe) -> str:
        limit_s = in_seconds(probe.timeout)
        try:
            async with asyncio.timeout(limit_s):
                return await run_check(probe.check, self._address, self._execute, limit_s)
        except TimeoutError:
            return f"timed out after {brief(probe.timeout)}"

    def _take(self, probe: Probe, detail: str) -> None:
        ok, before = not detail, self._readings.get(probe.kind)
        same = before is not None and before.ok == ok
        count = before.count + 1 if before is not None and same else 1
        reached = ok and count >= probe.successes
        passed = reached or (before is not None and before.passed)
        self._readings[probe.kind] = ProbeReading(
            kind=probe.kind,
            ok=ok,
            count=count,
            passed=passed,
            checked_at=boot_clock(),
            detail=detail,
        )
        self._changed(count <= (probe.successes if ok else probe.failures))
