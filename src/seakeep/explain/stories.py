"""A journal as a timeline: what happened to an instance, a part, a place, a service, or to all.

A reason that stands step after step is one line: when it began, how often it was given, and
until when. Everything that came with an action, an outcome that is not plain success, and every
note has a line of its own.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from seakeep.explain.wording import clock_time, dated, sentence
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
from seakeep.model.decision import Reason
from seakeep.model.observation import Observation, Outcome, OutcomeStatus
from seakeep.model.record import Missing, Noted, Opened, Record, Specified, Stepped
from seakeep.model.time import Duration, Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that happened, perhaps again and again."""

    at: Instant
    wall_offset: Duration | None
    subject: str
    code: str
    """Of the reason, or `outcome.failed`, `note.<what>`, `supervisor.started`, `spec.changed`,
    `journal.missing`."""
    text: str
    action: str | None = None
    count: int = 1
    until: Instant | None = None
    """Of the last time, when there was more than one."""

    def __str__(self) -> str:
        """`2026-02-03 12:03:04.250Z  web-7 is restarted: ... (x12, until 12:03:16.250)`."""
        offset = self.wall_offset
        when = clock_time(self.at, None) if offset is None else dated(self.at + offset)
        again = ""
        if self.count > 1 and self.until is not None:
            again = f" (x{self.count}, until {clock_time(self.until, offset)})"
        return f"{when}  {self.text}{again}"


def timeline(
    records: Iterable[Record], templates: Mapping[str, str], subject: str | None = None
) -> list[Line]:
    """The lines of a journal, in the order in which they began. `subject` keeps those that
    concern an instance (`web-7`), a service, a region, a zone (`us-east/a`), a node or a part."""
    story = _Story(templates=templates, subject=subject)
    for record in records:
        story.take(record)
    story.end()
    return sorted(story.lines, key=lambda line: line.at)


def from_now_on(
    records: Iterable[Record],
    templates: Mapping[str, str],
    subject: str | None = None,
    *,
    known: int = 0,
) -> Iterator[Line]:
    """The lines of a journal that is still being written, each as it begins: a reason that
    stands is told once. The first `known` records are read, but not told."""
    story = _Story(templates=templates, subject=subject)
    for number, record in enumerate(records):
        stood = set(story.standing)
        story.take(record)
        fresh = [
            line
            for line in story.lines
            if line.action is not None or (line.code, line.subject) not in stood
        ]
        fresh += [line for key, line in story.standing.items() if key not in stood]
        story.lines.clear()
        if number >= known:
            yield from sorted(fresh, key=lambda line: line.at)


SAID_OF_ALL = ("supervisor.started", "spec.changed", "journal.missing")
"""Codes of lines that stand in every story, whoever it is about."""


