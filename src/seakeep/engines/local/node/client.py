"""The other end of a node agent's socket: how agents are started, asked, watched and ended.

`NodeClient` is for the engine (asyncio); `hold_fault` and `power_off` are for the injector,
which has no event loop.
"""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from seakeep.engines.local.layout import Layout
from seakeep.engines.local.node.codec import (
    CodecError,
    NodeReport,
    decode_identity,
    decode_line,
    encode_line,
    encode_workload,
    merge_report,
)
from seakeep.engines.local.process_table import TOKEN_VARIABLE
from seakeep.engines.local.processes import (
    Identity,
    is_alive,
    kill_strays,
    spawn,
)
from seakeep.model.ids import InstanceId, RegionName, ServiceName, ZoneName
from seakeep.model.observation import Address, InstanceState
from seakeep.model.system import Node, Workload

REPORT_BYTES_MAX = 64 << 20
_IDENTITY_FILE = "agent.json"


class NodeError(OSError):
    """An agent could not be reached, or could not do what it was asked."""


class NodeRefused(NodeError):
    """The request does not fit the world as the agent sees it: nothing was done."""


# --- agents as processes ----------------------------------------------------


def node_token(system_token: str, node: str) -> str:
    """What the tokens of everything on a node start with: `<system>/us-east/a/0`."""
    return f"{system_token}/{node}"


def agent_token(system_token: str, node: str) -> str:
    """Of the agent's own process."""
    return f"{node_token(system_token, node)}/agent"


def start_agent(layout: Layout, node: Node, *, system: str, token: str, cwd: Path) -> Identity:
    """Start the agent of a node; it is ready when its socket answers. An agent that runs
    already keeps its place, and the second one ends at once. `token` is the system's. Raises
    SpawnError."""
    base = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
    return spawn(
        [
            sys.executable,
            "-m",
            "seakeep.engines.local.node.agent",
            *("--id", node.id, "--state", str(layout.state), "--system", system),
            *("--cpu-millicores", str(node.capacity.cpu_millicores)),
            *("--memory-bytes", str(node.capacity.memory_bytes)),
        ],
        env=base,
        cwd=cwd,
        log=layout.log(f"node.{node.id}"),
        token=agent_token(token, node.id),
    )


def agent_of(layout: Layout, node: str) -> Identity | None:
    """The agent of a node if it runs, whoever started it."""
    try:
        fields = orjson.loads((layout.node(node) / _IDENTITY_FILE).read_bytes())
        identity = decode_identity(fields)
    except (OSError, ValueError, AttributeError):
        return None
    return identity if is_alive(identity) else None


def write_agent(layout: Layout, node: str, identity: Identity) -> None:
    """Called by the agent itself once it holds its node's lock."""
    path = layout.node(node) / _IDENTITY_FILE
    beside = path.with_suffix(".new")
    beside.write_bytes(orjson.dumps(identity))
    beside.replace(path)


# --- asyncio ----------------------------------------------------------------


