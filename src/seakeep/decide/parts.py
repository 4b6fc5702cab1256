"""Keeps the machinery running: nodes, edges, links, holders and DNS servers that the spec wants.

A part that is not running is started, at once the first time, then with a short back-off (0.5 s
doubling to 2 s): a region that has its power back must be back quickly. A part that runs but has
not answered for `HUNG_AFTER` is started, too: the engine then ends a process that answers nothing.
A part that the spec no longer has is retired only when nothing needs it any more: a node when no
instance is left on it, the edge and the link of a region when no instance is left in the region,
a DNS server at once when only the zone has left the spec.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from seakeep.decide.backoff import Backoff
from seakeep.model.action import Action, Guard, RetirePart, StartPart
from seakeep.model.decision import Decision, Number, Reason
from seakeep.model.ids import RegionName, ZoneName
from seakeep.model.observation import PartKind, PartState
from seakeep.model.system import System, has_held
from seakeep.model.time import MILLISECOND, SECOND, Duration, Instant
from seakeep.model.view import View

BACKOFF = Backoff(first=500 * MILLISECOND, cap=2 * SECOND)
FORGET_AFTER: Duration = 10 * SECOND
"""Running for this long: earlier starts no longer count."""
EXPIRES_AFTER: Duration = 15 * SECOND
"""An edge may take this long to be usable."""

HUNG_AFTER: Duration = 7 * SECOND
"""Since it was noticed to be silent, which takes observing 3 s: 10 s without an answer."""

REASONS = {
    "parts.start": "{subject} is started: {detail} (try {tries})",
    "parts.start.silent": (
        "{subject} runs but has given no answer for over {silent_ns}: it is replaced (try {tries})"
    ),
    "parts.held.silent": "{subject} runs but gives no answer; it is replaced at {until_ns}",
    "parts.held.backoff": (
        "{subject} does not run ({detail}); it is tried again at {until_ns} (tries so far: {tries})"
    ),
    "parts.retire": "{subject} is retired: the spec no longer has it, and nothing is left on it",
    "parts.held.retire": (
        "{subject} is not in the spec any more, but what runs there ({instances} in all) needs it"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A part that the spec has."""

    id: str
    kind: PartKind
    region: RegionName
    zone: ZoneName | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """Starts (or retirements) asked for so far of one part."""

    count: int
    next_at: Instant
    """Not before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsMemory:
    tries: Mapping[str, Tries] = field(default_factory=dict)
    wanted: Mapping[str, Wanted] = field(default_factory=dict)
    """A cache of `wanted_parts`, for the revision below."""
    revision: str = ""

    def without_caches(self) -> "PartsMemory":
        return PartsMemory(tries=self.tries)


class PartsController:
    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def initial(self) -> PartsMemory:
        return PartsMemory()

    def decide(self, system: System, view: View, memory: PartsMemory) -> Decision[PartsMemory]:
        wanted = memory.wanted
        if memory.revision != system.revision:
            wanted = {part.id: part for part in wanted_parts(system)}
        tries = _still_remembered(view, memory.tries)
        actions: list[Action] = []
        reasons: list[Reason] = []
        wakes: list[Instant] = []
        for part in wanted.values():
            state = view.parts.get(part.id)
            silent = part.id in view.silent
            if silent and self._still_awaited(view, part.id, reasons, wakes):
                continue
            if state is None or not state.running or silent:
                self._start(system, view, part, state, tries, actions, reasons, wakes)
        unwanted = [state for name, state in view.parts.items() if name not in wanted]
        population = _population(system, view) if unwanted else {}
        for state in unwanted:
            needed_by = population.get(_place(system, state), 0)
            self._retire(system, view, state, needed_by, tries, actions, reasons, wakes)
        return Decision(
            memory=PartsMemory(tries=tries, wanted=wanted, revision=system.revision),
            actions=tuple(actions),
            reasons=tuple(reasons),
            wake_at=min(wakes, default=None),
        )

    def _still_awaited(
        self, view: View, part: str, reasons: list[Reason], wakes: list[Instant]
    ) -> bool:
        """Whether a part that runs but does not answer is given more time."""
        until = view.silent[part] + HUNG_AFTER
        if view.at >= until:
            return False
        wakes.append(until)
        reasons.append(
            Reason(code="parts.held.silent", subject=part, numbers=(("until_ns", until),))
        )
        return True

    def _start(
        self,
        system: System,
        view: View,
        part: Wanted,
        state: PartState | None,
        tries: dict[str, Tries],
        actions: list[Action],
        reasons: list[Reason],
        wakes: list[Instant],
    ) -> None:
        before = tries.get(part.id, Tries(count=0, next_at=0))
        restarts = None if state is None else state.restarts
        if action_id("start", part.id, restarts, before.count) in view.pending:
            return
        detail = (state.detail if state else "") or "it does not run"
        if view.at < before.next_at:
            wakes.append(before.next_at)
            reasons.append(
                Reason(
                    code="parts.held.backoff",
                    subject=part.id,
                    numbers=(
                        ("detail", detail),
                        ("tries", before.count),
                        ("until_ns", before.next_at),
                    ),
                )
            )
            return
        now = tries[part.id] = _another(before, view.at)
        action = StartPart(
            id=action_id("start", part.id, restarts, now.count),
            guard=self._guard(system, view.at, restarts),
            part=part.id,
            kind=part.kind,
            region=part.region,
            zone=part.zone,
        )
        actions.append(action)
        code = "parts.start"
        why: tuple[str, Number] = ("detail", detail)
        if part.id in view.silent:
            code, why = "parts.start.silent", ("silent_ns", view.at - view.silent[part.id])
        reasons.append(
            Reason(
                code=code,
                subject=part.id,
                numbers=(why, ("tries", now.count)),
                action=action.id,
            )
        )

    def _retire(
        self,
        system: System,
        view: View,
        state: PartState,
        needed_by: int,
        tries: dict[str, Tries],
        actions: list[Action],
        reasons: list[Reason],
        wakes: list[Instant],
    ) -> None:
        if needed_by:
            reasons.append(
                Reason(
                    code="parts.held.retire",
                    subject=state.id,
                    numbers=(("instances", needed_by),),
                )
            )
            return
        before = tries.get(state.id, Tries(count=0, next_at=0))
        if action_id("retire", state.id, state.restarts, before.count) in view.pending:
            return
        if view.at < before.next_at:
            wakes.append(before.next_at)
            return
        now = tries[state.id] = _another(before, view.at)
        action = RetirePart(
            id=action_id("retire", state.id, state.restarts, now.count),
            guard=self._guard(system, view.at, state.restarts),
            part=state.id,
        )
        actions.append(action)
        reasons.append(Reason(code="parts.retire", subject=state.id, action=action.id))

    def _guard(self, system: System, at: Instant, restarts: int | None) -> Guard:
        return Guard(
            revision=system.revision,
            epoch=self._epoch,
            expires_at=at + EXPIRES_AFTER,
            restarts=restarts,
        )


def action_id(verb: str, part: str, restarts: int | None, tries: int) -> str:
    """`start:edge:us-east:2` for the third process; `start:edge:us-east:2.3` the third try."""
    retry = f".{tries}" if tries > 1 else ""
    return f"{verb}:{part}:{restarts or 0}{retry}"


def wanted_parts(system: System) -> tuple[Wanted, ...]:
    """What should run: a region's edge, link and DNS server before its nodes; as in the file."""
    found: list[Wanted] = []
    for region in system.regions.values():
        name = region.name
        found.append(Wanted(id=f"edge:{name}", kind=PartKind.EDGE, region=name, zone=None))
        if len(system.regions) > 1:
            found.append(Wanted(id=f"link:{name}", kind=PartKind.LINK, region=name, zone=None))
        if has_held(system):
            found.append(Wanted(id=f"holder:{name}", kind=PartKind.HOLDER, region=name, zone=None))
        if system.dns is not None:
            found.append(Wanted(id=f"dns:{name}", kind=PartKind.DNS, region=name, zone=None))
        found.extend(
            Wanted(id=f"node:{node.id}", kind=PartKind.NODE, region=name, zone=node.zone)
            for zone in region.zones.values()
            for node in zone.nodes
        )
    return tuple(found)


