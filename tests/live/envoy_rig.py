"""A region or two of real data plane for tests: Envoys, links and small upstream servers."""

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from seakeep.engines.local.addresses import AddressBook
from seakeep.engines.local.envoy.admin import EdgeAdmin
from seakeep.engines.local.envoy.config import envoy_argv, write_bootstrap, write_config
from seakeep.engines.local.envoy.endpoints import write_endpoints
from seakeep.engines.local.layout import Layout
from seakeep.engines.local.link.client import link_argv, write_link_config
from seakeep.engines.local.octets import listening_octets
from seakeep.model.action import Endpoint, Guard, Locality, SetEndpoints
from seakeep.model.observation import Address
from seakeep.model.system import (
    Balance,
    HttpCheck,
    Link,
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
    TcpCheck,
    Workload,
    Zone,
)
from seakeep.model.time import MILLISECOND, SECOND, Duration

UPSTREAM = Path(__file__).with_name("envoy_upstream.py")
DEADLINE_S = 20.0
PORT = 9000


def service(name: str, protocol: Protocol = Protocol.HTTP, **other: Any) -> Service:
    """A service that is probed every 300 ms; `other` overrides fields."""
    probe = Probe(
        kind=ProbeKind.READINESS,
        check=HttpCheck(path="/ready") if protocol is Protocol.HTTP else TcpCheck(),
        period=300 * MILLISECOND,
        timeout=300 * MILLISECOND,
        failures=2,
    )
    fields: dict[str, Any] = {
        "probes": (probe,),
        "image": None,
        "replicas": Replicas(min=1, max=9),
        "spread": Spread(regions={}),
        "scale": (),
        "routes": (Route(),) if protocol is Protocol.HTTP else (),
        "balance": Balance(),
        "timeout": 2 * SECOND,
        "retries": Retries(),
        "limit": (),
        "calls": (),
        "work": None,
        "rollout": Rollout(),
        "drain": 0,
        "proxy_protocol": False,
    } | other
    workload = Workload(
        command=("serve",),
        port=PORT,
        protocol=protocol,
        env=(),
        resources=Resources(cpu_millicores=100, memory_bytes=1 << 20),
        probes=fields.pop("probes"),
        stop_grace=0,
        revision="w1",
    )
    return Service(name=name, workload=workload, **fields)


def system(
    *services: Service,
    regions: Mapping[str, str] | None = None,
    latency: Duration = 20 * MILLISECOND,
) -> System:
    """`regions` maps names to zones: {"us": "ab", "eu": "a"}; every pair has the same latency."""
    places = regions or {"us": "ab"}
    names = sorted(places)
    return System(
        name="rig",
        revision="r1",
        regions={
            name: Region(name=name, zones={zone: Zone(name=zone, nodes=()) for zone in zones})
            for name, zones in places.items()
        },
        links=tuple(Link(a=a, b=b, latency=latency) for a in names for b in names if a < b),
        services={each.name: each for each in services},
    )


@contextmanager
def reserved_octet(span: int = 3) -> Iterator[int]:
    """The first of `span` second octets 127.X that nothing on this machine uses; a listener on
    each keeps others away."""
    locks: list[socket.socket] = []
    try:
        for first in range(200, 254 - span, span):
            if listening_octets() & set(range(first, first + span)):
                continue
            try:
                for octet in range(first, first + span):
                    locks.append(socket.create_server((f"127.{octet}.255.254", 20_999)))
            except OSError:
                continue
            yield first
            return
        raise RuntimeError("no free loopback addresses")
    finally:
        for lock in locks:
            lock.close()


@dataclass(kw_only=True)
class Answer:
    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def name(self) -> str:
        """Of the upstream that answered."""
        return str(self.body.get("name"))


