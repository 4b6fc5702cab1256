"""Services that misbehave: what is wrong with each is said in words, and none of it stays."""

from pathlib import Path

import pytest

from seakeep.engines.local import processes
from tests.live.chaos import tokens
from tests.live.systems import Running, eventually

pytestmark = pytest.mark.live

COMMON = "resources: {cpu: 50m, memory: 64MiB}, replicas: {min: 1, max: 2}, stop_grace: 1s"
READY = "readiness: {http: /ready, every: 300ms, timeout: 200ms}"

SPEC = f"""\
system: bad
regions:
  east: {{zones: [a], nodes: {{count: 1, cpu: 8, memory: 4GiB}}}}
services:
  absent: {{run: no-such-command --x, port: 8001, {COMMON}, probes: {{{READY}}}}}
  quits: {{run: python bad.py quits, port: 8002, {COMMON}, probes: {{{READY}}}}}
  never: {{run: python bad.py never, port: 8003, {COMMON}, probes: {{{READY}}}}}
  elsewhere:
    run: python bad.py elsewhere
    port: 8004
    replicas: {{min: 1, max: 2}}
    resources: {{cpu: 50m, memory: 64MiB}}
    probes: {{{READY}, startup: {{tcp: true, every: 300ms, failures: 4}}}}
  stubborn: {{run: python bad.py stubborn, port: 8005, {COMMON}, probes: {{{READY}}}}}
  forks: {{run: python bad.py forks, port: 8006, {COMMON}, probes: {{{READY}}}}}
  noisy: {{run: python bad.py noisy, port: 8007, {COMMON}, probes: {{{READY}}}}}
"""

APP = '''\
import os, signal, subprocess, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

how = sys.argv[1]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if how == "never" else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


def shout():
    """10 MB/s for 5 s."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        for _ in range(1024):
            sys.stdout.write("x" * 1023 + "\\n")
        sys.stdout.flush()
        time.sleep(0.1)


if how == "quits":
    print("cannot find my configuration", flush=True)
    sys.exit(3)
if how == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if how == "forks":
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    subprocess.Popen(sleep)
    subprocess.Popen(sleep, start_new_session=True)
if how == "noisy":
    threading.Thread(target=shout, daemon=True).start()
port = int(os.environ["PORT"]) + (1000 if how == "elsewhere" else 0)
ThreadingHTTPServer((os.environ["HOST"], port), Handler).serve_forever()
'''

LOG_BYTES_MAX = 64 << 20
"""Of one instance, older files included."""


def test_what_is_wrong_is_said_and_nothing_of_it_stays(tmp_path: Path) -> None:
    (tmp_path / "seakeep.yaml").write_text(SPEC)
    (tmp_path / "bad.py").write_text(APP)
    system = Running(tmp_path)
    try:
        late = system.seakeep("up", "--timeout", "8")
        assert late.code == 1
        assert "not everything is ready" in late.err
        says = {
            "absent-1": "command not found: no-such-command",
            "quits-1": "exit code 3",
            "never-1": "readiness: HTTP 503",
            "elsewhere-1": "startup: connection refused",
        }

        def all_said() -> bool:
            states = system.instances()
            return all(words in states[name]["detail"] for name, words in says.items())

        eventually(all_said)
        states = system.instances()
        assert {states[name]["health"] for name in ("stubborn-1", "forks-1", "noisy-1")} == {
            "ready"
        }
        assert states["never-1"]["restarts"] == 0, "what lives and is not ready is left alone"
        assert "cannot find my configuration" in system.seakeep("logs", "quits").out
        eventually(lambda: system.instances()["quits-1"]["restarts"] >= 2)
        told = system.seakeep("explain", "quits-1").out
        assert "times in a row: it is restarted" in told, "the back-off is told"
        assert "could not start: command not found" in system.seakeep("explain", "absent-1").out
        logs = system.layout.logs.glob("noisy-1.log*")
        assert sum(path.stat().st_size for path in logs) < LOG_BYTES_MAX
        forked = [pid for pid, token in tokens(system).items() if "/forks-1/" in token]
        assert len(forked) == 3
        # Children go with their parent, those in sessions of their own, too.
        assert system.seakeep("inject", "kill", "forks-1").code == 0
        eventually(lambda: system.instances()["forks-1"]["restarts"] == 1)
        eventually(lambda: len([t for t in tokens(system).values() if "/forks-1/" in t]) == 3)
        assert not set(forked) & set(tokens(system))
        token = system.token()
    finally:
        done = system.seakeep("down")
    assert done.code == 0, done.err
    assert processes.strays(token) == []
