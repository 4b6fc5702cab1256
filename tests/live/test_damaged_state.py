"""Damaged, stale, copied and moved state; a full disk; no network: what is said, and that
`seakeep down` clears up as far as can be."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from seakeep.engines.local import processes
from tests.live.chaos import crash_supervisor, part_processes, whole
from tests.live.systems import APP, SPEC, Run, Running, answers, eventually, running

pytestmark = pytest.mark.live
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def says_why(done: Run, *words: str) -> None:
    """An error with a hint, of the user's making, without a traceback."""
    assert done.code in (1, 2), done
    assert "Traceback" not in done.err, done.err
    assert "hint:" in done.err, done.err
    for word in words:
        assert word in done.err, done.err


@pytest.mark.parametrize("parts_alive", [True, False])
def test_a_truncated_state_is_said_and_cleared_up(tmp_path: Path, parts_alive: bool) -> None:
    with running(tmp_path) as system:
        token = system.token()
        content = system.layout.identity.read_bytes()
        crash_supervisor(system)
        if not parts_alive:
            parts = [one for one in processes.strays(token) if "-" not in one.token]
            for part in parts:
                processes.send(part, signal.SIGKILL)
            assert processes.wait_gone(parts, 10) == []
        assert processes.strays(token)
        system.layout.identity.write_bytes(content[: len(content) // 2])
        says_why(system.seakeep("up"), "is damaged", "seakeep down")
        says_why(system.seakeep("status"))
        says_why(system.seakeep("inject", "kill", "front"))
        assert system.seakeep("down").code == 0
        assert processes.strays(token) == []
        assert not system.layout.state.exists()
        system.up()
        whole(system)


def test_a_state_that_was_removed_while_the_system_runs(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        token = system.token()
        shutil.rmtree(system.layout.state)
        says_why(system.seakeep("up"), "was removed while the system ran", "`seakeep down`")
        assert not system.layout.identity.exists()
        done = system.seakeep("down")
        assert done.code == 0, done.err
        assert processes.strays(token) == []
        assert not crash_supervisor(system)
        assert not system.layout.sockets.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"/nowhere": 7}', '{"/nowhere": [10, 16]}'])
def test_damaged_and_stale_leases_are_no_obstacle(tmp_path: Path, content: str) -> None:
    # Leases lie in a folder for temporary files: this test has one of its own.
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / f"seakeep-{os.getuid()}").mkdir(mode=0o700)
    leases = scratch / f"seakeep-{os.getuid()}" / "leases.json"
    leases.write_text(content)
    code = (
        "from pathlib import Path; from seakeep.engines.local.layout import layout_for; "
        "from seakeep.engines.local.octets import release_octets; "
        "from seakeep.engines.local.state import new_state; import sys; "
        "here = layout_for(Path(sys.argv[1])); here.create(); new_state(here, 2); "
        "print(here.sockets.parent.joinpath('leases.json').read_text()); release_octets(here)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "TMPDIR": str(scratch)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)) == [str(tmp_path / ".seakeep")]
    assert json.loads(leases.read_text()) == {}


def test_a_moved_folder_is_told_from_a_copied_one(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "here", tmp_path / "there"
    folder.mkdir()
    with running(folder) as system:
        shutil.copytree(folder, elsewhere)
        says_why(Running(elsewhere).seakeep("up"), str(folder), "this folder is a copy")
        shutil.rmtree(elsewhere)
        folder.rename(elsewhere)
        try:
            moved = Running(elsewhere)
            for verb in ("up", "down", "status"):
                says_why(moved.seakeep(verb), str(folder), "move it back")
        finally:
            elsewhere.rename(folder)
        whole(system)
        assert answers(system, "east")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 2 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the room there is, that at the end of the log included."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    log = folder / ".seakeep" / "logs" / "supervisor.log"
    if log.exists():
        with suppress(OSError), log.open("ab", buffering=0) as file:
            file.write(b" " * 4096)
    return path


@AS_ROOT
def test_a_full_disk_is_said_and_the_system_goes_on(small_disk: Path) -> None:
    system = Running(small_disk)
    system.spec.write_text(SPEC)
    (small_disk / "app.py").write_text(APP)
    filler = fill(small_disk)
    says_why(system.seakeep("up"), "No space left")
    assert not processes.strays(f"supervisor:{system.layout.state}")
    filler.unlink()
    try:
        system.up()
        token, supervisor = system.token(), system.supervisor()
        filler = fill(small_disk)
        # A part and an instance die and the spec changes, with no room to write anything down.
        (edge,) = part_processes(system, "edge:west")
        victim = system.instances()["front-3"]
        processes.send(edge, signal.SIGKILL)
        os.kill(victim["pid"], signal.SIGKILL)
        eventually(lambda: "No space left" in system.instances()["front-3"]["detail"])
        assert answers(system, "east")
        filler.unlink()
        whole(system)
        assert system.supervisor() == supervisor
        fill(small_disk)
    finally:
        done = system.seakeep("down")
    assert done.code == 0, done.err
    assert processes.strays(token) == []
    assert not system.layout.state.exists()


def test_parts_inherit_as_many_descriptors_as_may_be_had(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    with running(tmp_path) as system:
        for identity in part_processes(system, "edge:east", "link:east", "node:east/a/0"):
            limits = Path(f"/proc/{identity.pid}/limits").read_text().splitlines()
            (line,) = [line for line in limits if line.startswith("Max open files")]
            assert int(line.split()[3]) >= wanted


ALONE = """
import subprocess, sys
done = subprocess.run(["ip", "link", "set", "lo", "up"])
assert done.returncode == 0
with open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w") as file:
    file.write("1")
for arguments in (["up"], ["status"], ["load", "--duration", "1s"], ["down"]):
    done = subprocess.run([sys.executable, "-m", "seakeep.cli.main", *arguments])
    assert done.returncode == 0, arguments
"""


@AS_ROOT
@pytest.mark.skipif(not shutil.which("ip") or not shutil.which("unshare"), reason="needs iproute2")
def test_it_works_with_no_network_but_the_loopback_and_no_ipv6(tmp_path: Path) -> None:
    (tmp_path / "seakeep.yaml").write_text(SPEC)
    (tmp_path / "app.py").write_text(APP)
    system = Running(tmp_path)
    try:
        done = subprocess.run(
            ["unshare", "--net", sys.executable, "-c", ALONE],
            cwd=tmp_path, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert not system.layout.state.exists()
    finally:
        system.seakeep("down")
