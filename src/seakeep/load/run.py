"""The open loop: requests leave when they are due, whatever came back.

    run = LoadRun(plan)
    await run.run(30 * SECOND)
    run.snapshot().total.total.p99

An alarm wakes the loop at the next due time; everything that is due by then is sent at once.
Nothing that happens to a request delays another, and what cannot be sent is counted.
"""

import asyncio
import gc
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

from seakeep.load.alarm import alarm
from seakeep.load.client import HttpClient
from seakeep.load.histogram import Histogram
from seakeep.load.plan import DueRequest, Lane, LoadPlan, Requests, Target
from seakeep.load.recorder import Recorder
from seakeep.load.resolve import Found, NotFound, Resolver
from seakeep.load.results import Answer, Failure, Result
from seakeep.load.snapshot import SecondRow, Snapshot
from seakeep.model.ids import RegionName
from seakeep.model.time import MILLISECOND, SECOND, Duration, Instant, in_seconds

IN_FLIGHT_MAX = 20_000
TIMEOUT: Duration = 5 * SECOND
LEAD: Duration = 20 * MILLISECOND
"""Between the start and the first due time, to have everything at hand."""
BATCH = 200
"""Requests sent before answers get their turn, when many are due at once."""
STOP_GRACE: Duration = 2 * SECOND
"""How long requests in flight may still take once the user ended the run."""

OnInterval = Callable[[Duration, Duration, list[tuple[Lane, Histogram]]], None]
"""Called each second with start and end of the interval (since the run's start) and the
latencies of what ended in it, per lane."""


def calm_collector() -> None:
    """Collect garbage less often: requests leave little of it, and each pass is a pause in
    which none can be sent. For a process that does nothing but load; saves a tenth of its CPU."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


class LoadRun:
    """One run of a plan. Lives in one event loop; `snapshot` and `failed_between` may be
    called from it at any time, during the run and after."""

    def __init__(
        self,
        plan: LoadPlan,
        *,
        timeout: Duration = TIMEOUT,
        in_flight_max: int = IN_FLIGHT_MAX,
        on_interval: OnInterval | None = None,
    ) -> None:
        self.plan = plan
        self.began_at: Instant = 0
        """First due time, on the monotonic clock (`time.monotonic_ns`); 0 before the start."""
        self.began_at_wall_ns = 0
        """The same instant in nanoseconds since the epoch."""
        self._timeout = timeout
        self._in_flight_max = in_flight_max
        self._on_interval = on_interval
        self._resolvers = [
            None if lane.lookup is None else Resolver(lane.lookup, lane.source)
            for lane in plan.lanes
        ]
        self._targets: dict[tuple[int, RegionName], Target] = {}
        self._recorder = Recorder(plan.lanes, keep_intervals=on_interval is not None)
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended_at: Instant | None = None

    async def run(
        self,
        duration: Duration | None = None,
        stop_event: asyncio.Event | None = None,
        on_start: Callable[[int], None] | None = None,
    ) -> Snapshot:
        """Send until `duration` is over, the plan ends or `stop_event` is set; then wait for
        the answers still under way. `on_start` gets `began_at_wall_ns` once it is known.
        Returns the final snapshot."""
        stop = stop_event or asyncio.Event()
        async with HttpClient(self._timeout) as client:
            sending = _Sending(self, client, self.plan.requests(), duration)
            await sending.look_ahead()
            self.began_at = time.monotonic_ns() + LEAD
            self.began_at_wall_ns = time.time_ns() + LEAD
            if on_start is not None:
                on_start(self.began_at_wall_ns)
            ticking = asyncio.create_task(self._tick())
            sending.start()
            stopping = asyncio.create_task(stop.wait())
            stopping.add_done_callback(lambda _: sending.close())
            try:
                await sending.done
            finally:
                sending.close()
                stopping.cancel()
                self._ended_at = time.monotonic_ns()
                await self._settle(STOP_GRACE if stop.is_set() else None)
                ticking.cancel()
                for resolver in self._resolvers:
                    if resolver is not None:
                        await resolver.close()
                self._close_interval()
        return self.snapshot()

    def snapshot(self) -> Snapshot:
        """Everything so far."""
        now = time.monotonic_ns()
        return self._recorder.snapshot(now, self._elapsed(self._ended_at or now))

    def series(self, source: str) -> tuple[SecondRow, ...]:
        """Per second, by when requests were due. Raises KeyError for an unknown source."""
        for recorder in self._recorder.sources:
            if recorder.lane.source == source:
                return recorder.all_rows()
        raise KeyError(source)

    def histograms(self) -> dict[tuple[str, str, Result], Histogram]:
        """Latencies by (traffic source, service, result) since the start."""
        return {
            (source.lane.source, source.lane.service, result): source.histograms[result]
            for source in self._recorder.sources
            for result in Result
            if result in source.histograms
        }

    def failures(self, most: int | None = None, *, after: int = 0) -> list[Failure]:
        """The log of failures in the order in which they ended; the last 100,000 are kept.
        `after` skips so many, counted since the start: pass how many you have had to get the
        new ones. `most` gives only so many of them."""
        start = max(0, after - self.failures_forgotten)
        stop = None if most is None else start + most
        return list(islice(self._recorder.failures, start, stop))

    @property
    def failures_forgotten(self) -> int:
        """How many of the oldest failures the log no longer has."""
        return self._recorder.failures_forgotten

    def failed_between(self, start: Instant, end: Instant) -> list[Failure]:
        """Failures of requests that were due in [start, end), on the monotonic clock."""
        return [f for f in self._recorder.failures if start <= f.due_at < end]

    def _elapsed(self, now: Instant) -> Duration:
        return max(0, now - self.began_at) if self.began_at else 0

    async def _settle(self, grace: Duration | None) -> None:
        """Wait for what is in flight. Each ends by its own timeout; a user who stopped the
        run waits `grace` at most, and what is still under way then stays `in_flight`."""
        if self._tasks:
            limit = self._timeout + SECOND if grace is None else min(grace, self._timeout)
            await asyncio.wait(self._tasks, timeout=in_seconds(limit))
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _tick(self) -> None:
        for second in range(1, 1 << 62):
            wait = self.began_at + second * SECOND - time.monotonic_ns()
            await asyncio.sleep(in_seconds(max(0, wait)))
            self._close_interval()

    def _close_interval(self) -> None:
        now = self._elapsed(time.monotonic_ns())
        start = self._recorder.ticked_at
        closed = self._recorder.tick(now)
        if self._on_interval is not None:
            self._on_interval(start, now, closed)

    def _fire(self, client: HttpClient, request: DueRequest) -> None:
        recorder = self._recorder
        recorder.count_due(request.lane, request.due)
        # Tasks count what is on its way to being sent, too.
        if len(self._tasks) >= self._in_flight_max:
            detail = f"{self._in_flight_max} requests in flight"
            answer = Answer(result=Result.OVERLOADED, detail=detail)
            now = time.monotonic_ns()
            recorder.count_unsent(request.lane, request.due, answer, self.began_at, now)
            return
        task = asyncio.get_running_loop().create_task(self._send(client, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, client: HttpClient, request: DueRequest) -> None:
        due, lane, method, path = request
        self._recorder.count_sent(lane, time.monotonic_ns() - self.began_at - due)
        resolver, region = self._resolvers[lane], None
        try:
            target = self.plan.lanes[lane].target
            if resolver is not None:
                target = self._target(lane, await resolver.find())
            region = target.region
            answer = await client.send(target, method, path)
        except NotFound as error:
            answer = Answer(result=Result.UNRESOLVED, detail=str(error))
        self._recorder.count_answer(lane, due, answer, self.began_at, time.monotonic_ns(), region)

    def _target(self, lane: int, found: Found) -> Target:
        """The lane's target at the edge that DNS led to."""
        key = (lane, found.region)
        target = self._targets.get(key)
        if target is None:
            declared = self.plan.lanes[lane].target
            target = replace(declared, address=found.address, region=found.region)
            self._targets[key] = target
        return target


