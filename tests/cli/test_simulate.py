"""`seakeep simulate` as one types it: what it prints, its exit codes, the same bytes every time."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import jsonschema
import psutil
import pytest

from seakeep.explain.simulation_schema import simulation_schema

DEADLINE_S = 240
"""The first run on a machine compiles the simulator."""
QUEUE = """
system: queue
regions: {here: {zones: [a]}}
traffic:
  clients: {to: desk, rate: 40/s}
services:
  desk:
    work: {time: exponential(mean=20ms), concurrency: 1}
    retries: {attempts: 0}
objectives:
  - {service: desk, availability: 99%}
scenarios:
  calm: {duration: 30s, warmup: 5s}
  busy:
    duration: 30s
    steps: [{at: 10s, surge: {traffic: clients, factor: 2}, for: 5s}]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "seakeep.yaml").write_text(QUEUE)
    return tmp_path


def seakeep(folder, *arguments, hash_seed="0"):
    return subprocess.run(
        [sys.executable, "-m", "seakeep.cli.main", "simulate", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def found(folder, *arguments, **more):
    done = seakeep(folder, "--json", *arguments, **more)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def test_a_system_that_holds(folder):
    done = seakeep(folder, "--seeds", "2")
    assert done.returncode == 0, done.stderr
    assert "calm: held (30s, 2 seeds)" in done.stdout
    assert "busy: held (30s, 2 seeds)" in done.stdout
    assert "desk availability 99%" in done.stdout
    assert "time to detect    never" in done.stdout
    assert "time to recover   0s" in done.stdout
    assert "peak utilisation  desk " in done.stdout
    assert done.stdout.endswith("2 scenarios: 2 held\n")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "Traceback" not in done.stderr


def test_without_objectives_there_is_nothing_to_break(folder):
    done = seakeep(folder, "--seeds", "1", "-s", "calm", "--duration", "5s", "--set", "objectives=")
    assert done.returncode == 0, done.stderr
    assert "calm: nothing was expected (5s, 1 seed)" in done.stdout


def test_a_broken_objective_is_exit_code_1(folder):
    broken = ("--set", "services.desk.work.errors=10%", "--seeds", "1", "--scenario", "calm")
    done = seakeep(folder, *broken)
    assert done.returncode == 1, done.stderr
    assert "calm: broken (30s, 1 seed)" in done.stdout
    assert "points short" in done.stdout
    again = done.stderr.partition("to see why: seakeep simulate ")[2]
    assert shlex.split(again)[:-2] == [*broken[:2], "-s", "calm", "--seed", "1", "--seeds", "1"]


def test_the_document_has_what_its_page_says(folder):
    document = found(folder, "--scenario", "calm", "--seeds", "2", "--seed", "7")
    assert document["format"] == "seakeep.simulation/1"
    assert document["held"]
    (calm,) = document["scenarios"]
    assert [run["seed"] for run in calm["runs"]] == [7, 8]
    (verdict,) = calm["verdicts"]
    assert verdict["what"] == "desk availability 99%"
    assert verdict["measured"]["runs"] == 2
    flow = calm["runs"][0]["traffic"]["clients"]
    ended = ("ok", "failed", "rejected", "timed_out", "in_flight")
    assert flow["requests"] == sum(flow[name] for name in ended) > 900
    assert set(flow["latency_s"]) == {"mean", "p50", "p90", "p99", "p99_9", "max"}
    assert 0.02 < flow["latency_s"]["p50"] <= flow["latency_s"]["p99"] <= flow["latency_s"]["max"]
    assert flow["queue_wait_s"]["mean"] < flow["latency_s"]["mean"]
    jsonschema.validate(document, simulation_schema())
    page = Path(__file__).parents[2] / "docs" / "reference" / "simulation-json.md"
    described = page.read_text()
    for name in (*document, *calm, *verdict, *calm["runs"][0], *flow):
        assert name in described, name


def test_the_same_bytes_again_and_under_another_hash_seed(folder):
    few = ("--json", "--seeds", "2", "--duration", "10s")
    first = seakeep(folder, *few, "--jobs", "2").stdout
    assert first == seakeep(folder, *few, "--jobs", "1", hash_seed="12345").stdout
    assert len(json.loads(first)["scenarios"]) == 2


def test_what_is_wrong_is_said_at_once_and_is_exit_code_2(folder):
    done = seakeep(folder, "--scenario", "clam", "--scenario", "bizy")
    assert done.returncode == 2
    assert "there is no scenario 'clam'" in done.stderr
    assert "did you mean calm?" in done.stderr
    assert "there is no scenario 'bizy'" in done.stderr
    done = seakeep(folder, "--set", "services.desk.replicas.max=20")
    assert done.returncode == 2
    assert "desk" in done.stderr
    assert seakeep(folder, "--duration", "fast").returncode == 2
    for nowhere in ("nowhere/report.html", "."):
        done = seakeep(folder, "--report", nowhere)
        assert done.returncode == 2
        assert "--report: " in done.stderr
    (folder / "seakeep.yaml").write_text("system: queue\n")
    assert seakeep(folder).returncode == 2


def test_what_cannot_be_stable_is_explained_before_it_runs(folder):
    rate = ("--set", "traffic.clients.rate=80/s", "--scenario", "calm", "--duration", "5s")
    done = seakeep(folder, *rate, "--seeds", "1")
    assert done.returncode in (0, 1)
    assert "desk" in done.stderr
    assert "80" in done.stderr


def test_two_specs_are_compared_by_the_same_chance(folder):
    few = ("--set", "services.desk.work.concurrency=2", "--compare", "seakeep.yaml",
           "--scenario", "calm", "--seeds", "4", "--duration", "20s")  # fmt: skip
    document = found(folder, *few)
    jsonschema.validate(document, simulation_schema())
    assert document["format"] == "seakeep.comparison/1"
    figures = {one["what"]: one for one in document["differences"]}
    faster = figures["clients p50"]
    assert faster["difference"]["high"] < 0, "two at the desk are faster than one, for certain"
    assert faster["this"]["mean"] - faster["other"]["mean"] == pytest.approx(
        faster["difference"]["mean"]
    )
    shown = seakeep(folder, *few).stdout
    assert "calm: seakeep.yaml, changed, beside seakeep.yaml" in shown
    assert "clients p99" in shown


def test_only_what_both_specs_have_is_compared(folder):
    (folder / "other.yaml").write_text(QUEUE.replace("busy:", "lazy:"))
    done = seakeep(folder, "--compare", "other.yaml", "--seeds", "1", "--duration", "5s")
    assert done.returncode == 0, done.stderr
    assert "other.yaml has no scenario 'busy'" in done.stderr
    assert "calm: seakeep.yaml beside other.yaml" in done.stdout
    assert "busy: seakeep.yaml" not in done.stdout


def test_a_report_is_written_whole(folder):
    done = seakeep(folder, "--seeds", "1", "--duration", "10s", "--report", "report.html")
    assert done.returncode == 0, done.stderr
    page = (folder / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "calm" in page
    assert [path.name for path in folder.iterdir() if path.name.startswith(".report")] == []


@contextmanager
def under_way(folder):
    """A long simulation that has begun to run, and everything that it has started."""
    command = [sys.executable, "-m", "seakeep.cli.main", "simulate", "--json", "--jobs", "1",
               "--seeds", "1000", "--duration", "2m", "--scenario", "calm"]  # fmt: skip
    running = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        seakeep(folder, "--seeds", "1", "--scenario", "calm")  # by then it is well under way
        time.sleep(2)
        yield running, psutil.Process(running.pid).children(recursive=True)
    finally:
        running.kill()
        running.communicate(timeout=DEADLINE_S)


def test_what_is_no_plain_file_is_written_to_and_not_replaced(folder):
    (folder / "link.html").symlink_to("there.html")
    done = seakeep(folder, "--seeds", "1", "--duration", "5s", "--report", "link.html")
    assert done.returncode == 0, done.stderr
    assert (folder / "link.html").is_symlink()
    assert (folder / "there.html").read_text().startswith("<!doctype html>")


def test_ctrl_c_tells_what_has_finished(folder):
    with under_way(folder) as (running, children):
        running.send_signal(signal.SIGINT)
        stdout, stderr = running.communicate(timeout=DEADLINE_S)
    assert running.returncode == 130
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    document = json.loads(stdout)
    assert document["interrupted"]
    assert 0 < len(document["scenarios"][0]["runs"]) < 1000
    assert children
    assert psutil.wait_procs(children, timeout=DEADLINE_S)[1] == []


def test_nothing_is_left_behind_when_it_is_killed(folder):
    with under_way(folder) as (running, children):
        running.kill()
    assert len(children) >= 2
    assert psutil.wait_procs(children, timeout=DEADLINE_S)[1] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_it_ends_cleanly_while_the_simulator_is_being_compiled(folder, number):
    command = [sys.executable, "-m", "seakeep.cli.main", "simulate"]
    running = subprocess.Popen(
        command, cwd=folder, env={**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        server = server_of(running.pid)
        time.sleep(1)
        # As a terminal does it: everybody in the group gets it. Only the command is killed.
        (os.killpg if number == signal.SIGINT else os.kill)(running.pid, number)
        _, stderr = running.communicate(timeout=DEADLINE_S)
    finally:
        running.kill()
    assert running.returncode == (130 if number == signal.SIGINT else -number)
    assert "Traceback" not in stderr
    assert psutil.wait_procs([server], timeout=5)[1] == []


def server_of(pid):
    """The process that workers are forked from."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        for child in psutil.Process(pid).children():
            if any("forkserver" in word for word in child.cmdline()):
                return child
        time.sleep(0.05)
    raise AssertionError("no server was started")
