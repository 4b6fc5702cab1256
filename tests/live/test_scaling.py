"""A real system under real load: up as the formula says, back after the window."""

import asyncio
import socket
import time
from pathlib import Path

import aiohttp
import pytest

from seakeep.runtime.replay import replay
from tests.live.systems import Running, eventually, running

pytestmark = pytest.mark.live

SPEC = """\
system: scaled
regions:
  east: {zones: [a, b], nodes: {count: 1, cpu: 4, memory: 2GiB}}
  west: {zones: [a], nodes: {count: 1, cpu: 4, memory: 2GiB}}
network: {east~west: 5ms}
services:
  front:
    run: python app.py
    resources: {cpu: 50m, memory: 32MiB}
    replicas: {min: 2, max: 12}
    spread: {regions: {east: 50%, west: 50%}}
    probes: {readiness: {http: /ready, every: 300ms, timeout: 1s}}
    routes: [{path: /}]
    timeout: 10s
    drain: 500ms
    scale:
      metrics:
        - {on: concurrency, target: 4}
        - {on: latency, target: 95% < 3s}
      every: 2s
      down: {window: 8s}
"""

SLOW_APP = '''\
"""Takes 500 ms for an answer."""
import asyncio, os


async def serve(reader, writer):
    while True:
        try:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            break
        if not head.startswith(b"GET /ready"):
            await asyncio.sleep(0.5)
        writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok")
        await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, os.environ["HOST"], int(os.environ["PORT"]))
    await server.serve_forever()


asyncio.run(main())
'''


def service_of(system: Running) -> dict:
    (found,) = [one for one in system.status()["services"] if one["name"] == "front"]
    return found


def history(system: Running) -> list[str]:
    return system.seakeep("explain", "front").out.splitlines()


async def keep_busy(url: str, concurrency: int, until: asyncio.Event) -> list[int]:
    """So many requests in flight, always; the statuses of all answers."""
    statuses: list[int] = []

    async def one(session: aiohttp.ClientSession) -> None:
        while not until.is_set():
            async with session.get(url) as answer:
                statuses.append(answer.status)

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(one(session) for _ in range(concurrency)))
    return statuses


async def surge(system: Running, region: str, concurrency: int, condition) -> list[int]:
    """Load one region until the condition holds."""
    done = asyncio.Event()
    busy = asyncio.create_task(keep_busy(system.edge(region), concurrency, done))
    try:
        await asyncio.to_thread(eventually, condition, 60.0, 0.5)
    finally:
        done.set()
        statuses = await busy
    return statuses


def test_scales_with_the_traffic_of_a_region_and_back(tmp_path: Path) -> None:
    with running(tmp_path, SPEC, SLOW_APP) as system:
        for region in ("east", "west"):
            assert system.get(region)

        def grown() -> bool:
            # 24 requests in flight of 4 each: 6 (or 5, within the tolerance, should the client not
            # quite keep so many in flight), and those are where the callers are.
            found = service_of(system)
            seen.update({one["metric"]: one["value"] for one in found["scale"]["metrics"]})
            load, regions = found["scale"]["load"], found["regions"]
            return found["ready"] == load in (5, 6) and regions["east"] == load - 1

        seen: dict[str, float] = {}

        statuses = asyncio.run(surge(system, "east", 24, grown))
        ended = time.monotonic()
        assert set(statuses) == {200}, "no request fails while it grows"
        assert 450 < seen["latency"] < 3000
        eventually(lambda: service_of(system)["ready"] == 2, 60.0)
        assert time.monotonic() - ended > 6, "not before its window is over"
        told = " ".join(history(system))
        assert "is scaled up from" in told
        assert "is scaled down from" in told
        assert "the most cautious wish of the last 8.00s counts" in told
        again = replay(system.layout.journal)
        assert again.difference is None
        assert again.steps > 20


ASLEEP = """\
system: asleep
regions:
  east: {zones: [a], nodes: {count: 1, cpu: 4, memory: 2GiB}}
  west: {zones: [a], nodes: {count: 1, cpu: 4, memory: 2GiB}}
network: {east~west: 5ms}
services:
  front:
    run: python app.py
    resources: {cpu: 50m, memory: 32MiB}
    replicas: {min: 0, max: 4}
    probes: {readiness: {http: /ready, every: 200ms, timeout: 1s}}
    routes: [{path: /}]
    timeout: 40s
    drain: 500ms
    scale: {on: concurrency, target: 4, every: 1s, idle: 4s, hold: 30s}
  raw:
    run: python app.py
    protocol: tcp
    port: 9000
    resources: {cpu: 50m, memory: 32MiB}
    replicas: {min: 0, max: 2}
    routes: [{port: 9000}]
    drain: 500ms
    scale: {on: concurrency, target: 50, every: 1s, idle: 4s, hold: 30s}
"""


def ready(system: Running, service: str) -> int:
    found = {one["name"]: one["ready"] for one in system.status()["services"]}
    return int(found[service])


async def ask_at_once(urls: list[str]) -> list[int]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:

        async def one(url: str) -> int:
            async with session.get(url) as answer:
                await answer.read()
                return answer.status

        return await asyncio.gather(*(one(url) for url in urls))


def test_asleep_until_the_first_request_which_waits(tmp_path: Path) -> None:
    with running(tmp_path, ASLEEP, SLOW_APP) as system:
        assert (ready(system, "front"), ready(system, "raw")) == (0, 0)
        # The first requests of all, from both regions at once: every one is answered.
        urls = [system.edge(region) for region in ("east", "west") for _ in range(5)]
        assert asyncio.run(ask_at_once(urls)) == [200] * 10
        assert ready(system, "front") >= 1
        assert ready(system, "raw") == 0, "nobody has asked for it"
        eventually(lambda: ready(system, "front") == 0, 60.0)
        assert asyncio.run(ask_at_once(urls[:1])) == [200], "and again"
        told = " ".join(history(system))
        assert "front is woken" in told
        assert "front goes to sleep" in told


def test_a_connection_is_held_until_there_is_somebody(tmp_path: Path) -> None:
    with running(tmp_path, ASLEEP, SLOW_APP) as system:
        host = system.edge("west").removeprefix("http://").partition(":")[0]
        with socket.create_connection((host, 9000), timeout=60) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
            assert ready(system, "raw") == 1


def test_what_cannot_be_woken_is_turned_away_in_time(tmp_path: Path) -> None:
    text = ASLEEP.replace("hold: 30s", "hold: {for: 2s, connections: 3}")
    with running(tmp_path, text, "import time; time.sleep(600)") as system:
        began = time.monotonic()
        statuses = asyncio.run(ask_at_once([system.edge("east")] * 8))
        assert statuses == [503] * 8
        assert time.monotonic() - began < 30
