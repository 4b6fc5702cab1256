"""What another spec would have decided, seeing what a recorded run saw.

The recorded observations are gone through with the other spec and a memory of its own. The world
in them is the recorded one: it reacted to what was decided then, not to what would have been
decided. So an action that only the other spec asks for is taken for done, never shows, and is
asked for again; and what follows from it is not to be seen. The further one reads beyond the
first difference, the less it is a forecast (that is what the twin is for): it says where, when
and why the decisions part.

An action is the same on both sides when it does the same to the same; guards, ids and ordinals do
not count. One that comes at another time within `NEAR`, or starts an instance of the service in
another place, has moved; the rest are added or dropped. They are told in groups, with the
reasons of both sides.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from seakeep.decide.arbitrate import subject_of
from seakeep.model.action import Action, StartInstance
from seakeep.model.codec import CodecError
from seakeep.model.decision import Reason
from seakeep.model.ids import InstanceId, RegionName, ServiceName
from seakeep.model.observation import InstanceState, Observation, Outcome, OutcomeStatus
from seakeep.model.record import Missing, Opened, Record, Remembered, Specified, Stepped
from seakeep.model.system import System
from seakeep.model.time import SECOND, Duration, Instant
from seakeep.runtime.step import Pipeline, StepResult, StepState

NEAR: Duration = 10 * SECOND
"""The same action this far apart is one that has moved."""
REASONS_MAX = 4
"""That are told of one side of a group."""

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """An action of one side that the other did not decide in the same step."""

    at: Instant
    key: Key
    verb: str
    """`start`, `drain`, `stop`, `restart`, `endpoints`, or what else the action is called."""
    service: ServiceName
    """Empty when it is about none."""
    region: RegionName
    mine: tuple[Reason, ...]
    """Why this side did it."""
    others: tuple[Reason, ...]
    """What the other side said of the same service, instance or region in that step."""


@dataclass(slots=True, kw_only=True)
class Group:
    """Changes of one sort."""

    change: str
    """`added`, `dropped`, `earlier`, `later` or `elsewhere`."""
    verb: str
    service: ServiceName
    region: RegionName
    to: RegionName = ""
    """Elsewhere: the region in which the other spec starts it."""
    count: int = 0
    first_at: Instant = 0
    last_at: Instant = 0
    by: Duration = 0
    """Earlier and later: the most."""
    recorded: dict[str, Reason] = field(default_factory=dict)
    """Reasons of the run, by code: the first of each."""
    changed: dict[str, Reason] = field(default_factory=dict)
    """Of the other spec."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    steps: int
    """Compared."""
    differing: int
    """Steps in which the actions differ."""
    skipped: int
    gaps: tuple[str, ...]
    first_at: Instant | None
    wall_offset: Duration | None
    groups: tuple[Group, ...]
    """By service, region, verb and change."""

    @property
    def is_different(self) -> bool:
        return bool(self.groups)


def what_if(
    records: Iterable[Record],
    system: System,
    progress: Callable[[int, Instant], None] = lambda steps, at: None,
) -> WhatIf:
    """Go through the records with another spec. Raises what a controller raises."""
    run = _Run(system, progress)
    for record in records:
        run.take(record)
    return run.result()


