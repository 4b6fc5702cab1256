"""What every act works with, and how its figures are taken.

Detection is when no Envoy would send a new request to what was hit; recovery when every
service has all its replicas ready again. Requests count from the act's beginning to its end.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from demo.traffic import TELL_EVERY_S, Load
from demo.watch import Document, Snapshot, Watch, enough, in_rotation, instances
from seakeep.engines.local.layout import Layout

SETTLE_S_MAX = 30.0


@dataclass(slots=True)
class Result:
    """The figures of one act."""

    name: str
    target: str
    """What is to be reached, in words."""
    detect_s: float | None = None
    recover_s: float | None = None
    recovers: bool = True
    """False: there is nothing to recover from."""
    requests: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    """By traffic source."""
    met: bool = False
    note: str = ""

    @property
    def failures(self) -> int:
        return sum(self.failed.values())

    @property
    def over(self) -> bool:
        """Whether the system was well again in the end."""
        return self.recover_s is not None or not self.recovers


@dataclass(slots=True)
class Stage:
    """Everything that an act works with."""

    layout: Layout
    spec: Path
    watch: Watch
    load: Load
    say: Callable[[str], None]
    """Shows what is being done."""
    photograph: Callable[[], None]
    """Called once, when there is most to see."""

    def status(self) -> Document:
        assert self.watch.now.status is not None
        return self.watch.now.status


def lies_in(node: str, place: str) -> bool:
    return node.startswith(f"{place}/")


def populated(now: Snapshot, place: str) -> bool:
    return now.status is not None and any(
        lies_in(item["node"], place) and item["health"] == "ready" for item in instances(now.status)
    )


def oldest(stage: Stage, service: str) -> Document:
    found = [item for item in instances(stage.status()) if item["service"] == service]
    return max(found, key=lambda item: item["age_s"])


def replaced(now: Snapshot, victim: Document) -> bool:
    """The victim runs anew, or others have taken its place; nothing is missing."""
    if now.status is None or not enough(now):
        return False
    same = [item for item in instances(now.status) if item["id"] == victim["id"]]
    return all(item["restarts"] > victim["restarts"] for item in same)


@contextmanager
def measured(stage: Stage, result: Result, lasts_s: float, settle_s: float) -> Iterator[int]:
    """Count the requests between entry and the end of the act, at least `lasts_s` later."""
    began = time.monotonic_ns()
    yield began
    sleep_until(began, lasts_s)
    time.sleep(settle_s)
    ended = time.monotonic_ns()
    time.sleep(TELL_EVERY_S * 2)  # until the load has told of what had ended by then
    result.requests = stage.load.requests_between(began, ended)
    result.failed = stage.load.failures_between(began, ended)


def detect(stage: Stage, result: Result, began: int, addresses: set[str]) -> None:
    seen = stage.watch.until(
        lambda now: now.at_ns > began and now.status is not None and bool(now.hosts)
        and not in_rotation(now, addresses),
        SETTLE_S_MAX,
    )  # fmt: skip
    result.detect_s = None if seen is None else (seen - began) / 1e9


def recover(
    stage: Stage, result: Result, began: int, good: Callable[[Snapshot], bool], lasts_s: float
) -> None:
    seen = stage.watch.until(
        lambda now: now.at_ns > began and good(now), max(lasts_s, SETTLE_S_MAX)
    )
    result.recover_s = None if seen is None else (seen - began) / 1e9


def sleep_until(began: int, after_s: float) -> None:
    time.sleep(max(0.0, after_s - (time.monotonic_ns() - began) / 1e9))


def within(value: float | None, limit: float) -> bool:
    return value is not None and value <= limit


def fine(result: Result) -> bool:
    return result.failures <= result.requests / 1_000
