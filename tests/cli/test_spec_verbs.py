"""`check`, `init` and `schema` as a user runs them: exit codes, streams, words."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seakeep.spec import json_schema, load

MAIN = [sys.executable, "-m", "seakeep.cli.main"]
DEADLINE_S = 60


def seakeep(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MAIN, *arguments],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def test_init_writes_a_system_that_check_accepts(tmp_path: Path) -> None:
    done = seakeep(tmp_path, "init")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["seakeep.yaml", "app.py", "seakeep.schema.json"]
    assert "seakeep up" in done.stderr
    first = (tmp_path / "seakeep.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=seakeep.schema.json"
    assert json.loads((tmp_path / "seakeep.schema.json").read_text()) == json_schema()
    checked = seakeep(tmp_path, "check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.startswith("seakeep.yaml: ok: hello: 2 regions, 4 zones, 4 nodes, ")


def test_check_accepts_a_bare_queue_and_up_refuses_it(tmp_path: Path) -> None:
    (tmp_path / "seakeep.yaml").write_text(
        "system: queue\nregions: {home: {zones: [a]}}\n"
        "services: {desk: {work: {time: 10ms}}}\ntraffic: {people: {to: desk, rate: 50/s}}\n"
    )
    checked = seakeep(tmp_path, "check")
    assert (checked.returncode, checked.stderr) == (0, "")
    refused = seakeep(tmp_path, "up")
    assert refused.returncode == 2
    assert "seakeep.yaml:3:12: error: services.desk: there is nothing to run" in refused.stderr
    assert "hint: write run: and the command that starts it" in refused.stderr
    assert sorted(os.listdir(tmp_path)) == ["seakeep.yaml"], "nothing was started"


def test_init_does_not_overwrite_unless_told_to(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("mine")
    refused = seakeep(tmp_path, "init")
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert "app.py" in refused.stderr
    assert "hint: " in refused.stderr
    assert "--force" in refused.stderr
    assert os.listdir(tmp_path) == ["app.py"]
    assert (tmp_path / "app.py").read_text() == "mine"
    assert seakeep(tmp_path, "init", "--force").returncode == 0
    assert (tmp_path / "app.py").read_text() != "mine"


def test_init_makes_a_folder(tmp_path: Path) -> None:
    done = seakeep(tmp_path, "init", "some/where")
    assert done.returncode == 0
    assert load(tmp_path / "some/where/seakeep.yaml").system.name == "hello"
    assert "cd some/where" in done.stderr


def test_init_says_when_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = seakeep(tmp_path, "init", "file/below")
    assert done.returncode == 1
    assert "cannot write to file/below" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_shows_the_line_and_a_caret(tmp_path: Path) -> None:
    (tmp_path / "seakeep.yaml").write_text(
        "system: s\nregions: {r: {zones: [a]}}\nservices:\n  web: {run: x, coment: 海, comand: y}\n"
    )
    done = seakeep(tmp_path, "check")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[4:] == [
        "seakeep.yaml:4:28: error: services.web: unknown key 'comand'",
        "    4 |   web: {run: x, coment: 海, comand: y}",
        "      |                             ^",  # 海 is two cells wide
        "  hint: did you mean run?",
        "2 errors",
    ]


def test_check_prints_json(tmp_path: Path) -> None:
    (tmp_path / "seakeep.yaml").write_text(
        "system: s\nregions: {r: {zones: [a]}}\nservices: {w: {run: x, calls: {w: 1, v: 1}}}\n"
    )
    done = seakeep(tmp_path, "check", "--json")
    assert (done.returncode, done.stderr) == (2, "")
    assert json.loads(done.stdout) == [
        {
            "file": "seakeep.yaml",
            "line": 3,
            "column": 32,
            "severity": "warning",
            "message": "services.w.calls.w: services call each other in a circle: w → w",
            "hint": "one slow service slows the whole circle; break it with a topic or a cache",
        },
        {
            "file": "seakeep.yaml",
            "line": 3,
            "column": 38,
            "severity": "error",
            "message": "services.w.calls.v: there is no service 'v'",
            "hint": "there is w",
        },
    ]


def test_check_of_a_warning_passes(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "system: s\nregions: {r: {zones: [a]}}\nservices: {w: {run: x, calls: {w: 1}}}\n"
    )
    done = seakeep(tmp_path, "check", "s.yaml")
    assert done.returncode == 0
    assert done.stdout == "s.yaml: ok: s: 1 region, 1 zone, 1 node, 1 service\n"
    assert "warning: services.w.calls.w" in done.stderr
    same = seakeep(tmp_path, "check", "-f", "s.yaml", "--json")
    assert (same.returncode, len(json.loads(same.stdout))) == (0, 1)


@pytest.mark.parametrize("content", [None, b"", b"\x00\xff\x1b[2J", b"[" * 9999, b"a: *x"])
def test_check_of_junk_is_an_error_without_a_traceback(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "seakeep.yaml").write_bytes(content)
    done = seakeep(tmp_path, "check")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "seakeep.yaml:1:" in done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr


def test_thousands_of_problems_are_not_all_told(tmp_path: Path) -> None:
    (tmp_path / "seakeep.yaml").write_text("".join(f"k{i}: 1\n" for i in range(500)))
    done = seakeep(tmp_path, "check")
    assert done.returncode == 2
    assert "and 403 more; --json prints all" in done.stderr
    assert done.stderr.splitlines()[-1] == "503 errors"
    assert len(json.loads(seakeep(tmp_path, "check", "--json").stdout)) == 503


def test_colour_is_for_terminals_and_can_be_turned_off(tmp_path: Path) -> None:
    (tmp_path / "seakeep.yaml").write_text("")
    assert "\x1b[" not in seakeep(tmp_path, "check").stderr
    assert "\x1b[" in seakeep(tmp_path, "check", FORCE_COLOR="1").stderr
    plain = seakeep(tmp_path, "check", FORCE_COLOR="1", NO_COLOR="1").stderr
    assert "\x1b[3" not in plain


def test_schema_prints_the_schema(tmp_path: Path) -> None:
    done = seakeep(tmp_path, "schema")
    assert done.returncode == 0
    assert json.loads(done.stdout) == json_schema()


# --- the starter's service --------------------------------------------------


def get(host: str, port: int, path: str) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection(host, port, timeout=DEADLINE_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def wait_for_port(host: str, port: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nothing listens at {host}:{port}")


def test_the_starter_service_answers_and_leaves_in_order(tmp_path: Path) -> None:
    seakeep(tmp_path, "init")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    service = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=tmp_path,
        env={
            **os.environ,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "SEAKEEP_INSTANCE": "hello-3",
            "SEAKEEP_REGION": "us-east",
        },
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_port("127.0.0.1", port)
        assert get("127.0.0.1", port, "/healthz")[0] == 200
        assert get("127.0.0.1", port, "/ready")[0] == 200
        status, body = get("127.0.0.1", port, "/any")
        assert (status, body["from"], body["region"]) == (200, "hello-3", "us-east")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
        for _ in range(2):  # a body after the first answer would spoil the second
            connection.request("HEAD", "/any")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"")
        connection.close()
        service.send_signal(signal.SIGTERM)
        assert service.wait(timeout=DEADLINE_S) == 0
    finally:
        service.kill()
        service.wait()


def test_the_starter_service_goes_while_a_client_keeps_its_connection(tmp_path: Path) -> None:
    seakeep(tmp_path, "init")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    service = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=tmp_path,
        env={**os.environ, "HOST": "127.0.0.1", "PORT": str(port)},
        stderr=subprocess.DEVNULL,
    )
    idle = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        wait_for_port("127.0.0.1", port)
        idle.request("GET", "/")
        assert idle.getresponse().read()
        assert get("127.0.0.1", port, "/")[0] == 200
        service.send_signal(signal.SIGTERM)
        assert service.wait(timeout=DEADLINE_S) == 0
    finally:
        idle.close()
        service.kill()
        service.wait()