class _Run:
    def __init__(self, system: System, progress: Callable[[int, Instant], None]) -> None:
        self._system = system
        self._progress = progress
        self._pipeline = Pipeline(0)
        self._state: StepState | None = None
        self._recorded: System | None = None
        self._done: tuple[Outcome, ...] = ()
        self._dropped: list[Event] = []
        self._added: list[Event] = []
        self._gaps: list[str] = []
        self._steps = self._differing = self._skipped = 0
        self._first_at: Instant | None = None
        self._wall_offset: Duration | None = None

    def take(self, record: Record) -> None:
        match record:
            case Opened():
                self._wall_offset = record.wall_offset
                if not record.continued:
                    self._pipeline = Pipeline(record.epoch)
                    self._state, self._done = self._pipeline.initial(), ()
                elif self._state is None:
                    self._pipeline = Pipeline(record.epoch)
            case Specified():
                self._recorded = record.system
            case Remembered() if self._state is None:
                self._state = self._decoded(record)
            case Missing():
                self._gaps.append(record.why)
                self._state = None
            case Stepped():
                self._step(record)

    def _decoded(self, record: Remembered) -> StepState | None:
        try:
            return self._pipeline.decode_state(record.state)
        except (CodecError, KeyError, TypeError):
            return None  # of another version

    def _step(self, record: Stepped) -> None:
        if self._state is None or self._recorded is None:
            self._skipped += 1
            return
        seen = replace(record.observation, outcomes=(*record.observation.outcomes, *self._done))
        result = self._pipeline.step(self._system, seen, self._state)
        self._state = result.state
        self._steps += 1
        ids = {action.id for action in record.actions}
        self._done = tuple(
            Outcome(action=action.id, status=OutcomeStatus.DONE, at=record.at)
            for action in result.decision.actions
            if action.id not in ids
        )
        self._compare(record, result)
        self._progress(self._steps, record.at)

    def _compare(self, record: Stepped, result: StepResult) -> None:
        states = _states(record.observation)
        recorded = _keyed(record.actions, states)
        changed = _keyed(result.decision.actions, states)
        if recorded.keys() == changed.keys():
            return
        self._differing += 1
        if self._first_at is None:
            self._first_at = record.at
        theirs = tuple(result.decision.reasons)
        for key, actions in recorded.items():
            if key not in changed:
                for action in actions:
                    self._dropped.append(
                        _event(record.at, key, action, record.reasons, theirs, states)
                    )
        for key, actions in changed.items():
            if key not in recorded:
                for action in actions:
                    self._added.append(
                        _event(record.at, key, action, theirs, record.reasons, states)
                    )

    def result(self) -> WhatIf:
        groups = _Groups()
        dropped, added = groups.shift(self._dropped, self._added)
        dropped, added = groups.move(dropped, added)
        for event in dropped:
            groups.add("dropped", event, recorded=event.mine, changed=event.others)
        for event in added:
            groups.add("added", event, recorded=event.others, changed=event.mine)
        return WhatIf(
            steps=self._steps,
            differing=self._differing,
            skipped=self._skipped,
            gaps=tuple(self._gaps),
            first_at=self._first_at,
            wall_offset=self._wall_offset,
            groups=groups.sorted(),
        )


# --- actions to events ------------------------------------------------------


def _states(observation: Observation) -> Mapping[InstanceId, InstanceState]:
    return {
        sample.value.id: sample.value
        for sample in observation.instances
        if sample.value is not None
    }


def _keyed(
    actions: Iterable[Action], states: Mapping[InstanceId, InstanceState]
) -> dict[Key, list[Action]]:
    """By what each does to what, the n-th of a kind by its number."""
    found: dict[Key, list[Action]] = {}
    counts: dict[Key, int] = {}
    for action in actions:
        key = key_of(action)
        number = counts[key] = counts.get(key, 0) + 1
        found.setdefault((*key, str(number)), []).append(action)
    return found


def key_of(action: Action) -> Key:
    """What an action does, without guard, id and ordinal."""
    verb = verb_of(action)
    if isinstance(action, StartInstance):
        revision = action.workload.revision
        return (verb, action.service, action.region, action.zone, action.node, revision)
    digest = getattr(action, "digest", "")
    return (verb, subject_of(action), str(digest))


def verb_of(action: Action) -> str:
    """`start`, `drain`, `endpoints`, `start part`."""
    name = type(action).__name__
    words = "".join(f" {c.lower()}" if c.isupper() else c for c in name).split()
    if words[-1] == "instance":
        return words[0]
    return words[-1] if words[0] in ("set", "answer") else " ".join(words)


