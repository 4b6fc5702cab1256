"""Rollouts of a real system under real load."""

import json
import signal
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from seakeep.engines.local import processes
from tests.live.systems import Running, eventually

pytestmark = pytest.mark.live

SPEC = """\
system: single
regions:
  east: {{zones: [a, b], nodes: {{count: 1, cpu: 4, memory: 2GiB}}}}
services:
  front:
    run: python app.py
    env: {{VERSION: "{version}"}}
    resources: {{cpu: 50m, memory: 64MiB}}
    replicas: 3
    probes:
      readiness: {{http: /ready, every: 300ms, timeout: 1s, failures: 3}}
    routes: [{{path: /}}]
    timeout: 5s
    drain: 500ms
    rollout: {{{rollout}}}
"""

APP = """\
import os, signal, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

version = os.environ["VERSION"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status = 200
        if self.path == "/ready":
            status = 503 if "unready" in version else 200
        elif "fails" in version:
            status = 500
        elif "slow" in version:
            time.sleep(0.08)
        data = version.encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


server = Server((os.environ["HOST"], int(os.environ["PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Timer(0.3, server.shutdown).start())
server.serve_forever()
"""


class Rolled(Running):
    def say(self, version: str, rollout: str) -> None:
        self.spec.write_text(SPEC.format(version=version, rollout=rollout))

    def rollout(self) -> dict[str, Any]:
        done = self.seakeep("rollout", "status", "front", "--json")
        return dict(json.loads(done.out))

    def stage(self) -> str:
        return str(self.rollout()["stage"])


@contextmanager
def rolled(folder: Path) -> Iterator[Rolled]:
    """The first version, rolled out."""
    (folder / "app.py").write_text(APP)
    system = Rolled(folder)
    system.say("one", "min_ready: 1s")
    try:
        system.up()
        eventually(lambda: system.stage() == "settled")
        yield system
    finally:
        system.seakeep("down")


@contextmanager
def clients(system: Rolled, pause_s: float = 0.02) -> Iterator[Counter[str]]:
    """Four of them. Yields answers by what they said; failures as `failed: ...`."""
    said: Counter[str] = Counter()
    stop = threading.Event()
    url = system.edge("east") + "/"

    def ask() -> None:
        while not stop.is_set():
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    said[answer.read().decode()] += 1
            except OSError as error:
                said[f"failed: {error}"] += 1
            stop.wait(pause_s)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield said
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def failed(said: Counter[str]) -> list[str]:
    return [text for text in said if text.startswith("failed")]


@pytest.mark.parametrize(
    "how",
    [
        "min_ready: 1s",
        "min_ready: 1s, canary: [{weight: 10%, for: 2s}]",
        "min_ready: 1s, strategy: blue-green, keep: 1s",
    ],
)
def test_a_good_version_rolls_without_a_failed_request(tmp_path: Path, how: str) -> None:
    with rolled(tmp_path) as system, clients(system) as said:
        system.say("two", how)
        done = system.seakeep("up")
        assert done.code == 0, done.err
        assert system.rollout()["old_live"] == 0
        before = said["one"]
        eventually(lambda: said["two"] > 50)
        assert said["one"] - before <= 4, "the old version still answers"
        assert failed(said) == []


def test_one_that_is_never_ready_stops_and_the_old_one_serves(tmp_path: Path) -> None:
    with rolled(tmp_path) as system, clients(system) as said:
        system.say("unready", "min_ready: 1s, deadline: 4s")
        done = system.seakeep("up")
        assert done.code == 1
        assert "is not ready after" in done.err
        assert "hint:" in done.err
        status = system.seakeep("rollout", "status")
        assert status.code == 1
        assert "stopped" in status.out
        assert set(said) == {"one"}


