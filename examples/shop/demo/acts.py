"""The acts of the demo: what is done to the system, and what is measured.

Detection is when no Envoy would send a new request to what was hit; recovery when every
service has all its replicas ready again. Requests count from the fault to the next act.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from demo.traffic import TELL_EVERY_S, Load
from demo.watch import (
    ASK_EVERY_S,
    Document,
    Snapshot,
    Watch,
    all_well,
    enough,
    in_rotation,
    instances,
)
from seakeep.engines.local import processes
from seakeep.engines.local.layout import Layout
from seakeep.model.system import Fault, FaultKind
from seakeep.runtime import faults
from seakeep.runtime.daemon import start_supervisor
from seakeep.runtime.teardown import supervisor_identity

SETTLE_S_MAX = 30.0


@dataclass(slots=True)
class Result:
    """The figures of one act."""

    name: str
    target: str
    """What is to be reached, in words."""
    detect_s: float | None = None
    recover_s: float | None = None
    requests: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    """By traffic source."""
    met: bool = False
    note: str = ""

    @property
    def failures(self) -> int:
        return sum(self.failed.values())


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How long each fault lasts, and the quiet after it, in seconds."""

    kill: float
    freeze: float
    unattended: float
    zone: float
    region: float
    settle: float


SHORT = Lengths(kill=7, freeze=10, unattended=25, zone=15, region=16, settle=2)
FULL = Lengths(kill=60, freeze=60, unattended=60, zone=60, region=60, settle=10)


def acts(stage: Stage, lengths: Lengths) -> Iterator[Result]:
    """All acts, one after the other."""
    yield kill(stage, lengths)
    yield freeze(stage, lengths)
    yield unattended(stage, lengths)
    yield lose_zone(stage, lengths)
    yield lose_region(stage, lengths)


def kill(stage: Stage, lengths: Lengths) -> Result:
    """SIGKILL to one instance of web."""
    result = Result("instance killed", "≤ 1 in 10,000 fails; out of rotation ≤ 1 s; replaced ≤ 5 s")
    victim = _oldest(stage, "web")
    stage.say(f"killing {victim['id']} on {victim['node']}")
    with _measured(stage, result, lengths.kill, lengths.settle) as began:
        with faults.hold(stage.layout, Fault(kind=FaultKind.KILL, subject=victim["id"])):
            pass
        _detect(stage, result, began, {victim["address"]})
        _recover(stage, result, began, lambda now: _replaced(now, victim), lengths.kill)
    result.met = (
        result.failures <= max(1, result.requests / 10_000)
        and _within(result.detect_s, 1)
        and _within(result.recover_s, 5)
    )
    return result


def freeze(stage: Stage, lengths: Lengths) -> Result:
    """SIGSTOP to one instance of catalog."""
    result = Result("instance frozen", "≥ 99.9 % fine; out of rotation ≤ 3 s; replaced ≤ 10 s")
    victim = _oldest(stage, "catalog")
    stage.say(f"freezing {victim['id']} on {victim['node']}")
    fault = Fault(kind=FaultKind.FREEZE, subject=victim["id"])
    with (
        _measured(stage, result, lengths.freeze, lengths.settle) as began,
        faults.hold(stage.layout, fault),
    ):
        _detect(stage, result, began, {victim["address"]})
        _recover(stage, result, began, lambda now: _replaced(now, victim), lengths.freeze)
    result.met = _fine(result) and _within(result.detect_s, 3) and _within(result.recover_s, 10)
    return result


def unattended(stage: Stage, lengths: Lengths) -> Result:
    """SIGKILL to the supervisor; after a while a new one adopts what runs."""
    result = Result(
        f"Seakeep killed for {lengths.unattended:g} s", "no request fails; nothing is restarted"
    )
    before = {item["id"]: item["pid"] for item in instances(stage.status())}
    with _measured(stage, result, lengths.unattended, lengths.settle) as began:
        identity = supervisor_identity(stage.layout)
        assert identity is not None
        stage.say("killing Seakeep itself (kill -9); the system is on its own")
        processes.send(identity, signal.SIGKILL)
        _sleep_until(began, lengths.unattended)
        stage.say("starting Seakeep again: it adopts what runs")
        stage.watch.forget_events()
        started = time.monotonic_ns()
        start_supervisor(stage.layout, stage.spec)
        back = stage.watch.until(lambda now: now.at_ns > started and all_well(now), SETTLE_S_MAX)
    after = {item["id"]: item["pid"] for item in instances(stage.status())}
    kept = sum(1 for name, pid in before.items() if after.get(name) == pid)
    result.recover_s = None if back is None else (back - started) / 1e9
    result.note = f"{kept} of {len(before)} processes adopted"
    result.met = result.failures == 0 and kept == len(before)
    return result


