"""The machinery of the twin: node agents, Envoys, links, holders and DNS servers; and power.

A part is started only when told to and takes its time; it ends when its place loses its power,
and is not back before it is told to start again. An Envoy and a DNS server come back with what
they were last told, which they keep in files.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from seakeep.engines.twin.agenda import Agenda
from seakeep.model.ids import NodeId, RegionName, ZoneName
from seakeep.model.observation import PartKind, PartState, Sample
from seakeep.model.system import Resources, System, has_held, nodes_of
from seakeep.model.time import MILLISECOND, SECOND, Duration, Instant

SOURCE = "twin"
FRESH_FOR: Duration = SECOND
STARTS_WITHIN: dict[PartKind, Duration] = {
    PartKind.NODE: 400 * MILLISECOND,
    PartKind.EDGE: 500 * MILLISECOND,
    PartKind.LINK: 300 * MILLISECOND,
    PartKind.HOLDER: 300 * MILLISECOND,
    PartKind.DNS: 300 * MILLISECOND,
}
"""Until it can be talked to."""


class Refused(Exception):
    """The action's guard does not hold any more, or its subject is not there."""


class Failed(Exception):
    """The action was carried out and did not succeed."""


@dataclass(slots=True, kw_only=True)
class _Part:
    state: PartState
    place: str
    """`us-east`, or `us-east/a/0`."""
    begun: bool = False
    """Whether it was ever started."""
    starting: bool = False
    turn: int = 0
    sample: Sample[PartState] | None = None


class Parts:
    """`started` and `ended` hear of every part that begins and ends."""

    def __init__(
        self,
        agenda: Agenda,
        started: Callable[[Instant, PartState], None],
        ended: Callable[[Instant, PartState], None],
        news: Callable[[], None],
    ) -> None:
        self._agenda = agenda
        self._started = started
        self._ended = ended
        self._news = news
        self._parts: dict[str, _Part] = {}
        self._capacities: dict[str, Resources] = {}
        self._cuts: dict[str, int] = {}
        """By place: how many hold its power off."""

    def configure(self, at: Instant, system: System) -> None:
        self._capacities = {f"node:{node.id}": node.capacity for node in nodes_of(system)}
        for region in system.regions:
            self._admit(at, PartKind.EDGE, region)
            if len(system.regions) > 1:
                self._admit(at, PartKind.LINK, region)
            if has_held(system):
                self._admit(at, PartKind.HOLDER, region)
            if system.dns is not None:
                self._admit(at, PartKind.DNS, region)
        for node in nodes_of(system):
            self._admit(at, PartKind.NODE, node.region, node.zone, node.id)
        self._parts = dict(sorted(self._parts.items()))

    def _admit(
        self,
        at: Instant,
        kind: PartKind,
        region: RegionName,
        zone: ZoneName | None = None,
        node: NodeId | None = None,
    ) -> None:
        name = f"{kind.value}:{node or region}"
        if name in self._parts:
            return
        state = PartState(
            id=name,
            kind=kind,
            region=region,
            zone=zone,
            running=False,
            restarts=0,
            changed_at=at,
            capacity=self._capacities.get(name),
            detail="not started yet",
        )
        self._parts[name] = _Part(state=state, place=node or region)

    # --- what is known ---

    def find(self, name: str) -> PartState | None:
        part = self._parts.get(name)
        return None if part is None else part.state

    def runs(self, name: str) -> bool:
        part = self._parts.get(name)
        return part is not None and part.state.running

    def samples(self, at: Instant) -> tuple[Sample[PartState], ...]:
        """Sorted by id. One that says nothing new is the same object as before."""
        return tuple([self._sample(part, at) for part in self._parts.values()])

    def _sample(self, part: _Part, at: Instant) -> Sample[PartState]:
        sample = part.sample
        if sample is None or sample.value is not part.state or at - sample.observed_at > FRESH_FOR:
            sample = part.sample = Sample(value=part.state, observed_at=at, source=SOURCE)
        return sample

    def why_dark(self, place: str) -> str:
        """`no power in us-east/a`; empty when a place has power."""
        pieces = place.split("/")
        for count in range(1, len(pieces) + 1):
            around = "/".join(pieces[:count])
            if self._cuts.get(around):
                return f"no power in {around}"
        return ""

    # --- starts and ends ---

    def start(self, at: Instant, name: str, done: Callable[[Instant, str], None]) -> None:
        """`done` hears of the end, with why it failed. Raises Refused and Failed when that is
        known at once."""
        part = self._parts.get(name)
        if part is None:
            raise Refused(f"there is no {name}")
        dark = self.why_dark(part.place)
        if dark:
            self._set(at, part, running=False, detail=dark)
            raise Failed(dark)
        if part.state.running or part.starting:
            done(at, "")
            return
        part.starting = True
        part.turn += 1
        ready_at = at + STARTS_WITHIN[part.state.kind]
        self._agenda.put(ready_at, partial(self._is_up, part, part.turn, ready_at, done))

    def _is_up(
        self, part: _Part, turn: int, at: Instant, done: Callable[[Instant, str], None]
    ) -> None:
        if part.turn != turn:
            done(at, part.state.detail)
            return
        part.starting = False
        if part.begun:
            part.state = replace(part.state, restarts=part.state.restarts + 1)
        part.begun = True
        self._set(at, part, running=True, detail="")
        self._started(at, part.state)
        done(at, "")

    def retire(self, at: Instant, name: str) -> None:
        part = self._parts.get(name)
        if part is None:
            raise Refused(f"there is no {name}")
        self._stop(at, part, "stopped")
        del self._parts[name]
        self._news()

    def cut(self, at: Instant, place: str) -> None:
        """The power of a node, zone or region is off."""
        self._cuts[place] = self._cuts.get(place, 0) + 1
        for part in self._in(place):
            self._stop(at, part, f"no power in {place}")

    def restore(self, place: str) -> None:
        self._cuts[place] -= 1

    def _in(self, place: str) -> list[_Part]:
        return [
            part
            for part in self._parts.values()
            if part.place == place or part.place.startswith(f"{place}/")
        ]

    def nodes_in(self, place: str) -> Iterable[NodeId]:
        return [part.place for part in self._in(place) if part.state.kind is PartKind.NODE]

    def _stop(self, at: Instant, part: _Part, detail: str) -> None:
        part.turn += 1
        part.starting = False
        if part.state.running:
            self._set(at, part, running=False, detail=detail)
            self._ended(at, part.state)

    def _set(self, at: Instant, part: _Part, *, running: bool, detail: str) -> None:
        state = part.state
        if (state.running, state.detail) == (running, detail):
            return
        changed_at = at if state.running is not running else state.changed_at
        part.state = replace(state, running=running, detail=detail, changed_at=changed_at)
        self._news()
