"""The faults of the demo: what breaks, and what that costs."""

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

from demo.demand import deploy, flood, surge
from demo.stage import (
    SETTLE_S_MAX,
    Result,
    Stage,
    detect,
    fine,
    lies_in,
    measured,
    oldest,
    populated,
    recover,
    replaced,
    sleep_until,
    within,
)
from demo.watch import ASK_EVERY_S, all_well, enough, instances
from seakeep.engines.local import processes
from seakeep.model.system import Fault, FaultKind
from seakeep.model.time import in_seconds
from seakeep.runtime import faults
from seakeep.runtime.daemon import start_supervisor
from seakeep.runtime.teardown import supervisor_identity
from seakeep.spec import load

STEERED_WITHIN_S = 2.0
"""From the loss of a region until its clients are told of another, beyond the TTL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How long each fault lasts, and the quiet after it, in seconds."""

    kill: float
    freeze: float
    unattended: float
    surge: float
    deploy: float
    flood: float
    zone: float
    region: float
    settle: float


SHORT = Lengths(
    kill=6, freeze=9, unattended=10, surge=15, deploy=8, flood=6, zone=11, region=15, settle=1
)  # fmt: skip
FULL = Lengths(
    kill=60, freeze=60, unattended=60, surge=60, deploy=60, flood=60, zone=60, region=60, settle=10
)  # fmt: skip


def acts(stage: Stage, lengths: Lengths) -> Iterator[Result]:
    """All acts, one after the other."""
    yield kill(stage, lengths)
    yield freeze(stage, lengths)
    yield unattended(stage, lengths)
    yield surge(stage, lengths.surge, lengths.settle)
    yield deploy(stage, lengths.deploy, lengths.settle)
    yield flood(stage, lengths.flood, lengths.settle)
    yield lose_zone(stage, lengths)
    yield lose_region(stage, lengths)


def kill(stage: Stage, lengths: Lengths) -> Result:
    """SIGKILL to one instance of web."""
    result = Result("instance killed", "≤ 1 in 10,000 fails; out of rotation ≤ 1 s; replaced ≤ 5 s")
    victim = oldest(stage, "web")
    stage.say(f"killing {victim['id']} on {victim['node']}")
    with measured(stage, result, lengths.kill, lengths.settle) as began:
        with faults.hold(stage.layout, Fault(kind=FaultKind.KILL, subject=victim["id"])):
            pass
        detect(stage, result, began, {victim["address"]})
        recover(stage, result, began, lambda now: replaced(now, victim), lengths.kill)
    result.met = (
        result.failures <= max(1, result.requests / 10_000)
        and within(result.detect_s, 1)
        and within(result.recover_s, 5)
    )
    return result


def freeze(stage: Stage, lengths: Lengths) -> Result:
    """SIGSTOP to one instance of catalog."""
    result = Result("instance frozen", "≥ 99.9 % fine; out of rotation ≤ 3 s; replaced ≤ 10 s")
    victim = oldest(stage, "catalog")
    stage.say(f"freezing {victim['id']} on {victim['node']}")
    fault = Fault(kind=FaultKind.FREEZE, subject=victim["id"])
    with (
        measured(stage, result, lengths.freeze, lengths.settle) as began,
        faults.hold(stage.layout, fault),
    ):
        detect(stage, result, began, {victim["address"]})
        recover(stage, result, began, lambda now: replaced(now, victim), lengths.freeze)
    result.met = fine(result) and within(result.detect_s, 3) and within(result.recover_s, 10)
    return result


def unattended(stage: Stage, lengths: Lengths) -> Result:
    """SIGKILL to the supervisor; after a while a new one adopts what runs."""
    result = Result(
        f"Seakeep killed for {lengths.unattended:g} s", "no request fails; nothing is restarted"
    )
    before = {item["id"]: item["pid"] for item in instances(stage.status())}
    with measured(stage, result, lengths.unattended, lengths.settle) as began:
        identity = supervisor_identity(stage.layout)
        assert identity is not None
        stage.say("killing Seakeep itself (kill -9); the system is on its own")
        processes.send(identity, signal.SIGKILL)
        sleep_until(began, lengths.unattended)
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
    result.met = fine(result) and within(result.recover_s, 15)
    return result


def lose_region(stage: Stage, lengths: Lengths) -> Result:
    """Power off in us-east: its edge, its link and all of its zones."""
    system = load(stage.spec).system
    assert system.dns is not None
    steered_s = in_seconds(system.dns.ttl) + STEERED_WITHIN_S
    result = Result(
        "region us-east lost",
        f"eu-west's clients feel nothing; us-east's are served there ≤ TTL + 2 s = {steered_s:g} s",
    )
    entering_elsewhere = [
        item.source for item in stage.load.traffic.sources if item.region != "us-east"
    ]
    began = time.monotonic_ns()
    _lose(stage, result, FaultKind.LOSE_REGION, "us-east", lengths.region, lengths.settle)
    last = stage.load.last_failure_between(began, time.monotonic_ns())
    if last is not None:
        after_s = (last - began) / 1e9
        result.note = f"all clients served after {after_s:.1f} s; {result.note}"
    result.met = (
        all(result.failed.get(source, 0) == 0 for source in entering_elsewhere)
        and result.recover_s is not None
        and (last is None or after_s <= steered_s)
    )
    return result


def _lose(
    stage: Stage, result: Result, kind: FaultKind, place: str, lasts_s: float, settle_s: float
) -> None:
    hit = {item["address"] for item in instances(stage.status()) if lies_in(item["node"], place)}
    stage.say(f"cutting the power of {place}: {len(hit)} instances die")
    with measured(stage, result, lasts_s, 0) as began:
        with faults.hold(stage.layout, Fault(kind=kind, subject=place)):
            detect(stage, result, began, hit)
            recover(stage, result, began, enough, lasts_s)
            if kind is FaultKind.LOSE_REGION:
                time.sleep(ASK_EVERY_S * 2)
                stage.photograph()
            sleep_until(began, lasts_s)
        stage.say(f"power is back in {place}")
        returned = time.monotonic_ns()
        back = stage.watch.until(
            lambda now: now.at_ns > returned and all_well(now) and populated(now, place),
            SETTLE_S_MAX,
        )
        time.sleep(settle_s)
    if back is not None:
        result.note = f"in use again {(back - returned) / 1e9:.1f} s after power was back"
