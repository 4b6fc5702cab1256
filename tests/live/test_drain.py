"""A region is drained and comes back while requests go through every edge: none fails."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.chaos import crash_supervisor
from tests.live.systems import Running, eventually, running

pytestmark = pytest.mark.live

DRAIN_S = 120


class Asking:
    """Threads that ask through the edges until told to stop, and what went wrong for them."""

    def __init__(self, system: Running, *regions: str) -> None:
        self._system = system
        self._stopping = threading.Event()
        self.asked = 0
        self.failures: list[str] = []
        self.threads = [
            threading.Thread(target=self._ask, args=(region,), daemon=True)
            for region in regions
            for _ in range(2)
        ]

    def _ask(self, region: str) -> None:
        while not self._stopping.is_set():
            try:
                self._system.get(region)
            except OSError as error:
                self.failures.append(f"{region}: {error}")
            self.asked += 1
            time.sleep(0.02)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self.threads:
            thread.join(10)


@contextmanager
def asking(system: Running, *regions: str) -> Iterator[Asking]:
    load = Asking(system, *regions)
    for thread in load.threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop()


def by_region(system: Running) -> dict[str, int]:
    found: dict[str, int] = {}
    for region in system.status()["regions"]:
        nodes = [node for zone in region["zones"] for node in zone["nodes"]]
        found[region["name"]] = sum(len(node["instances"]) for node in nodes)
    return found


def drain_of(system: Running, region: str) -> Any:
    return next(one["drain"] for one in system.status()["regions"] if one["name"] == region)


def test_a_region_is_drained_and_comes_back(tmp_path: Path) -> None:
    with running(tmp_path) as system, asking(system, "east", "west") as load:
        done = system.seakeep("drain", "region", "east", "--wait", "--json", timeout_s=DRAIN_S)
        assert done.code == 0, done.err
        assert json.loads(done.out)["phase"] == "done"
        assert "east is being drained" in done.err
        assert by_region(system) == {"east": 0, "west": 6}
        assert all(one["ready"] == one["wanted"] for one in system.status()["services"])
        (east, _) = system.status()["regions"]
        assert east["edge"]["running"]
        assert east["link"]["running"]
        assert "west" not in system.get("east")  # still answers, from elsewhere
        again = system.seakeep("drain", "region", "east")
        assert again.code == 0
        assert "is being drained already: the order of " in again.err
        refused = system.seakeep("drain", "region", "west")
        assert refused.code == 2
        assert "may be in no other region that is not drained" in refused.err
        assert load.failures == []

        crash_supervisor(system)
        system.up()
        eventually(lambda: (drain_of(system, "east") or {}).get("phase") == "done", 60)

        back = system.seakeep("undrain", "region", "east", "--wait", timeout_s=DRAIN_S)
        assert back.code == 0, back.err
        eventually(lambda: by_region(system) == {"east": 4, "west": 2}, 60)
        time.sleep(1)
        load.stop()
        assert load.failures == []
        assert load.asked > 200
        told = system.seakeep("explain", "east").out
        assert "east is drained: nothing serves there" in told


def test_bad_words(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        unknown = system.seakeep("drain", "region", "eats")
        assert (unknown.code, "did you mean east?" in unknown.err) == (2, True), unknown.err
        unknown = system.seakeep("undrain", "region", "eats")
        assert (unknown.code, "east, west" in unknown.err) == (2, True), unknown.err
        late = system.seakeep("drain", "region", "east", "--timeout", "soon")
        assert late.code == 2
        nothing = system.seakeep("undrain", "region", "east")
        assert (nothing.code, nothing.err) == (0, "east is not drained: there is no such order\n")


def test_a_lost_region_is_no_place_to_go(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        fault = system.start("inject", "lose-region", "west", "--for", "60s")
        try:
            eventually(lambda: by_region(system).get("east") == 6, 60)
            refused = system.seakeep("drain", "region", "east")
            assert refused.code == 2
            assert "it is the last that can serve front and back" in refused.err
            forced = system.seakeep("drain", "region", "east", "--force")
            assert forced.code == 0, forced.err
            assert "nothing runs in west" in forced.err
            assert system.seakeep("undrain", "region", "east").code == 0
        finally:
            fault.terminate()
            fault.wait(30)


def test_waiting_ends_when_the_order_is_withdrawn(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        waiting = system.start("drain", "region", "east", "--wait")
        eventually(lambda: system.status()["orders"])
        assert system.seakeep("undrain", "region", "east").code == 0
        try:
            assert waiting.wait(60) == 1
        except subprocess.TimeoutExpired:
            waiting.kill()
            raise


def answers_from(system: Running, edge: str, region: str) -> bool:
    """Whether instances of a region, and no others, answer what enters at an edge."""
    instances = {
        item["id"]: one["name"]
        for one in system.status()["regions"]
        for zone in one["zones"]
        for node in zone["nodes"]
        for item in node["instances"]
    }
    try:
        found = {instances.get(system.get(edge).split()[0]) for _ in range(6)}
    except OSError:
        return False
    return found == {region}
