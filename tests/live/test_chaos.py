"""Whole systems survive every crash: at any instant, of anything, more than once."""

import signal
import time
from pathlib import Path

import pytest

from seakeep.engines.local import cgroups, processes
from tests.live.chaos import (
    crash_supervisor,
    dice,
    kill,
    part_processes,
    supervisors,
    tokens,
    whole,
)
from tests.live.systems import SPEC, Running, answers, eventually, running

pytestmark = pytest.mark.live

ONLY_EAST = (
    SPEC.replace("  west: {zones: [a], nodes: {count: 1, cpu: 4, memory: 2GiB}}\n", "")
    .replace("network: {east~west: 5ms}\n", "")
    .replace("{regions: {east: 67%, west: 33%}}", "{regions: {east: 100%}}")
)


def test_a_supervisor_killed_while_it_starts_a_system(tmp_path: Path) -> None:
    random = dice()
    with running(tmp_path) as system:
        for _ in range(3):
            assert system.seakeep("down").code == 0
            command = system.start("up")
            time.sleep(random.uniform(0.5, 1.6))
            crash_supervisor(system)
            command.kill()
            command.wait()
            before = tokens(system) if system.layout.identity.exists() else {}
            system.up()
            whole(system)
            assert before.items() <= tokens(system).items(), "what ran was adopted"


def test_a_supervisor_killed_during_a_rollout(tmp_path: Path) -> None:
    random = dice()
    with running(tmp_path) as system:
        before = tokens(system)
        system.spec.write_text(SPEC.replace("run: python app.py", "run: python app.py --new", 1))
        for _ in range(2):
            system.seakeep("up", "--no-wait")
            time.sleep(random.uniform(0.1, 2.0))
            assert crash_supervisor(system)
        system.up()
        eventually(lambda: not _fronts(before) & _fronts(tokens(system)), timeout_s=60)
        whole(system)
        assert _without_fronts(before) <= _without_fronts(tokens(system)), "those are as they were"


def _fronts(found: dict[int, str]) -> set[int]:
    return {pid for pid, token in found.items() if "/front-" in token}


def _without_fronts(found: dict[int, str]) -> set[int]:
    return set(found) - _fronts(found)


def test_a_supervisor_killed_while_a_region_is_lost(tmp_path: Path) -> None:
    random = dice()
    with running(tmp_path) as system:
        injector = system.start("inject", "lose-region", "west", "--for", "120s")
        try:
            eventually(lambda: not answers(system, "west"))
            for _ in range(2):
                time.sleep(random.uniform(0.1, 3.0))
                crash_supervisor(system)
                system.seakeep("up", "--no-wait")
            eventually(lambda: {s["ready"] for s in system.status()["services"]} == {3}, 40)
        finally:
            injector.kill()
            injector.wait()
        whole(system)
        assert answers(system, "west")


def test_a_supervisor_killed_while_it_retires_a_region(tmp_path: Path) -> None:
    random = dice()
    with running(tmp_path) as system:
        system.spec.write_text(ONLY_EAST)
        for _ in range(2):
            system.seakeep("up", "--no-wait")
            time.sleep(random.uniform(0.1, 2.5))
            crash_supervisor(system)
        system.up()
        eventually(lambda: [r["name"] for r in system.status()["regions"]] == ["east"], 40)
        eventually(lambda: not [t for t in tokens(system).values() if "/west/" in t])
        assert answers(system, "east")


def test_everything_but_the_instances_killed_at_once(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        before = {pid: token for pid, token in tokens(system).items() if "-" in token}
        assert len(before) == 6
        crash_supervisor(system)
        parts = ("edge:east", "edge:west", "link:east", "link:west", "node:east/a/0",
                 "node:west/a/0")  # fmt: skip
        kill(part_processes(system, *parts))
        system.up()
        whole(system)
        assert before.items() <= tokens(system).items(), "the instances were adopted"
        assert answers(system, "east")
        assert answers(system, "west")


def test_parts_that_hang_are_replaced_and_what_ran_is_left_alone(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        hung = part_processes(system, "edge:west", "link:east", "node:east/b/0")
        for identity in hung:
            processes.send(identity, signal.SIGSTOP)
        started = time.monotonic()
        eventually(lambda: not [one for one in hung if processes.is_alive(one)], 40)
        assert time.monotonic() - started > 5, "not before they were given time"
        whole(system)
        assert answers(system, "west")
        assert "has given no answer" in system.seakeep("explain", "edge:west").out


def test_an_agent_that_hangs_for_a_while_comes_back_without_twins(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        (agent,) = part_processes(system, "node:east/b/0")
        processes.send(agent, signal.SIGSTOP)
        eventually(lambda: _healths(system, "east/b/0") & {"unknown", "lost"} or
                   len(system.instances()) > 6)  # fmt: skip
        time.sleep(3)
        processes.send(agent, signal.SIGCONT)
        whole(system)


def _healths(system: Running, node: str) -> set[str]:
    return {one["health"] for one in system.instances().values() if one["node"] == node}


def nothing_left(system: Running, token: str) -> None:
    assert processes.strays(token) == []
    assert supervisors(system) == []
    assert sorted(path.name for path in system.folder.iterdir()) == ["app.py", "seakeep.yaml"]
    assert not system.layout.sockets.exists()
    leases = system.layout.sockets.parent / "leases.json"
    assert str(system.layout.state) not in leases.read_text()
    assert not _groups_of(token)


def _groups_of(token: str) -> list[Path]:
    """The control groups of a system that are left."""
    name = f"{cgroups.prefix(token)}.*"
    return [path for folder in cgroups.find_hierarchies().folders() for path in folder.glob(name)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_down_that_is_interrupted_is_finished_by_the_next(
    tmp_path: Path, number: signal.Signals
) -> None:
    random = dice()
    with running(tmp_path) as system:
        token = system.token()
        for _ in range(2):
            command = system.start("down")
            time.sleep(random.uniform(0.2, 1.4))
            command.send_signal(number)
            command.wait(30)
        assert system.seakeep("down").code == 0
        nothing_left(system, token)


def test_two_ups_or_downs_at_the_same_instant(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        token = system.token()
        both = [system.start("down"), system.start("down")]
        assert [command.wait(60) for command in both] == [0, 0]
        nothing_left(system, token)
        assert system.seakeep("down").code == 0
        both = [system.start("up"), system.start("up")]
        assert [command.wait(60) for command in both] == [0, 0]
        assert len(processes.with_token(f"supervisor:{system.layout.state}")) == 1
        whole(system)


def test_up_and_down_at_the_same_time_leave_all_or_nothing(tmp_path: Path) -> None:
    random = dice()
    with running(tmp_path) as system:
        token = system.token()
        for _ in range(2):
            ending = system.start("down")
            time.sleep(random.uniform(0.2, 1.2))
            assert system.seakeep("up").code == 0
            assert ending.wait(30) == 0
            whole(system)
            assert system.token() != token
            token = system.token()
        interrupted = system.start("up")
        assert system.seakeep("down").code == 0
        interrupted.send_signal(signal.SIGINT)
        interrupted.wait(30)
        assert system.seakeep("down").code == 0
        nothing_left(system, token)
