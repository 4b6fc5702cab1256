"""Whole systems with real processes and real Envoys, by the real command."""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path

import pytest

import seakeep
from seakeep.engines.local import processes
from tests.live.systems import APP, SPEC, Running, answers, eventually, running

pytestmark = pytest.mark.live


def nothing_left(system: Running, token: str) -> None:
    assert processes.strays(token) == []
    assert not system.layout.state.exists()
    assert not system.layout.sockets.exists()


def test_up_status_logs_down(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        assert {item["health"] for item in system.instances().values()} == {"ready"}
        assert system.seakeep("status").code == 0
        assert system.get("east").split()[0].startswith("front-")
        assert system.get("west").split()[1].startswith("back-")
        assert "front-" in system.seakeep("logs", "front").out
        assert system.seakeep("logs", "nobody").code == 2
        token = system.token()
        assert system.seakeep("down").code == 0
        nothing_left(system, token)
        again = system.seakeep("down")
        assert again.code == 0
        assert "nothing was up" in again.err


def test_the_system_outlives_its_supervisor_and_is_adopted(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        before = system.instances()
        old = system.supervisor()
        assert processes.send(old, signal.SIGKILL)
        eventually(lambda: not processes.is_alive(old))
        for _ in range(20):
            assert system.get("east")
            assert system.get("west")
        orphaned = system.seakeep("status")
        assert orphaned.code == 1
        assert "goes on without it" in orphaned.err
        system.up()
        after = system.instances()
        assert {name: item["pid"] for name, item in after.items()} == {
            name: item["pid"] for name, item in before.items()
        }
        assert {item["restarts"] for item in after.values()} == {0}
        assert system.supervisor() != old
        edges = [region["edge"]["since_s"] for region in system.status()["regions"]]
        assert min(edges) >= min(item["age_s"] for item in after.values())


def test_down_clears_up_after_everything_was_killed(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        token = system.token()
        processes.send(system.supervisor(), signal.SIGKILL)
        agents = [one for one in processes.strays(token) if one.token.endswith("/agent")]
        assert agents
        for agent in agents:
            processes.send(agent, signal.SIGKILL)
        assert processes.strays(token), "instances outlive their agent"
        assert system.seakeep("down").code == 0
        nothing_left(system, token)


def test_an_agent_that_was_killed_is_started_and_adopts_its_instances(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        before = {name: item["pid"] for name, item in system.instances().items()}
        agents = [p for p in processes.strays(system.token()) if p.token.endswith("/agent")]
        processes.send(agents[0], signal.SIGKILL)
        eventually(lambda: not processes.is_alive(agents[0]))
        eventually(
            lambda: (
                {name: item["pid"] for name, item in system.instances().items()} == before
                and all(item["health"] == "ready" for item in system.instances().values())
            )
        )


def test_a_killed_instance_is_replaced_and_no_request_fails(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        victim = next(item for item in system.instances().values() if item["service"] == "front")
        failed: list[str] = []
        stop = threading.Event()

        def clients() -> None:
            while not stop.is_set():
                for region in ("east", "west"):
                    try:
                        system.get(region)
                    except OSError as error:
                        failed.append(f"{region}: {error}")
                stop.wait(0.01)

        thread = threading.Thread(target=clients)
        thread.start()
        try:
            assert system.seakeep("inject", "kill", victim["id"]).code == 0
            eventually(
                lambda: system.instances()[victim["id"]]["restarts"] == victim["restarts"] + 1
            )
            eventually(lambda: system.instances()[victim["id"]]["health"] == "ready")
        finally:
            stop.set()
            thread.join()
        assert failed == []


def test_a_lost_zone_is_replaced_elsewhere_and_used_again(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        injector = system.start("inject", "lose-zone", "east/b", "--for", "120s")
        try:
            eventually(lambda: _nodes_up(system) == {"east/a/0": True, "east/b/0": False,
                                                     "west/a/0": True})  # fmt: skip
            eventually(
                lambda: len([i for i in system.instances().values() if i["health"] == "ready"]) == 6
            )
            assert {item["node"] for item in system.instances().values()} == {
                "east/a/0",
                "west/a/0",
            }
            assert answers(system, "east")
        finally:
            injector.kill()  # a crash of the injector undoes the fault
            injector.wait()
        eventually(lambda: all(_nodes_up(system).values()))
        eventually(lambda: "east/b/0" in {i["node"] for i in system.instances().values()})


def _nodes_up(system: Running) -> dict[str, bool]:
    return {
        node["id"].removeprefix("node:"): node["running"]
        for region in system.status()["regions"]
        for zone in region["zones"]
        for node in zone["nodes"]
    }


def test_a_lost_region_comes_back(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        injector = system.start("inject", "lose-region", "west", "--for", "120s")
        try:
            eventually(lambda: not answers(system, "west"))
            assert answers(system, "east")
            eventually(
                lambda: {s["ready"] for s in system.status()["services"]} == {3}, timeout_s=40
            )
        finally:
            injector.send_signal(signal.SIGINT)
            assert injector.wait(20) == 0
        eventually(lambda: answers(system, "west"))


def test_a_region_that_left_the_spec_drains_before_it_goes(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        smaller = SPEC.replace(
            "  west: {zones: [a], nodes: {count: 1, cpu: 4, memory: 2GiB}}\n", ""
        ).replace("network: {east~west: 5ms}\n", "")
        smaller = smaller.replace("{regions: {east: 67%, west: 33%}}", "{regions: {east: 100%}}")
        system.spec.write_text(smaller)
        done = system.seakeep("up")
        assert done.code == 0, done.err
        assert re.fullmatch(r"east  http://127\.\d+\.0\.1:\d+/\n", done.out)
        assert "leaving: west" in done.err
        eventually(lambda: [r["name"] for r in system.status()["regions"]] == ["east"])
        assert {item["node"] for item in system.instances().values()} == {"east/a/0", "east/b/0"}
        assert answers(system, "east")


def test_a_changed_command_is_rolled_out_without_a_failed_request(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        before = set(system.instances())
        system.spec.write_text(SPEC.replace("run: python app.py", "run: python app.py --new", 1))
        assert system.seakeep("up", "--no-wait").code == 0

        def rolled() -> bool:
            assert system.get("east")
            now = system.instances()
            fronts = {name for name, item in now.items() if item["service"] == "front"}
            return not fronts & before and len(fronts) == 3

        eventually(rolled, timeout_s=60)
        backs = {name for name in system.instances() if name.startswith("back-")}
        assert backs <= before, "what did not change is left alone"


def test_a_broken_spec_changes_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        before = system.instances()
        system.spec.write_text(SPEC.replace("replicas:", "replica:"))
        refused = system.seakeep("up")
        assert refused.code == 2
        assert "replicas" in refused.err
        assert {n: i["pid"] for n, i in system.instances().items()} == {
            n: i["pid"] for n, i in before.items()
        }


def test_two_systems_live_side_by_side(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    with running(one) as first, running(other) as second:
        assert first.edge("east") != second.edge("east")
        assert answers(first, "east")
        assert second.seakeep("down").code == 0
        assert answers(first, "east")
        assert answers(first, "west")


def test_a_partition_is_undone_when_its_injector_ends(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        bad = system.seakeep("inject", "partition", "east~mars", "--for", "1s")
        assert bad.code == 2
        assert "mars" in bad.err
        started = time.monotonic()
        done = system.seakeep("inject", "partition", "east~west", "--for", "1s")
        assert done.code == 0, done.err
        assert time.monotonic() - started >= 1
        assert answers(system, "east")


ORDINARY_USER = 65534


def interpreter_for_anyone(folder: Path) -> Path:
    """A Python that every user may run, with what this one has installed. Skips when there is
    none: this one may lie in a home folder that is closed to others."""
    system = Path("/usr/bin/python3")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    packages = Path(sysconfig.get_path("purelib"))
    source = Path(seakeep.__file__).parent.parent
    subprocess.run([system, "-m", "venv", "--without-pip", folder], check=True)
    made = folder / "lib" / f"python{version}" / "site-packages"
    if not made.exists():
        pytest.skip(f"there is no Python {version} that everybody may run")
    (made / "tested.pth").write_text(f"{packages}\n{source}\n")
    return folder / "bin" / "python"


@pytest.mark.skipif(os.geteuid() != 0, reason="changes to another user, so it needs root")
def test_it_works_as_an_ordinary_user(tmp_path: Path) -> None:
    home = Path("/tmp") / f"seakeep-test-{os.getpid()}-{tmp_path.name}"
    home.mkdir(mode=0o755)
    try:
        python = interpreter_for_anyone(home / "venv")
        (home / "seakeep.yaml").write_text(SPEC)
        (home / "app.py").write_text(APP)
        shutil.chown(home, ORDINARY_USER, ORDINARY_USER)
        user = ["setpriv", f"--reuid={ORDINARY_USER}", f"--regid={ORDINARY_USER}"]
        env = {**os.environ, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*user, "--clear-groups", python, "-m", "seakeep.cli.main", *arguments],
                cwd=home, env=env, capture_output=True, text=True, timeout=120,
            )  # fmt: skip

        if run("--version").returncode != 0:
            pytest.skip("what is installed here cannot be read by other users")
        try:
            done = run("up")
            assert done.returncode == 0, done.stderr
            assert run("status").returncode == 0
            assert run("inject", "kill", "front").returncode == 0
        finally:
            done = run("down")
        assert done.returncode == 0, done.stderr
        assert not (home / ".seakeep").exists()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_a_copied_folder_does_not_take_over_the_original(tmp_path: Path) -> None:
    folder = tmp_path / "original"
    folder.mkdir()
    with running(folder) as system:
        shutil.copytree(folder, tmp_path / "copy")
        copy = Running(tmp_path / "copy")
        for verb in ("up", "down", "status"):
            refused = copy.seakeep(verb)
            assert refused.code == 2, verb
            assert str(folder) in refused.err
        assert answers(system, "east")


def test_explain_tells_the_story_from_the_journal(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        victim = next(iter(system.instances().values()))
        system.seakeep("inject", "kill", victim["id"])
        eventually(lambda: system.instances()[victim["id"]]["restarts"] == 1)
        told = system.seakeep("explain", victim["id"]).out
        assert "restart" in told
        assert "SIGKILL" in told
        assert system.seakeep("down", "--keep-logs").code == 0
        assert "SIGKILL" in system.seakeep("explain", victim["id"]).out


def test_the_journal_of_a_real_run_replays_to_the_same_decisions(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        system.seakeep("inject", "kill", "front")
        eventually(lambda: max(i["restarts"] for i in system.instances().values()) == 1)
        assert system.seakeep("down", "--keep-logs").code == 0
        for seed in ("1", "2"):
            done = subprocess.run(
                [sys.executable, "-c", REPLAY, str(system.layout.journal)],
                env={**os.environ, "PYTHONHASHSEED": seed},
                capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert int(done.stdout) > 10


REPLAY = """
import sys
from pathlib import Path
from seakeep.runtime.replay import replay

report = replay(Path(sys.argv[1]))
assert report.identical, report
print(report.steps)
"""
