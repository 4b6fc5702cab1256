"""`seakeep load` as a command."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from typer.testing import CliRunner

import seakeep
from seakeep.cli.main import app

SOURCE = os.path.dirname(os.path.dirname(seakeep.__file__))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(503 if self.path.startswith("/broken") else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def serving():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def command(*arguments):
    return [sys.executable, "-m", "seakeep.cli.main", "load", *map(str, arguments)]


def environment():
    return {**os.environ, "PYTHONPATH": SOURCE, "NO_COLOR": "1", "COLUMNS": "200"}


def run(*arguments, cwd):
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_load_a_url(tmp_path):
    with serving() as url:
        done = run(
            "--url", f"{url}/a", "--url", f"{url}/broken", "--duration", "2s", "--rate", "40/s",
            "--seed", 7, "--json", "out.json", "--hdr", "out.hlog", cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "seed 7" in done.stderr
    head, _, *rows = done.stdout.splitlines()
    assert head.split()[:5] == ["source", "edge", "requests", "ok", "failed"]
    assert "(5xx " in rows[1]
    document = json.loads((tmp_path / "out.json").read_text())
    ok, broken = document["sources"]
    assert ok["requests"] == ok["ok"] > 20
    assert broken["requests"] == broken["failed"] == broken["failed_by_class"]["5xx"] > 20
    assert document["total"]["requests"] == ok["requests"] + broken["requests"]
    assert sum(row["ok"] for row in ok["series"]) == ok["ok"]
    assert ok["latency_ms"]["p50"] <= ok["latency_ms"]["p99"] <= ok["latency_ms"]["max"]
    assert len(document["failures"]) == broken["failed"]
    assert {failure["status"] for failure in document["failures"]} == {503}
    reader = HistogramLogReader(
        str(tmp_path / "out.hlog"), HdrHistogram(1_000, 3_600_000_000_000, 3)
    )
    read = list(iter(reader.get_next_interval_histogram, None))
    reader.input_file.close()
    assert sum(histogram.get_total_count() for histogram in read) == ok["ok"]
    assert {histogram.get_tag() for histogram in read} == {ok["source"]}


def test_the_same_seed_gives_the_same_arrivals(tmp_path):
    with serving() as url:
        counts = []
        for _ in range(2):
            done = run("--url", url, "--duration", "1s", "--seed", 3, "--json", "-", cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            counts.append(json.loads(done.stdout)["total"]["requests"])
    assert counts[0] == counts[1]


def test_too_many_failures_exit_with_1(tmp_path):
    with serving() as url:
        options = ("--url", f"{url}/broken", "--duration", "1s", "--fail-above")
        assert run(*options, "100%", cwd=tmp_path).returncode == 0
        done = run(*options, "0.1%", cwd=tmp_path)
    assert done.returncode == 1
    assert "100.0000% of the requests failed, more than 0.1%" in done.stderr
    assert "5xx" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_early_and_still_prints_the_table(tmp_path, number):
    with serving() as url:
        child = subprocess.Popen(
            command("--url", url, "--duration", "10m", "--json", "out.json"),
            cwd=tmp_path, env=environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            # The signal must find the run going: its output file is there from the start.
            deadline = time.monotonic() + 60
            while not (tmp_path / "out.json").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(1.5)
            child.send_signal(number)
            out, err = child.communicate(timeout=60)
        finally:
            child.kill()
            child.wait()
    assert child.returncode == 0, err
    assert "requests" in out
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["total"]["ok"] > 0
    assert document["duration_s"] < 300


def log_line(second, path="/"):
    return f'h - - [10/Oct/2000:13:55:{second:02} +0000] "GET {path} HTTP/1.1" 200 1'


def test_replay_says_what_it_could_not_read(tmp_path):
    lines = [log_line(0), "what?", log_line(1), log_line(2, "/broken")]
    (tmp_path / "access.log").write_text("\n".join(lines) + "\n")
    with serving() as url:
        done = run(
            "--url", url, "--replay", "access.log", "--speed", "2x", "--json", "-", cwd=tmp_path
        )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["total"]["requests"] == 3
    assert document["total"]["failed_by_class"] == {"5xx": 1}
    assert document["replay"]["unparsed"] == 1
    assert "1 of 4 lines do not parse" in done.stderr
    assert "line 2: neither" in done.stderr


def test_a_log_without_a_request_is_bad_input(tmp_path):
    (tmp_path / "junk").write_bytes(bytes(range(256)) * 50)
    done = run("--url", "http://127.0.0.1:1/", "--replay", "junk", cwd=tmp_path)
    assert done.returncode == 2
    assert "nothing in junk could be replayed" in done.stderr
    assert "Traceback" not in done.stderr


URL = ("--url", "http://127.0.0.1:1/")
BAD = {
    "remote": (["--url", "http://192.0.2.1/"], "not this machine"),
    "no URL": (["--url", "web"], "not an http URL"),
    "duration": ([*URL, "--duration", "30"], "has no unit"),
    "zero duration": ([*URL, "--duration", "0"], "not above zero"),
    "rate": ([*URL, "--rate", "fast"], "not a rate"),
    "zero rate": ([*URL, "--rate", "0/s"], "zero"),
    "factor": ([*URL, "--factor", "-1"], "not a factor"),
    "nan": ([*URL, "--factor", "nan"], "not a factor"),
    "percent": ([*URL, "--fail-above", "0.1"], "no percent sign"),
    "more than all": ([*URL, "--fail-above", "200%"], "more than all requests"),
    "speed alone": ([*URL, "--speed", "2x"], "goes with --replay"),
    "rate of a replay": ([*URL, "--replay", "x", "--rate", "1/s"], "its own timing"),
    "no log": ([*URL, "--replay", "none.log"], "cannot read none.log"),
    "no folder": ([*URL, "--json", "no/such/out.json"], "cannot write"),
    "source and url": ([*URL, "--source", "a"], "--source"),
    "methods": ([*URL, "--methods", "GET;POST"], "--methods"),
    "no spec": ([], "seakeep.yaml"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_says_what_to_write_instead(name, tmp_path, monkeypatch):
    arguments, why = BAD[name]
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["load", *arguments])
    assert done.exit_code == 2, done.output
    assert why in done.stderr
    assert "hint:" in done.stderr
    assert done.stdout == ""


def test_a_system_that_is_not_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seakeep.yaml").write_text(
        "system: shop\n"
        "regions: {eu: {zones: [a], at: [1, 1]}}\n"
        "traffic: {na: {from: [40.7, -74.0], to: web, rate: 100/s}}\n"
        "services:\n"
        "  web: {run: python, port: 8080, replicas: {min: 1, max: 2}, routes: [{path: /}]}\n"
    )
    done = CliRunner().invoke(app, ["load"])
    assert done.exit_code == 1, done.output
    assert "seakeep up" in done.stderr
