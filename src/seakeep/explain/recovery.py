"""Incidents: when something was down or short, how soon that was seen, acted upon, and over.

Works on the views that the controllers had (`runtime.replay.views`): what counts as ready is
theirs to say, not judged again here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from seakeep.model.action import (
    Action,
    AnswerDns,
    RecordRollout,
    RetirePart,
    SetEndpoints,
    SetLimit,
    StartInstance,
    StartPart,
)
from seakeep.model.record import Noted, Opened, Record, Specified, Stepped
from seakeep.model.system import System
from seakeep.model.time import SECOND, Duration, Instant
from seakeep.model.view import Health, InstanceView, View

FAULT = "fault"
FAULT_WITHIN: Duration = 30 * SECOND
"""A fault noted at most this long before something is seen to be wrong counts as its cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentReport:
    """One interval in which a service had fewer ready instances than it wants, or a part was
    down. Instants are the engine's clock's."""

    subject: str
    """A service or a part."""
    began_at: Instant
    """The fault that was noted just before, or else the first evidence: when the process ended,
    the part stopped, the failing check was made."""
    detected_at: Instant
    """The first step that saw it."""
    acted_at: Instant | None
    """The first step from then on that had an action for the subject."""
    recovered_at: Instant | None
    """None: not by the end of the journal."""
    lowest: int
    """Ready instances at worst (0 for a part)."""
    wanted: int
    detail: str

    @property
    def to_detect(self) -> Duration:
        return self.detected_at - self.began_at

    @property
    def to_act(self) -> Duration | None:
        return None if self.acted_at is None else self.acted_at - self.began_at

    @property
    def to_recover(self) -> Duration | None:
        return None if self.recovered_at is None else self.recovered_at - self.began_at


def incidents(records: Iterable[tuple[Record, View | None]]) -> list[IncidentReport]:
    """The incidents of a journal, in the order in which they were detected. What never was
    complete yet (a system that starts, a service that the spec just made larger) is none."""
    watch = _Watch()
    for record, view in records:
        match record:
            case Opened(continued=False):
                watch.fault_at = None
            case Specified():
                watch.specify(record.system)
            case Noted() if _is_fault(record):
                watch.fault_at = record.at
            case Stepped() if view is not None:
                watch.step(record, view)
    return sorted(
        (*watch.closed, *watch.open.values()), key=lambda one: (one.detected_at, one.subject)
    )


@dataclass(slots=True, kw_only=True)
class _Watch:
    wanted: dict[str, int] = field(default_factory=dict)
    """Of each service: its minimum."""
    whole: dict[str, bool] = field(default_factory=dict)
    """Subjects that have been complete since the spec last asked for more of them."""
    open: dict[str, IncidentReport] = field(default_factory=dict)
    closed: list[IncidentReport] = field(default_factory=list)
    fault_at: Instant | None = None

    def specify(self, system: System) -> None:
        for name, service in system.services.items():
            if service.replicas.min > self.wanted.get(name, 0):
                self.whole[name] = False
            self.wanted[name] = service.replicas.min
        for name in [name for name in self.wanted if name not in system.services]:
            del self.wanted[name]
            self._forget(name)

    def step(self, record: Stepped, view: View) -> None:
        for name, wanted in self.wanted.items():
            members = view.by_service.get(name, ())
            ready = sum(map(_serves, members))
            self._judge(record, name, ready, wanted, _evidence(members, record.at))
        for part in view.parts.values():
            evidence = (part.changed_at, part.detail or "not running")
            self._judge(record, part.id, int(part.running), 1, evidence)
        for name in [one for one in self.open if one not in self.wanted and one not in view.parts]:
            self._forget(name)

    def _judge(
        self, record: Stepped, subject: str, ready: int, wanted: int, evidence: tuple[Instant, str]
    ) -> None:
        report = self.open.get(subject)
        if ready >= wanted:
            self.whole[subject] = True
            if report is not None:
                self.closed.append(replace(report, recovered_at=record.at))
                del self.open[subject]
            return
        if not self.whole.get(subject):
            return
        if report is None:
            report = IncidentReport(
                subject=subject,
                began_at=self._began(record.at, evidence[0]),
                detected_at=record.at,
                acted_at=None,
                recovered_at=None,
                lowest=ready,
                wanted=wanted,
                detail=evidence[1],
            )
        acted_at = report.acted_at
        if acted_at is None and any(_is_for(one, subject) for one in record.actions):
            acted_at = record.at
        lowest = min(report.lowest, ready)
        self.open[subject] = replace(report, acted_at=acted_at, lowest=lowest)

    def _began(self, detected_at: Instant, evidence_at: Instant) -> Instant:
        fault_at = self.fault_at
        if fault_at is not None and 0 <= detected_at - fault_at <= FAULT_WITHIN:
            return fault_at
        return min(evidence_at, detected_at)

    def _forget(self, subject: str) -> None:
        """The spec no longer has it."""
        self.whole.pop(subject, None)
        report = self.open.pop(subject, None)
        if report is not None:
            self.closed.append(report)


def _is_fault(note: Noted) -> bool:
    """`what` is `fault.kill`, or the text `fault kill web-1`; its end is none."""
    begins = note.what.startswith(FAULT + ".") or note.text.startswith(FAULT + " ")
    return begins and not note.text.endswith(" ended")


def _serves(member: InstanceView) -> bool:
    return member.health is Health.READY and member.state.draining_since is None


def _evidence(members: Iterable[InstanceView], at: Instant) -> tuple[Instant, str]:
    """(when, what) of the latest thing that made a member unable to serve."""
    found: list[tuple[Instant, str]] = []
    for member in members:
        state = member.state
        if _serves(member) or state.draining_since is not None or member.health is Health.STARTING:
            continue
        seen = [probe.checked_at for probe in state.probes if not probe.ok]
        when = state.exited_at if state.exited_at is not None else max(seen, default=at)
        found.append((when, f"{state.id} {member.health.value}: {member.detail}"))
    return max(found, default=(at, "instances are missing"))


def _is_for(action: Action, subject: str) -> bool:
    match action:
        case StartInstance() | SetEndpoints() | SetLimit():
            return action.service == subject
        case StartPart() | RetirePart():
            return action.part == subject
        case AnswerDns():
            return subject == f"dns:{action.region}"
        case RecordRollout():
            return action.record.service == subject
        case _:
            return action.instance.rpartition("-")[0] == subject
