"""The socket of a node agent: requests in, replies and reports out.

Whatever arrives, the agent goes on: a line that is no request gets a `failed` reply that says
what is wrong with it.
"""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from seakeep.engines.local.clock import boot_clock
from seakeep.engines.local.node.codec import (
    LINE_BYTES_MAX,
    CodecError,
    Fields,
    decode_line,
    decode_workload,
    encode_line,
    encode_report,
    flag,
    nested,
    number,
    pairs,
    text,
    whole,
    whole_or_none,
)
from seakeep.engines.local.node.faults import Faults, Hold
from seakeep.engines.local.node.instances import Failed, Instances, Refused
from seakeep.model.ids import InstanceId
from seakeep.model.observation import Address
from seakeep.model.system import Workload
from seakeep.model.time import Duration

UNSENT_BYTES_MAX = 16 << 20
"""A watcher that reads nothing is cut off here."""

Later: TypeAlias = Coroutine[Any, Any, dict[str, Any]]
"""A reply that takes a while; requests behind it do not wait."""


class Server:
    """Carries out requests; knows who watches."""

    def __init__(
        self, instances: Instances, faults: Faults, shut_down: Callable[[Duration | None], None]
    ) -> None:
        self.instances = instances
        self._faults = faults
        self._shut_down = shut_down
        self._watchers: dict[Connection, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._dirty: dict[InstanceId, None] = {}
        self._flushing = False

    # --- reports ----------------------------------------------------------------

    def touch(self, name: InstanceId) -> None:
        """Report an instance, with whatever else changes in this turn of the loop."""
        self._dirty[name] = None
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        dirty, self._dirty = self._dirty, {}
        changed = [self.instances.state(name) for name in dirty if self.instances.has(name)]
        gone = [name for name in dirty if not self.instances.has(name)]
        self._push(encode_report(self.instances.place.node, boot_clock(), False, changed, gone))

    def report_all(self) -> None:
        if self._watchers:
            self._push(self.full_report())

    def full_report(self) -> bytes:
        states = self.instances.states()
        return encode_report(self.instances.place.node, boot_clock(), True, states, [])

    def _push(self, report: bytes) -> None:
        for watcher in list(self._watchers):
            watcher.send(report)

    # --- requests ---------------------------------------------------------------

    def forget(self, connection: "Connection") -> None:
        self._watchers.pop(connection, None)

    def answer(self, connection: "Connection", line: bytes) -> None:
        request: Fields = {}
        try:
            request = decode_line(line)
            result = self._carry_out(connection, text(request, "verb"), request)
        except (CodecError, Failed, Refused, OSError) as error:
            connection.reply(request, _said_no(error))
            return
        if isinstance(result, dict):
            connection.reply(request, result)
            return
        task = asyncio.create_task(self._answer_later(connection, request, result))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_later(self, connection: "Connection", request: Fields, later: Later) -> None:
        try:
            result = await later
        except (Failed, Refused, OSError) as error:
            result = _said_no(error)
        connection.reply(request, result)

    def _carry_out(
        self, connection: "Connection", verb: str, request: Fields
    ) -> dict[str, Any] | Later:
        match verb:
            case "watch":
                return self._watch(connection)
            case "report":
                self.instances.sample()
                return {"report": decode_line(self.full_report())["report"]}
            case "start":
                return self._start(request)
            case "restart":
                name, restarts = text(request, "instance"), whole(request, "restarts")
                return self._restart(name, restarts)
            case "drain":
                self.instances.drain(text(request, "instance"))
            case "stop":
                return self._stop(request)
            case "kill":
                self.instances.kill(text(request, "instance"))
            case "freeze" | "slow":
                connection.holds.append(self._hold(verb, request))
            case "thaw":
                connection.release(text(request, "instance"))
            case "power-off":
                self.instances.kill_all()
                signal.raise_signal(signal.SIGKILL)
            case "shutdown":
                self._shut_down(whole_or_none(request, "grace_ns"))
                return {"within_ns": self.instances.longest_grace()}
            case _:
                raise CodecError(f"verb: {verb!r} is unknown")
        return {}

    def _hold(self, verb: str, request: Fields) -> Hold:
        name = text(request, "instance")
        if verb == "freeze":
            return self._faults.freeze(name)
        return self._faults.slow(name, number(request, "fraction"))

    def _watch(self, connection: "Connection") -> dict[str, Any]:
        self._watchers[connection] = None
        asyncio.get_running_loop().call_soon(lambda: connection.send(self.full_report()))
        return {
            "node": self.instances.place.node,
            "limits": self.instances.groups.available(),
        }

    def _start(self, request: Fields) -> dict[str, Any]:
        node = self.instances.place.node
        if text(request, "node", node) != node:
            raise Refused(f"this is node {node}, not {request['node']}")
        self.instances.start(
            name=_file_name(text(request, "instance")),
            service=text(request, "service"),
            address=Address(host=text(request, "host"), port=whole(request, "port")),
            workload=_workload(request),
            env=pairs(request, "env"),
            cwd=text(request, "cwd"),
        )
        return {}

    async def _restart(self, name: InstanceId, restarts: int) -> dict[str, Any]:
        await self.instances.restart(name, restarts)
        self._faults.reapply(name)
        return {}

    def _stop(self, request: Fields) -> dict[str, Any] | Later:
        """Answered at once, or with `wait` when the instance is gone."""
        name, grace = text(request, "instance"), whole(request, "grace_ns")
        wait = flag(request, "wait", False)
        if not self.instances.has(name):
            return {"detail": "is gone already"}
        instance = self.instances.stop(name, max(0, grace))

        async def ended() -> dict[str, Any]:
            await instance.ended.wait()
            return {}

        return ended() if wait else {}


def _workload(request: Fields) -> Workload:
    workload = decode_workload(nested(request, "workload"))
    if not workload.command:
        raise CodecError("workload: command: want a program and its arguments")
    return workload


def _file_name(instance: InstanceId) -> InstanceId:
    """An instance's id is the name of its files: nothing else must get there."""
    if not instance or "/" in instance or instance.startswith(".") or "\0" in instance:
        raise CodecError("instance: want an id such as web-7")
    return instance


def _said_no(error: Exception) -> dict[str, Any]:
    status = "refused" if isinstance(error, Refused) else "failed"
    return {"status": status, "detail": str(error)}


class Connection(asyncio.Protocol):
    """One client. What it holds is released when it goes."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._received = bytearray()
        self._transport: asyncio.WriteTransport | None = None
        self.holds: list[Hold] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        *lines, rest = self._received.split(b"\n")
        self._received = rest
        for line in lines:
            if line.strip():
                self._server.answer(self, bytes(line))
        if len(self._received) > LINE_BYTES_MAX and self._transport is not None:
            self.reply({}, {"status": "failed", "detail": "the line is too long"})
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._server.forget(self)
        for hold in self.holds:
            hold.release()
        self.holds.clear()

    def release(self, instance: InstanceId) -> None:
        """Undo what this connection holds on an instance."""
        for hold in self.holds:
            if hold.instance == instance:
                hold.release()
        self.holds = [hold for hold in self.holds if not hold.released]

    def reply(self, request: Fields, result: dict[str, Any]) -> None:
        known = request.get("id")
        number = known if isinstance(known, int) else 0
        self.send(encode_line({"id": number, "status": "done", "detail": "", **result}))

    def send(self, line: bytes) -> None:
        if self._transport is None:
            return
        if self._transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            self._transport.abort()
            return
        self._transport.write(line)
