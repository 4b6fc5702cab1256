"""The agent's socket under whatever may arrive on it."""

import asyncio
import json
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from seakeep.engines.local.node.codec import LINE_BYTES_MAX
from seakeep.engines.local.processes import is_alive
from tests.live.nodes import NODE, LiveNode, live_node

pytestmark = pytest.mark.live

VERBS = ("watch", "report", "start", "restart", "drain", "stop", "kill", "freeze", "slow", "thaw")
VALUES = (None, True, -1, 0, 1 << 70, 1.5, "", "web-1", "../../x", "\0", [], [1], {}, {"a": {}})
KEYS = ("id", "instance", "service", "node", "host", "port", "workload", "env", "cwd", "restarts",
        "grace_ns", "wait", "fraction")  # fmt: skip


def dial(node: LiveNode) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    connection.connect(str(node.layout.node_socket(NODE.id)))
    return connection


def junk(draw: random.Random) -> bytes:
    kind = draw.randrange(4)
    if kind == 0:
        return draw.randbytes(draw.randrange(1, 200)).replace(b"\n", b"?")
    if kind == 1:
        return json.dumps(draw.choice(VALUES)).encode()
    request = {key: draw.choice(VALUES) for key in draw.sample(KEYS, draw.randrange(len(KEYS)))}
    # Letting it end is not a misunderstanding, so the verbs that do so are not drawn.
    request["verb"] = draw.choice(VERBS if kind == 2 else VALUES)
    line = json.dumps(request).encode()
    return line if draw.random() < 0.8 else line[: draw.randrange(1, len(line))]


def test_junk_gets_an_answer_and_harms_nothing(tmp_path: Path) -> None:
    draw = random.Random(20)

    def talk(node: LiveNode) -> None:
        with dial(node) as connection, connection.makefile("rb") as answers:
            for _ in range(500):
                line = junk(draw).strip() or b"?"
                connection.sendall(line + b"\n")
                while "status" not in (answer := json.loads(answers.readline())):
                    assert "report" in answer
                assert answer["status"] in ("done", "refused", "failed"), line
                if answer["status"] != "done":
                    assert answer["detail"], line

    async def run() -> None:
        async with live_node(tmp_path) as node:
            await asyncio.to_thread(talk, node)
            assert node.agent is not None
            assert is_alive(node.agent)
            assert "Traceback" not in node.agent_log()
            assert not list(tmp_path.glob("x*"))  # noqa: ASYNC240
            await node.start("web-2")
            await node.until_ready("web-2")

    asyncio.run(run())


def test_an_endless_line_is_refused(tmp_path: Path) -> None:
    def talk(node: LiveNode) -> None:
        with dial(node) as connection:
            try:
                connection.sendall(b"x" * (LINE_BYTES_MAX * 2))
                answer = connection.recv(1 << 16)
                assert b"too long" in answer
                assert connection.recv(1) == b""
            except (BrokenPipeError, ConnectionResetError):
                pass

    async def run() -> None:
        async with live_node(tmp_path) as node:
            await asyncio.to_thread(talk, node)
            assert (await node.request("report"))["status"] == "done"

    asyncio.run(run())


def test_a_watcher_that_never_reads_stops_nobody(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            with dial(node) as deaf:
                deaf.sendall(b'{"verb": "watch"}\n')
                await node.start()
                await node.until_ready()

    asyncio.run(run())


def test_socket_and_records_are_private(tmp_path: Path) -> None:
    async def run() -> None:
        async with live_node(tmp_path) as node:
            await node.start()
            socket_path = node.layout.node_socket(NODE.id)
            record = node.layout.node(NODE.id) / "instances" / "web-1.json"
            for path in (socket_path, record, node.layout.log("web-1")):
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path

    asyncio.run(run())


AS_NOBODY = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path[:0] = [sys.argv[2]]
from tests.live.nodes import live_node
from seakeep.model.observation import Phase
async def run():
    async with live_node(Path(sys.argv[1])) as node:
        await node.start()
        await node.until_ready()
        pid = node.pid()
        await node.lose_agent(signal.SIGKILL)
        await node.start_agent()
        await node.until_ready()
        assert node.pid() == pid
        await node.request("stop", instance="web-1", grace_ns=10**9, wait=True)
        reply = await node.request("watch")
        print("limits:", reply["limits"])
asyncio.run(run())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_works_as_an_ordinary_user() -> None:
    root = Path(__file__).parents[2]
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, 65534, 65534)
        # May look everywhere, since the interpreter may lie in root's home; may change nothing.
        look = "+dac_read_search"
        become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        done = subprocess.run(
            [*become, f"--inh-caps={look}", f"--ambient-caps={look}",
             sys.executable, "-c", AS_NOBODY, folder, str(root)],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(root / "src"), "HOME": folder,
                 "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=folder, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "not limited" in done.stdout
