"""The twin: a simulated world behind the protocol of every engine.

What must live here: the control-plane side of the twin, event by event, in virtual time. `wait`
moves time; the data plane (requests, queues, balancing) moves with it, compiled, in `world`.
Everything that a controller can see or do is as the embedded engine has it, with small delays in
the place of processes and sockets.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Protocol, assert_never

from seakeep.engines.twin.agenda import Agenda
from seakeep.engines.twin.body import Body
from seakeep.engines.twin.chance import Starts
from seakeep.engines.twin.edges import Edges
from seakeep.engines.twin.instances import Instances, Ran
from seakeep.engines.twin.parts import Failed, Parts, Refused
from seakeep.engines.twin.plane import Plane
from seakeep.engines.twin.senses import Senses
from seakeep.engines.twin.world import Notice, Process
from seakeep.model.action import (
    Action,
    AnswerDns,
    DrainInstance,
    RecordRollout,
    RestartInstance,
    RetirePart,
    SetEndpoints,
    SetLimit,
    StartInstance,
    StartPart,
    StopInstance,
)
from seakeep.model.ids import RegionName
from seakeep.model.observation import (
    AppliedAnswers,
    Observation,
    Outcome,
    OutcomeStatus,
    PartKind,
    PartState,
    UsedOrdinals,
)
from seakeep.model.order import Order
from seakeep.model.rollout import RolloutRecord
from seakeep.model.system import System
from seakeep.model.time import MILLISECOND, Duration, Instant, in_seconds

DELAYS: dict[type, Duration] = {
    StartInstance: 5 * MILLISECOND,
    RestartInstance: 5 * MILLISECOND,
    DrainInstance: MILLISECOND,
    StopInstance: MILLISECOND,
    SetEndpoints: 2 * MILLISECOND,
    SetLimit: 2 * MILLISECOND,
    AnswerDns: 2 * MILLISECOND,
    StartPart: 0,
    RetirePart: 50 * MILLISECOND,
    RecordRollout: MILLISECOND,
}
"""From an action's turn until it is carried out: as measured of the embedded engine, and rounded.
A part's start is told when it is through."""
ONE_AT_A_TIME = (SetEndpoints, SetLimit)
"""What an Envoy takes in one after the other."""


class Admit(Protocol):
    """`seakeep.act.admit.admit`, handed in by the runtime: why an action is refused, or None."""

    def __call__(
        self, action: Action, *, revision: str, epoch: int, now: Instant, restarts: int | None
    ) -> str | None: ...


class VirtualClock:
    """Stands still until the engine moves it."""

    def __init__(self, at: Instant) -> None:
        self.at = at

    def now(self) -> Instant:
        return self.at