def test_one_that_answers_500_is_rolled_back(tmp_path: Path) -> None:
    with rolled(tmp_path) as system, clients(system) as said:
        system.say("fails", "min_ready: 15s, on_failure: rollback, worse: {requests: 50}")
        done = system.seakeep("up")
        assert done.code == 1
        one = eventually(lambda: system.rollout() if system.rollout()["new_live"] == 0 else None)
        assert (one["stage"], one["code"]) == ("undone", "rollout.rollback.errors")
        count = said.total()
        eventually(lambda: said.total() > count + 20)
        bad = sum(said[text] for text in failed(said))
        count = said.total()
        eventually(lambda: said.total() > count + 100)
        assert sum(said[text] for text in failed(said)) == bad, "it is out of use"


def test_one_that_is_slow_is_stopped(tmp_path: Path) -> None:
    with rolled(tmp_path) as system, clients(system) as said:
        system.say("slow", "min_ready: 30s, worse: {requests: 60, latency: 100%}")
        done = system.seakeep("up")
        assert done.code == 1, done.err
        one = system.rollout()
        assert (one["stage"], one["code"]) == ("stopped", "rollout.stop.latency"), one
        assert one["compared"]["new"]["p50_ms"] > one["compared"]["old"]["p50_ms"]
        assert failed(said) == []


def test_a_canary_gets_its_share(tmp_path: Path) -> None:
    with rolled(tmp_path) as system, clients(system, 0.005) as said:
        system.say("two", "canary: [{weight: 20%, for: 10m}], worse: {requests: 0}, min_ready: 0s")
        system.seakeep("up", "--no-wait")
        eventually(lambda: said["two"] > 20)
        before = said.copy()
        eventually(lambda: said.total() > before.total() + 1_500, timeout_s=60)
        now = said - before
        share = now["two"] / now.total()
        assert 0.17 < share < 0.23, share
        assert failed(said) == []


def test_undone_paused_and_resumed(tmp_path: Path) -> None:
    with rolled(tmp_path) as system, clients(system) as said:
        system.say("two", "canary: [{weight: 10%, for: 10m}], min_ready: 0s")
        system.seakeep("up", "--no-wait")
        eventually(lambda: said["two"] > 0)
        assert system.seakeep("rollout", "pause", "front").code == 0
        assert system.stage() == "paused"
        again = system.seakeep("rollout", "pause", "front")
        assert "paused already" in again.err
        assert system.seakeep("rollout", "resume", "front").code == 0
        assert system.stage() == "rolling"
        assert system.seakeep("rollout", "undo", "front").code == 0
        eventually(lambda: system.rollout()["new_live"] == 0)
        assert system.seakeep("up").code == 1, "the spec says otherwise"
        assert system.stage() == "undone"
        assert system.seakeep("rollout", "resume", "front").code == 0
        assert system.stage() == "rolling"
        system.say("three", "min_ready: 0s")
        done = system.seakeep("up")
        assert done.code == 0, done.err
        undone = system.seakeep("rollout", "undo", "front")
        assert undone.code == 0, undone.err
        eventually(lambda: system.rollout()["new_live"] == 0)
        before = said["one"]
        eventually(lambda: said["one"] > before + 20)
        assert failed(said) == []


def test_killed_in_mid_roll_it_goes_on_and_an_old_instance_is_replaced_by_its_own_kind(
    tmp_path: Path,
) -> None:
    with rolled(tmp_path) as system, clients(system) as said:
        system.say("two", "canary: [{weight: 10%, for: 10m}], min_ready: 0s")
        system.seakeep("up", "--no-wait")
        eventually(lambda: said["two"] > 0)
        old = system.supervisor()
        assert processes.send(old, signal.SIGKILL)
        eventually(lambda: not processes.is_alive(old))
        system.seakeep("up", "--no-wait")
        # The instance that the new one replaces drains for a moment yet.
        one = eventually(
            lambda: next(
                (
                    now
                    for now in [system.rollout()]
                    if (now["new_ready"], now["old_live"]) == (1, 2)
                ),
                None,
            )
        )
        assert one["stage"] == "rolling"
        assert system.seakeep("rollout", "undo", "front").code == 0
        eventually(lambda: (system.rollout()["new_live"], system.rollout()["old_live"]) == (0, 3))
        assert failed(said) == []
