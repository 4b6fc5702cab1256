"""What a valid document tries the system with, and what it must keep: objectives, scenarios."""

from seakeep.model.scenario import Deploy, Fault, FaultKind, Scenario, Step
from seakeep.model.system import Objective, ObjectiveKind
from seakeep.spec.document import ObjectivePart
from seakeep.spec.scenario import LosePart, ScenarioPart, StepPart


def objective_of(part: ObjectivePart) -> Objective:
    if part.latency is not None:
        target, threshold = part.latency
        return Objective(
            service=part.service,
            kind=ObjectiveKind.LATENCY,
            target=target,
            window=part.window,
            threshold=threshold,
        )
    assert part.availability is not None
    return Objective(
        service=part.service,
        kind=ObjectiveKind.AVAILABILITY,
        target=part.availability,
        window=part.window,
    )


def scenario_of(name: str, part: ScenarioPart) -> Scenario:
    return Scenario(
        name=name,
        duration=part.duration,
        steps=tuple(_step(step) for step in part.steps),
        recovery=part.expect.recovery,
        warmup=part.warmup,
        budget=part.expect.budget,
    )


DONE_AT_ONCE = (FaultKind.KILL, FaultKind.DEPLOY)
"""Faults that are over as soon as they are done: there is nothing to undo."""


def _step(part: StepPart) -> Step:
    fault = fault_of(part)
    return Step(at=part.at, fault=fault, lasts=0 if fault.kind in DONE_AT_ONCE else part.lasts)


def fault_of(part: StepPart) -> Fault:
    """The one fault of a step."""
    if part.lose is not None:
        return _lost(part.lose)
    if part.slow is not None:
        return Fault(kind=FaultKind.SLOW, subject=part.slow.service, amount=part.slow.cpu)
    if part.delay is not None:
        return Fault(kind=FaultKind.DELAY, subject=part.delay.link, amount=float(part.delay.by))
    if part.surge is not None:
        return Fault(kind=FaultKind.SURGE, subject=part.surge.traffic, amount=part.surge.factor)
    if part.errors is not None:
        return Fault(kind=FaultKind.ERRORS, subject=part.errors.service, amount=part.errors.rate)
    if part.loss is not None:
        return Fault(kind=FaultKind.LOSS, subject=part.loss.link, amount=part.loss.rate)
    if part.deploy is not None:
        new = part.deploy
        deploy = Deploy(errors=new.errors, slower=new.slower, ready=new.ready)
        return Fault(kind=FaultKind.DEPLOY, subject=new.service, deploy=deploy)
    if part.control is not None:
        return Fault(kind=FaultKind.CONTROL_DOWN, subject="")
    if part.dns is not None:
        return Fault(kind=FaultKind.STALE_DNS, subject="")
    return _named(part)


def _named(part: StepPart) -> Fault:
    """The faults that need a subject and nothing else."""
    for kind, subject in (
        (FaultKind.KILL, part.kill),
        (FaultKind.FREEZE, part.freeze),
        (FaultKind.PARTITION, part.partition),
        (FaultKind.OUTAGE, part.outage),
    ):
        if subject is not None:
            return Fault(kind=kind, subject=subject)
    raise AssertionError("a step has one fault")


def _lost(lose: LosePart) -> Fault:
    if lose.region is not None:
        return Fault(kind=FaultKind.LOSE_REGION, subject=lose.region)
    if lose.zone is not None:
        return Fault(kind=FaultKind.LOSE_ZONE, subject=lose.zone)
    assert lose.node is not None
    return Fault(kind=FaultKind.LOSE_NODE, subject=lose.node)
