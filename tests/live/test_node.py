"""A node agent with real processes: started, probed, restarted, drained, stopped, adopted."""

import asyncio
import http.client
import json
import os
import signal
import time
from pathlib import Path

import pytest

from seakeep.engines.local.node.client import (
    NodeClient,
    NodeError,
    NodeRefused,
    agent_of,
    start_agent,
)
from seakeep.engines.local.node.logs import LOG_BYTES_MAX
from seakeep.engines.local.processes import Identity, identify, is_alive, strays, wait_gone
from seakeep.model.observation import Address, Phase
from seakeep.model.system import ExecCheck, HttpCheck, ProbeKind
from seakeep.model.time import MINUTE, SECOND
from tests.live.nodes import LIVENESS, NODE, live_node, probe, workload

pytestmark = pytest.mark.live


def get(address: Address, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_start_probe_and_serve(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start()
            await node.until_ready()
            state = node.state()
            assert state is not None
            assert state.phase is Phase.RUNNING
            assert (state.service, state.region, state.zone) == ("web", "us-east", "a")
            assert (state.node, state.revision, state.restarts) == (NODE.id, "w1", 0)
            assert state.address == node.address("web-1")
            assert state.created_at <= state.started_at <= state.probes[0].checked_at
            assert await asyncio.to_thread(get, state.address, "/") == (200, "web-1")

    asyncio.run(run())


def test_environment_of_an_instance(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            code = (
                "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ), "
                "os.getcwd(), sys.stdin.read(), sorted(os.listdir('/proc/self/fd'))]))"
            )
            spec = workload(
                "python", "-c", code, "${HOST}:${PORT}", "$(id)", "${NOWHERE}",
                probes=(), env=(("COLOUR", "blue"), ("CATALOG_URL", "http://elsewhere")),
            )  # fmt: skip
            await node.start("web-1", spec, {"CATALOG_URL": "http://127.9.9.9:80"})
            await node.until(lambda: node.phase() is Phase.EXITED)
            state = node.state()
            assert state is not None
            assert state.exit_detail == "exit code 0"
            said = json.loads(node.layout.log("web-1").read_text())
            arguments, environment, folder, stdin, descriptors = said
            address = node.address("web-1")
            assert arguments == [f"{address.host}:{address.port}", "$(id)", "${NOWHERE}"]
            assert environment["SEAKEEP_INSTANCE"] == "web-1"
            assert environment["SEAKEEP_SYSTEM"] == "shop"
            assert environment["SEAKEEP_SERVICE"] == "web"
            assert (environment["SEAKEEP_REGION"], environment["SEAKEEP_ZONE"]) == ("us-east", "a")
            assert environment["SEAKEEP_TOKEN"] == f"{node.token}/{NODE.id}/web-1/0"
            assert environment["COLOUR"] == "blue"
            assert environment["CATALOG_URL"] == "http://127.9.9.9:80"
            assert folder == str(tmp_path)
            assert stdin == ""
            assert descriptors == ["0", "1", "2", "3"]  # 3 is the listing itself

    asyncio.run(run())


def test_exit_is_told_at_once_and_how(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start()
            await node.until_ready()
            before = time.monotonic()
            os.kill(node.pid(), signal.SIGKILL)
            await node.until(lambda: node.phase() is Phase.EXITED)
            # Far below the heartbeat in practice; bounded loosely for a busy machine.
            assert time.monotonic() - before < 5
            state = node.state()
            assert state is not None
            assert state.exit_detail == "killed by SIGKILL"
            assert state.pid is None
            assert state.exited_at is not None
            assert state.exited_at >= state.started_at

    asyncio.run(run())


def test_restart_counts_and_is_guarded(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start()
            await node.until_ready()
            first = node.pid()
            with pytest.raises(NodeRefused, match="restarted 0 times, not 1"):
                await node.request("restart", instance="web-1", restarts=1)
            assert node.pid() == first
            await node.request("restart", instance="web-1", restarts=0)
            await node.until(lambda: (s := node.state()) is not None and s.restarts == 1)
            await node.until_ready()
            assert node.pid() != first
            assert len([p for p in strays(node.token) if not p.token.endswith("agent")]) == 1
            with pytest.raises(NodeRefused):
                await node.request("restart", instance="web-1", restarts=0)

    asyncio.run(run())


def test_two_restarts_at_once_are_one(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start()
            await node.until_ready()
            results = await asyncio.gather(
                *(node.request("restart", instance="web-1", restarts=0) for _ in range(4)),
                return_exceptions=True,
            )
            assert [isinstance(result, dict) for result in results].count(True) == 1
            # The last report may still be of the process before.
            await node.until(lambda: (s := node.state()) is not None and s.restarts >= 1)
            await node.until_ready()
            state = node.state()
            assert state is not None
            assert state.restarts == 1

    asyncio.run(run())


def test_a_command_that_cannot_start_is_an_exited_instance(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            with pytest.raises(NodeError, match="command not found: no-such-program"):
                await node.start("web-1", workload("no-such-program"))
            await node.until(lambda: node.phase() is Phase.EXITED)
            state = node.state()
            assert state is not None
            assert state.exit_detail.startswith("could not start: command not found")
            with pytest.raises(NodeRefused, match="exists already"):
                await node.start("web-1")
            await node.request("stop", instance="web-1", grace_ns=SECOND)
            await node.until(lambda: node.state() is None)
            await node.start("web-1")
            await node.until_ready()

    asyncio.run(run())


def test_crashing_program_keeps_its_last_words(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start("web-1", workload("python", "app.py", "crash"))
            await node.until(lambda: node.phase() is Phase.EXITED)
            state = node.state()
            assert state is not None
            assert state.exit_detail == "exit code 1"
            assert "broken on purpose" in node.layout.log("web-1").read_text()

    asyncio.run(run())


def test_drain_marks_and_stop_forgets(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start()
            await node.until_ready()
            pid = node.pid()
            await node.request("drain", instance="web-1")
            await node.until(lambda: (s := node.state()) is not None and bool(s.draining_since))
            assert is_alive(Identity(pid, *_rest(pid)))
            reply = await node.request("stop", instance="web-1", grace_ns=MINUTE, wait=True)
            assert reply["status"] == "done"
            await node.until(lambda: node.state() is None)
            assert identify(pid) is None
            again = await node.request("stop", instance="web-1", grace_ns=0)
            assert again["detail"] == "is gone already"

    asyncio.run(run())


def _rest(pid: int) -> tuple[int, str, str]:
    found = identify(pid)
    assert found is not None
    return found.start_ticks, found.boot_id, found.token


def test_stop_kills_who_does_not_listen(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start("web-1", workload("python", "app.py", "deaf"))
            await node.until_ready()
            await node.request("stop", instance="web-1", grace_ns=SECOND // 2)
            await node.until(lambda: node.phase() is Phase.STOPPING)
            with pytest.raises(NodeRefused, match="being stopped"):
                await node.request("restart", instance="web-1", restarts=0)
            await node.until(lambda: node.state() is None)

    asyncio.run(run())


def test_stop_takes_grandchildren_along(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start("web-1", workload("python", "app.py", "family"))
            await node.until_ready()
            family = strays(f"{node.token}/{NODE.id}/web-1/")
            assert len(family) == 2
            await node.request("stop", instance="web-1", grace_ns=SECOND, wait=True)
            assert wait_gone(family, 10) == []

    asyncio.run(run())


def test_readiness_and_liveness_are_read_apart(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start("web-1", workload(probes=(*workload().probes, LIVENESS)))
            await node.until_ready()
            (tmp_path / "unready").touch()
            await node.until(lambda: not node.is_ready())
            reading = node.reading(ProbeKind.READINESS)
            assert reading is not None
            assert (reading.detail, reading.passed) == ("HTTP 503", True)
            await node.until(
                lambda: (r := node.reading(ProbeKind.READINESS)) is not None and r.count >= 3
            )
            await node.until(lambda: (r := node.reading(ProbeKind.LIVENESS)) is not None and r.ok)
            (tmp_path / "unready").unlink()
            await node.until_ready()

    asyncio.run(run())


def test_exec_probe_runs_in_the_instances_environment(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            code = "import os, sys; sys.exit(os.environ['SEAKEEP_INSTANCE'] != 'web-1')"
            good = probe(ProbeKind.READINESS, ExecCheck(command=("python", "-c", code)))
            await node.start("web-1", workload(probes=(good,)))
            await node.until_ready()
            code = "import sys; sys.exit('no ' + sys.argv[1])"
            check = ExecCheck(command=("python", "-c", code, "${PORT}"))
            await node.start("web-2", workload(probes=(probe(ProbeKind.LIVENESS, check),)))
            await node.until(
                lambda: (r := node.reading(ProbeKind.LIVENESS, "web-2")) is not None and not r.ok
            )
            reading = node.reading(ProbeKind.LIVENESS, "web-2")
            assert reading is not None
            assert reading.detail == f"exit code 1: no {node.address('web-2').port}"

    asyncio.run(run())


def test_measures_cpu_and_memory(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            busy = "while True: pass"
            await node.start("web-1", workload("python", "-c", busy, probes=()))
            await node.until(
                lambda: (
                    (s := node.state()) is not None
                    and s.cpu_millicores > 50
                    and s.memory_bytes > 1 << 20
                )
            )
            await node.request("stop", instance="web-1", grace_ns=0, wait=True)

    asyncio.run(run())


def test_heartbeats_come_without_news(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            assert node.report is not None
            before = node.report.at
            await node.until(lambda: node.report is not None and node.report.at > before)

    asyncio.run(run())


def test_log_is_rotated_under_the_running_process(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start()
            await node.until_ready()
            log = node.layout.log("web-1")
            with open(log, "ab") as file:  # noqa: ASYNC230  the test has nothing else to do
                file.write(b"x" * LOG_BYTES_MAX + b"\n")
            older = log.with_name(log.name + ".1")
            await node.until(lambda: older.exists() and log.stat().st_size < LOG_BYTES_MAX)
            await node.until(lambda: "request" in log.read_text())
            assert older.stat().st_size >= LOG_BYTES_MAX
            assert log.stat().st_size < LOG_BYTES_MAX
            assert log.stat().st_mode & 0o077 == 0
            assert older.stat().st_mode & 0o077 == 0

    asyncio.run(run())


def test_a_second_agent_leaves_the_first_alone(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start()
            await node.until_ready()
            second = start_agent(node.layout, NODE, system="shop", token=node.token, cwd=tmp_path)
            assert await asyncio.to_thread(wait_gone, [second], 30) == []
            assert "has an agent already" in node.agent_log()
            assert agent_of(node.layout, NODE.id) == node.agent
            assert (await node.request("report"))["report"]["instances"][0]["id"] == "web-1"

    asyncio.run(run())


def test_shutdown_stops_everything_and_ends(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            for name in ("web-1", "web-2"):
                await node.start(name)
            await node.until_ready("web-2")
            await node.request("shutdown")
            assert node.agent is not None
            assert await asyncio.to_thread(wait_gone, [node.agent], 30) == []
            assert strays(node.token) == []
            assert agent_of(node.layout, NODE.id) is None
            assert list((node.layout.node(NODE.id) / "instances").glob("*.json")) == []

    asyncio.run(run())


def test_watcher_hears_that_the_agent_is_lost(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            lost = asyncio.Event()
            client = NodeClient(node.layout.node_socket(NODE.id), lambda report: None, lost.set)
            await client.connect()
            assert client.connected
            assert node.agent is not None
            os.kill(node.agent.pid, signal.SIGKILL)
            await asyncio.wait_for(lost.wait(), 30)
            assert not client.connected
            with pytest.raises(ConnectionError):
                await client.request("report")

    asyncio.run(run())


def test_startup_probe_gates_the_others(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            late = probe(ProbeKind.STARTUP, ExecCheck(command=("test", "-e", "started")))
            probes = (late, probe(ProbeKind.READINESS, HttpCheck(path="/")))
            await node.start("web-1", workload(probes=probes))
            await node.until(lambda: node.reading(ProbeKind.STARTUP) is not None)
            assert node.reading(ProbeKind.READINESS) is None
            (tmp_path / "started").touch()
            await node.until_ready()
            startup = node.reading(ProbeKind.STARTUP)
            assert startup is not None
            assert startup.passed

    asyncio.run(run())
