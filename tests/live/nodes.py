"""A node with its real agent in a private state folder, for live tests."""

import asyncio
import contextlib
import os
import secrets
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from seakeep.engines.local.cgroups import remove_all
from seakeep.engines.local.layout import Layout
from seakeep.engines.local.node.client import NodeClient, NodeReport, start_agent
from seakeep.engines.local.processes import Identity, is_alive, kill_strays, reap, strays
from seakeep.model.observation import Address, InstanceState, Phase, ProbeReading
from seakeep.model.system import (
    Check,
    HttpCheck,
    Node,
    Probe,
    ProbeKind,
    Protocol,
    Resources,
    Workload,
)
from seakeep.model.time import SECOND

NODE = Node(
    id="us-east/a/0",
    region="us-east",
    zone="a",
    capacity=Resources(cpu_millicores=8_000, memory_bytes=8 << 30),
)
DEADLINE_S = 30.0
"""Generous: the machine may be busy. Nothing here takes that long by itself."""

APP = """
import http.server, os, signal, sys, time
mode = sys.argv[1] if len(sys.argv) > 1 else ""
if mode == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode == "crash":
    sys.exit("broken on purpose")
if mode == "family" and os.fork() == 0:
    os.setsid()
    time.sleep(600)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/exit":
            os._exit(7)
        status = 503 if os.path.exists("unready") and self.path == "/ready" else 200
        self.send_response(status)
        self.end_headers()
        self.wfile.write(os.environ["SEAKEEP_INSTANCE"].encode())
    def log_message(self, *arguments):
        print("request", *arguments, flush=True)
address = (os.environ["HOST"], int(os.environ["PORT"]))
http.server.HTTPServer.allow_reuse_address = True
http.server.HTTPServer(address, Answer).serve_forever()
"""


def probe(kind: ProbeKind, check: Check, **other: int) -> Probe:
    fields: dict[str, Any] = {"period": SECOND // 5, "timeout": SECOND, "failures": 3}
    return Probe(kind=kind, check=check, **(fields | other))


READINESS = probe(ProbeKind.READINESS, HttpCheck(path="/ready"))
LIVENESS = probe(ProbeKind.LIVENESS, HttpCheck(path="/live"))


def workload(
    *command: str,
    probes: tuple[Probe, ...] = (READINESS,),
    memory_bytes: int = 256 << 20,
    env: tuple[tuple[str, str], ...] = (),
) -> Workload:
    return Workload(
        command=command or ("python", "app.py"),
        port=18080,
        protocol=Protocol.HTTP,
        env=env,
        resources=Resources(cpu_millicores=100, memory_bytes=memory_bytes),
        probes=probes,
        stop_grace=2 * SECOND,
        revision="w1",
    )


class LiveNode:
    """A running agent and a client that watches it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layout = Layout(state=folder / ".seakeep")
        self.token = secrets.token_hex(8)
        self.agent: Identity | None = None
        self.client: NodeClient | None = None
        self.report: NodeReport | None = None
        self.reports = 0
        self._news = asyncio.Event()
        # Addresses of our own, so that tests run beside each other.
        self._network = f"127.{100 + secrets.randbelow(100)}.{1 + secrets.randbelow(250)}"
        self._port = 20_000 + secrets.randbelow(10_000)
        (folder / "app.py").write_text(APP)

    async def start_agent(self) -> Identity:
        self.layout.create()
        self.agent = start_agent(
            self.layout, NODE, system="shop", token=self.token, cwd=self.folder
        )
        await self.connect()
        return self.agent

    async def connect(self) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            client = NodeClient(self.layout.node_socket(NODE.id), self._take, self._news.set)
            try:
                await client.connect()
                break
            except OSError:
                assert time.monotonic() < deadline, self.agent_log()
                await asyncio.sleep(0.02)
        self.client = client
        await self.until(lambda: self.report is not None)

    def agent_log(self) -> str:
        path = self.layout.log(f"node.{NODE.id}")
        return path.read_text() if path.exists() else "the agent wrote nothing"

    def _take(self, report: NodeReport) -> None:
        self.report = report
        self.reports += 1
        self._news.set()

    async def until(self, holds: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
        async with asyncio.timeout(deadline_s):
            while not holds():
                self._news.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), 0.2)

    async def start(
        self, name: str = "web-1", spec: Workload | None = None, env: dict[str, str] | None = None
    ) -> None:
        assert self.client is not None
        await self.client.start(
            instance=name,
            service=name.rpartition("-")[0],
            region=NODE.region,
            zone=NODE.zone,
            system="shop",
            address=self.address(name),
            workload=spec or workload(),
            env=env or {},
            cwd=self.folder,
        )

    def address(self, name: str) -> Address:
        return Address(host=f"{self._network}.{name.rpartition('-')[2]}", port=self._port)

    async def request(self, verb: str, **fields: Any) -> dict[str, Any]:
        assert self.client is not None
        return await self.client.request(verb, **fields)

    def state(self, name: str = "web-1") -> InstanceState | None:
        states = self.report.instances if self.report else ()
        return next((state for state in states if state.id == name), None)

    def reading(self, kind: ProbeKind, name: str = "web-1") -> ProbeReading | None:
        state = self.state(name)
        readings = state.probes if state else ()
        return next((reading for reading in readings if reading.kind is kind), None)

    def is_ready(self, name: str = "web-1") -> bool:
        reading = self.reading(ProbeKind.READINESS, name)
        return reading is not None and reading.ok

    def phase(self, name: str = "web-1") -> Phase | None:
        state = self.state(name)
        return state.phase if state else None

    def pid(self, name: str = "web-1") -> int:
        state = self.state(name)
        assert state is not None
        assert state.pid is not None
        return state.pid

    async def until_ready(self, name: str = "web-1") -> None:
        await self.until(lambda: self.is_ready(name))

    async def lose_agent(self, number: int) -> None:
        """Signal the agent and wait for its end."""
        assert self.agent is not None
        os.kill(self.agent.pid, number)
        deadline = time.monotonic() + DEADLINE_S
        while is_alive(self.agent):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        reap(self.agent)
        if self.client is not None:
            await self.client.close()
        self.report = None


@contextlib.asynccontextmanager
async def live_node(folder: Path) -> AsyncIterator[LiveNode]:
    """An agent that runs; nothing of it is left afterwards."""
    node = LiveNode(folder)
    try:
        await node.start_agent()
        yield node
    except TimeoutError:
        print(node.agent_log(), node.report, file=sys.stderr)
        raise
    finally:
        if node.client is not None:
            await node.client.close()
        assert kill_strays(node.token) == []
        assert strays(node.token) == []
        if node.agent is not None:
            reap(node.agent)
        assert remove_all(node.token) == []
        shutil.rmtree(node.layout.sockets, ignore_errors=True)


def stat_state(pid: int) -> str:
    """`T` when stopped, `S` when asleep, ... of a process on Linux."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]
