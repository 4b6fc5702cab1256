"""A node agent killed at any instant loses nothing, and its successor restarts nothing."""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from seakeep.engines.local.processes import Identity, is_alive, send, strays
from seakeep.model.observation import Phase
from seakeep.model.system import ProbeKind
from seakeep.model.time import SECOND
from tests.live.nodes import NODE, LiveNode, live_node, stat_state, workload

pytestmark = pytest.mark.live


def processes_of(node: LiveNode, name: str) -> list[Identity]:
    return strays(f"{node.token}/{NODE.id}/{name}/")


def test_killed_agent_is_succeeded_and_nothing_restarts(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start()
            await node.start("web-2")
            await node.until_ready()
            await node.until_ready("web-2")
            await node.request("drain", instance="web-2")
            await node.until(
                lambda: (s := node.state("web-2")) is not None and bool(s.draining_since)
            )
            before = {name: node.state(name) for name in ("web-1", "web-2")}
            await node.lose_agent(signal.SIGKILL)
            await node.start_agent()
            # At once, before any probe: a known instance does not look as if it had just begun.
            assert node.is_ready()
            for name, old in before.items():
                new = node.state(name)
                assert old is not None
                assert new is not None
                for field in ("pid", "restarts", "created_at", "started_at", "draining_since"):
                    assert getattr(new, field) == getattr(old, field)
            checked = node.reading(ProbeKind.READINESS)
            assert checked is not None
            await node.until(
                lambda: (
                    (r := node.reading(ProbeKind.READINESS)) is not None
                    and r.checked_at > checked.checked_at
                )
            )
            # Adopted or not, an end is seen at once.
            os.kill(node.pid(), signal.SIGKILL)
            await node.until(lambda: node.phase() is Phase.EXITED)
            state = node.state()
            assert state is not None
            assert state.exit_detail in ("killed by SIGKILL", "exited")

    asyncio.run(run())


def test_what_ended_meanwhile_is_told(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start()
            await node.until_ready()
            pid = node.pid()
            await node.lose_agent(signal.SIGKILL)
            os.kill(pid, signal.SIGKILL)
            await node.start_agent()
            await node.until(lambda: node.phase() is Phase.EXITED)
            state = node.state()
            assert state is not None
            assert "while its node agent was away" in state.exit_detail
            await node.request("restart", instance="web-1", restarts=0)
            await node.until_ready()

    asyncio.run(run())


def test_a_recycled_pid_is_not_adopted(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start()
            await node.until_ready()
            pid = node.pid()
            await node.lose_agent(signal.SIGKILL)
            os.kill(pid, signal.SIGKILL)
            with subprocess.Popen(  # noqa: ASYNC220
                [sys.executable, "-c", "input()"], stdin=subprocess.PIPE
            ) as other:
                # The record names a pid that somebody else has now.
                path = node.layout.node(NODE.id) / "instances" / "web-1.json"
                record = json.loads(path.read_text())
                record["identity"]["pid"] = other.pid
                path.write_text(json.dumps(record))
                forged = Identity(**record["identity"])
                assert not is_alive(forged)
                assert not send(forged, signal.SIGKILL)
                await node.start_agent()
                await node.until(lambda: node.phase() is Phase.EXITED)
                await node.request("stop", instance="web-1", grace_ns=0)
                await node.until(lambda: node.state() is None)
                assert other.poll() is None
                assert other.stdin is not None
                other.stdin.close()

    asyncio.run(run())


def test_a_start_that_was_not_noted_is_found_by_its_token(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start("web-1", workload("python", "app.py", "family"))
            await node.until_ready()
            pid = node.pid()
            await node.lose_agent(signal.SIGKILL)
            path = node.layout.node(NODE.id) / "instances" / "web-1.json"
            record = json.loads(path.read_text())
            record["identity"] = None  # as written before the start
            path.write_text(json.dumps(record))
            await node.start_agent()
            await node.until_ready()
            assert node.pid() == pid
            assert len(processes_of(node, "web-1")) == 2

    asyncio.run(run())


def test_freeze_is_undone_by_the_next_agent(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start()
            await node.until_ready()
            pid = node.pid()
            await node.request("freeze", instance="web-1")
            await node.lose_agent(signal.SIGKILL)
            assert stat_state(pid) == "T"
            await node.start_agent()
            await node.until_ready()
            assert stat_state(pid) != "T"

    asyncio.run(run())


def test_a_stop_goes_on_under_the_next_agent(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start("web-1", workload("python", "app.py", "deaf"))
            await node.until_ready()
            await node.request("stop", instance="web-1", grace_ns=2 * SECOND)
            await node.lose_agent(signal.SIGKILL)
            await node.start_agent()
            await node.until(lambda: node.state() is None)
            assert processes_of(node, "web-1") == []

    asyncio.run(run())


def test_unreadable_records_are_put_aside_and_their_processes_ended(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start()
            await node.until_ready()
            await node.lose_agent(signal.SIGKILL)
            (node.layout.node(NODE.id) / "instances" / "web-1.json").write_bytes(b'{"id": "we')
            await node.start_agent()
            assert "web-1.json" in node.agent_log()
            async with asyncio.timeout(30):
                while processes_of(node, "web-1"):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await node.start()
            await node.until_ready()

    asyncio.run(run())


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_instant_of_starts_and_restarts(tmp_path: Path, seed: int) -> None:
    """Requests pour in while the agent is killed again and again. In the end every process is
    known to the agent, and every instance that runs has exactly one."""
    print(f"seed {seed}")
    draw = random.Random(seed)
    sleeper = workload("sleep", "600", probes=())

    async def requests(node: LiveNode, first: int) -> None:
        with contextlib.suppress(OSError):
            for number in range(first, first + 4):
                await node.start(f"web-{number}", sleeper)
                await node.request("restart", instance=f"web-{number}", restarts=0)

    async def run() -> None:
        async with live_node(tmp_path) as node:
            for round_ in range(4):
                pouring = asyncio.create_task(requests(node, 10 * round_ + 1))
                await asyncio.sleep(draw.uniform(0, 0.12))
                await node.lose_agent(signal.SIGKILL)
                await pouring
                await node.start_agent()
            assert node.report is not None
            running = [s for s in node.report.instances if s.phase is Phase.RUNNING]
            assert all(s.phase is Phase.RUNNING or s.exit_detail for s in node.report.instances)
            living = [p for p in strays(node.token) if not p.token.endswith("/agent")]
            assert sorted(p.pid for p in living) == sorted(s.pid or 0 for s in running)
            for state in node.report.instances:
                if state.phase is Phase.EXITED:
                    await node.request("restart", instance=state.id, restarts=state.restarts)

    asyncio.run(run())
