"""Observation -> View: how fresh is each reading, and what does it say about health?

Pure. What must be carried from one view to the next is in `ObserveMemory`. Two things make the
world uncertain, and they are kept apart:

- an instance whose node agent has not reported for `STALE`, or whose node is not running, is
  UNKNOWN: its last word stands (static stability), nothing is done to it;
- an instance whose node has been gone for `NODE_GRACE` is LOST: it is replaced elsewhere.

A node counts as gone when its part is not running, is missing, or has itself not been heard for
`STALE`. The grace runs from the first view in which it was gone, so that a restarted Seakeep
gives every node its grace once more rather than trust a clock that it did not watch.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter
from typing import TypeVar, cast

from seakeep.model.ids import ActionId, InstanceId, NodeId, ServiceName, ordinal_of
from seakeep.model.observation import (
    InstanceState,
    Observation,
    Outcome,
    PartKind,
    PartState,
    Sample,
)
from seakeep.model.system import System
from seakeep.model.time import SECOND, Duration, Instant
from seakeep.model.view import Health, InstanceView, News, View
from seakeep.observe.flapping import Flap, damped, still_known
from seakeep.observe.roster import NOBODY, Roster, Workload
from seakeep.observe.signals import Key, Watch, watched
from seakeep.observe.verdict import NO_PROBES, PASSING, Probes, by_kind, judge

STALE: Duration = 3 * SECOND
NODE_GRACE: Duration = 2 * SECOND

_NODE_PART = "node:"

T = TypeVar("T")

_id = attrgetter("id")
_service_of = attrgetter("state.service")


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why the readings from a node are not taken at their word."""

    health: Health
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveMemory:
    """What one view leaves for the next."""

    instances: Mapping[InstanceId, InstanceView] = field(default_factory=dict)
    """As last shown: the last verdict decides within a threshold's run, and a view that would
    say the same again is handed out again."""
    roster: Roster = NOBODY
    """Of `instances`."""
    changed: Mapping[ServiceName, Instant] = field(default_factory=dict)
    """As in the last view."""
    samples: tuple[Sample[InstanceState], ...] = ()
    """The last known good sample of every instance."""
    part_samples: tuple[Sample[PartState], ...] = ()
    flaps: Mapping[InstanceId, Flap] = field(default_factory=dict)
    """Of instances whose readiness comes and goes."""
    gone: Mapping[NodeId, Instant] = field(default_factory=dict)
    """When a node that is gone was first seen to be."""
    silent: Mapping[str, Instant] = field(default_factory=dict)
    """When a running part that has not been heard was first seen not to be."""
    probes: Mapping[Workload, Probes] = field(default_factory=dict)
    """By workload: an instance is judged by the probes it was started with."""
    watches: Mapping[Key, Watch] = field(default_factory=dict)
    """Of the balancers' counters."""
    revision: str = ""
    """Of the spec that the verdicts were made under."""

    def without_caches(self) -> "ObserveMemory":
        """What bears on later views. Of the last verdicts, `judge` asks one thing alone: whether
        the instance was UNREADY."""
        unready = {
            name: one
            for name, one in self.instances.items()
            if (one.last_word or one.health) is Health.UNREADY
        }
        return replace(self, instances=unready, roster=NOBODY, changed={})


def observe(
    system: System,
    observation: Observation,
    memory: ObserveMemory,
    *,
    pending: frozenset[ActionId] = frozenset(),
    outcomes: tuple[Outcome, ...] | None = None,
) -> tuple[View, ObserveMemory]:
    """The view of one observation. `pending` and `outcomes` come from `act.track.Tracker.seen`
    (outcomes then include timeouts); without them the observation's own outcomes stand."""
    at = observation.at
    samples = _with_last_known(observation.instances, memory.samples, _by_ordinal)
    part_samples = _with_last_known(observation.parts, memory.part_samples, _by_id)
    parts = {sample.value.id: sample.value for sample in part_samples if sample.value is not None}
    states = [sample.value for sample in samples if sample.value is not None]
    names, lasts, roster, went = _called(states, memory)
    gone = _gone(part_samples, roster.nodes, at, memory.gone)
    silent = _silent(part_samples, at, memory.silent)
    doubts = {node: _doubt(node, since, at, parts) for node, since in gone.items()}
    flaps = dict(memory.flaps)
    views, moved = _judge_all(system, at, samples, states, lasts, doubts, memory, flaps)
    by_service = roster.grouped(views, system.services)
    news = _news(moved, went, at, memory)
    signals, watches = watched(system, at, observation.traffic, parts, silent, memory.watches)
    view = View(
        at=at,
        instances=dict(zip(names, views, strict=True)),
        by_service=by_service,
        parts=parts,
        endpoints={(one.region, one.cluster): one for one in observation.endpoints},
        limits={(one.region, one.limit): one for one in observation.limits},
        traffic=observation.traffic,
        outcomes=observation.outcomes if outcomes is None else outcomes,
        pending=pending,
        ordinals={one.service: one.last for one in observation.ordinals},
        silent=silent,
        wall=observation.wall,
        orders={order.id: order for order in observation.orders},
        signals=signals,
        answers={one.region: one for one in observation.answers},
        rollouts={one.service: one for one in observation.rollouts},
        revisions=observation.revisions,
        changed={name: at if name in news else memory.changed.get(name, at) for name in by_service},
        news={name: of for name, of in news.items() if name in memory.changed},
    )
    return view, ObserveMemory(
        instances=view.instances,
        roster=roster,
        changed=view.changed,
        samples=samples,
        part_samples=part_samples,
        flaps=still_known(flaps, view.instances, at),
        gone=gone,
        silent=silent,
        probes=_worth_knowing(system, memory.probes, roster.workloads),
        watches=watches,
        revision=system.revision,
    )


