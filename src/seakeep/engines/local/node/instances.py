"""The instances of one node: started, watched, stopped, adopted. No policy lives here.

Every process is in a session of its own and holds nothing of the agent's, so it goes on when
the agent ends; the next agent takes it over by its record. Everything runs on one event loop,
and between two awaits an instance is in one of three states:

    record.identity set, exited_at None      runs; `handle` tells when it ends
    exited_at set                            has ended, or could not be started
    neither                                  being started, or being replaced
"""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seakeep.engines.local.cgroups import NodeGroups
from seakeep.engines.local.clock import boot_clock
from seakeep.engines.local.complain import complain
from seakeep.engines.local.layout import Layout
from seakeep.engines.local.node.launch import Place, execute, launch, token_of
from seakeep.engines.local.node.probes import Prober
from seakeep.engines.local.node.records import Record, Records
from seakeep.engines.local.processes import (
    Handle,
    Identity,
    SpawnError,
    describe_exit,
    is_alive,
    kill_members,
    send,
    strays,
    usage,
)
from seakeep.model.ids import InstanceId
from seakeep.model.observation import Address, InstanceState, Phase
from seakeep.model.system import Workload
from seakeep.model.time import Duration, Instant, in_seconds

_ENDED_AWAY = "ended while its node agent was away"


class Refused(Exception):
    """The request does not fit the world as it is; the message says why."""


class Failed(Exception):
    """The request was carried out and did not succeed."""


