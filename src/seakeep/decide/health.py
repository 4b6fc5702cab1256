"""Restarts failed instances in place: with back-off, and never in a storm.

Which instances: verdict FAILED, not draining, not stopping. LOST ones are placement's, UNKNOWN
ones are left alone: their last word stands. When:

- *back-off* per instance: the first restart at once, then 1 s, 2 s, 4 s ... up to 60 s after each
  further failure, forgotten once the process has been ready for two minutes;
- *per service*, of instances whose liveness fails while their process still runs, at most 20 %
  (at least one) are restarting at any time: when everything fails at once, the cause is seldom in
  the processes, and what still half works must not be taken down by us;
- *per node*, at most 4 processes are in their first seconds: a machine that comes back with
  forty dead instances must not be overrun by their starts. Exited processes know no other bound.

A restart that is due but held back has a reason with its numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from seakeep.decide.backoff import Backoff
from seakeep.model.action import Action, Guard, RestartInstance
from seakeep.model.decision import Decision, Number, Reason
from seakeep.model.ids import InstanceId, NodeId, ServiceName
from seakeep.model.observation import Phase, ProbeReading
from seakeep.model.system import ProbeKind, System
from seakeep.model.time import MILLISECOND, MINUTE, SECOND, Duration, Instant
from seakeep.model.view import Health, InstanceView, View

BACKOFF = Backoff(first=SECOND, cap=MINUTE)
FORGET_AFTER: Duration = 2 * MINUTE
"""Ready for this long: earlier failures no longer count. Twice the cap, as in Kubernetes."""
RESTARTING_FRACTION_MAX = 0.2
"""Of a service's instances, restarting at a time for liveness."""
STARTING_PER_NODE_MAX = 4
STARTING_COUNTS_FOR: Duration = 10 * SECOND
"""An instance that hangs in its start for longer no longer holds others of its node back."""
RESTARTING_COUNTS_FOR: Duration = MINUTE
"""Likewise for others of its service."""
HELD_RECHECK: Duration = SECOND
SILENT_RECHECK: Duration = 500 * MILLISECOND
EXPIRES_AFTER: Duration = 5 * SECOND