def _another(before: Tries, at: Instant) -> Tries:
    count = before.count + 1
    return Tries(count=count, next_at=at + BACKOFF.delay(count))


def _still_remembered(view: View, tries: Mapping[str, Tries]) -> dict[str, Tries]:
    """Without parts that have been running for a while, or are forgotten."""
    kept: dict[str, Tries] = {}
    for name, one in tries.items():
        state = view.parts.get(name)
        if state is None:
            if view.at - one.next_at < FORGET_AFTER:
                kept[name] = one
        elif not state.running or name in view.silent or view.at - state.changed_at < FORGET_AFTER:
            kept[name] = one
    return kept


_ELSEWHERE = "regions that the spec no longer has"
_NOWHERE = "nowhere"


def _place(system: System, part: PartState) -> str:
    """Where the instances are that hold a part in place: a key of `_population`."""
    if part.kind is PartKind.NODE:
        return part.id
    if part.kind is PartKind.DNS and part.region in system.regions:
        return _NOWHERE
    if part.region in system.regions:  # the link of the only region left
        return _ELSEWHERE
    return part.region


def _population(system: System, view: View) -> dict[str, int]:
    """Instances per node part, per region, and in regions that the spec no longer has."""
    found: dict[str, int] = {}
    for one in view.instances.values():
        region = one.state.region
        for key in (f"node:{one.state.node}", region):
            found[key] = found.get(key, 0) + 1
        if region not in system.regions:
            found[_ELSEWHERE] = found.get(_ELSEWHERE, 0) + 1
    return found