@dataclass(slots=True, kw_only=True)
class Instance:
    """One instance and what the agent holds of it."""

    record: Record
    handle: Handle | None = None
    prober: Prober | None = None
    replacing: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while no process runs."""
    kill_timer: asyncio.TimerHandle | None = None
    frozen_by: int = 0
    """Freezes that are held on the present process."""
    cpu_seconds: float = 0.0
    sampled_at: Instant = 0
    cpu_millicores: float = 0.0
    memory_bytes: int = 0


class Instances:
    """All instances of a node, by id. `changed` hears which one has changed, `gone` which one
    was forgotten."""

    def __init__(
        self,
        *,
        place: Place,
        layout: Layout,
        groups: NodeGroups,
        changed: Callable[[InstanceId], None],
        gone: Callable[[InstanceId], None],
    ) -> None:
        self.place = place
        self.groups = groups
        self._layout = layout
        self._records = Records(layout.node(place.node) / "instances")
        self._changed = changed
        self._gone = gone
        self._all: dict[InstanceId, Instance] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._unwritten: dict[InstanceId, Record] = {}

    def find(self, name: InstanceId) -> Instance:
        """Raises Refused."""
        if name not in self._all:
            raise Refused(f"no instance {name} on {self.place.node}")
        return self._all[name]

    def has(self, name: InstanceId) -> bool:
        return name in self._all

    def states(self) -> list[InstanceState]:
        return [self.state(name) for name in sorted(self._all)]

    def state(self, name: InstanceId) -> InstanceState:
        instance = self._all[name]
        record = instance.record
        phase = Phase.STOPPING if record.stop_by is not None else Phase.RUNNING
        running = record.exited_at is None
        return InstanceState(
            id=record.id,
            service=record.service,
            region=self.place.region,
            zone=self.place.zone,
            node=self.place.node,
            revision=record.workload.revision,
            address=record.address,
            phase=phase if running else Phase.EXITED,
            pid=record.identity.pid if running and record.identity else None,
            created_at=record.created_at,
            started_at=record.started_at,
            restarts=record.restarts,
            probes=instance.prober.readings if instance.prober else record.readings,
            draining_since=record.draining_since,
            exited_at=record.exited_at,
            exit_detail=record.exit_detail,
            cpu_millicores=instance.cpu_millicores if running else 0.0,
            memory_bytes=instance.memory_bytes if running else 0,
        )

    # --- adoption ---------------------------------------------------------------

    def adopt(self) -> None:
        """Take over what an earlier agent left: by identity, or by token where it came to
        its end between a start and its note. Kills what no record knows."""
        records, broken = self._records.load(boot_clock())
        for line in broken:
            complain(f"record put aside: {line}")
        found = strays(self.place.token + "/")
        known: set[Identity] = set()
        for record in records:
            instance = Instance(record=record)
            self._all[record.id] = instance
            if record.exited_at is None:
                self._adopt(instance, found)
            if record.exited_at is None and record.identity is not None:
                known.add(record.identity)
            else:
                instance.ended.set()
        for stray in found:
            if stray.token.endswith("/agent"):
                continue  # one that will find the lock taken
            if _belongs(stray, known):
                # Faults are held by connections, and those of the earlier agent are gone.
                send(stray, signal.SIGCONT)
            else:
                send(stray, signal.SIGKILL)
        for instance in list(self._all.values()):
            if instance.record.stop_by is not None and instance.ended.is_set():
                self._forget(instance)

    def _adopt(self, instance: Instance, found: Sequence[Identity]) -> None:
        record = instance.record
        if record.identity is None:
            token = token_of(self.place, record)
            # The oldest with this token is the process itself; others are its children.
            with_token = [stray for stray in found if stray.token == token]
            record.identity = min(
                with_token, key=lambda stray: (stray.start_ticks, stray.pid), default=None
            )
        if record.identity is None or not is_alive(record.identity):
            record.exited_at = boot_clock()
            record.exit_detail = _ENDED_AWAY
            self._note(record)
            return
        self._note(record)
        self._attach(instance)
        self.groups.slow(record.id, None)
        if record.stop_by is not None:
            self._kill_at(instance, record.stop_by)

    # --- starting ---------------------------------------------------------------

    def start(
        self,
        *,
        name: InstanceId,
        service: str,
        address: Address,
        workload: Workload,
        env: tuple[tuple[str, str], ...],
        cwd: str,
    ) -> None:
        """Raises Refused when it exists, Failed when its process could not be started; then
        the instance is there, exited."""
        if name in self._all:
            raise Refused(f"{name} exists already on {self.place.node}")
        now = boot_clock()
        record = Record(
            id=name,
            service=service,
            address=address,
            workload=workload,
            env=env,
            cwd=cwd,
            created_at=now,
            started_at=now,
        )
        self._records.save(record)
        self._all[name] = Instance(record=record)
        self._launch(self._all[name])

    async def restart(self, name: InstanceId, restarts: int) -> None:
        """Replace the process by a new one. Raises Refused when it was restarted other than
        `restarts` times, Failed as `start` does."""
        instance = self.find(name)
        record = instance.record
        if record.restarts != restarts:
            raise Refused(f"{name} was restarted {record.restarts} times, not {restarts}")
        if record.stop_by is not None:
            raise Refused(f"{name} is being stopped")
        if instance.replacing:
            raise Refused(f"{name} is being restarted")
        instance.replacing = True
        try:
            if instance.handle is not None:
                instance.handle.signal_group(signal.SIGKILL)
                await instance.ended.wait()
        finally:
            instance.replacing = False
        if record.stop_by is not None or name not in self._all:
            raise Refused(f"{name} is being stopped")
        if record.identity is not None:
            # What it left in sessions of its own would hold its address.
            kill_members(record.identity, timeout_s=1.0)
        record.restarts += 1
        self._launch(instance)

    def _launch(self, instance: Instance) -> None:
        record = instance.record
        record.started_at = boot_clock()
        record.identity = record.exited_at = None
        record.exit_detail = ""
        record.readings = ()
        instance.frozen_by = 0
        instance.ended.clear()
        try:
            # Written before the start: whoever comes after a crash knows what to look for.
            self._records.save(record)
            self.groups.prepare(record.id, record.workload.resources)
            record.identity = launch(self.place, record, self._layout.log(record.id))
        except (SpawnError, OSError) as error:
            record.exited_at = boot_clock()
            why = getattr(error, "strerror", None) or str(error)
            record.exit_detail = f"could not start: {why}"
            instance.ended.set()
            self._note(record)
            self._changed(record.id)
            raise Failed(record.exit_detail) from error
        self.groups.join(record.id, record.identity.pid)
        self._note(record)
        self._attach(instance)
        self._changed(record.id)

    def _note(self, record: Record) -> None:
        """Write down what has happened. On a full disk it has happened all the same: that is
        written as soon as there is room."""
        self._unwritten.pop(record.id, None)
        try:
            self._records.save(record)
        except OSError as error:
            self._unwritten[record.id] = record
            complain(f"the record of {record.id} could not be written: {error}")

    def _attach(self, instance: Instance) -> None:
        """Watch and probe the running process of the record."""
        record = instance.record
        assert record.identity is not None
        instance.cpu_seconds, instance.sampled_at = 0.0, 0
        instance.handle = Handle.open(record.identity)
        if instance.handle is None:  # gone in this very moment
            self._ended(instance)
            return
        if instance.handle.fd is not None:
            loop = asyncio.get_running_loop()
            loop.add_reader(instance.handle.fd, self._ended, instance)
        else:
            self._background(self._await_end(instance, instance.handle))
        if record.stop_by is None:
            instance.prober = Prober(
                name=record.id,
                probes=record.workload.probes,
                address=record.address,
                execute=lambda command: execute(
                    self.place, record, command, lambda pid: self.groups.join(record.id, pid)
                ),
                started_at=record.started_at,
                readings=record.readings,
                changed=lambda urgent: self._probed(instance, urgent),
            )
            instance.prober.start()

    async def _await_end(self, instance: Instance, handle: Handle) -> None:
        """Where there are no pidfds."""
        await handle.ended()
        if instance.handle is handle:
            self._ended(instance)

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _probed(self, instance: Instance, urgent: bool) -> None:
        assert instance.prober is not None
        record, now = instance.record, instance.prober.readings
        turned = [(r.kind, r.ok, r.passed) for r in now]
        if turned != [(r.kind, r.ok, r.passed) for r in record.readings]:
            record.readings = now
            self._note(record)
        if urgent:
            self._changed(record.id)

    # --- ending -----------------------------------------------------------------

    def drain(self, name: InstanceId) -> None:
        record = self.find(name).record
        if record.draining_since is None:
            record.draining_since = boot_clock()
            self._note(record)
            self._changed(name)

    def stop(self, name: InstanceId, grace: Duration) -> Instance:
        """SIGTERM to the process group, SIGKILL after `grace` (the sooner one when told
        twice); forgotten when it has ended, at once when it has already."""
        instance = self.find(name)
        record = instance.record
        if record.exited_at is not None and not instance.replacing:
            self._forget(instance)
            return instance
        stop_by = boot_clock() + grace
        record.stop_by = min(stop_by, record.stop_by or stop_by)
        self._note(record)
        if instance.prober is not None:
            record.readings = instance.prober.readings
            instance.prober.stop()
            instance.prober = None
        if instance.handle is not None:
            instance.handle.signal_group(signal.SIGTERM)
        self._kill_at(instance, record.stop_by)
        self._changed(name)
        return instance

    def kill(self, name: InstanceId) -> None:
        """SIGKILL, as a fault: nobody asked for it, so it is seen as an exit."""
        handle = self.find(name).handle
        if handle is None:
            raise Refused(f"{name} does not run")
        handle.signal_group(signal.SIGKILL)

    def kill_all(self) -> None:
        for instance in self._all.values():
            if instance.handle is not None:
                instance.handle.signal_group(signal.SIGKILL)

    async def stop_all(self, grace: Duration | None) -> None:
        """Stop every instance, each with its own grace unless one is given."""
        stopping = []
        for name in sorted(self._all):
            own = self._all[name].record.workload.stop_grace
            stopping.append(self.stop(name, own if grace is None else grace))
        for instance in stopping:
            await instance.ended.wait()

    def longest_grace(self) -> Duration:
        """How long stopping every instance may take."""
        return max((one.record.workload.stop_grace for one in self._all.values()), default=0)

    def _kill_at(self, instance: Instance, at: Instant) -> None:
        if instance.kill_timer is not None:
            instance.kill_timer.cancel()
        delay_s = max(0.0, in_seconds(at - boot_clock()))
        loop = asyncio.get_running_loop()
        instance.kill_timer = loop.call_later(delay_s, self._kill_now, instance)

    def _kill_now(self, instance: Instance) -> None:
        if instance.handle is not None:
            instance.handle.signal_group(signal.SIGKILL)

    def _ended(self, instance: Instance) -> None:
        """The process has ended: note how, end what it left behind."""
        record, handle = instance.record, instance.handle
        instance.handle = None
        status = None
        if handle is not None:
            if handle.fd is not None:
                asyncio.get_running_loop().remove_reader(handle.fd)
            # Before it is reaped, while its number is taken: the rest of its group.
            handle.signal_group(signal.SIGKILL)
            status = handle.exit_status()
            handle.close()
        if instance.prober is not None:
            record.readings = instance.prober.readings
            instance.prober.stop()
            instance.prober = None
        record.exited_at = boot_clock()
        record.exit_detail = describe_exit(status)
        if self.groups.was_out_of_memory(record.id):
            limit = record.workload.resources.memory_bytes >> 20
            record.exit_detail += f" (out of memory, limit {limit} MiB)"
        instance.ended.set()
        if record.stop_by is not None:
            self._forget(instance)
        else:
            self._note(record)
            self._changed(record.id)

    def _forget(self, instance: Instance) -> None:
        record = instance.record
        if instance.kill_timer is not None:
            instance.kill_timer.cancel()
        if record.identity is not None:
            kill_members(record.identity, timeout_s=1.0)
        self._unwritten.pop(record.id, None)
        self._records.forget(record.id)
        self._all.pop(record.id, None)
        self.groups.remove(record.id)
        self._gone(record.id)

    # --- measures ---------------------------------------------------------------

    def sample(self) -> None:
        """Measure CPU and memory of what runs, and write what could not be written before."""
        now = boot_clock()
        for record in list(self._unwritten.values()):
            self._note(record)
        for instance in self._all.values():
            record = instance.record
            if record.identity is None or record.exited_at is not None:
                continue
            seconds, instance.memory_bytes = usage(record.identity)
            if instance.sampled_at:
                # A child that has ended takes its time along: never below zero.
                spent = max(0.0, seconds - instance.cpu_seconds)
                elapsed = in_seconds(now - instance.sampled_at)
                instance.cpu_millicores = round(1000 * spent / elapsed, 1) if elapsed else 0.0
            instance.cpu_seconds, instance.sampled_at = seconds, now

    def logs(self) -> list[Path]:
        return [self._layout.log(name) for name in sorted(self._all)]


def _belongs(stray: Identity, known: Set[Identity]) -> bool:
    """Whether a process is a known one's: of its session, or with exactly its token."""
    try:
        session = os.getsid(stray.pid)
    except OSError:
        return True  # gone
    return any(stray.token == leader.token or session == leader.pid for leader in known)
