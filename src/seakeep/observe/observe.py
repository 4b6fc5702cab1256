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

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter, is_
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
from seakeep.model.system import ProbeKind, System
from seakeep.model.time import SECOND, Duration, Instant
from seakeep.model.view import Health, InstanceView, View
from seakeep.observe.verdict import NO_PROBES, Probes, by_kind, judge

STALE: Duration = 3 * SECOND
NODE_GRACE: Duration = 2 * SECOND

_NODE = "node:"

T = TypeVar("T")

_service = attrgetter("state.service")

Workload = tuple[ServiceName, str]
"""(service, workload revision)"""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why the readings from a node are not taken at their word."""

    health: Health
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveMemory:
    """What one view leaves for the next."""

    verdicts: Mapping[InstanceId, InstanceView] = field(default_factory=dict)
    """By the instance's own probes, before doubts: decides within a threshold's run."""
    doubted: Mapping[InstanceId, InstanceView] = field(default_factory=dict)
    """UNKNOWN and LOST in the last view; unchanged ones are handed out again as they are."""
    by_service: Mapping[ServiceName, tuple[InstanceView, ...]] = field(default_factory=dict)
    samples: tuple[Sample[InstanceState], ...] = ()
    """The last known good sample of every instance."""
    part_samples: tuple[Sample[PartState], ...] = ()
    gone: Mapping[NodeId, Instant] = field(default_factory=dict)
    """When a node that is gone was first seen to be."""
    silent: Mapping[str, Instant] = field(default_factory=dict)
    """When a running part that has not been heard was first seen not to be."""
    probes: Mapping[Workload, Probes] = field(default_factory=dict)
    """By workload: an instance is judged by the probes it was started with."""
    revision: str = ""
    """Of the spec that the verdicts were made under."""


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
    nodes, workloads = _survey(samples)
    gone = _gone(part_samples, nodes, at, memory.gone)
    silent = _silent(part_samples, at, memory.silent)
    doubts = {node: _doubt(node, since, at, parts) for node, since in gone.items()}
    known_probes = _known_probes(system, memory.probes, workloads)
    probes = _with_guesses(system, known_probes, workloads, samples)
    verdicts, doubted = _judge_all(system, at, samples, doubts, probes, memory)
    shown = {**verdicts, **doubted} if doubted else verdicts
    by_service = _group(system, shown, memory.by_service)
    view = View(
        at=at,
        instances=shown,
        by_service=by_service,
        parts=parts,
        endpoints={(one.region, one.cluster): one for one in observation.endpoints},
        traffic=observation.traffic,
        outcomes=observation.outcomes if outcomes is None else outcomes,
        pending=pending,
        ordinals={one.service: one.last for one in observation.ordinals},
        silent=silent,
    )
    return view, ObserveMemory(
        verdicts=verdicts,
        doubted=doubted,
        by_service=by_service,
        samples=samples,
        part_samples=part_samples,
        gone=gone,
        silent=silent,
        probes=known_probes,
        revision=system.revision,
    )


def _judge_all(
    system: System,
    at: Instant,
    samples: tuple[Sample[InstanceState], ...],
    doubts: Mapping[NodeId, Doubt],
    probes: Mapping[Workload, Probes],
    memory: ObserveMemory,
) -> tuple[dict[InstanceId, InstanceView], dict[InstanceId, InstanceView]]:
    """(verdicts by own probes, those in doubt). One pass; a state that is the same object as
    in the last view keeps its verdict, which `judge` would only repeat."""
    verdicts: dict[InstanceId, InstanceView] = {}
    doubted: dict[InstanceId, InstanceView] = {}
    last = memory.verdicts
    same_spec = memory.revision == system.revision
    oldest = at - STALE
    service = revision = ""
    of = NO_PROBES
    for sample in samples:
        state = sample.value
        if state is None:
            continue
        name = state.id
        if state.service != service or state.revision != revision:
            service, revision = state.service, state.revision
            of = probes.get((service, revision), NO_PROBES)
        verdict = last.get(name)
        if verdict is None or verdict.state is not state or not same_spec:
            before = None
            if verdict is not None and verdict.state.started_at == state.started_at:
                before = verdict.health
            health, detail = judge(state, of, before)
            verdict = InstanceView(state, health, detail)
        verdicts[name] = verdict
        if sample.observed_at < oldest or (doubts and state.node in doubts):
            doubt = doubts.get(state.node, _SILENT)
            doubted[name] = _doubted(verdict, doubt, memory.doubted.get(name))
    return verdicts, doubted


_SILENT = Doubt(Health.UNKNOWN, f"no report for over {STALE // SECOND} s")


def _doubted(verdict: InstanceView, doubt: Doubt, last: InstanceView | None) -> InstanceView:
    if (
        last is not None
        and last.state is verdict.state
        and last.health is doubt.health
        and last.detail == doubt.detail
        and last.last_word is verdict.health
    ):
        return last
    return InstanceView(verdict.state, doubt.health, doubt.detail, verdict.health)


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


def _survey(
    samples: tuple[Sample[InstanceState], ...],
) -> tuple[Iterable[NodeId], Iterable[Workload]]:
    """The nodes and the (service, revision) pairs that occur, in the order of the samples."""
    states = [sample.value for sample in samples if sample.value is not None]
    nodes = dict.fromkeys(state.node for state in states)
    return nodes, dict.fromkeys((state.service, state.revision) for state in states)


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
        node = part.id.removeprefix(_NODE)
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
    part = parts.get(_NODE + node)
    if part is None:
        why = f"node {node} is not there"
    elif not part.running:
        why = f"node {node} is not running" + (f": {part.detail}" if part.detail else "")
    else:
        why = f"node {node} has not been heard"
    return Doubt(Health.LOST if at - since > NODE_GRACE else Health.UNKNOWN, why)


def _known_probes(
    system: System,
    before: Mapping[Workload, Probes],
    running: Iterable[Workload],
) -> Mapping[Workload, Probes]:
    """Probes of every workload that should run, or runs and is remembered."""
    probes = {
        (service.name, service.workload.revision): by_kind(service.workload.probes)
        for service in system.services.values()
    }
    return probes | {key: before[key] for key in running if key in before and key not in probes}


def _with_guesses(
    system: System,
    known: Mapping[Workload, Probes],
    running: Iterable[Workload],
    samples: tuple[Sample[InstanceState], ...],
) -> Mapping[Workload, Probes]:
    """Instances started under a spec that nobody remembers are judged by the kinds of probe
    that they report, with the present spec's thresholds."""
    if all(key in known for key in running):
        return known
    kinds: dict[Workload, set[ProbeKind]] = {}
    for sample in samples:
        state = sample.value
        if state is not None and (state.service, state.revision) not in known:
            of = kinds.setdefault((state.service, state.revision), set())
            of.update(reading.kind for reading in state.probes)
    guesses = {
        (service, revision): by_kind(
            tuple(
                probe
                for probe in system.services[service].workload.probes
                if probe.kind in reported
            )
        )
        for (service, revision), reported in kinds.items()
        if service in system.services
    }
    return {**known, **guesses}


def _group(
    system: System,
    shown: Mapping[InstanceId, InstanceView],
    before: Mapping[ServiceName, tuple[InstanceView, ...]],
) -> dict[ServiceName, tuple[InstanceView, ...]]:
    """By service; one whose members are all the same objects keeps its tuple, so that those
    who read it can tell at a glance that nothing changed."""
    groups: dict[ServiceName, list[InstanceView]] = {name: [] for name in system.services}
    for service, run in groupby(shown.values(), key=_service):
        groups.setdefault(service, []).extend(run)
    result = {}
    for name, members in groups.items():
        old = before.get(name, ())
        same = len(old) == len(members) and all(map(is_, old, members))
        result[name] = old if same else tuple(members)
    return result
