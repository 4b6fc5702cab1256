"""Faults on real processes, and that each is undone when its holder goes, however it goes."""

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seakeep.engines.local.cgroups import find_hierarchies
from seakeep.engines.local.node.client import NodeError, hold_fault, power_off
from seakeep.engines.local.power import Power, PowerCutError
from seakeep.engines.local.processes import reap, strays, usage
from seakeep.model.observation import Phase
from tests.live.nodes import NODE, LiveNode, live_node, stat_state, workload

pytestmark = pytest.mark.live

HOLDER = """
import sys, time
from pathlib import Path
from seakeep.engines.local.node.client import hold_fault
with hold_fault(Path(sys.argv[1]), "freeze", instance="web-1"):
    print("held", flush=True)
    time.sleep(600)
"""


async def until_state(pid: int, wanted: bool) -> None:
    """Until the process is stopped, or is not."""
    async with asyncio.timeout(30):
        while (stat_state(pid) == "T") != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def socket_of(node: LiveNode) -> Path:
    return node.layout.node_socket(NODE.id)


def test_kill_is_seen_as_an_exit(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start()
            await node.until_ready()
            await node.request("kill", instance="web-1")
            await node.until(lambda: node.phase() is Phase.EXITED)
            state = node.state()
            assert state is not None
            assert state.exit_detail == "killed by SIGKILL"
            with pytest.raises(NodeError, match="does not run"):
                await node.request("kill", instance="web-1")

    asyncio.run(run())


def test_freeze_ends_when_its_holder_is_killed(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start("web-1", workload("python", "app.py", "family"))
            await node.until_ready()
            family = strays(f"{node.token}/{NODE.id}/web-1/")
            assert len(family) == 2
            with subprocess.Popen(  # noqa: ASYNC220
                [sys.executable, "-c", HOLDER, str(socket_of(node))], stdout=subprocess.PIPE
            ) as holder:
                assert holder.stdout is not None
                assert holder.stdout.readline() == b"held\n"
                for member in family:
                    await until_state(member.pid, True)
                await node.until(lambda: not node.is_ready())
                holder.kill()
            for member in family:
                await until_state(member.pid, False)
            await node.until_ready()
            state = node.state()
            assert state is not None
            assert state.restarts == 0

    asyncio.run(run())


def test_freezes_nest_and_thaw(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start()
            await node.until_ready()
            pid = node.pid()
            with hold_fault(socket_of(node), "freeze", instance="web-1"):
                with hold_fault(socket_of(node), "freeze", instance="web-1"):
                    await until_state(pid, True)
                await asyncio.sleep(0.2)
                assert stat_state(pid) == "T"
            await until_state(pid, False)
            await node.request("freeze", instance="web-1")
            await until_state(pid, True)
            await node.request("thaw", instance="web-1")
            await until_state(pid, False)

    asyncio.run(run())


def test_a_frozen_instance_can_be_restarted_and_the_new_one_runs(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start()
            await node.until_ready()
            first = node.pid()
            with hold_fault(socket_of(node), "freeze", instance="web-1"):
                await until_state(first, True)
                await node.request("restart", instance="web-1", restarts=0)
                await node.until(lambda: (s := node.state()) is not None and s.restarts == 1)
                await node.until_ready()
                assert stat_state(node.pid()) != "T"
            await node.until_ready()

    asyncio.run(run())


def test_a_frozen_instance_is_killed_when_its_grace_is_over(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start()
            await node.until_ready()
            with hold_fault(socket_of(node), "freeze", instance="web-1"):
                await node.request("stop", instance="web-1", grace_ns=300_000_000)
                await node.until(lambda: node.state() is None)

    asyncio.run(run())


def test_a_thaw_within_the_grace_lets_it_end_by_itself(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start()
            await node.until_ready()
            with hold_fault(socket_of(node), "freeze", instance="web-1"):
                await node.request("stop", instance="web-1", grace_ns=600_000_000_000)
                assert node.phase() is not Phase.EXITED
            await node.until(lambda: node.state() is None)

    asyncio.run(run())


@pytest.mark.parametrize("by_groups", [True, False])
def test_slow_leaves_a_fraction_and_is_undone(
    tmp_path: Path, by_groups: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_groups and find_hierarchies().cpu is None:
        pytest.skip("no control group for CPU that this user may write to")
    if not by_groups:
        monkeypatch.setenv("SEAKEEP_LIMITS", "off")

    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start("web-1", workload("python", "-c", "while True: pass", probes=()))
            await node.until(lambda: node.state() is not None)
            pid = node.pid()
            member = next(p for p in strays(node.token) if p.pid == pid)

            async def cores(seconds: float) -> float:
                before, begin = usage(member)[0], time.monotonic()
                await asyncio.sleep(seconds)
                return (usage(member)[0] - before) / (time.monotonic() - begin)

            await asyncio.sleep(0.3)
            with hold_fault(socket_of(node), "slow", instance="web-1", fraction=0.1):
                slow = await cores(2.0)
            fast = await cores(1.0)
            assert slow < 0.25
            assert fast > slow
            await asyncio.sleep(0.1)
            assert stat_state(pid) != "T"
            with pytest.raises(NodeError, match="fraction"):
                await node.request("slow", instance="web-1", fraction=3)

    asyncio.run(run())


def test_power_off_and_power_held(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            for name in ("web-1", "web-2"):
                await node.start(name, workload("python", "app.py", "family"))
            await node.until_ready("web-2")
            power = Power(node.layout)
            assert power.is_on("us-east", "a", NODE.id) is None
            with power.cut("us-east/a"):
                assert await asyncio.to_thread(power_off, "us-east/a", node.token) == []
                assert strays(node.token) == []
                assert power.is_on("us-east", "a", NODE.id) == "no power in us-east/a"
                assert power.is_on("us-east", "b") is None
                assert power.is_on("us-east") is None
                with pytest.raises(PowerCutError, match="cut already"), power.cut("us-east/a"):
                    pass
                assert node.agent is not None
                reap(node.agent)
                with pytest.raises(AssertionError, match="no power in us-east/a"):
                    await asyncio.wait_for(start_dark(node), 30)
            assert power.is_on("us-east", "a", NODE.id) is None
            node.report = None
            await node.start_agent()
            await node.until(lambda: node.phase("web-2") is Phase.EXITED)

    asyncio.run(run())


async def start_dark(node: LiveNode) -> None:
    """Start an agent that should find no power."""
    from seakeep.engines.local.node.client import start_agent
    from seakeep.engines.local.processes import wait_gone

    agent = start_agent(node.layout, NODE, system="shop", token=node.token, cwd=node.folder)
    assert await asyncio.to_thread(wait_gone, [agent], 20) == []
    raise AssertionError(node.agent_log())


def test_power_off_by_the_agent_itself(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start()
            await node.until_ready()
            with pytest.raises(ConnectionError):
                await node.request("power-off")
            async with asyncio.timeout(30):
                while strays(node.token):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    asyncio.run(run())


def test_power_comes_back_when_its_holder_is_killed(tmp_path: Path) -> None:
    from seakeep.engines.local.layout import Layout

    layout = Layout(state=tmp_path / ".seakeep")
    code = (
        "import sys, time; from pathlib import Path\n"
        "from seakeep.engines.local.layout import Layout\n"
        "from seakeep.engines.local.power import Power\n"
        "with Power(Layout(state=Path(sys.argv[1]))).cut('us-east'):\n"
        "    print('dark', flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(layout.state)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"dark\n"
        assert Power(layout).is_on("us-east", "a", "us-east/a/0") == "no power in us-east"
        holder.send_signal(signal.SIGKILL)
    assert Power(layout).is_on("us-east", "a", "us-east/a/0") is None