class NodeClient:
    """A connection to one agent. Reports arrive by `on_report`, each holding every instance;
    `on_lost` is called once when the connection ends without `close`."""

    def __init__(
        self,
        socket: Path,
        on_report: Callable[[NodeReport], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._socket = socket
        self._on_report = on_report
        self._on_lost = on_lost
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._known: dict[str, InstanceState] = {}
        self._last_id = 0

    @property
    def connected(self) -> bool:
        return self._writer is not None

    async def connect(self, timeout: float = 5.0) -> dict[str, Any]:
        """Connect and watch. The agent's answer: `node`, `pid`, `limits`. Raises OSError when
        nobody listens, TimeoutError when nobody answers."""
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_unix_connection(
                self._socket, limit=REPORT_BYTES_MAX
            )
            self._writer = writer
            self._known = {}
            self._reading = asyncio.create_task(self._read(reader))
            try:
                return await self.request("watch")
            except BaseException:
                await self.close()
                raise

    async def request(self, verb: str, timeout: float = 30.0, **fields: Any) -> dict[str, Any]:
        """The agent's reply: `status` (`done`), `detail`, and what the verb adds. Raises
        NodeRefused or NodeError when it says no, ConnectionError when it is lost first,
        TimeoutError when it is stuck; all are OSErrors."""
        if self._writer is None:
            raise ConnectionError("not connected to the node")
        self._last_id += 1
        number = self._last_id
        reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = reply
        self._writer.write(encode_line({"id": number, "verb": verb, **fields}))
        try:
            return _checked(await asyncio.wait_for(reply, timeout))
        finally:
            self._waiting.pop(number, None)

    async def start(
        self,
        *,
        instance: InstanceId,
        service: ServiceName,
        region: RegionName,
        zone: ZoneName,
        system: str,
        address: Address,
        workload: Workload,
        env: Mapping[str, str],
        cwd: Path,
    ) -> dict[str, Any]:
        """Start an instance. `env` comes on top of the workload's own. As `request`; when the
        process could not be started (NodeError) the instance is there, exited."""
        return await self.request(
            "start",
            instance=instance,
            service=service,
            region=region,
            zone=zone,
            system=system,
            host=address.host,
            port=address.port,
            workload=encode_workload(workload),
            env=list(env.items()),
            cwd=str(cwd),
        )

    async def close(self) -> None:
        """Let go of the agent, which goes on."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
        self._disconnect()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self._take(decode_line(line))
        except (OSError, ValueError):
            pass  # a broken connection and a broken message end it alike
        self._reading = None
        self._disconnect()
        self._on_lost()

    def _take(self, message: dict[str, Any]) -> None:
        if "id" not in message:
            report = merge_report(self._known, message["report"])
            self._known = {state.id: state for state in report.instances}
            self._on_report(report)
            return
        reply = self._waiting.pop(message.get("id", 0), None)
        if reply is not None and not reply.done():
            reply.set_result(message)

    def _disconnect(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        waiting, self._waiting = self._waiting, {}
        for reply in waiting.values():
            if not reply.done():
                reply.set_exception(ConnectionError("lost the node"))
                reply.exception()  # asked for now, so that an abandoned one is no warning


# --- without an event loop --------------------------------------------------


class HeldFault:
    """A fault that lasts as long as this connection."""

    def __init__(self, connection: socket.socket, reply: Mapping[str, Any]) -> None:
        self._connection = connection
        self.reply = reply

    def lost(self) -> bool:
        """Whether the agent has gone, and the fault with it."""
        try:
            return self._connection.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


@contextlib.contextmanager
def hold_fault(socket: Path, verb: str, **fields: Any) -> Iterator[HeldFault]:
    """Inject `freeze` or `slow` (or send any one request) and hold it while the context is
    open; the agent undoes it when the connection closes, a crash of this process included.
    Raises NodeError when the agent is away or says no."""
    with contextlib.closing(_dial(socket)) as connection:
        yield HeldFault(connection, _ask(connection, verb, fields))


def ask_once(socket: Path, verb: str, **fields: Any) -> Mapping[str, Any]:
    """One request and its reply. Raises NodeError."""
    with contextlib.closing(_dial(socket)) as connection:
        return _ask(connection, verb, fields)


def power_off(place: str, token: str) -> list[Identity]:
    """SIGKILL every process in a region, zone or node, agents included. `token` is the
    system's. Cut the power first (`Power.cut`), or somebody may start them again. Blocks;
    the survivors, normally none."""
    return kill_strays(f"{token}/{place}/")


def _dial(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(10.0)
    try:
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        raise NodeError(f"no node agent answers at {path}: {error.strerror}") from error
    return connection


def _ask(connection: socket.socket, verb: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    received = b""
    try:
        connection.sendall(encode_line({"id": 1, "verb": verb, **fields}))
        while not received.endswith(b"\n"):
            chunk = connection.recv(1 << 16)
            if not chunk:
                raise ConnectionError("it has gone")
            received += chunk
        reply = decode_line(received)
    except (OSError, CodecError) as error:
        raise NodeError(f"no answer from the node agent: {error}") from error
    return _checked(reply)


def _checked(reply: dict[str, Any]) -> dict[str, Any]:
    """Raises what a reply other than `done` says."""
    status, detail = reply.get("status"), str(reply.get("detail"))
    if status == "done":
        return reply
    raise NodeRefused(detail) if status == "refused" else NodeError(detail)
