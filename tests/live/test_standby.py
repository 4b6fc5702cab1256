"""An active region is lost, its standby takes over, and gives back when it is whole again."""

import signal
from pathlib import Path

import pytest

from tests.live.systems import SPEC, Running, eventually, running
from tests.live.test_drain import answers_from

pytestmark = pytest.mark.live

SPREAD = "spread: {regions: {east: 67%, west: 33%}}"
PASSIVE = SPEC.replace(
    SPREAD, "spread: {regions: {east: 100%}, standby: {west: 33%}, failback: 5s}"
)


def counts(system: Running, service: str) -> tuple[int, int]:
    one = next(one for one in system.status()["services"] if one["name"] == service)
    return one["regions"]["east"], one["regions"]["west"]


def test_the_standby_takes_over_and_gives_back(tmp_path: Path) -> None:
    with running(tmp_path, PASSIVE) as system:
        assert eventually(lambda: counts(system, "front") == (3, 1))
        east = eventually(lambda: answers_from(system, "west", "east"))
        assert east, "calls that enter at the standby are passed on"
        fault = system.start("inject", "lose-region", "east", "--for", "120s")
        try:
            eventually(lambda: answers_from(system, "west", "west"), 60)
            eventually(lambda: counts(system, "front") == (0, 3), 60)
            told = system.seakeep("explain", "front", "--tail", "200").out
            assert "is served by its standby regions" in told
        finally:
            fault.send_signal(signal.SIGINT)
            fault.wait(30)
        eventually(lambda: counts(system, "front") == (3, 1), 90)
        eventually(lambda: answers_from(system, "west", "east"), 30)
        assert (
            "goes back to its active regions"
            in system.seakeep("explain", "front", "--tail", "200").out
        )
