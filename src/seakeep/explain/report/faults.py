"""Faults in plain words, and when each of them lasts."""

from dataclasses import dataclass

from seakeep.explain.report.words import percent, seconds, tick
from seakeep.model.scenario import Fault, FaultKind, Scenario, Step
from seakeep.model.time import SECOND, Duration, Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One fault, within the scenario."""

    number: int
    """As it is told apart in the pictures; from 1."""
    begins: Instant
    ends: Instant
    """Equal to `begins` when it is over as soon as it is done."""
    words: str
    fault: Fault

    @property
    def when(self) -> str:
        if self.begins == self.ends:
            return f"at {tick(self.begins)}"
        return f"from {tick(self.begins)} to {tick(self.ends)}"


def spans(scenario: Scenario) -> tuple[Span, ...]:
    """Its faults, numbered as they begin."""
    steps = sorted(scenario.steps, key=lambda step: step.at)
    return tuple(
        Span(
            number=number,
            begins=min(step.at, scenario.duration),
            ends=_end(step, scenario.duration),
            words=words_of(step.fault),
            fault=step.fault,
        )
        for number, step in enumerate(steps, 1)
    )


def _end(step: Step, duration: Duration) -> Instant:
    if step.lasts is None:
        return duration
    return min(step.at + step.lasts, duration)


def words_of(fault: Fault) -> str:
    """What a fault does: `region us-east is lost`."""
    subject, amount = fault.subject, fault.amount
    match fault.kind:
        case FaultKind.KILL:
            return f"{subject} is killed"
        case FaultKind.FREEZE:
            return f"{subject} freezes: it takes connections and answers nothing"
        case FaultKind.SLOW:
            return f"{subject} is slow: {percent(amount, 0)} of its CPU is left"
        case FaultKind.LOSE_NODE | FaultKind.LOSE_ZONE | FaultKind.LOSE_REGION:
            return f"{fault.kind.value.removeprefix('lose-')} {subject} is lost"
        case FaultKind.PARTITION | FaultKind.DELAY | FaultKind.LOSS:
            return f"{_way(subject)} {_link_fault(fault)}"
        case FaultKind.SURGE:
            return f"{subject} sends {amount:g} times its traffic"
        case FaultKind.ERRORS:
            return f"{subject} answers {percent(amount, 0)} of its requests with errors"
        case FaultKind.OUTAGE:
            return f"{subject} is out of service"
        case FaultKind.DEPLOY:
            return f"a new version of {subject} is deployed{_flaws(fault)}"
        case FaultKind.CONTROL_DOWN:
            return "the control plane is down: no controller acts"
        case FaultKind.STALE_DNS:
            return "DNS servers give old answers"


def _way(link: str) -> str:
    """Of `a~b` (both ways) or `a>b` (one way)."""
    for sign, words in (("~", "between {} and {}"), (">", "from {} to {}")):
        origin, found, target = link.partition(sign)
        if found:
            return words.format(origin, target)
    return f"on the way to {link}"


def _link_fault(fault: Fault) -> str:
    match fault.kind:
        case FaultKind.PARTITION:
            return "nothing gets through"
        case FaultKind.DELAY:
            return f"every message takes {seconds(fault.amount / SECOND)} longer"
        case _:
            return f"{percent(fault.amount, 0)} of messages are lost"


def _flaws(fault: Fault) -> str:
    deploy = fault.deploy
    if deploy is None:
        return ""
    flaws = []
    if not deploy.ready:
        flaws.append("never gets ready")
    if deploy.errors:
        flaws.append(f"fails {percent(deploy.errors, 0)} of its requests")
    if deploy.slower != 1:
        flaws.append(f"takes {deploy.slower:g} times as long")
    return f", which {' and '.join(flaws)}" if flaws else ""