def _called(
    states: list[InstanceState], memory: ObserveMemory
) -> tuple[Iterable[InstanceId], Iterable[InstanceView | None], Roster, Sequence[InstanceView]]:
    """(the id of every instance, its last view, the roster, the last views of those that went)."""
    known = memory.instances
    names = list(map(_id, states))
    if names == list(known):
        return known, known.values(), memory.roster, ()  # their hashes are known
    lasts = list(map(known.get, names))
    came = [state for state, last in zip(states, lasts, strict=True) if last is None]
    went: list[InstanceView] = []
    if len(known) + len(came) > len(names):
        still = set(names)
        went = [one for name, one in known.items() if name not in still]
    if memory.roster.services:
        roster = memory.roster.after(came, [one.state for one in went])
    else:
        roster = NOBODY.after(states, ())
    return names, lasts, roster, went


def _judge_all(
    system: System,
    at: Instant,
    samples: tuple[Sample[InstanceState], ...],
    states: list[InstanceState],
    lasts: Iterable[InstanceView | None],
    doubts: Mapping[NodeId, Doubt],
    memory: ObserveMemory,
    flaps: dict[InstanceId, Flap],
) -> tuple[list[InstanceView], list[InstanceView]]:
    """(the view of every instance, the views of those that have come or changed in more than
    their figures). Most of the work of observing, and most of that is for instances of which
    nothing is new but figures: so the loop decides about those by itself, and reads no more of
    the last view than it must. `states` are the values of the samples, `lasts` their last views."""
    same_spec = memory.revision == system.revision
    oldest = at - STALE
    new_doubts = {node: doubt for node, doubt in doubts.items() if node not in memory.gone}
    probes: dict[Workload, Probes] = {}
    views: list[InstanceView] = []
    moved: list[InstanceView] = []
    for sample, state, last in zip(samples, states, lasts, strict=True):
        # An instance of which there was no doubt can only be in doubt for what is new.
        suspects = new_doubts if last is not None and last.last_word is None else doubts
        doubt = None
        if sample.observed_at < oldest or (suspects and state.node in suspects):
            doubt = doubts.get(state.node, _SILENT)
        if last is not None and same_spec:
            old = last.state
            if old is state:
                if _says(last, doubt):
                    views.append(last)
                    continue
            elif (
                doubt is None
                and last.detail in PASSING
                and old.started_at == state.started_at
                and old.phase is state.phase
                and old.draining_since == state.draining_since
                and len(old.probes) == len(state.probes)
            ):
                for reading in state.probes:
                    if not (reading.ok and reading.passed):
                        break
                else:
                    views.append(InstanceView(state, last.health, last.detail))
                    continue
        if last is not None and last.state.started_at != state.started_at:
            last = None  # of another process
        workload = (state.service, state.revision)
        of = probes.get(workload)
        if of is None:
            of = probes[workload] = _probes_of(workload, system, memory.probes, states)
        one = damped(_judged(state, of, doubt, last), last, of.readiness, at, flaps)
        views.append(one)
        if last is None or not _is_alike(one, last):
            moved.append(one)
    return views, moved


def _news(
    moved: Iterable[InstanceView],
    went: Iterable[InstanceView],
    at: Instant,
    memory: ObserveMemory,
) -> dict[ServiceName, News]:
    """By service of which an instance has come, changed or gone."""
    before = memory.instances
    came = _by_service(one for one in moved if one.state.id not in before)
    changed = _by_service(one for one in moved if one.state.id in before)
    gone = _by_service(went)
    return {
        name: News(
            since=memory.changed.get(name, at),
            came=came.get(name, ()),
            changed=changed.get(name, ()),
            went=gone.get(name, ()),
        )
        for name in came | changed | gone
    }


def _by_service(views: Iterable[InstanceView]) -> dict[ServiceName, tuple[InstanceView, ...]]:
    return {service: tuple(of) for service, of in groupby(views, key=_service_of)}