class TwinEngine:
    """One system in simulated time. Use: `configure`, then the protocol."""

    def __init__(
        self,
        system: System,
        plane: Plane,
        admit: Admit,
        *,
        seed: int,
        now: Instant,
        counted: tuple[Instant, Instant],
        wall: Instant,
        checked: Callable[[Instant, RegionName, str, bool], None],
        broken: Callable[[Instant, str], None],
    ) -> None:
        """`counted`: within which the time of instances is summed up; `wall`: Unix time at the
        clock's zero. `checked` hears of verdicts of Envoys' checks, `broken` of what no
        balancer may do."""
        self.clock = VirtualClock(now)
        self.epoch = 1
        self._admit = admit
        self._wall = wall
        self._plane = plane
        self._agenda = Agenda()
        self._system: System | None = None
        self.has_news = False
        """Whether something has happened since the last look that would wake a supervisor."""
        self._outcomes: list[Outcome] = []
        self._notices: list[Notice] = []
        self._seq = 0
        self.ran = Ran(*counted)
        self.instances = Instances(
            plane=plane,
            agenda=self._agenda,
            starts=Starts(seed, system.services),
            ran=self.ran,
            reached=lambda body: self.edges.reached(body),
            leaving=lambda body: self.edges.vigil.gone(self.clock.at, body),
            news=self._note,
        )
        self.edges = Edges(
            seed=seed,
            plane=plane,
            agenda=self._agenda,
            find=self.instances.find,
            now=self.clock.now,
            notify=lambda region, target, ok: checked(self.clock.at, region, target, ok),
            note=broken,
        )
        self.parts = Parts(self._agenda, self._part_started, self._part_ended, self._note)
        self._senses = Senses(plane, self._agenda, self.instances, self._note)
        self._answers: dict[RegionName, AppliedAnswers] = {}
        """What each DNS server was told last: it is kept in a file."""
        self.orders: dict[str, Order] = {}
        self._rollouts: dict[str, RolloutRecord] = {}
        self.dns_is_stale = 0
        """Faults that keep DNS servers from taking new tables."""

    # --- the protocol -----------------------------------------------------------

    def configure(self, system: System) -> None:
        at = self.clock.at
        self._system = system
        self.instances.configure(system)
        self.edges.configure(system)
        self.parts.configure(at, system)
        self._senses.configure(at, system)
        self._rollouts = {
            name: one for name, one in sorted(self._rollouts.items()) if name in system.services
        }

    def observe(self) -> Observation:
        assert self._system is not None
        at = self.clock.at
        outcomes, self._outcomes = tuple(self._outcomes), []
        self.has_news = False
        self._seq += 1
        self._senses.measure(at)
        up = [region for region in self._regions() if self.parts.runs(f"edge:{region}")]
        traffic, revisions = self._senses.traffic(at, up)
        return Observation(
            seq=self._seq,
            at=at,
            wall=self._wall + at,
            instances=self.instances.samples(at),
            parts=self.parts.samples(at),
            endpoints=tuple([self.edges.applied[key] for key in sorted(self.edges.applied)]),
            limits=tuple([self.edges.limits[key] for key in sorted(self.edges.limits)]),
            traffic=traffic,
            revisions=revisions,
            ordinals=tuple(
                UsedOrdinals(service=name, last=last)
                for name, last in sorted(self.instances.ordinals.items())
            ),
            outcomes=outcomes,
            orders=tuple(self.orders[name] for name in sorted(self.orders)),
            answers=tuple(
                self._answers[region]
                for region in sorted(self._answers)
                if self.parts.runs(f"dns:{region}")
            ),
            rollouts=tuple(self._rollouts[name] for name in sorted(self._rollouts)),
        )

    def _regions(self) -> Sequence[RegionName]:
        assert self._system is not None
        return tuple(self._system.regions)

    def submit(self, actions: Sequence[Action]) -> None:
        """In order; neighbours of one kind together, since they do not depend on each other, but
        for what one Envoy is told."""
        at = self.clock.at
        for kind, group in groupby(actions, key=type):
            begins = at
            waits: dict[str, Duration] = {}
            for action in group:
                where = action.region if isinstance(action, ONE_AT_A_TIME) else ""
                waits[where] = waits.get(where, 0) + DELAYS[kind]
                due = begins + (waits[where] if where else DELAYS[kind])
                at = max(at, due)
                self._agenda.put(due, partial(self._carry_out, due, action))

    def wait(self, until: Instant) -> None:
        """Let time pass to `until`, or to what a supervisor would be woken by."""
        while not self.has_news and self.clock.at < until:
            self._move(until)

    def pass_time(self, until: Instant) -> None:
        """Let time pass to `until`, whatever happens."""
        while self.clock.at < until:
            self._move(until)

    def close(self) -> None:
        """Nothing to let go of."""

    def _move(self, until: Instant) -> None:
        """To the next entry of the agenda, and all that is due then; at most to `until`."""
        due = self._agenda.next_at
        to = until if due is None else min(due, until)
        self._plane.advance(to)
        for notice in self._plane.notices():
            self._notices.append(notice)
            self.edges.vigil.ejected(notice.at, notice.region, notice.service)
        self.clock.at = max(self.clock.at, to)
        while (due := self._agenda.next_at) is not None and due <= to:
            self._agenda.take()()

    def _note(self) -> None:
        self.has_news = True

    # --- what the runtime asks beyond the protocol --------------------------------

    def wake(self) -> None:
        """End the present `wait` (a new spec)."""
        self._note()

    def notices(self) -> list[Notice]:
        """What balancers have ejected, and taken back, since the last call."""
        found, self._notices = self._notices, []
        return found

    def supervise(self) -> None:
        """Another supervisor takes over: the actions of the one before are refused from now on,
        and what it had heard from Envoys is forgotten."""
        self.epoch += 1
        self._outcomes.clear()
        for region in self._regions():
            self.edges.disown(region)
        self._note()

    def cut_power(self, place: str) -> None:
        at = self.clock.at
        self.parts.cut(at, place)
        for node in self.parts.nodes_in(place):
            self.instances.lose_power(at, node)
        if "/" not in place:
            self._plane.set_dns(place, Process.DARK)
            self.edges.end(at, place, dark=True)

    def restore_power(self, place: str) -> None:
        at = self.clock.at
        self.parts.restore(place)
        for node in self.parts.nodes_in(place):
            if not self.parts.why_dark(node):
                self.instances.get_power(at, node)
        if "/" not in place and not self.parts.why_dark(place):
            self._plane.set_dns(place, Process.DEAD)
            self.edges.get_power(at, place)

    # --- parts --------------------------------------------------------------------

    def _part_started(self, at: Instant, part: PartState) -> None:
        match part.kind:
            case PartKind.NODE:
                self.instances.report(at, part.id.removeprefix("node:"))
            case PartKind.EDGE:
                self.edges.begin(at, part.region)
            case PartKind.DNS:
                self._plane.set_dns(part.region, Process.SERVING)
            case PartKind.LINK | PartKind.HOLDER:
                pass
            case _:
                assert_never(part.kind)

    def _part_ended(self, at: Instant, part: PartState) -> None:
        """Of its own, with its place or since it was told to."""
        match part.kind:
            case PartKind.EDGE:
                self.edges.end(at, part.region, dark=bool(self.parts.why_dark(part.region)))
            case PartKind.DNS:
                self._plane.set_dns(part.region, Process.DEAD)
            case PartKind.NODE | PartKind.LINK | PartKind.HOLDER:
                pass
            case _:
                assert_never(part.kind)

    # --- actions --------------------------------------------------------------------

    def _carry_out(self, at: Instant, action: Action) -> None:
        end = partial(self._end, action)
        try:
            self._check(action)
            if isinstance(action, StartPart):
                self.parts.start(at, action.part, partial(self._part_is_up, action))
            else:
                end(at, OutcomeStatus.DONE, self._dispatch(at, action))
        except Refused as error:
            end(at, OutcomeStatus.REFUSED, str(error))
        except Failed as error:
            end(at, OutcomeStatus.FAILED, str(error))

    def _part_is_up(self, action: Action, at: Instant, trouble: str) -> None:
        if trouble:
            self._end(action, at, OutcomeStatus.FAILED, trouble)
        else:
            self._end(action, at, OutcomeStatus.DONE, "started")

    def _end(self, action: Action, at: Instant, status: OutcomeStatus, detail: str) -> None:
        self._outcomes.append(Outcome(action=action.id, status=status, at=at, detail=detail))
        self._note()

    def _check(self, action: Action) -> None:
        assert self._system is not None
        refusal = self._admit(
            action,
            revision=self._system.revision,
            epoch=self.epoch,
            now=self.clock.at,
            restarts=self._restarts(action),
        )
        if refusal is not None:
            raise Refused(refusal)

    def _restarts(self, action: Action) -> int | None:
        match action:
            case RestartInstance() | DrainInstance() | StopInstance():
                body = self.instances.find(action.instance)
                return None if body is None else body.restarts
            case StartPart() | RetirePart():
                part = self.parts.find(action.part)
                return None if part is None else part.restarts
            case StartInstance() | SetEndpoints() | AnswerDns() | SetLimit() | RecordRollout():
                return None
            case _:
                assert_never(action)

    def _dispatch(self, at: Instant, action: Action) -> str:
        match action:
            case StartInstance():
                return self._start(at, action)
            case RestartInstance():
                self._restart(at, action)
            case DrainInstance():
                self.instances.drain(at, self._reachable(action.instance))
            case StopInstance():
                body = self._known(action.instance)
                self.instances.stop(at, body, action.grace)
                return f"told to stop within {in_seconds(action.grace):g}s"
            case SetEndpoints():
                self._need(f"edge:{action.region}", f"the edge of {action.region}")
                return self.edges.set_endpoints(at, action)
            case SetLimit():
                self._need(f"edge:{action.region}", f"the edge of {action.region}")
                return self.edges.set_limit(at, action)
            case AnswerDns():
                return self._answer(at, action)
            case RetirePart():
                self.parts.retire(at, action.part)
                if action.part.startswith("node:"):
                    self.instances.drop(at, action.part.removeprefix("node:"))
            case RecordRollout():
                self._rollouts[action.record.service] = action.record
                return action.record.stage.value
            case StartPart():
                raise AssertionError("ends later than it is carried out")
            case _:
                assert_never(action)
        return ""

    def _start(self, at: Instant, action: StartInstance) -> str:
        if self.instances.find(action.instance) is not None:
            return "is there already"
        self._need(f"node:{action.node}", f"node {action.node}")
        self.instances.start(at, action)
        return ""

    def _restart(self, at: Instant, action: RestartInstance) -> None:
        body = self._reachable(action.instance)
        expected = action.guard.restarts
        if expected is not None and body.restarts != expected:
            raise Refused(f"{body.id} was restarted {body.restarts} times, not {expected}")
        if body.stop_by is not None:
            raise Refused(f"{body.id} is being stopped")
        self.instances.restart(at, body)

    def _answer(self, at: Instant, action: AnswerDns) -> str:
        self._need(f"dns:{action.region}", f"the DNS server of {action.region}")
        if self.dns_is_stale:
            raise Failed("it does not take its new table")
        self._plane.set_answers(action.region, action.hosts)
        self._answers[action.region] = AppliedAnswers(
            region=action.region,
            digest=action.digest,
            applied_at=at,
            out=tuple(sorted(f"{one.host} {name}" for one in action.hosts for name in one.out)),
        )
        return f"{len(action.hosts)} hosts"

    def _need(self, part: str, words: str) -> None:
        if not self.parts.runs(part):
            raise Refused(f"{words} is not running")

    def _known(self, name: str) -> Body:
        body = self.instances.find(name)
        if body is None:
            raise Refused(f"there is no {name}")
        return body

    def _reachable(self, name: str) -> Body:
        body = self._known(name)
        if body.away:
            raise Refused(f"node {body.node} is gone")
        return body