class _Sending:
    """Takes requests from the stream and fires each when it is due."""

    def __init__(
        self, run: LoadRun, client: HttpClient, requests: Requests, duration: Duration | None
    ) -> None:
        self._run = run
        self._client = client
        self._requests = requests
        self._duration = duration
        self._next: DueRequest | None = None
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self._alarm = alarm(self._loop, self._pump)

    async def look_ahead(self) -> None:
        """Find the first request before the clock starts: a log may have to be read far."""
        while self._next is None:
            self._next = next(self._requests, _END)
            await asyncio.sleep(0)

    def start(self) -> None:
        self._pump()

    def close(self) -> None:
        self._alarm.close()
        if not self.done.done():
            self.done.set_result(None)

    def _pump(self) -> None:
        """Fire everything that is due, then sleep until the next is."""
        if self.done.done():
            return
        try:
            self._fire_due()
        except Exception as error:
            # A stream that fails must end the run with its error, not hang it.
            self.done.set_exception(error)

    def _fire_due(self) -> None:
        for _ in range(BATCH):
            if self._next is None:
                self._next = next(self._requests, _END)
                if self._next is None:
                    break
            if self._next is _END or self._is_over(self._next.due):
                self._finish()
                return
            due_at = self._run.began_at + self._next.due
            if due_at > time.monotonic_ns():
                self._alarm.set(due_at)
                return
            self._run._fire(self._client, self._next)
            self._next = None
        self._loop.call_soon(self._pump)

    def _is_over(self, due: Duration) -> bool:
        return self._duration is not None and due >= self._duration

    def _finish(self) -> None:
        """Nothing more to send; with a duration, the run lasts until it is over."""
        over = self._run.began_at + (self._duration or 0)
        if self._next is not _END and over > time.monotonic_ns():
            self._alarm.set(over)
            return
        self.done.set_result(None)


_END = DueRequest(-1, -1, "", "")
