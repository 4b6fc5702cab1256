"""Reports made up for tests: two regions of which one is lost, in figures that can be told by
heart. Nothing is drawn by chance, but that a seed shifts the figures a little."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from tests.world import service, system_of

from seakeep.model import hdr
from seakeep.model.histogram import BOUNDS
from seakeep.model.proof import Estimate, Proof, Report, Verdict
from seakeep.model.run import EventKind, Flow, Good, Line, Load, Run, RunEvent
from seakeep.model.scenario import Fault, FaultKind, Scenario, Step
from seakeep.model.system import Call, Objective, ObjectiveKind, Shape, System, TrafficSource
from seakeep.model.time import DAY, MILLISECOND, SECOND

REGIONS = ("us-east", "eu-west")
LOSS = Step(
    at=20 * SECOND, fault=Fault(kind=FaultKind.LOSE_REGION, subject="us-east"), lasts=20 * SECOND
)


def system(objectives: bool = True, traffic: bool = True) -> System:
    places = {"us-east": {"a": 2, "b": 1}, "eu-west": {"a": 2}}
    shares = {"us-east": 0.5, "eu-west": 0.5}
    services = [
        service("web", shares, calls=(Call(service="catalog", per_request=1.5),)),
        service("catalog", shares),
    ]
    source = TrafficSource(
        name="browsers", location=None, service="web", rate_per_s=100.0, shape=Shape.POISSON
    )
    slo = {"service": "web", "window": 30 * DAY}
    stated: tuple[Objective, ...] = (
        Objective(kind=ObjectiveKind.AVAILABILITY, target=0.999, **slo),
        Objective(kind=ObjectiveKind.LATENCY, target=0.95, threshold=300 * MILLISECOND, **slo),
    )
    return replace(
        system_of(places, services),
        traffic={"browsers": source} if traffic else {},
        objectives=stated if objectives else (),
    )


def scenario(*steps: Step, name: str = "region-loss", **other: Any) -> Scenario:
    return Scenario(name=name, duration=60 * SECOND, steps=steps, **other)


def run(of: System, under: Scenario, seed: int = 1) -> Run:
    """60 buckets of a second, 50 requests a second in each region; while the fault lasts nine in
    ten fail in us-east."""
    buckets = under.duration // SECOND
    times = np.arange(buckets)
    hurt = np.zeros(buckets, dtype=bool)
    for step in under.steps:
        hurt |= (times >= step.at // SECOND) & (times < (step.at + (step.lasts or 0)) // SECOND)
    lines = {
        (source, region): _line(hurt & (region == "us-east"), seed)
        for source in of.traffic
        for region in REGIONS
    }
    ok = sum(int(line.ok.sum()) for line in lines.values())
    failed = sum(int(line.failed.sum()) for line in lines.values())
    flow = Flow(
        requests=ok + failed + 2,
        ok=ok,
        failed=failed,
        rejected=0,
        timed_out=0,
        in_flight=2,
        retried=failed,
        latency=_histogram(ok),
        wait=_histogram(0),
    )
    return Run(
        scenario=under.name,
        seed=seed,
        duration=under.duration,
        bucket=SECOND,
        traffic=dict.fromkeys(of.traffic, flow),
        services=dict.fromkeys(of.services, flow),
        lines=lines,
        loads={
            (name, region): _load(hurt & (region == "us-east"))
            for name in of.services
            for region in REGIONS
        },
        objectives=tuple(
            Good(
                good=sum((line.ok for line in lines.values()), start=np.zeros(buckets, np.int64)),
                total=sum(
                    (line.ok + line.failed for line in lines.values()),
                    start=np.zeros(buckets, np.int64),
                ),
            )
            for _ in of.objectives
        ),
        events=events(under),
        instance_ns=dict.fromkeys(of.services, 4 * under.duration),
        steps=60,
    )


def events(under: Scenario) -> tuple[RunEvent, ...]:
    """Of each fault: it begins, forty instances are ejected, web is scaled up, it ends."""
    found = []
    for step in under.steps:
        subject, code = step.fault.subject, step.fault.kind.value
        told = [(step.at, EventKind.FAULT, subject, code, f"fault {code} {subject} begins")]
        told += [
            (
                step.at + (index + 1) * 100 * MILLISECOND,
                EventKind.EJECT,
                f"web-{index}",
                "outlier",
                f"us-east sends web-{index} no requests: 5 failures in a row",
            )
            for index in range(40)
        ]
        scaled = "web is scaled up from 4 to 6: rate at 48, aiming at 36"
        told.append((step.at + 5 * SECOND, EventKind.ACTION, "web", "scaling.up", scaled))
        if step.lasts:
            healed = f"fault {code} {subject} ends"
            told.append((step.at + step.lasts, EventKind.HEAL, subject, code, healed))
        found += [
            RunEvent(at=at, kind=kind, subject=about, code=why, text=text)
            for at, kind, about, why, text in told
        ]
    return tuple(sorted(found, key=lambda event: event.at))


def proof(
    of: System,
    under: Scenario,
    seeds: Sequence[int] = (1, 2, 3),
    *,
    held: bool = True,
    runs: tuple[Run, ...] | None = None,
) -> Proof:
    runs = tuple(run(of, under, seed) for seed in seeds) if runs is None else runs
    many = len(runs)
    verdicts = [
        Verdict(
            what=f"web {objective.kind.value} {objective.target:.4g}",
            objective=objective,
            held=held,
            target=objective.target,
            measured=estimate(objective.target + (0.0004 if held else -0.0123), many),
            margin=0.0003 if held else -0.0124,
            budget=estimate(0.02, many),
            worst_seed=seeds[0] if seeds else None,
        )
        for objective in of.objectives
    ]
    return Proof(
        scenario=under,
        runs=runs,
        verdicts=tuple(verdicts),
        detect=estimate(0.6, many) if under.steps else None,
        recover=estimate(21.0, many) if under.steps else None,
        peak_utilisation={name: estimate(0.75, many) for name in of.services},
        scalings=estimate(3.0, many),
        instance_hours={name: estimate(0.5, many) for name in of.services},
    )


def report(*proofs: Proof, of: System | None = None, interrupted: bool = False) -> Report:
    of = of or system()
    return Report(system=of, proofs=proofs or (proof(of, scenario(LOSS)),), interrupted=interrupted)


def estimate(mean: float, runs: int) -> Estimate:
    if runs < 2:
        return Estimate(mean=mean, runs=runs)
    return Estimate(mean=mean, low=mean * 0.99, high=mean * 1.01, runs=runs)


def _line(hurt: np.ndarray, seed: int) -> Line:
    requests = np.full(len(hurt), 50 + seed, dtype=np.int64)
    failed = np.where(hurt, requests * 9 // 10, 0)
    latency = np.zeros((len(hurt), len(BOUNDS)), dtype=np.int64)
    latency[:, 10] = requests - failed
    nothing = np.zeros(len(hurt), dtype=np.int64)
    return Line(
        ok=requests - failed, failed=failed, rejected=nothing, timed_out=nothing, latency=latency
    )


def _load(hurt: np.ndarray) -> Load:
    ready = np.where(hurt, 0, 2).astype(np.int64)
    return Load(
        instances=np.full(len(hurt), 2, dtype=np.int64),
        ready=ready,
        busy=ready * 3,
        slots=ready * 4,
        queued=np.zeros(len(hurt), dtype=np.int64),
    )


def _histogram(requests: int) -> hdr.Histogram:
    """Evenly from 1 to 100ms."""
    counts = hdr.empty().counts
    for index in range(requests):
        counts[hdr.bucket_of((1 + index % 100) * MILLISECOND)] += 1
    return hdr.Histogram(
        counts=counts,
        sum_ns=requests * 50 * MILLISECOND,
        max_ns=100 * MILLISECOND if requests else 0,
    )
