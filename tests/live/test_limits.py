"""A whole system whose regions share a limit."""

import http.client
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from seakeep.engines.local import processes
from tests.live.systems import SPEC, Running, eventually, running

pytestmark = pytest.mark.live

LIMITED = SPEC.replace(
    "    timeout: 2s\n", "    timeout: 2s\n    limit: {rate: 40/s, burst: 8, scope: system}\n"
)

FLOODERS = 4


@contextmanager
def flooding(system: Running, region: str) -> Iterator[Counter[int]]:
    """Requests to the region from four clients, some 100/s from each; what became of them. More
    than the limit even where each answer takes 50 ms."""
    found: Counter[int] = Counter()
    counting = threading.Lock()
    stop = threading.Event()
    host = urlsplit(system.edge(region)).netloc

    def flood() -> None:
        while not stop.wait(0.005):
            connection = http.client.HTTPConnection(host, timeout=5)
            try:
                connection.request("GET", "/name")
                status = connection.getresponse().status
            except OSError:
                status = 0
            finally:
                connection.close()
            with counting:
                found[status] += 1

    threads = [threading.Thread(target=flood) for _ in range(FLOODERS)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def front(system: Running) -> dict[str, object]:
    return next(one for one in system.status()["services"] if one["name"] == "front")


def shares(system: Running) -> dict[str, float]:
    found = front(system)["shares"]
    assert isinstance(found, dict)
    return dict(found.get("front:0", {}))


def settled(system: Running) -> dict[str, float] | None:
    """The shares, once east has what its flood asks for and west has the rest."""
    found = shares(system)
    whole = sum(found.values()) == pytest.approx(40.0)
    return found if whole and 36.0 <= found.get("east", 0.0) <= 38.0 else None


def test_a_shared_limit_follows_demand_and_stands_without_a_supervisor(tmp_path: Path) -> None:
    with running(tmp_path, spec=LIMITED) as system:
        with flooding(system, "east") as east:
            # All but a tenth of an even part: 38. A division made while demand still rose is left
            # alone when it is not noticeably off: by another tenth of an even part, 2.
            moved = eventually(lambda: settled(system), timeout_s=60)
            eventually(lambda: front(system)["limited_per_s"])
            assert "front" in system.seakeep("explain", "front").out
            assert system.get("west", "/name").startswith("front-"), "it gets through at once"

            supervisor = system.supervisor()
            assert processes.send(supervisor, signal.SIGKILL)
            eventually(lambda: not processes.is_alive(supervisor))
            before = east.copy()
            began = time.monotonic()
            time.sleep(3)
            served = east[200] - before[200]
            lasted_s = time.monotonic() - began
            assert served <= 40.0 * lasted_s + 8 + 2, "the last division stands"
            assert east[429] > before[429]
        system.up()
        assert shares(system) == moved, "a new supervisor goes on from it"
        with flooding(system, "east"), flooding(system, "west"):
            eventually(lambda: min(shares(system).values()) > 15.0, timeout_s=60)
            assert sum(shares(system).values()) <= 40.0 + 1e-3
        assert east[0] == 0
        assert set(east) <= {200, 429}
