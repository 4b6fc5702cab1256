"""Whole systems for live tests: the starter of `seakeep init`, run by the real command."""

import http.client
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from seakeep.engines.local import processes
from seakeep.engines.local.layout import Layout, layout_for
from seakeep.engines.local.state import load_state

SPEC = """\
system: pair
regions:
  east: {zones: [a, b], nodes: {count: 1, cpu: 4, memory: 2GiB}}
  west: {zones: [a], nodes: {count: 1, cpu: 4, memory: 2GiB}}
network: {east~west: 5ms}
traffic:
  people: {from: [40.7, -74.0], to: front, rate: 20/s}
services:
  front:
    run: python app.py
    port: 8080
    resources: {cpu: 50m, memory: 64MiB}
    replicas: {min: 3, max: 6}
    spread: {regions: {east: 67%, west: 33%}}
    probes: &probes
      readiness: {http: /ready, every: 300ms, timeout: 300ms, failures: 2}
      liveness: {http: /healthz, every: 500ms, timeout: 500ms, failures: 3}
    routes: [{path: /}]
    timeout: 2s
    retries: {attempts: 2, budget: 20%, per_try: 300ms}
    drain: 500ms
    calls: {back: 1}
  back:
    run: python app.py
    port: 8081
    resources: {cpu: 50m, memory: 64MiB}
    replicas: {min: 3, max: 6}
    spread: {regions: {east: 67%, west: 33%}}
    probes: *probes
    timeout: 1s
    retries: {attempts: 2, budget: 20%, per_try: 300ms}
    drain: 500ms
"""

APP = '''\
"""Answers with its name; the front answers with what the back says."""
import os, signal, sys, threading, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ready = threading.Event()
ready.set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status, body = 200, os.environ["SEAKEEP_INSTANCE"]
        if self.path == "/ready" and not ready.is_set():
            status = 503
        elif self.path == "/" and "BACK_URL" in os.environ:
            with urllib.request.urlopen(os.environ["BACK_URL"], timeout=1) as answer:
                body += " " + answer.read().decode()
        data = body.encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        print(self.path, flush=True)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def stop(*_):
    ready.clear()
    threading.Timer(0.3, server.shutdown).start()


server = Server((os.environ["HOST"], int(os.environ["PORT"])), Handler)
signal.signal(signal.SIGTERM, stop)
server.serve_forever()
'''


@dataclass(frozen=True)
class Run:
    """A finished command."""

    code: int
    out: str
    err: str


class Running:
    """A project folder and the command line over it."""

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.spec = folder / "seakeep.yaml"
        self._env = {**os.environ, **(env or {})}

    @property
    def layout(self) -> Layout:
        return layout_for(self.folder)

    def seakeep(self, *arguments: str, timeout_s: float = 120) -> Run:
        """Run the command in the project's folder."""
        done = subprocess.run(
            [sys.executable, "-m", "seakeep.cli.main", *arguments],
            cwd=self.folder, env=self._env, capture_output=True, text=True, timeout=timeout_s,
        )  # fmt: skip
        return Run(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Run the command beside the test."""
        return subprocess.Popen(
            [sys.executable, "-m", "seakeep.cli.main", *arguments],
            cwd=self.folder, env=self._env,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def up(self) -> None:
        done = self.seakeep("up")
        assert done.code == 0, done.err + self.log("supervisor")

    def status(self) -> dict[str, Any]:
        done = self.seakeep("status", "--json")
        assert done.out, done.err
        return dict(json.loads(done.out))

    def instances(self) -> dict[str, dict[str, Any]]:
        return {
            item["id"]: item
            for region in self.status()["regions"]
            for zone in region["zones"]
            for node in zone["nodes"]
            for item in node["instances"]
        }

    def edge(self, region: str) -> str:
        state = load_state(self.layout)
        assert state is not None
        address = state.edges[region]
        return f"http://{address.host}:{address.port}"

    def get(self, region: str, path: str = "/") -> str:
        """The body of an answer through a region's edge. Raises OSError when it fails."""
        try:
            with urllib.request.urlopen(self.edge(region) + path, timeout=5) as answer:
                return str(answer.read().decode())
        except http.client.HTTPException as error:  # broken off in the middle
            raise ConnectionError(str(error)) from error

    def log(self, name: str) -> str:
        path = self.layout.log(name)
        return path.read_text(errors="replace") if path.exists() else ""

    def token(self) -> str:
        return str(orjson.loads(self.layout.identity.read_bytes())["token"])

    def supervisor(self) -> processes.Identity:
        fields = orjson.loads((self.layout.state / "supervisor.json").read_bytes())
        return processes.Identity(**fields)


@contextmanager
def running(folder: Path, spec: str = SPEC, app: str = APP) -> Iterator[Running]:
    """A system that is up; nothing of it is left afterwards."""
    (folder / "seakeep.yaml").write_text(spec)
    (folder / "app.py").write_text(app)
    system = Running(folder)
    try:
        system.up()
        yield system
    finally:
        system.seakeep("down")


def eventually(condition: Callable[[], Any], timeout_s: float = 30.0, every_s: float = 0.1) -> Any:
    """The condition's first true value; fails with its last one when there is none."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"still {value!r} after {timeout_s} s"
        time.sleep(every_s)


def answers(system: Running, region: str) -> bool:
    try:
        system.get(region)
    except OSError:
        return False
    return True