@dataclass(kw_only=True)
class Rig:
    """Use as a context manager. Everything it starts ends with it."""

    system: System
    layout: Layout
    book: AddressBook
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    upstreams: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    addresses: dict[str, Address] = field(default_factory=dict)
    edges: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    links: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    pushes: int = 0

    def __enter__(self) -> "Rig":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()

    # --- starting ---

    def spawn(self, argv: list[str], log: str) -> subprocess.Popen[bytes]:
        self.layout.logs.mkdir(parents=True, exist_ok=True)
        with self.layout.log(log).open("ab") as file:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=_environment()
            )
        self.processes.append(process)
        return process

    def start_edge(self, region: str) -> None:
        """Configure and start a region's Envoy; returns once it has taken its configuration."""
        write_bootstrap(self.system.name, region, self.layout)
        versions = write_config(self.system, region, self.book, self.layout)
        self.edges[region] = self.spawn(envoy_argv(self.layout, region), f"edge.{region}.out")
        asyncio.run(self.admin(region).await_taken(versions, timeout_s=DEADLINE_S))

    def start_link(self, region: str) -> None:
        write_link_config(self.system, region, self.book, self.layout)
        self.links[region] = self.spawn(link_argv(self.layout, region), f"link.{region}")
        until(lambda: self.layout.link_socket(region).exists(), "the link listens")

    def start_all(self) -> None:
        for region in self.system.regions:
            self.start_link(region)
            self.start_edge(region)

    def start_upstream(self, name: str, region: str, zone: str, mode: str = "http") -> Endpoint:
        """A server of its own address; `name` is free to choose."""
        slot = 1 + len(self.upstreams)
        address = self.book.instance(region, zone, slot, PORT)
        argv = [sys.executable, str(UPSTREAM), mode, address.host, str(address.port), name]
        self.upstreams[name] = self.spawn(argv, name)
        self.addresses[name] = address
        until(lambda: accepts(address), f"{name} listens")
        return Endpoint(instance=name, host=address.host, port=address.port, healthy=True)

    # --- pushing and asking ---

    def admin(self, region: str) -> EdgeAdmin:
        return EdgeAdmin(self.layout, region)

    def push(
        self, region: str, cluster: str, *localities: Locality, wait_healthy: bool = True
    ) -> SetEndpoints:
        """Set the endpoints of a cluster and read back that Envoy took them; then wait until
        Envoy's own checks agree with what was pushed."""
        self.pushes += 1
        action = SetEndpoints(
            id=f"push-{self.pushes}",
            guard=Guard(revision="r1", epoch=1, expires_at=0),
            region=region,
            cluster=cluster,
            service=cluster.partition("@")[0].partition(".")[0],
            localities=localities,
            digest=f"digest-{self.pushes}",
        )
        write_endpoints(self.layout, self.book, self.system, action)
        until(lambda: self.taken(region, cluster) == action.digest, "the push is taken")
        if wait_healthy:
            until(
                lambda: (
                    not any(
                        host.failed_active_check and not host.told_unhealthy
                        for host in asyncio.run(self.admin(region).hosts())
                        if host.cluster == cluster
                    )
                ),
                "the endpoints pass their checks",
            )
        return action

    def taken(self, region: str, cluster: str) -> str:
        return asyncio.run(self.admin(region).taken()).endpoints.get(cluster, "")

    def unhealthy(self, region: str, cluster: str) -> set[str]:
        """Addresses that Envoy keeps out of rotation."""
        hosts = asyncio.run(self.admin(region).hosts())
        return {host.address for host in hosts if host.cluster == cluster and not host.healthy}

    def get(self, path: str = "/", region: str = "us", **other: Any) -> Answer:
        return ask(self.book.edge(region, self.system.edge.port), path, **other)


@contextmanager
def rig(what: System) -> Iterator[Rig]:
    """A rig of nothing yet, with folders and addresses of its own."""
    with tempfile.TemporaryDirectory(prefix="rig-") as folder, reserved_octet() as octet:
        layout = Layout(state=Path(folder))
        layout.create()
        book = AddressBook(first_octet=octet)
        book.admit(what)
        with Rig(system=what, layout=layout, book=book) as made:
            try:
                yield made
            finally:
                for path in layout.sockets.glob("*"):
                    path.unlink(missing_ok=True)
        layout.sockets.rmdir()


def zone(name: str, *endpoints: Endpoint, region: str = "us", priority: int = 0) -> Locality:
    return Locality(region=region, zone=name, priority=priority, weight=0, endpoints=endpoints)


def gateway(region: str, priority: int = 1) -> Locality:
    """Another region, as the traffic controller names it."""
    remote = Endpoint(instance=None, host=region, port=PORT, healthy=True)
    return Locality(region=region, zone=None, priority=priority, weight=0, endpoints=(remote,))


def ask(
    address: Address,
    path: str = "/",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    source: str | None = None,
) -> Answer:
    """One request on a connection of its own, from the address `source` if given."""
    connection = http.client.HTTPConnection(
        address.host,
        address.port,
        timeout=DEADLINE_S,
        source_address=(source, 0) if source else None,
    )
    try:
        connection.request(method, path, headers=dict(headers or {}))
        answer = connection.getresponse()
        raw = answer.read()
        body = json.loads(raw) if raw.startswith(b"{") else {"text": raw.decode()}
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(status=answer.status, body=body, headers=found)
    finally:
        connection.close()


def until(holds: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait until `holds()`; AssertionError when it does not in time."""
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, f"not within {deadline_s:.0f}s: {what}"
        time.sleep(0.01)


def accepts(address: Address) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address.host, address.port)) == 0


def _environment() -> dict[str, str]:
    source = str(Path(__file__).parents[2] / "src")
    path = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}
