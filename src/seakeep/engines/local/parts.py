"""The machinery as processes: node agents, Envoys and links, started, adopted and watched.

A part is started only when told to, outlives the supervisor, and is adopted by identity when
a new supervisor comes up. All of this runs on the engine's own event loop.
"""

import asyncio
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from seakeep.engines.local import processes
from seakeep.engines.local.clock import BootClock
from seakeep.engines.local.complain import complain
from seakeep.engines.local.envoy.admin import AdminError, ConfigRejected
from seakeep.engines.local.layout import Layout
from seakeep.engines.local.node.client import NodeError
from seakeep.engines.local.power import Power
from seakeep.engines.local.state import PartRecord
from seakeep.model.observation import PartKind, PartState
from seakeep.model.system import Resources, System
from seakeep.model.time import Instant

READY_DEADLINE_S = 15.0
"""A part that cannot be talked to this long after its start is killed; its start has failed."""


PING_EVERY_S = 1.0
PING_WITHIN_S = 2.0


class PartError(Exception):
    """A part could not be started; the text says why."""


class Part(ABC):
    """One process of the machinery. Subclasses say what to run and how to talk to it."""

    def __init__(
        self,
        record: PartRecord,
        layout: Layout,
        token: str,
        changed: Callable[[], None],
        save: Callable[[], None],
    ) -> None:
        self.record = record
        self.layout = layout
        self.running = False
        self.detail = "not started yet"
        self.heard_at: Instant = 0
        """When the running process last answered; see `listen`."""
        self.capacity: Resources | None = None
        self.token = token
        """The system's, which the tokens of all its processes start with."""
        self._changed = changed
        self._save = save
        self._watch: asyncio.Task[None] | None = None
        self._starting = False

    @abstractmethod
    def configure(self, system: System) -> None:
        """Take a spec; called before the first start and whenever the spec changes."""

    @abstractmethod
    def prepare(self) -> None:
        """Write the files that the process reads at its start."""

    @abstractmethod
    def launch(self) -> processes.Identity:
        """Start the process, detached. Raises SpawnError."""

    def spawn(self, argv: list[str]) -> processes.Identity:
        """Start a command as this part's process: its log, and a token that finds it again."""
        return processes.spawn(
            argv,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            cwd=self.layout.state,
            log=self.layout.log(self.record.id),
            token=self.process_token(),
        )

    def process_token(self) -> str:
        """What this part's process is found by. It starts with the part's region as those of
        nodes do, behind a mark that no region's name can have."""
        return f"{part_token(self.token, self.record.region)}{self.record.kind.value}"

    @abstractmethod
    async def connect(self) -> None:
        """Return once the part can be talked to; raise OSError while it cannot."""

    @abstractmethod
    async def disconnect(self) -> None: ...

    @abstractmethod
    async def ping(self) -> None:
        """Return once the process has answered a question; raise OSError when it does not."""

    async def start(self) -> str:
        """Start the process, or adopt it when it runs. Returns what was done; raises PartError."""
        if self._starting:
            return "is starting already"
        self._starting = True
        try:
            return await self._start()
        finally:
            self._starting = False

    async def _start(self) -> str:
        record = self.record
        dark = Power(self.layout).is_on(record.region, record.zone, self._node())
        if dark is not None:
            self._set(False, dark)
            raise PartError(dark)
        if self.running:
            if await self._answers():
                return "runs and answers"
            await self._end_hung()
        if await self.adopt():
            return "adopted"
        first = record.identity is None
        if record.identity is not None:
            processes.reap(record.identity)
        try:
            self.prepare()
            record.identity = self.launch()
        except (OSError, processes.SpawnError) as error:
            self._set(False, f"could not start: {error}")
            raise PartError(self.detail) from error
        record.restarts += 0 if first else 1
        self._save()
        self._fall_dark(record.identity)
        await self._until_usable()
        return "started"

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(PING_WITHIN_S):
                await self.ping()
        except (OSError, EOFError):
            return False
        self.heard_at = BootClock().now()
        return True

    async def _end_hung(self) -> None:
        """Kill a process that was asked to be running and answers nothing."""
        if self.record.identity is not None:
            processes.send(self.record.identity, signal.SIGKILL)
        if self._watch is not None:
            await asyncio.wait([self._watch], timeout=READY_DEADLINE_S)

    async def listen(self) -> None:
        """Keep `heard_at` while the process runs, for parts that do not speak by themselves."""
        while True:
            await asyncio.sleep(PING_EVERY_S)
            await self._answers()

    def _fall_dark(self, identity: processes.Identity) -> None:
        """End what was started in the moment in which the power went: whoever cut it may have
        looked for processes before this one was there. Raises PartError."""
        dark = Power(self.layout).is_on(self.record.region, self.record.zone, self._node())
        if dark is not None:
            processes.send(identity, signal.SIGKILL)
            self._set(False, dark)
            raise PartError(dark)

    async def _until_usable(self) -> None:
        identity = self.record.identity
        assert identity is not None
        try:
            async with asyncio.timeout(READY_DEADLINE_S):
                await self._connect_while(identity)
        except TimeoutError:
            processes.send(identity, signal.SIGKILL)
            self._set(False, f"not usable within {READY_DEADLINE_S:.0f}s of its start")
            raise PartError(self.detail) from None
        except ConfigRejected as error:
            # It serves as it did before, so it is not ended; the next start asks again.
            self._set(False, f"refused its configuration: {error}")
            raise PartError(self.detail) from error
        self._take(identity)

    async def _connect_while(self, identity: processes.Identity) -> None:
        """Try to connect for as long as the process lives."""
        while True:
            try:
                return await self.connect()
            except (OSError, EOFError, NodeError, AdminError):
                if not processes.is_alive(identity):
                    self._set(False, f"exited at its start, see {self.layout.log(self.record.id)}")
                    raise PartError(self.detail) from None
                await asyncio.sleep(0.02)

    async def adopt(self) -> bool:
        """Take over the process of an earlier supervisor. False when it is not there."""
        identity = self.record.identity
        if self.running:
            return True
        if identity is None or not processes.is_alive(identity):
            await self._search()
            identity = self.record.identity
        if identity is None or not processes.is_alive(identity):
            return False
        first_seen, since = self.heard_at == 0, self.record.changed_at
        await self._until_usable()
        if first_seen and since:  # it has run all the time that nobody looked
            self.record.changed_at = since
            self._save()
        return True

    async def _search(self) -> None:
        """Find by its token the process of a supervisor that was killed between starting it and
        writing that down."""
        found = await asyncio.to_thread(processes.with_token, self.process_token())
        for twin in found[1:]:
            processes.send(twin, signal.SIGKILL)
        if found:
            self.record.identity = found[0]
            self._save()

    def _take(self, identity: processes.Identity) -> None:
        self.heard_at = BootClock().now()
        self._set(True, "")
        self._watch = asyncio.create_task(self._watch_exit(identity))

    async def _watch_exit(self, identity: processes.Identity) -> None:
        await processes.wait_exit(identity)
        detail = processes.describe_exit(processes.reap(identity))
        self._set(False, detail)
        await self.disconnect()

    def _set(self, running: bool, detail: str) -> None:
        if running != self.running or self.record.changed_at == 0:
            self.record.changed_at = BootClock().now()
            try:
                self._save()
            except OSError as error:  # a full disk: what happened is no less true
                complain(f"{self.record.id}: could not be noted: {error}")
        different = (running, detail) != (self.running, self.detail)
        self.running, self.detail = running, detail
        if different:
            self._changed()

    async def stop(self, grace_s: float = 5.0) -> None:
        """SIGTERM, wait, SIGKILL. The process is gone when this returns."""
        identity = self.record.identity
        if self._watch is not None:
            self._watch.cancel()
        await self.disconnect()
        if identity is not None:
            await terminate(identity, grace_s)
        self._set(False, "stopped")

    async def release(self) -> None:
        """Let go of the process without touching it."""
        if self._watch is not None:
            self._watch.cancel()
        await self.disconnect()

    def state(self) -> PartState:
        record = self.record
        return PartState(
            id=record.id, kind=record.kind, region=record.region, zone=record.zone,
            running=self.running, restarts=record.restarts, changed_at=record.changed_at,
            capacity=self.capacity, detail=self.detail,
        )  # fmt: skip

    def _node(self) -> str | None:
        return self.record.id.partition(":")[2] if self.record.kind == PartKind.NODE else None


async def terminate(identity: processes.Identity, grace_s: float) -> None:
    """SIGTERM, and SIGKILL when it still runs after the grace; reaped when it is our child."""
    if processes.send(identity, signal.SIGTERM):
        try:
            await asyncio.wait_for(processes.wait_exit(identity), grace_s)
        except TimeoutError:
            processes.send(identity, signal.SIGKILL)
            await processes.wait_exit(identity)
    processes.reap(identity)


def part_token(system: str, region: str) -> str:
    """What the tokens of a region's edge and link start with: `<system>/@parts/us-east/`. `system`
    is the system's token."""
    return f"{system}/@parts/{region}/"


def python_module(module: str, *arguments: str) -> list[str]:
    """argv that runs a module of ours with this interpreter, without the user's site hooks."""
    return [sys.executable, "-X", "utf8", "-m", module, *arguments]


def make_folder(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
