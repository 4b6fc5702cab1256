"""How many requests a second one core of `seakeep load` sends on time, and at what cost.

    python benchmarks/load_rate.py [--json] [--seconds 10]

The client is pinned to one core, a light upstream (answers 13 bytes, no parsing) to another.
Rows:

- `open loop, N/s`: Poisson arrivals at N/s; achieved rate, how late requests left, latency from
  the due time, CPU of the client;
- `peer`: the same HTTP client library, aiohttp, in a closed loop over 64 connections that does
  nothing but ask and read: what any client built on it could reach here. `requests per CPU
  second` beside it is the cost of the open loop: its timing, histograms and counts.
"""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import cast

import aiohttp
import uvloop

from seakeep.load.plan import Target, plan_for_targets
from seakeep.load.run import LoadRun, calm_collector
from seakeep.model.observation import Address
from seakeep.model.system import Location, Shape, TrafficSource
from seakeep.model.time import MILLISECOND, SECOND

RATES_PER_S = (200, 2_000, 4_000)
GOAL_PER_S = 2_000
PEER_CONNECTIONS = 64
WARM_UP_S = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    name: str
    sent_per_s: float
    per_cpu_s: float
    """Requests per second of the client's CPU time."""
    cpu_fraction: float
    late_ms_p50: float | None = None
    late_ms_p99: float | None = None
    late_ms_max: float | None = None
    latency_ms_p50: float | None = None
    latency_ms_p99: float | None = None
    failed: int = 0


class _Upstream(asyncio.Protocol):
    """Answers every request head with the same bytes."""

    REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, world\n"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.REPLY * data.count(b"\r\n\r\n"))


async def serve() -> None:
    """The upstream: says its port, ends when its stdin does."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Upstream, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


async def open_loop(port: int, rate_per_s: float, seconds: int) -> Row:
    source = TrafficSource(
        name="bench",
        location=Location(latitude_deg=0, longitude_deg=0),
        service="upstream",
        rate_per_s=rate_per_s,
        shape=Shape.POISSON,
    )
    target = Target(address=Address(host="127.0.0.1", port=port), host="upstream")
    run = LoadRun(plan_for_targets([(source, target)], seed=1))
    cpu = time.process_time()
    final = await run.run(seconds * SECOND)
    cpu = time.process_time() - cpu
    latencies = final.total.total
    return Row(
        name=f"open loop, {rate_per_s:,.0f}/s",
        sent_per_s=final.total.sent / seconds,
        per_cpu_s=final.total.sent / cpu,
        cpu_fraction=cpu / seconds,
        late_ms_p50=final.client.lateness_p50 / MILLISECOND,
        late_ms_p99=final.client.lateness_p99 / MILLISECOND,
        late_ms_max=final.client.lateness_max / MILLISECOND,
        latency_ms_p50=(latencies.p50 or 0) / MILLISECOND,
        latency_ms_p99=(latencies.p99 or 0) / MILLISECOND,
        failed=final.total.failures,
    )


async def peer(port: int, seconds: float) -> Row:
    """aiohttp, closed loop."""
    url = f"http://127.0.0.1:{port}/"
    answered = 0
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        end = time.monotonic() + seconds

        async def ask() -> None:
            nonlocal answered
            while time.monotonic() < end:
                async with session.get(url) as response:
                    await response.read()
                answered += 1

        cpu, began = time.process_time(), time.monotonic()
        await asyncio.gather(*(ask() for _ in range(PEER_CONNECTIONS)))
        cpu, took = time.process_time() - cpu, time.monotonic() - began
    return Row(
        name=f"peer: aiohttp, closed loop, {PEER_CONNECTIONS} connections",
        sent_per_s=answered / took,
        per_cpu_s=answered / cpu,
        cpu_fraction=cpu / took,
    )


def pin(core: int) -> str:
    """Stay on one core where the system can do that; says what was done."""
    if not hasattr(os, "sched_setaffinity"):
        return "not pinned"
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[core % len(allowed)]})
    return f"core {allowed[core % len(allowed)]} of {len(allowed)}"


def show(rows: list[Row], where: dict[str, object]) -> None:
    print("  ".join(f"{key} {value}" for key, value in where.items()))
    head = ("", "sent/s", "late p50", "p99", "max ms", "latency p50", "p99 ms", "CPU", "per CPU s")
    print("{:<44}{:>8}{:>10}{:>8}{:>8}{:>13}{:>8}{:>6}{:>11}".format(*head))
    for row in rows:
        figures = (
            row.late_ms_p50, row.late_ms_p99, row.late_ms_max,
            row.latency_ms_p50, row.latency_ms_p99,
        )  # fmt: skip
        shown = ["-" if figure is None else f"{figure:.2f}" for figure in figures]
        print(
            f"{row.name:<44}{row.sent_per_s:>8,.0f}{shown[0]:>10}{shown[1]:>8}{shown[2]:>8}"
            f"{shown[3]:>13}{shown[4]:>8}{row.cpu_fraction:>6.0%}{row.per_cpu_s:>11,.0f}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=10, help="of each row")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        pin(1)
        uvloop.run(serve())
        return 0
    upstream = subprocess.Popen(
        [sys.executable, __file__, "--serve"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert upstream.stdout is not None
    assert upstream.stdin is not None
    try:
        port = int(upstream.stdout.readline())
        pinned = pin(0)
        calm_collector()
        uvloop.run(peer(port, WARM_UP_S))
        rows = [uvloop.run(open_loop(port, rate, options.seconds)) for rate in RATES_PER_S]
        rows.append(uvloop.run(peer(port, options.seconds)))
    finally:
        upstream.stdin.close()
        upstream.wait(10)
    where: dict[str, object] = {
        "python": platform.python_version(),
        "aiohttp": version("aiohttp"),
        "uvloop": version("uvloop"),
        "client on": pinned,
        "load average": f"{os.getloadavg()[0]:.1f}",
    }
    if options.json:
        print(json.dumps({"where": where, "rows": [asdict(row) for row in rows]}, indent=2))
    else:
        show(rows, where)
    goal = next(row for row in rows if row.name == f"open loop, {GOAL_PER_S:,}/s")
    return 0 if goal.sent_per_s >= 0.98 * GOAL_PER_S and not goal.failed else 1


if __name__ == "__main__":
    sys.exit(main())