def lose_zone(stage: Stage, lengths: Lengths) -> Result:
    """Power off in us-east/a."""
    result = Result("zone us-east/a lost", "≥ 99.9 % fine; capacity back elsewhere ≤ 15 s")
    _lose(stage, result, FaultKind.LOSE_ZONE, "us-east/a", lengths.zone, lengths.settle)
    result.met = _fine(result) and _within(result.recover_s, 15)
    return result


def lose_region(stage: Stage, lengths: Lengths) -> Result:
    """Power off in us-east: its edge, its link and all of its zones."""
    result = Result(
        "region us-east lost", "requests that enter eu-west feel nothing; capacity back"
    )
    _lose(stage, result, FaultKind.LOSE_REGION, "us-east", lengths.region, lengths.settle)
    entering_elsewhere = [
        item.source for item in stage.load.traffic.sources if item.region != "us-east"
    ]
    if result.failures:
        note = "clients of a dead edge fail until DNS steers them (next release)"
        result.note = f"{result.note}; {note}" if result.note else note
    result.met = (
        all(result.failed.get(source, 0) == 0 for source in entering_elsewhere)
        and result.recover_s is not None
    )
    return result


# --- pieces -----------------------------------------------------------------


def _lose(
    stage: Stage, result: Result, kind: FaultKind, place: str, lasts_s: float, settle_s: float
) -> None:
    hit = {item["address"] for item in instances(stage.status()) if _lies_in(item["node"], place)}
    stage.say(f"cutting the power of {place}: {len(hit)} instances die")
    with _measured(stage, result, lasts_s, 0) as began:
        with faults.hold(stage.layout, Fault(kind=kind, subject=place)):
            _detect(stage, result, began, hit)
            _recover(stage, result, began, enough, lasts_s)
            if kind is FaultKind.LOSE_REGION:
                time.sleep(ASK_EVERY_S * 2)
                stage.photograph()
            _sleep_until(began, lasts_s)
        stage.say(f"power is back in {place}")
        returned = time.monotonic_ns()
        back = stage.watch.until(
            lambda now: now.at_ns > returned and all_well(now) and _populated(now, place),
            SETTLE_S_MAX,
        )
        time.sleep(settle_s)
    if back is not None:
        result.note = f"in use again {(back - returned) / 1e9:.1f} s after power was back"


def _lies_in(node: str, place: str) -> bool:
    return node.startswith(f"{place}/")


def _populated(now: Snapshot, place: str) -> bool:
    return now.status is not None and any(
        _lies_in(item["node"], place) and item["health"] == "ready"
        for item in instances(now.status)
    )


def _oldest(stage: Stage, service: str) -> Document:
    found = [item for item in instances(stage.status()) if item["service"] == service]
    return max(found, key=lambda item: item["age_s"])


def _replaced(now: Snapshot, victim: Document) -> bool:
    """The victim runs anew, or others have taken its place; nothing is missing."""
    if now.status is None or not enough(now):
        return False
    same = [item for item in instances(now.status) if item["id"] == victim["id"]]
    return all(item["restarts"] > victim["restarts"] for item in same)


@contextmanager
def _measured(stage: Stage, result: Result, lasts_s: float, settle_s: float) -> Iterator[int]:
    """Count the requests between entry and the end of the act, at least `lasts_s` later."""
    began = time.monotonic_ns()
    yield began
    _sleep_until(began, lasts_s)
    time.sleep(settle_s)
    ended = time.monotonic_ns()
    time.sleep(TELL_EVERY_S * 2)  # until the load has told of what had ended by then
    result.requests = stage.load.requests_between(began, ended)
    result.failed = stage.load.failures_between(began, ended)


def _detect(stage: Stage, result: Result, began: int, addresses: set[str]) -> None:
    seen = stage.watch.until(
        lambda now: now.at_ns > began and now.status is not None and bool(now.hosts)
        and not in_rotation(now, addresses),
        SETTLE_S_MAX,
    )  # fmt: skip
    result.detect_s = None if seen is None else (seen - began) / 1e9


def _recover(
    stage: Stage, result: Result, began: int, good: Callable[[Snapshot], bool], lasts_s: float
) -> None:
    seen = stage.watch.until(
        lambda now: now.at_ns > began and good(now), max(lasts_s, SETTLE_S_MAX)
    )
    result.recover_s = None if seen is None else (seen - began) / 1e9


def _sleep_until(began: int, after_s: float) -> None:
    time.sleep(max(0.0, after_s - (time.monotonic_ns() - began) / 1e9))


def _within(value: float | None, limit: float) -> bool:
    return value is not None and value <= limit


def _fine(result: Result) -> bool:
    return result.failures <= result.requests / 1_000
