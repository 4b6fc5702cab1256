"""Faults end with their injector, however that one ends; several at once do not mix."""

import asyncio
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from seakeep.engines.local import cgroups, process_table, processes
from seakeep.engines.local.link.client import LinkClient
from seakeep.engines.local.power import Power
from tests.live.chaos import crash_supervisor, whole
from tests.live.systems import Running, eventually, running

pytestmark = pytest.mark.live


def stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal."""
    line = Path(f"/proc/{pid}/stat").read_bytes()
    return line[line.rindex(b")") + 2 :].split()[0] == b"T"


def slowed(system: Running, instance: str, pid: int) -> bool:
    """Whether an instance is held back: by its control group, or by signals in turns."""
    found = cgroups.find_hierarchies()
    if found.cpu is None:
        return any(stopped(pid) or time.sleep(0.01) for _ in range(40))
    (group,) = found.cpu.glob(f"{cgroups.prefix(system.token())}.*/{instance}")
    if found.version == 2:
        return not (group / "cpu.max").read_text().startswith("max")
    return int((group / "cpu.cfs_quota_us").read_text()) > 0


def link_of(system: Running, region: str, target: str) -> dict[str, Any]:
    async def ask() -> dict[str, Any]:
        client = await LinkClient.connect(system.layout, region)
        try:
            return dict((await client.report())["targets"][target])
        finally:
            await client.close()

    return asyncio.run(ask())


def crash(injector: subprocess.Popen[bytes]) -> None:
    injector.kill()
    injector.wait()


def test_a_crashed_injector_leaves_no_fault_behind(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        pid = system.instances()["back-1"]["pid"]
        freeze = system.start("inject", "freeze", "back-1", "--for", "120s")
        eventually(lambda: stopped(pid), every_s=0.01)
        crash(freeze)
        eventually(lambda: not stopped(pid), 5)

        slow = system.start("inject", "slow", "front-1", "--cpu", "30%", "--for", "120s")
        pid = system.instances()["front-1"]["pid"]
        eventually(lambda: slowed(system, "front-1", pid))
        crash(slow)
        eventually(lambda: not slowed(system, "front-1", pid), 5)

        cut = system.start("inject", "partition", "east~west", "--for", "120s")
        late = system.start("inject", "delay", "east~west", "--by", "70ms", "--for", "120s")
        eventually(lambda: link_of(system, "east", "west")["cut_out"])
        eventually(lambda: link_of(system, "west", "east")["added_ns"] == 70_000_000)
        crash(cut)
        crash(late)
        for origin, target in (("east", "west"), ("west", "east")):
            eventually(lambda o=origin, t=target: not link_of(system, o, t)["cut_out"], 5)
            eventually(lambda o=origin, t=target: link_of(system, o, t)["added_ns"] == 0, 5)

        power = Power(system.layout)
        dark = system.start("inject", "lose-node", "east/b/0", "--for", "120s")
        eventually(lambda: power.is_on("east", "b", "east/b/0"))
        crash(dark)
        assert power.is_on("east", "b", "east/b/0") is None
        whole(system)


def test_two_injectors_of_one_subject(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        # Nobody is there to replace what is frozen meanwhile.
        assert crash_supervisor(system)
        (pid,) = [one.pid for one in processes.strays(system.token()) if "/back-2/" in one.token]
        first = system.start("inject", "freeze", "back-2", "--for", "120s")
        second = system.start("inject", "freeze", "back-2", "--for", "120s")
        eventually(lambda: stopped(pid), every_s=0.01)
        time.sleep(1.5)  # for the other one, too
        crash(first)
        time.sleep(0.5)
        assert stopped(pid), "the second still holds it"
        second.send_signal(signal.SIGINT)
        assert second.wait(20) == 0
        eventually(lambda: not stopped(pid), 5)

        dark = system.start("inject", "lose-zone", "east/b", "--for", "120s")
        eventually(lambda: Power(system.layout).is_on("east", "b"))
        again = system.seakeep("inject", "lose-zone", "east/b", "--for", "1s")
        assert again.code == 1
        assert "cut already" in again.err
        inner = system.seakeep("inject", "lose-node", "east/b/0", "--for", "1s")
        assert inner.code == 0, "dark it is, inside what is dark"
        crash(dark)
        system.up()
        whole(system)


def test_a_kill_while_the_supervisor_is_dead_is_healed_by_the_next(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        pid = system.instances()["front-1"]["pid"]
        assert crash_supervisor(system)
        assert system.seakeep("inject", "kill", "front-1").code == 0
        eventually(lambda: process_table.read_stat(pid) is None)
        system.up()
        whole(system)
        assert system.instances()["front-1"]["restarts"] == 1
