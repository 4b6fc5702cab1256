"""Control groups, where this user may make them; reading the kernel's tables everywhere."""

import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from seakeep.engines.local.cgroups import (
    Hierarchies,
    NodeGroups,
    find_hierarchies,
    prefix,
    remove_all,
)
from seakeep.engines.local.processes import spawn as spawn_process
from seakeep.engines.local.processes import wait_gone
from seakeep.model.system import Resources

NODE = Resources(cpu_millicores=4_000, memory_bytes=4 << 30)


def test_what_is_not_there_is_said_and_harms_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEAKEEP_LIMITS", "off")
    groups = NodeGroups("token", "us-east/a/0", NODE)
    assert groups.available().startswith("not limited")
    groups.prepare("web-1", NODE)
    groups.join("web-1", 1)
    assert not groups.slow("web-1", 0.5)
    assert not groups.was_out_of_memory("web-1")
    groups.remove("web-1")
    assert remove_all("token") == []


def test_says_what_is_limited() -> None:
    here = Path("/sys/fs/cgroup")
    assert Hierarchies(2, here, here).available() == "CPU and memory by cgroup v2"
    only = Hierarchies(1, None, here).available()
    assert only == "memory by cgroup v1, the other is not limited"


@pytest.mark.skipif(find_hierarchies().memory is None, reason="no memory groups for this user")
def test_memory_limit_ends_who_exceeds_it(tmp_path: Path) -> None:
    token = secrets.token_hex(8)
    groups = NodeGroups(token, "us-east/a/0", NODE)
    try:
        groups.prepare("web-1", Resources(cpu_millicores=100, memory_bytes=48 << 20))
        code = "import sys; sys.stdin.read(); import time; time.sleep(0.3); x = b'x' * (256 << 20)"
        child = spawn_process(
            [sys.executable, "-c", code], env={}, cwd=tmp_path, log=None, token=token
        )
        groups.join("web-1", child.pid)
        assert wait_gone([child], 30) == []
        assert groups.was_out_of_memory("web-1")
        groups.prepare("web-1", Resources(cpu_millicores=100, memory_bytes=48 << 20))
        assert not groups.was_out_of_memory("web-1")
        groups.remove("web-1")
    finally:
        assert remove_all(token) == []


@pytest.mark.skipif(find_hierarchies().cpu is None, reason="no CPU groups for this user")
def test_down_removes_the_groups_of_every_node_and_no_other() -> None:
    token, other = secrets.token_hex(8), secrets.token_hex(8)
    try:
        for name in ("us-east/a/0", "us-east/a/1"):
            NodeGroups(token, name, NODE).prepare("web-1", NODE)
        NodeGroups(other, "us-east/a/0", NODE).prepare("web-1", NODE)
        assert remove_all(token) == []
        assert remove_all(token) == []
        folders = [path for root in find_hierarchies().folders() for path in root.iterdir()]
        left = [path for path in folders if path.name.startswith("seakeep-")]
        assert any("us-east.a.0" in path.name for path in left)
    finally:
        assert remove_all(other) == []


@pytest.mark.skipif(not find_hierarchies().folders(), reason="no groups for this user")
def test_down_removes_groups_that_were_made_from_another_session() -> None:
    token = secrets.token_hex(8)
    session = find_hierarchies().folders()[0] / f"session-{token}"
    session.mkdir()
    try:
        (session / f"{prefix(token)}.us-east.a.0" / "web-1").mkdir(parents=True)
        assert remove_all(token) == []
        assert not [path for path in session.iterdir() if path.is_dir()]
    finally:
        remove_all(token)
        session.rmdir()


def test_finding_groups_leaves_no_trace() -> None:
    found = find_hierarchies()
    code = "from seakeep.engines.local.cgroups import find_hierarchies as f; f(); print('fine')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "fine\n"
    for folder in found.folders():
        assert not list(folder.glob("seakeep-trial-*"))