REASONS = {
    "health.restart.exited": ("{subject} is restarted: {detail} (failure {failures} in a row)"),
    "health.restart.startup": ("{subject} is restarted: its startup probe fails ({detail})"),
    "health.restart.liveness": ("{subject} is restarted: its liveness probe fails ({detail})"),
    "health.held.backoff": (
        "{subject} ({detail}) has failed {failures} times in a row: it is restarted {delay_ns}"
        " after it failed, at {until_ns}"
    ),
    "health.held.service": (
        "{subject} waits with {waiting} of its restarts for a failing liveness probe: it has"
        " {restarting} of {instances} restarting already, at most {limit} at a time"
    ),
    "health.held.node": (
        "{subject} waits with {waiting} of its restarts: it has {starting} starting already, at"
        " most {limit} at a time"
    ),
    "health.silent": "what runs on {subject} ({instances} in all) is left as it is: {detail}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What is remembered of an instance that has failed."""

    restarts: int
    """Of the process that failed."""
    failures: int
    """Failures in a row before the present one."""
    due_at: Instant
    """When that process may be restarted (again, after a try that did not come about)."""
    tries: int = 0
    """Restarts asked for since this failure."""
    ready_since: Instant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthMemory:
    troubles: Mapping[InstanceId, Trouble] = field(default_factory=dict)


@dataclass(slots=True)
class _Count:
    """Tallies of one step."""

    starting: dict[NodeId, int] = field(default_factory=dict)
    restarting: dict[ServiceName, int] = field(default_factory=dict)
    held_node: dict[NodeId, int] = field(default_factory=dict)
    held_service: dict[ServiceName, int] = field(default_factory=dict)
    silent: dict[NodeId, tuple[int, str]] = field(default_factory=dict)


class HealthController:
    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def initial(self) -> HealthMemory:
        return HealthMemory()

    def decide(self, system: System, view: View, memory: HealthMemory) -> Decision[HealthMemory]:
        failed, count = _survey(view, memory.troubles)
        troubles = _still_remembered(view, memory.troubles)
        actions: list[Action] = []
        reasons: list[Reason] = []
        wakes: list[Instant] = []
        for one in failed:
            name = one.state.id
            trouble = troubles[name] = _noted(one, troubles.get(name), view.at)
            if restart_id(name, trouble) in view.pending:
                continue
            if view.at < trouble.due_at:
                if trouble.tries == 0:
                    reasons.append(_held_by_backoff(one, trouble))
                wakes.append(trouble.due_at)
            elif _is_held(one, view, count):
                wakes.append(view.at + HELD_RECHECK)
            else:
                trouble = replace(
                    trouble,
                    tries=trouble.tries + 1,
                    due_at=view.at + BACKOFF.delay(trouble.tries + 1),
                )
                troubles[name] = trouble
                action = self._restart(system, view.at, one, trouble)
                actions.append(action)
                reasons.append(_restarted(one, trouble, action.id))
        reasons.extend(_tallies(count, view))
        if count.silent:
            wakes.append(view.at + SILENT_RECHECK)
        return Decision(
            memory=HealthMemory(troubles=troubles) if troubles or memory.troubles else memory,
            actions=tuple(actions),
            reasons=tuple(reasons),
            wake_at=min(wakes, default=None),
        )

    def _restart(
        self, system: System, at: Instant, one: InstanceView, trouble: Trouble
    ) -> RestartInstance:
        return RestartInstance(
            id=restart_id(one.state.id, trouble),
            guard=Guard(
                revision=system.revision,
                epoch=self._epoch,
                expires_at=at + EXPIRES_AFTER,
                restarts=one.state.restarts,
            ),
            instance=one.state.id,
        )


def restart_id(instance: InstanceId, trouble: Trouble) -> str:
    """`restart:web-7:3` for the process after 3 restarts; `restart:web-7:3.2` the second try."""
    retry = f".{trouble.tries}" if trouble.tries > 1 else ""
    return f"restart:{instance}:{trouble.restarts}{retry}"


def _survey(
    view: View, troubles: Mapping[InstanceId, Trouble]
) -> tuple[list[InstanceView], _Count]:
    """The failed instances that are ours to restart, in the order of the view, and the tallies."""
    failed: list[InstanceView] = []
    count = _Count()
    ready = Health.READY
    for one in view.instances.values():
        health = one.health
        if health is ready:
            continue
        state = one.state
        if health is Health.STARTING:
            age = view.at - state.started_at
            if age < STARTING_COUNTS_FOR:
                count.starting[state.node] = count.starting.get(state.node, 0) + 1
            if state.restarts > 0 and age < RESTARTING_COUNTS_FOR:
                count.restarting[state.service] = count.restarting.get(state.service, 0) + 1
        elif health is Health.FAILED:
            if state.draining_since is not None or state.phase is Phase.STOPPING:
                continue
            failed.append(one)
            trouble = troubles.get(state.id)
            if trouble is not None and restart_id(state.id, trouble) in view.pending:
                count.starting[state.node] = count.starting.get(state.node, 0) + 1
                count.restarting[state.service] = count.restarting.get(state.service, 0) + 1
        elif health is Health.UNKNOWN:
            number, _ = count.silent.get(state.node, (0, ""))
            count.silent[state.node] = (number + 1, one.detail)
    return failed, count


def _still_remembered(
    view: View, troubles: Mapping[InstanceId, Trouble]
) -> dict[InstanceId, Trouble]:
    """Without those that are gone, or have been ready for long enough."""
    kept: dict[InstanceId, Trouble] = {}
    for name, trouble in troubles.items():
        one = view.instances.get(name)
        if one is None:
            continue
        if one.health is not Health.READY:
            if trouble.ready_since is not None and one.health is not Health.UNKNOWN:
                trouble = replace(trouble, ready_since=None)
        elif trouble.ready_since is None:
            trouble = replace(trouble, ready_since=view.at)
        elif view.at - trouble.ready_since >= FORGET_AFTER:
            continue
        kept[name] = trouble
    return kept


def _noted(one: InstanceView, trouble: Trouble | None, at: Instant) -> Trouble:
    """The trouble with this failure in it."""
    state = one.state
    if trouble is not None and trouble.restarts == state.restarts:
        return trouble
    failed_at = at if state.exited_at is None else min(state.exited_at, at)
    if trouble is not None:
        failures = trouble.failures + 1
    elif failed_at - state.started_at < FORGET_AFTER:
        failures = state.restarts  # a loop that began before this controller did
    else:
        failures = 0
    return Trouble(
        restarts=state.restarts,
        failures=failures,
        due_at=failed_at + BACKOFF.delay(failures),
    )


def _is_held(one: InstanceView, view: View, count: _Count) -> bool:
    """Whether a bound holds the restart back; when none does, it is counted as begun."""
    state = one.state
    starting = count.starting.get(state.node, 0)
    if starting >= STARTING_PER_NODE_MAX:
        count.held_node[state.node] = count.held_node.get(state.node, 0) + 1
        return True
    restarting = count.restarting.get(state.service, 0)
    still_works = state.phase is Phase.RUNNING and _cause(one)[0] == "liveness"
    if still_works and restarting >= restarting_max(len(view.by_service[state.service])):
        count.held_service[state.service] = count.held_service.get(state.service, 0) + 1
        return True
    count.starting[state.node] = starting + 1
    count.restarting[state.service] = restarting + 1
    return False


def restarting_max(instances: int) -> int:
    """How many of a service's instances may be restarting for liveness at a time."""
    return max(1, int(instances * RESTARTING_FRACTION_MAX))


def _cause(one: InstanceView) -> tuple[str, ProbeReading | None]:
    if one.state.phase is Phase.EXITED:
        return "exited", None
    readings = {reading.kind: reading for reading in one.state.probes}
    startup = readings.get(ProbeKind.STARTUP)
    if startup is not None and not startup.passed:
        return "startup", startup
    return "liveness", readings.get(ProbeKind.LIVENESS)


def _restarted(one: InstanceView, trouble: Trouble, action: str) -> Reason:
    cause, reading = _cause(one)
    numbers: list[tuple[str, Number]] = [("detail", one.detail)]
    if reading is not None:
        numbers.append(("count", reading.count))
    numbers.append(("failures", trouble.failures + 1))
    numbers.append(("restarts", trouble.restarts))
    return Reason(
        code=f"health.restart.{cause}",
        subject=one.state.id,
        numbers=tuple(numbers),
        action=action,
    )


def _held_by_backoff(one: InstanceView, trouble: Trouble) -> Reason:
    return Reason(
        code="health.held.backoff",
        subject=one.state.id,
        numbers=(
            ("detail", one.detail),
            ("failures", trouble.failures + 1),
            ("delay_ns", BACKOFF.delay(trouble.failures)),
            ("until_ns", trouble.due_at),
        ),
    )


def _tallies(count: _Count, view: View) -> list[Reason]:
    """One reason per service or node for all that was held back there."""
    held = [
        Reason(
            code="health.held.service",
            subject=name,
            numbers=(
                ("waiting", waiting),
                ("restarting", count.restarting.get(name, 0)),
                ("instances", len(view.by_service[name])),
                ("limit", restarting_max(len(view.by_service[name]))),
            ),
        )
        for name, waiting in count.held_service.items()
    ]
    crowded = [
        Reason(
            code="health.held.node",
            subject=node,
            numbers=(
                ("waiting", waiting),
                ("starting", count.starting.get(node, 0)),
                ("limit", STARTING_PER_NODE_MAX),
            ),
        )
        for node, waiting in count.held_node.items()
    ]
    silent = [
        Reason(
            code="health.silent",
            subject=node,
            numbers=(("instances", number), ("detail", detail)),
        )
        for node, (number, detail) in count.silent.items()
    ]
    return held + crowded + silent
