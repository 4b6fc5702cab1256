"""The agent of one node: `python -m seakeep.engines.local.node.agent --id us-east/a/0 ...`.

It starts, probes and stops the instances of its node, as a kubelet does, and reports to
whoever connects to its socket. It decides nothing, and needs nobody: when the supervisor
ends it goes on, and when it ends itself, for whatever reason, its instances go on and the
next agent adopts them.
"""

import argparse
import asyncio
import contextlib
import fcntl
import gc
import os
import signal
import sys
from pathlib import Path

from seakeep.engines.local.cgroups import NodeGroups
from seakeep.engines.local.layout import Layout
from seakeep.engines.local.node.client import write_agent
from seakeep.engines.local.node.faults import Faults
from seakeep.engines.local.node.instances import Instances
from seakeep.engines.local.node.launch import Place
from seakeep.engines.local.node.logs import rotate
from seakeep.engines.local.node.server import Connection, Server
from seakeep.engines.local.power import Power
from seakeep.engines.local.process_table import TOKEN_VARIABLE
from seakeep.engines.local.processes import identify, kill_strays
from seakeep.model.system import Resources
from seakeep.model.time import Duration

HEARTBEAT_S = 1.0
_AGENT_SUFFIX = "/agent"


class Agent:
    """Wires the parts of an agent together, and keeps time."""

    def __init__(self, layout: Layout, place: Place, capacity: Resources) -> None:
        self._layout = layout
        self._place = place
        system_token = place.token.removesuffix(f"/{place.node}")
        self._instances = Instances(
            place=place,
            layout=layout,
            groups=NodeGroups(system_token, place.node, capacity),
            changed=lambda name: self._server.touch(name),
            gone=lambda name: self._server.touch(name),
        )
        self._faults = Faults(self._instances)
        self._server = Server(self._instances, self._faults, self._shut_down)
        self._done = asyncio.Event()
        self._shutting_down: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve until told to end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._done.set)
        self._instances.adopt()
        path = self._layout.node_socket(self._place.node)
        path.unlink(missing_ok=True)
        before = os.umask(0o077)
        try:
            listening = await loop.create_unix_server(lambda: Connection(self._server), str(path))
        finally:
            os.umask(before)
        beating = asyncio.create_task(self._beat())
        gc.collect()
        gc.freeze()
        await self._done.wait()
        beating.cancel()
        listening.close()
        path.unlink(missing_ok=True)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            self._instances.sample()
            self._server.report_all()
            for log in self._instances.logs():
                with contextlib.suppress(OSError):
                    rotate(log)

    def _shut_down(self, grace: Duration | None) -> None:
        """Stop every instance, each with its own grace unless one is given, then end."""
        if self._shutting_down is None:
            self._shutting_down = asyncio.create_task(self._stop_and_end(grace))

    async def _stop_and_end(self, grace: Duration | None) -> None:
        await self._instances.stop_all(grace)
        kill_strays(self._place.token + "/", timeout_s=2.0)
        self._done.set()


def _lock(layout: Layout, node: str) -> int | None:
    """One agent a node. None when there is one."""
    folder = layout.node(node)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="seakeep node", description="The agent of one node.")
    parser.add_argument("--id", required=True, help="us-east/a/0")
    parser.add_argument("--state", required=True, type=Path, help="the system's state folder")
    parser.add_argument("--system", required=True, help="the system's name")
    parser.add_argument("--cpu-millicores", required=True, type=int)
    parser.add_argument("--memory-bytes", required=True, type=int)
    arguments = parser.parse_args(argv)
    if arguments.id.count("/") != 2:
        parser.error(f"--id {arguments.id}: want region/zone/index, such as us-east/a/0")
    if not os.environ.get(TOKEN_VARIABLE, "").endswith(_AGENT_SUFFIX):
        parser.error(f"{TOKEN_VARIABLE} is not that of a node agent: start it by `seakeep up`")
    return arguments


def main(argv: list[str]) -> int:
    arguments = _arguments(argv)
    token = os.environ[TOKEN_VARIABLE]
    layout = Layout(state=arguments.state.absolute())
    layout.create()
    region, zone, _ = arguments.id.split("/")
    dark = Power(layout).is_on(region, zone, arguments.id)
    if dark is not None:
        print(dark, file=sys.stderr)
        return 1
    lock = _lock(layout, arguments.id)
    if lock is None:
        print(f"node {arguments.id} has an agent already", file=sys.stderr)
        return 0
    own = identify(os.getpid(), token)
    assert own is not None
    write_agent(layout, arguments.id, own)
    place = Place(
        system=arguments.system,
        region=region,
        zone=zone,
        node=arguments.id,
        token=token.removesuffix(_AGENT_SUFFIX),
    )
    capacity = Resources(
        cpu_millicores=arguments.cpu_millicores, memory_bytes=arguments.memory_bytes
    )
    asyncio.run(_run(layout, place, capacity))
    return 0


async def _run(layout: Layout, place: Place, capacity: Resources) -> None:
    await Agent(layout, place, capacity).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
