"""Processes by identity, with real ones."""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from seakeep.engines.local import process_table, processes
from seakeep.engines.local.processes import (
    Handle,
    Identity,
    SpawnError,
    describe_exit,
    identify,
    is_alive,
    kill_members,
    kill_strays,
    members,
    reap,
    send,
    send_group,
    spawn,
    strays,
    usage,
    wait_exit,
    wait_gone,
)

ENV = {"PATH": os.environ["PATH"]}


@pytest.fixture(params=["newest kernel", "no group flag", "no pidfd", "no /proc"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The ways of systems that have less: Linux before 6.9, before 5.3, and others."""
    if request.param == "no group flag":
        monkeypatch.setattr(processes, "_PROCESS_GROUP", 1 << 20)
    if request.param in ("no pidfd", "no /proc"):
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    if request.param == "no /proc":
        process_table.boot_id.cache_clear()
        monkeypatch.setattr(process_table, "LINUX", False)
    yield
    process_table.boot_id.cache_clear()


@pytest.fixture
def token() -> Iterator[str]:
    """A token of our own; nothing that carries it is left afterwards."""
    name = f"test-{secrets.token_hex(8)}"
    yield name
    assert kill_strays(name) == []


def python(code: str, token: str, folder: Path, log: Path | None = None) -> Identity:
    return spawn([sys.executable, "-c", code], env=ENV, cwd=folder, log=log, token=token)


def until(holds: object) -> None:
    deadline = time.monotonic() + 30
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_spawn_gives_a_session_a_log_and_nothing_else(tmp_path: Path, token: str) -> None:
    log = tmp_path / "logs" / "web.log"
    code = (
        "import os, sys; print(os.getsid(0) == os.getpid(), sys.stdin.read() == '', "
        "len(os.listdir('/proc/self/fd')), os.getcwd(), os.environ['SEAKEEP_TOKEN'])"
    )
    with open(tmp_path / "kept open", "wb"):
        for _ in range(2):
            identity = python(code, token, tmp_path, log)
            assert wait_gone([identity], 30) == []
    assert log.read_text() == f"True True 4 {tmp_path} {token}\n" * 2


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["no-such-program"], "command not found: no-such-program"),
        (["./missing"], "no such file: ./missing"),
        (["./plain"], "./plain is not executable"),
        (["./odd"], "neither a program nor a script"),
        (["a\0b"], "cannot pass the command"),
        ([], "the command is empty"),
        ([""], "the command is empty"),
    ],
)
def test_what_cannot_start_says_why(tmp_path: Path, token: str, argv: list[str], said: str) -> None:
    (tmp_path / "plain").write_text("echo")
    (tmp_path / "odd").write_text("echo")
    (tmp_path / "odd").chmod(0o700)
    with pytest.raises(SpawnError, match=said):
        spawn(argv, env=ENV, cwd=tmp_path, log=None, token=token)
    assert strays(token) == []


def test_missing_folder_and_log_say_so(tmp_path: Path, token: str) -> None:
    with pytest.raises(SpawnError, match="no such folder"):
        spawn(["true"], env=ENV, cwd=tmp_path / "nowhere", log=None, token=token)
    (tmp_path / "file").touch()
    with pytest.raises(SpawnError, match="cannot write the log"):
        spawn(["true"], env=ENV, cwd=tmp_path, log=tmp_path / "file" / "log", token=token)


@pytest.mark.usefixtures("kernel")
def test_alive_means_this_very_process(tmp_path: Path, token: str) -> None:
    identity = python("import time; time.sleep(600)", token, tmp_path)
    assert is_alive(identity)
    # While a program is being loaded its environment, with the token, reads as empty.
    until(lambda: identify(identity.pid) == identity)
    for other in (
        replace(identity, start_ticks=identity.start_ticks - 1),
        replace(identity, boot_id="another"),
    ):
        assert not is_alive(other)
        assert not send(other, signal.SIGKILL)
        assert not send_group(other, signal.SIGKILL)
        assert Handle.open(other) is None
        assert kill_members(replace(other, token="")) == []
    assert is_alive(identity)
    assert send(identity, signal.SIGTERM)
    until(lambda: not is_alive(identity))
    # A zombie still has its entry; it is not alive.
    assert os.waitstatus_to_exitcode(reap(identity) or 0) == -signal.SIGTERM
    assert not send(identity, signal.SIGTERM)
    assert reap(identity) is None


FAMILY = """
import os, sys, time
if os.fork() == 0:                       # a child in the same group
    time.sleep(600)
if os.fork() == 0:                       # a daemon in a session of its own
    os.setsid()
    time.sleep(600)
if os.fork() == 0:                       # one that has thrown its environment away
    os.execve("/bin/sleep", ["sleep", "600"], {})
if "end" in sys.argv:
    sys.exit()
time.sleep(600)
"""


def family(token: str, folder: Path, *arguments: str) -> Identity:
    return spawn(
        [sys.executable, "-c", FAMILY, *arguments], env=ENV, cwd=folder, log=None, token=token
    )


@pytest.mark.usefixtures("kernel")
def test_members_and_strays_find_the_whole_family(tmp_path: Path, token: str) -> None:
    leader = family(f"{token}/web-1/0", tmp_path)
    stranger = python("import time; time.sleep(600)", f"{token}/web-10/0", tmp_path)
    until(lambda: len(members(leader)) == 4)
    until(lambda: sum(not found.token for found in members(leader)) == 1)
    assert leader in members(leader)
    assert stranger not in members(leader)
    assert set(strays(token)) == {*members(leader), stranger}
    assert strays(f"{token}/web-1/") == members(leader)
    assert kill_members(leader) == []
    assert strays(token) == [stranger]


@pytest.mark.usefixtures("kernel")
def test_group_outlives_its_leader_and_is_still_reached(tmp_path: Path, token: str) -> None:
    leader = family(token, tmp_path, "end")
    handle = Handle.open(leader)
    assert handle is not None
    with contextlib.closing(handle):
        until(lambda: not is_alive(leader))
        until(lambda: len(members(leader)) == 3)
        # Before it is reaped, so that its number is certainly its own.
        assert handle.signal_group(signal.SIGKILL)
        until(lambda: len(members(leader)) == 1)  # the daemon has its own group
        assert os.waitstatus_to_exitcode(handle.exit_status() or 0) == 0
    assert kill_strays(token) == []


def test_strays_refuses_to_mean_everything() -> None:
    with pytest.raises(ValueError, match="token"):
        strays("")


@pytest.mark.usefixtures("kernel")
def test_wait_exit_of_somebody_elses_child(tmp_path: Path, token: str) -> None:
    code = (
        "import subprocess, sys, time\n"
        "command = [sys.executable, '-c', 'import sys; sys.stdin.read(); sys.exit(3)']\n"
        "child = subprocess.Popen(command, stdin=subprocess.PIPE)\n"
        "print(child.pid, flush=True); sys.stdin.readline(); child.stdin.close(); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        child = identify(int(parent.stdout.readline()))
        assert child is not None

        async def run() -> None:
            waiting = asyncio.create_task(wait_exit(child))
            handle = Handle.open(child)
            assert handle is not None
            await asyncio.sleep(0.05)
            assert not waiting.done()
            assert handle.exit_status() is None
            assert parent.stdin is not None
            parent.stdin.write(b"go\n")
            parent.stdin.flush()
            await asyncio.wait_for(waiting, 30)
            assert not is_alive(child)
            await wait_exit(child)
            if handle.fd is not None:  # its parent does not reap it
                assert describe_exit(handle.exit_status()) == "exit code 3"
            handle.close()

        try:
            asyncio.run(run())
        finally:
            parent.kill()


def test_exits_are_described() -> None:
    assert describe_exit(0) == "exit code 0"
    assert describe_exit(7 << 8) == "exit code 7"
    assert describe_exit(int(signal.SIGKILL)) == "killed by SIGKILL"
    assert describe_exit(None) == "exited"


def test_usage_counts_descendants(tmp_path: Path, token: str) -> None:
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    held = b'x' * (64 << 20)\n"
        "    while True: pass\n"
        "time.sleep(600)"
    )
    identity = python(code, token, tmp_path)
    until(lambda: usage(identity)[0] > 0.2 and usage(identity)[1] > 64 << 20)
    kill_members(identity)
    assert usage(identity) == (0.0, 0)


def test_a_process_is_found_from_its_first_moment(tmp_path: Path, token: str) -> None:
    """While a program is being loaded its environment cannot be read."""
    for _ in range(100):
        identity = spawn(["sleep", "600"], env=ENV, cwd=tmp_path, log=None, token=token)
        assert identify(identity.pid) == identity
        assert send(identity, signal.SIGKILL)
        assert wait_gone([identity], 30) == []