@dataclass(slots=True, kw_only=True)
class _Story:
    templates: Mapping[str, str]
    subject: str | None
    lines: list[Line] = field(default_factory=list)
    standing: dict[tuple[str, str], Line] = field(default_factory=dict)
    """Reasons of the last step that came without an action, by (code, subject)."""
    places: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Instance or part or action -> what it concerns beside itself."""
    offset: Duration | None = None
    revision: str | None = None
    at: Instant = 0

    def take(self, record: Record) -> None:
        match record:
            case Opened():
                self._opened(record)
            case Specified():
                self._specified(record)
            case Missing():
                self.end()
                why = f"the journal lacks {record.count or 'some'} records here: {record.why}"
                self._add(record.at or self.at, "journal", "journal.missing", why)
            case Noted():
                self.at = record.at
                if self._concerns(record.text) or self._mentioned(record.text):
                    code = f"note.{record.what}"
                    self._add(record.at, "journal", code, f"{record.what}: {record.text}")
            case Stepped():
                self._stepped(record)

    def end(self) -> None:
        """Nothing stands any longer."""
        self.lines.extend(self.standing.values())
        self.standing = {}

    def _opened(self, record: Opened) -> None:
        self.offset, self.at = record.wall_offset, record.at
        if not record.continued:
            self.end()
            text = f"Seakeep {record.version} takes {record.system} over, epoch {record.epoch}"
            self._add(record.at, "supervisor", "supervisor.started", text)

    def _specified(self, record: Specified) -> None:
        revision = record.system.revision
        if self.revision is not None and revision != self.revision:
            self._add(record.at, "spec", "spec.changed", f"the spec is now revision {revision}")
        self.revision = revision

    def _stepped(self, record: Stepped) -> None:
        self.at = record.at
        self._learn(record.observation)
        for action in record.actions:
            self.places[action.id] = _concerned_by(action)
        for outcome in record.observation.outcomes:
            self._outcome(outcome, record.at)
        standing: dict[tuple[str, str], Line] = {}
        for reason in record.reasons:
            if self._concerns_reason(reason):
                self._reason(reason, record.at, standing)
        self.lines.extend(line for key, line in self.standing.items() if key not in standing)
        self.standing = standing

    def _reason(self, reason: Reason, at: Instant, standing: dict[tuple[str, str], Line]) -> None:
        key = (reason.code, reason.subject)
        before = self.standing.get(key) if reason.action is None else None
        if key in standing:
            before = None
        if before is not None:
            standing[key] = replace(before, count=before.count + 1, until=at)
            return
        line = Line(
            at=at,
            wall_offset=self.offset,
            subject=reason.subject,
            code=reason.code,
            text=sentence(reason, self.templates, wall_offset=self.offset),
            action=reason.action,
        )
        if reason.action is None and key not in standing:
            standing[key] = line
        else:
            self.lines.append(line)

    def _outcome(self, outcome: Outcome, at: Instant) -> None:
        if outcome.status is OutcomeStatus.DONE or not self._concerns(outcome.action):
            return
        code = f"outcome.{outcome.status.value}"
        detail = f": {outcome.detail}" if outcome.detail else ""
        self._add(at, outcome.action, code, f"{outcome.action} {outcome.status.value}{detail}")

    def _add(self, at: Instant, subject: str, code: str, text: str) -> None:
        line = Line(at=at, wall_offset=self.offset, subject=subject, code=code, text=text)
        self.lines.append(line)

    # --- who is concerned -----------------------------------------------------

    def _learn(self, observation: Observation) -> None:
        if self.subject is None:
            return
        for sample in observation.instances:
            one = sample.value
            if one is not None and one.id not in self.places:
                self.places[one.id] = (one.service, one.node)
        for part in observation.parts:
            if part.value is not None and part.value.id not in self.places:
                node = part.value.id.partition(":")[2]
                self.places[part.value.id] = (node, part.value.region)

    def _concerns_reason(self, reason: Reason) -> bool:
        names = [number for _, number in reason.numbers if isinstance(number, str)]
        return self._concerns(reason.subject, reason.action or "", *names)

    def _concerns(self, *names: str) -> bool:
        if self.subject is None:
            return True
        within = self.subject + "/"
        for name in names:
            for one in (name, *self.places.get(name, ())):
                if one == self.subject or one.startswith(within):
                    return True
        return False

    def _mentioned(self, text: str) -> bool:
        words = text.replace(",", " ").replace(":", " ").split()
        return self._concerns(*words)


def _concerned_by(action: Action) -> tuple[str, ...]:
    match action:
        case StartInstance():
            return (action.instance, action.service, action.node)
        case SetEndpoints() | SetLimit():
            return (action.service, action.region)
        case AnswerDns():
            return (f"dns:{action.region}", action.region)
        case StartPart():
            return (action.part, action.region)
        case RetirePart():
            return (action.part,)
        case RecordRollout():
            return (action.record.service,)
        case _:
            return (action.instance, action.instance.rpartition("-")[0])