def _event(
    at: Instant,
    key: Key,
    action: Action,
    mine: tuple[Reason, ...],
    others: tuple[Reason, ...],
    states: Mapping[InstanceId, InstanceState],
) -> Event:
    instance = str(getattr(action, "instance", ""))
    state = states.get(instance)
    service = str(getattr(action, "service", "") or (state.service if state else ""))
    region = str(getattr(action, "region", "") or (state.region if state else ""))
    subjects = {subject_of(action), instance, service} - {""}
    if not service:
        subjects.add(region)
    return Event(
        at=at,
        key=key,
        verb=verb_of(action),
        service=service,
        region=region,
        mine=tuple(reason for reason in mine if reason.action == action.id),
        others=_about(subjects, others, verb_of(action)),
    )


FAMILIES: Mapping[str, tuple[str, ...]] = {
    "start": ("placement", "scaling", "rollout", "standby", "drain"),
    "drain": ("placement", "scaling", "rollout", "standby", "drain"),
    "stop": ("placement", "scaling", "rollout"),
    "restart": ("health",),
    "endpoints": ("traffic", "rollout"),
    "dns": ("dns",),
    "limit": ("limits",),
}
"""Whose word bears on an action; everybody's where none is named."""


def _about(subjects: set[str], reasons: Iterable[Reason], verb: str) -> tuple[Reason, ...]:
    families = FAMILIES.get(verb)
    return tuple(
        reason
        for reason in reasons
        if reason.subject in subjects
        and (families is None or reason.code.partition(".")[0] in families)
    )


# --- events to groups -------------------------------------------------------


class _Groups:
    def __init__(self) -> None:
        self._groups: dict[tuple[str, ...], Group] = {}

    def add(
        self,
        change: str,
        event: Event,
        *,
        recorded: Iterable[Reason],
        changed: Iterable[Reason],
        by: Duration = 0,
        to: RegionName = "",
    ) -> None:
        name = (event.service, event.region, event.verb, change, to)
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = Group(
                change=change,
                verb=event.verb,
                service=event.service,
                region=event.region,
                to=to,
                first_at=event.at,
                last_at=event.at,
            )
        group.count += 1
        group.first_at = min(group.first_at, event.at)
        group.last_at = max(group.last_at, event.at)
        group.by = max(group.by, by)
        for side, reasons in ((group.recorded, recorded), (group.changed, changed)):
            for reason in reasons:
                if len(side) < REASONS_MAX:
                    side.setdefault(reason.code, reason)

    def shift(self, dropped: list[Event], added: list[Event]) -> tuple[list[Event], list[Event]]:
        """Pair what only comes at another time; answers the rest."""

        def pair(one: Event, other: Event) -> None:
            change = "later" if other.at > one.at else "earlier"
            by = abs(other.at - one.at)
            self.add(change, one, recorded=one.mine, changed=other.mine, by=by)

        return _paired(dropped, added, lambda event: event.key, pair)

    def move(self, dropped: list[Event], added: list[Event]) -> tuple[list[Event], list[Event]]:
        """Pair starts of one service in other regions; answers the rest."""

        def pair(one: Event, other: Event) -> None:
            self.add("elsewhere", one, recorded=one.mine, changed=other.mine, to=other.region)

        def key(event: Event) -> Key:
            return (event.service,) if event.verb == "start" else ()

        return _paired(dropped, added, key, pair)

    def sorted(self) -> tuple[Group, ...]:
        return tuple(self._groups[name] for name in sorted(self._groups))


def _paired(
    dropped: list[Event],
    added: list[Event],
    key: Callable[[Event], Key],
    pair: Callable[[Event, Event], None],
) -> tuple[list[Event], list[Event]]:
    """Pair events with equal keys, each with the first one that is near; answers the rest. An
    empty key is never paired."""
    waiting: dict[Key, list[Event]] = {}
    for event in added:
        waiting.setdefault(key(event), []).append(event)
    rest: list[Event] = []
    taken: set[int] = set()
    for event in dropped:
        others = waiting.get(key(event), []) if key(event) else []
        while others and others[0].at < event.at - NEAR:
            others.pop(0)
        if others and abs(others[0].at - event.at) <= NEAR:
            other = others.pop(0)
            taken.add(id(other))
            pair(event, other)
        else:
            rest.append(event)
    return rest, [event for event in added if id(event) not in taken]