def _judged(
    state: InstanceState, of: Probes, doubt: Doubt | None, last: InstanceView | None
) -> InstanceView:
    """`last` is of the same process."""
    health, detail = judge(state, of, None if last is None else last.last_word or last.health)
    if doubt is None:
        return InstanceView(state, health, detail)
    return InstanceView(state, doubt.health, doubt.detail, health)


def _is_alike(one: InstanceView, last: InstanceView) -> bool:
    """Whether only figures differ. What a process runs, where and at which address is settled
    when it is started."""
    return (
        one.health is last.health
        and one.last_word is last.last_word
        and one.state.phase is last.state.phase
        and one.state.draining_since == last.state.draining_since
    )


_SILENT = Doubt(Health.UNKNOWN, f"no report for over {STALE // SECOND} s")


def _says(one: InstanceView, doubt: Doubt | None) -> bool:
    """Whether a view says of its state what is to be said of it."""
    if doubt is None:
        return one.last_word is None
    return one.last_word is not None and (one.health, one.detail) == (doubt.health, doubt.detail)


def _with_last_known(
    samples: tuple[Sample[T], ...],
    before: tuple[Sample[T], ...],
    order: Callable[[T], tuple[str, int]],
) -> tuple[Sample[T], ...]:
    """The samples, and for a source that could not say anything (value None) what it last said."""
    mute = {sample.source for sample in samples if sample.value is None}
    if not mute:
        return samples
    said = [sample for sample in samples if sample.value is not None]
    heard = {order(sample.value) for sample in said if sample.value is not None}
    for sample in before:
        if sample.source in mute and sample.value is not None and order(sample.value) not in heard:
            said.append(sample)
    return tuple(sorted(said, key=lambda sample: order(cast(T, sample.value))))


def _by_ordinal(state: InstanceState) -> tuple[str, int]:
    return state.service, ordinal_of(state.id)


def _by_id(part: PartState) -> tuple[str, int]:
    return part.id, 0


def _gone(
    parts: tuple[Sample[PartState], ...],
    nodes: Iterable[NodeId],
    at: Instant,
    before: Mapping[NodeId, Instant],
) -> dict[NodeId, Instant]:
    """Nodes that are gone, and since when we know; `nodes` are those with instances on them."""
    gone: dict[NodeId, Instant] = {}
    heard: dict[NodeId, bool] = {}
    oldest = at - STALE
    for sample in parts:
        part = sample.value
        if part is None or part.kind is not PartKind.NODE:
            continue
        node = part.id.removeprefix(_NODE_PART)
        heard[node] = part.running and sample.observed_at >= oldest
    for node in nodes:
        heard.setdefault(node, False)
    for node, is_heard in heard.items():
        if not is_heard:
            gone[node] = before.get(node, at)
    return gone


def _silent(
    parts: tuple[Sample[PartState], ...], at: Instant, before: Mapping[str, Instant]
) -> dict[str, Instant]:
    """Parts that run and have not been heard for `STALE`, and since when we know."""
    return {
        sample.value.id: before.get(sample.value.id, at)
        for sample in parts
        if sample.value is not None and sample.value.running and sample.observed_at < at - STALE
    }


def _doubt(node: NodeId, since: Instant, at: Instant, parts: Mapping[str, PartState]) -> Doubt:
    part = parts.get(_NODE_PART + node)
    if part is None:
        why = f"node {node} is not there"
    elif not part.running:
        why = f"node {node} is not running" + (f": {part.detail}" if part.detail else "")
    else:
        why = f"node {node} has not been heard"
    return Doubt(Health.LOST if at - since > NODE_GRACE else Health.UNKNOWN, why)


def _probes_of(
    workload: Workload,
    system: System,
    remembered: Mapping[Workload, Probes],
    states: Iterable[InstanceState],
) -> Probes:
    """The probes that an instance was started with. Those of a spec that nobody remembers are
    the kinds of probe that its instances report, with the present spec's thresholds."""
    name, revision = workload
    service = system.services.get(name)
    if service is not None and service.workload.revision == revision:
        return by_kind(service.workload.probes)
    if workload in remembered:
        return remembered[workload]
    if service is None:
        return NO_PROBES
    reported = {
        reading.kind
        for state in states
        if state.service == name and state.revision == revision
        for reading in state.probes
    }
    return by_kind(tuple(one for one in service.workload.probes if one.kind in reported))


def _worth_knowing(
    system: System, remembered: Mapping[Workload, Probes], running: Iterable[Workload]
) -> dict[Workload, Probes]:
    """Probes of every workload that should run, or runs and is remembered: no guesses."""
    probes = {
        (service.name, service.workload.revision): by_kind(service.workload.probes)
        for service in system.services.values()
    }
    kept = {key: remembered[key] for key in running if key in remembered and key not in probes}
    return probes | kept
