"""The verbs over a system that runs, as a person and as a program meet them."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.live.systems import Running, eventually, running

from seakeep.engines.local import processes

pytestmark = pytest.mark.live

MAIN = [sys.executable, "-m", "seakeep.cli.main"]
DEADLINE_S = 60


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("system")) as up:
        yield up


class Terminal:
    """A command at a terminal of its own; `text` is all that it has drawn so far."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        ours, theirs = pty.openpty()
        self._screen = ours
        self.process = subprocess.Popen(
            [*MAIN, *arguments], cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "50"},
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.raw = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                select.select([self._screen], [], [])
                piece = os.read(self._screen, 1 << 16)
            except OSError:
                return
            if not piece:
                return
            self.raw += piece.decode(errors="replace")

    @property
    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.raw)

    def end(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(DEADLINE_S)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(DEADLINE_S)
        os.close(self._screen)


def test_up_again_says_where_and_what(system: Running) -> None:
    done = system.seakeep("up")
    assert done.code == 0, done.err
    assert re.fullmatch(
        r"east  http://127\.\d+\.0\.1:\d+/\nwest  http://127\.\d+\.0\.1:\d+/\n", done.out
    )
    assert "was up already; the spec is unchanged" in done.err
    assert "routes: / → front" in done.err


@pytest.mark.parametrize("subject", ["nobody", "east/z"])
def test_explain_says_when_it_knows_nothing(system: Running, subject: str) -> None:
    done = system.seakeep("explain", subject)
    assert done.code == 1
    assert f"the journal says nothing of {subject}" in done.err
    assert "seakeep status" in done.err.partition("hint: ")[2]
    assert system.seakeep("explain", "east/a").code == 0


def test_a_link_to_itself_is_bad_input(system: Running) -> None:
    done = system.seakeep("inject", "partition", "east~east")
    assert (done.code, done.out) == (2, "")
    assert "leads from a region to itself" in done.err
    assert "hint: write two regions" in done.err


def test_a_piped_status_is_not_cut_off(system: Running) -> None:
    done = system.seakeep("status")
    assert done.code == 0, done.err
    for name, instance in system.instances().items():
        line = next(line for line in done.out.splitlines() if name in line.split())
        assert instance["address"] in line
    assert all(line == line.rstrip() for line in done.out.splitlines())


def test_kill_says_which_instance_it_hit(system: Running) -> None:
    done = system.seakeep("inject", "kill", "back", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["fault"] == "kill"
    assert told["subject"] == "back"
    assert re.fullmatch(r"back-\d+", told["hit"])
    eventually(lambda: system.instances()[told["hit"]]["restarts"] >= 1)
    explained = system.seakeep("explain", told["hit"], "--json")
    codes = [line["code"] for line in json.loads(explained.out)]
    assert "health.restart.exited" in codes
    again = system.seakeep("inject", "kill", told["hit"])
    assert again.err == f"kill {told['hit']}\n"


@pytest.mark.parametrize(
    ("arguments", "known"),
    [
        ("kill nobody", "front-1"),
        ("lose-zone east/z", "east/a"),
        ("lose-region north", "west"),
        ("partition east~north", "west"),
    ],
)
def test_an_unknown_subject_gets_the_known_ones(
    system: Running, arguments: str, known: str
) -> None:
    done = system.seakeep("inject", *arguments.split())
    assert (done.code, done.out) == (2, "")
    assert "there is no" in done.err
    assert known in done.err.partition("hint: ")[2]


def test_logs_for_programs(system: Running) -> None:
    done = system.seakeep("logs", "front", "--json", "-n", "1")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert {"front-1", "front-2", "front-3"} <= {line["name"] for line in lines}
    assert set(lines[0]) == {"name", "line"}
    unknown = system.seakeep("logs", "nobody")
    assert unknown.code == 2
    assert "front-1" in unknown.err.partition("hint: ")[2]


def test_ctrl_c_ends_a_fault_and_is_no_error(system: Running) -> None:
    with Terminal(system.folder, "inject", "freeze", "front", "--for", "50s") as freeze:
        eventually(lambda: "left; Ctrl-C undoes it now" in freeze.text)
        began = time.monotonic()
        assert freeze.end() == 0
        assert time.monotonic() - began < 40
        eventually(lambda: "undone" in freeze.text)


def test_watch_and_explain_go_on_without_the_supervisor(system: Running) -> None:
    follow = subprocess.Popen(
        [*MAIN, "explain", "--follow", "--tail", "1"], cwd=system.folder,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        with Terminal(system.folder, "status", "--watch") as watch:
            eventually(lambda: "front-1" in watch.text)
            assert processes.send(system.supervisor(), signal.SIGKILL)
            eventually(lambda: "the supervisor is not running" in watch.text)
            assert "2 edges, 3 nodes" in watch.text or "3 nodes, 2 edges" in watch.text
            assert watch.process.poll() is None
            system.up()
            drawn = len(watch.text)
            eventually(lambda: "pair  " in watch.text[drawn:])
            eventually(lambda: "not running" not in watch.text[-1500:])
            assert watch.end() == 0
            assert "Traceback" not in watch.text
        assert follow.stdout is not None
        told = ""
        while "takes pair over, epoch 2" not in told:
            told = follow.stdout.readline()
            assert told, "explain --follow has ended"
        follow.send_signal(signal.SIGINT)
        assert follow.wait(DEADLINE_S) == 0
        assert follow.stderr is not None
        assert follow.stderr.read() == ""
    finally:
        follow.kill()
        follow.communicate()


LACKING = """\
system: lacking
regions: {r: {zones: [a], nodes: {count: 1, cpu: 2, memory: 1GiB}}}
services:
  gone: {run: no-such-program-anywhere, replicas: 1}
  large: {run: python app.py, replicas: 1, resources: {cpu: 64, memory: 64MiB}}
"""


def test_up_says_what_is_missing_and_down_ends_it(tmp_path: Path) -> None:
    (tmp_path / "seakeep.yaml").write_text(LACKING)
    system = Running(tmp_path)
    try:
        done = system.seakeep("up", "--timeout", "4")
        assert (done.code, done.out) == (1, "")
        assert "gone-1 on r/a/0 is failed: could not start: command not found" in done.err
        assert "large has 0 of 1 instances" in done.err
        assert "waiting for gone 0/1, large 0/1" in done.err
        assert "link" not in done.err
    finally:
        ended = system.seakeep("down", "--json")
    assert json.loads(ended.out) == {"was_up": True, "strays": 0}
    assert sorted(os.listdir(tmp_path)) == ["seakeep.yaml"]
