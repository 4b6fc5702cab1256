"""Faults that last as long as somebody holds them: freeze and slow.

A hold belongs to a connection. It ends when the connection closes, for whatever reason, so a
fault cannot outlive its injector. A freeze is of the process that ran when it began; a slow
is of the instance, the processes that replace it included.
"""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass

from seakeep.engines.local.node.instances import Instance, Instances, Refused
from seakeep.engines.local.processes import Identity, members, send
from seakeep.model.ids import InstanceId

_DUTY_PERIOD_S = 0.05
_FRACTION_MIN = 0.01


@dataclass(eq=False, slots=True)
class Hold:
    """One fault on one instance; `release` undoes it once."""

    verb: str
    instance: InstanceId
    undo: Callable[[], None]
    released: bool = False

    def release(self) -> None:
        if not self.released:
            self.released = True
            self.undo()


class Faults:
    """The held faults of one node."""

    def __init__(self, instances: Instances) -> None:
        self._instances = instances
        self._slow: dict[InstanceId, list[float]] = {}
        self._duties: dict[InstanceId, asyncio.Task[None]] = {}

    def freeze(self, name: InstanceId) -> Hold:
        """SIGSTOP the process and all that belongs to it, while held. Raises Refused."""
        instance = self._instances.find(name)
        identity = instance.record.identity
        if instance.handle is None or identity is None:
            raise Refused(f"{name} does not run")
        instance.frozen_by += 1
        instance.handle.signal_group(signal.SIGSTOP)
        _signal_all(identity, signal.SIGSTOP)
        return Hold("freeze", name, lambda: self._thaw(instance, identity))

    def _thaw(self, instance: Instance, identity: Identity) -> None:
        if instance.record.identity != identity or instance.frozen_by == 0:
            return  # another process has taken its place meanwhile
        instance.frozen_by -= 1
        if instance.frozen_by == 0 and instance.handle is not None:
            _signal_all(identity, signal.SIGCONT)
            instance.handle.signal_group(signal.SIGCONT)

    def slow(self, name: InstanceId, fraction: float) -> Hold:
        """Leave an instance `fraction` of one core, while held; of several holds the
        smallest counts. Raises Refused."""
        self._instances.find(name)
        if not _FRACTION_MIN <= fraction < 1:
            raise Refused(f"fraction: want {_FRACTION_MIN} up to, not including, 1")
        self._slow.setdefault(name, []).append(fraction)
        self._apply(name)

        def undo() -> None:
            self._slow[name].remove(fraction)
            self._apply(name)

        return Hold("slow", name, undo)

    def reapply(self, name: InstanceId) -> None:
        """A new process has taken its place: slow it as the last one was."""
        if self._slow.get(name):
            self._apply(name)

    def _apply(self, name: InstanceId) -> None:
        fractions = self._slow.get(name)
        if self._instances.groups.slow(name, min(fractions) if fractions else None):
            return
        duty = self._duties.pop(name, None)
        if duty is not None:
            duty.cancel()
        if fractions:
            self._duties[name] = asyncio.create_task(self._duty(name, min(fractions)))
        else:
            self._signal(name, signal.SIGCONT)

    async def _duty(self, name: InstanceId, fraction: float) -> None:
        """Without control groups: run and stop in turns."""
        while True:
            self._signal(name, signal.SIGCONT)
            await asyncio.sleep(_DUTY_PERIOD_S * fraction)
            self._signal(name, signal.SIGSTOP)
            await asyncio.sleep(_DUTY_PERIOD_S * (1 - fraction))

    def _signal(self, name: InstanceId, number: int) -> None:
        try:
            instance = self._instances.find(name)
        except Refused:
            return
        if instance.frozen_by == 0 and instance.handle is not None:
            instance.handle.signal_group(number)


def _signal_all(identity: Identity, number: int) -> None:
    """Children in sessions of their own too."""
    for member in members(identity):
        send(member, number)
