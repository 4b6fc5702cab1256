"""The instances of all nodes: started, probed, stopped, and struck by faults.

What must live here: the life of processes as `engines.local.node.instances` keeps it. A process
that starts takes its time until it answers; one that ends is reported by its node at once; what
was on a node that lost its power is reported as it was last seen, and as ended when the node is
back. Whether anybody notices, and what is done then, is the controllers' business.
"""

from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from seakeep.engines.twin.agenda import Agenda
from seakeep.engines.twin.body import (
    Body,
    answer_of,
    asks_path,
    never_up,
    process_of,
    reach_of,
    state_of,
)
from seakeep.engines.twin.chance import Starts
from seakeep.engines.twin.plane import Plane
from seakeep.engines.twin.probes import Probing
from seakeep.engines.twin.world import Process
from seakeep.model.action import StartInstance
from seakeep.model.ids import InstanceId, NodeId, ServiceName, ordinal_of
from seakeep.model.observation import Address, InstanceState, Phase, Sample
from seakeep.model.scenario import Deploy
from seakeep.model.system import Service, System
from seakeep.model.time import MILLISECOND, SECOND, Duration, Instant

ENDS_WITHIN: Duration = 50 * MILLISECOND
"""From SIGTERM until a process that has nothing to do is gone."""
LOOKS_EVERY: Duration = 100 * MILLISECOND
"""At whether a process that was told to stop has answered all that it had begun."""
FRESH_FOR: Duration = SECOND
"""As often as a node agent reports at least."""
ENDED_AWAY = "ended while its node agent was away"
KILLED = "killed by SIGKILL"


class Ran:
    """How long instances ran within a span of time, by service."""

    def __init__(self, since: Instant, until: Instant) -> None:
        self._since, self._until = since, until
        self.total: dict[ServiceName, int] = {}

    def add(self, service: ServiceName, began: Instant, ended: Instant) -> None:
        span = min(ended, self._until) - max(began, self._since)
        if span > 0:
            self.total[service] = self.total.get(service, 0) + span


class Instances:
    """`reached` hears of instances that answer health checks otherwise than before, `leaving` of
    those that will be no more, `news` of what a node would report at once."""

    def __init__(
        self,
        *,
        plane: Plane,
        agenda: Agenda,
        starts: Starts,
        ran: Ran,
        reached: Callable[[Body], None],
        leaving: Callable[[Body], None],
        news: Callable[[], None],
    ) -> None:
        self._plane = plane
        self._agenda = agenda
        self._starts = starts
        self._ran = ran
        self._reached = reached
        self._leaving = leaving
        self._news = news
        self._all: dict[InstanceId, Body] = {}
        self._order: list[tuple[ServiceName, int, InstanceId]] = []
        self._services: Mapping[ServiceName, Service] = {}
        self._slow: dict[InstanceId, list[float]] = {}
        self._errors: dict[str, list[float]] = {}
        """By instance or service."""
        self._out: dict[ServiceName, int] = {}
        self.deploys: dict[tuple[ServiceName, str], Deploy] = {}
        """What is wrong with a version: (service, workload revision)."""
        self.ordinals: dict[ServiceName, int] = {}
        self.figured_at: Instant = 0

    def configure(self, system: System) -> None:
        self._services = system.services

    def find(self, name: InstanceId) -> Body | None:
        return self._all.get(name)

    def all(self) -> Iterable[Body]:
        return self._all.values()

    def of(self, service: ServiceName) -> list[Body]:
        """Sorted by ordinal."""
        return [self._all[name] for of, _, name in self._order if of == service]

    def oldest(self, service: ServiceName) -> Body | None:
        """Of those whose node is there."""
        there = [body for body in self.of(service) if not body.away]
        return min(there, key=lambda body: (body.started_at, body.ordinal), default=None)

    # --- what nodes are asked for -----------------------------------------------

    def start(self, at: Instant, action: StartInstance) -> None:
        ordinal = ordinal_of(action.instance)
        self.ordinals[action.service] = max(self.ordinals.get(action.service, 0), ordinal)
        workload = action.workload
        deploy = self.deploys.get((action.service, workload.revision))
        body = Body(
            id=action.instance,
            ordinal=ordinal,
            service=action.service,
            region=action.region,
            zone=action.zone,
            node=action.node,
            workload=workload,
            address=Address(host=f"{action.instance}.{action.zone}", port=workload.port),
            deploy=deploy,
            by_path=asks_path(self._services[action.service]),
            created_at=at,
            started_at=at,
            out=self._out.get(action.service, 0),
        )
        self._all[body.id] = body
        insort(self._order, (body.service, ordinal, body.id))
        self._plane.add_instance(
            body.id,
            service=body.service,
            region=body.region,
            zone=body.zone,
            node=body.node,
            revision=workload.revision,
            slower=1.0 if deploy is None else deploy.slower,
        )
        self._apply_errors(body)
        self._begin(at, body)
        self._reached(body)

    def restart(self, at: Instant, body: Body) -> None:
        if body.lives:
            self._end(at, body, KILLED)
        body.restarts += 1
        self._begin(at, body)

    def drain(self, at: Instant, body: Body) -> None:
        if body.draining_since is None:
            body.draining_since = at
            self._touch(body)

    def stop(self, at: Instant, body: Body, grace: Duration) -> None:
        """SIGTERM, and SIGKILL after the grace; forgotten when it has ended, at once when it has
        already or its node is gone."""
        if body.away or not body.lives:
            self.forget(at, body)
            return
        body.stop_by = min(at + grace, body.stop_by or at + grace)
        body.phase = Phase.STOPPING
        self._silence(at, body)
        self._touch(body)
        look = partial(self._look_whether_done, body, body.turn)
        self._agenda.put(min(at + ENDS_WITHIN, body.stop_by), partial(look, at + ENDS_WITHIN))

    def _look_whether_done(self, body: Body, turn: int, at: Instant) -> None:
        """Whether a process that was told to stop can go."""
        if body.turn != turn or body.away or body.stop_by is None:
            return
        figures = self._plane.figures(body.id)
        idle = not body.frozen and figures.busy == 0 and figures.queued == 0
        if idle or at >= body.stop_by:
            self.forget(min(at, body.stop_by), body)
            return
        again = min(at + LOOKS_EVERY, body.stop_by)
        self._agenda.put(again, partial(self._look_whether_done, body, turn, again))

    def forget(self, at: Instant, body: Body) -> None:
        """It is no more."""
        self._count_run(at, body)
        body.turn += 1
        body.exited_at = at
        self._leaving(body)
        del self._all[body.id]
        self._order.remove((body.service, body.ordinal, body.id))
        self._slow.pop(body.id, None)
        self._plane.remove_instance(body.id)
        self._news()

    # --- processes --------------------------------------------------------------

    def _begin(self, at: Instant, body: Body) -> None:
        """A new process in its place."""
        body.turn += 1
        body.started_at = at
        body.phase = Phase.RUNNING
        body.exited_at, body.exit_detail = None, ""
        body.frozen, body.up = 0, False
        body.runs = True
        body.readings = ()
        body.process = Process.DEAD
        self._plane.restarted(body.id)
        probes = body.workload.probes
        answers = [answer_of(body, probe) for probe in probes]
        body.told = {probe.kind: one for probe, one in zip(probes, answers, strict=True)}
        body.probing = Probing(body.id, probes, at, answers)
        self._start_over_at(body, at + self._starts.of(body.service, body.id, body.restarts))
        self._refresh(at, body)

    def _start_over_at(self, body: Body, at: Instant) -> None:
        body.ready_at = at
        if not never_up(body):
            self._agenda.put(at, partial(self._start_is_over, body, body.turn, at))

    def _start_is_over(self, body: Body, turn: int, at: Instant) -> None:
        if body.turn == turn and body.ready_at == at:
            body.up = True
            self._refresh(at, body)

    def _end(self, at: Instant, body: Body, detail: str) -> None:
        """Its process is gone."""
        self._count_run(at, body)
        body.turn += 1
        self._silence(at, body)
        body.exited_at, body.exit_detail = at, detail
        self._refresh(at, body)

    def _count_run(self, at: Instant, body: Body) -> None:
        if body.runs:
            body.runs = False
            self._ran.add(body.service, body.started_at, at)

    def count_runs(self, at: Instant) -> None:
        """Of all that still run, at the end of everything."""
        for body in self._all.values():
            self._count_run(at, body)

    def _silence(self, at: Instant, body: Body) -> None:
        """It is probed no more."""
        if body.probing is not None:
            body.readings = body.probing.readings(at)
            body.probing = None

    def _refresh(self, at: Instant, body: Body) -> None:
        """Let everybody know how it is now."""
        process = process_of(body)
        if process is not body.process:
            body.process = process
            self._plane.set_state(body.id, process)
        if body.probing is not None and not body.away:
            for probe in body.workload.probes:
                answer = answer_of(body, probe)
                if body.told[probe.kind] != answer:
                    body.told[probe.kind] = answer
                    body.probing.turn(at, answer, probe.kind)
        reach = reach_of(body)
        if reach != body.reach:
            body.reach = reach
            self._reached(body)
        self._touch(body)
        self._expect_news(at, body)

    def _expect_news(self, at: Instant, body: Body) -> None:
        if body.probing is None or body.away:
            return
        news_at = body.probing.next_news(at)
        if news_at is not None:
            body.news_at = news_at
            self._agenda.put(news_at, partial(self._tell_news, body, body.turn, news_at))

    def _tell_news(self, body: Body, turn: int, at: Instant) -> None:
        if body.turn == turn and body.news_at == at and not body.away:
            self._touch(body)
            self._expect_news(at, body)

    def _touch(self, body: Body) -> None:
        if not body.away:
            body.state = None
            self._news()

    # --- nodes ------------------------------------------------------------------

    def lose_power(self, at: Instant, node: NodeId) -> None:
        """Everything on a node ends, and nobody is left to say so."""
        for body in self._on(node):
            if not body.away:
                body.state = state_of(body, at)
                body.sample = Sample(value=body.state, observed_at=at, source=node)
            self._count_run(at, body)
            body.turn += 1
            body.away = body.dark = True
            body.frozen = 0
            self._silence(at, body)
            self._refresh(at, body)

    def get_power(self, at: Instant, node: NodeId) -> None:
        """The machine is on again; what ran on it does not."""
        for body in self._on(node):
            body.dark = False
            body.up = False
            self._refresh(at, body)

    def report(self, at: Instant, node: NodeId) -> None:
        """The node's agent is back and tells what it finds: everything has ended."""
        for body in list(self._on(node)):
            body.away = False
            if body.stop_by is not None:
                self.forget(at, body)
            elif body.lives:
                body.exited_at, body.exit_detail = at, ENDED_AWAY
                self._refresh(at, body)
            else:
                self._touch(body)

    def drop(self, at: Instant, node: NodeId) -> None:
        """The node is retired, and everything on it."""
        for body in list(self._on(node)):
            self.forget(at, body)

    def _on(self, node: NodeId) -> list[Body]:
        return [body for body in self._all.values() if body.node == node]

    # --- faults -----------------------------------------------------------------

    def kill(self, at: Instant, body: Body, detail: str = KILLED) -> None:
        if body.lives and not body.away:
            if body.stop_by is not None:
                self.forget(at, body)
            else:
                self._end(at, body, detail)

    def freeze(self, at: Instant, body: Body) -> int:
        """Which process was frozen, for `thaw`."""
        body.frozen += 1
        if not body.up and body.ready_at is not None:
            body.start_left, body.ready_at = body.ready_at - at, None
        self._refresh(at, body)
        return body.turn

    def thaw(self, at: Instant, body: Body, turn: int) -> None:
        if body.turn != turn or not body.frozen:
            return  # another process has taken its place meanwhile
        body.frozen -= 1
        if not body.frozen and body.ready_at is None:
            self._start_over_at(body, at + body.start_left)
        self._refresh(at, body)

    def slow(self, name: InstanceId, cpu_left: float) -> None:
        """Of several that last the smallest counts, whatever process runs."""
        self._slow.setdefault(name, []).append(cpu_left)
        self._apply_speed(name)

    def hasten(self, name: InstanceId, cpu_left: float) -> None:
        if name in self._slow:
            self._slow[name].remove(cpu_left)
            self._apply_speed(name)

    def _apply_speed(self, name: InstanceId) -> None:
        if name in self._all:
            self._plane.set_speed(name, min(self._slow[name], default=1.0))

    def fail(self, subject: str, fraction: float) -> None:
        """A fraction of what an instance, or every instance of a service, answers is 500."""
        self._errors.setdefault(subject, []).append(fraction)
        self._apply_errors_of(subject)

    def succeed(self, subject: str, fraction: float) -> None:
        self._errors[subject].remove(fraction)
        self._apply_errors_of(subject)

    def _apply_errors_of(self, subject: str) -> None:
        for body in self._all.values():
            if subject in (body.id, body.service):
                self._apply_errors(body)

    def _apply_errors(self, body: Body) -> None:
        good = 1.0
        for subject in (body.id, body.service):
            for fraction in self._errors.get(subject, ()):
                good *= 1 - fraction
        if body.deploy is not None:
            good *= 1 - body.deploy.errors
        self._plane.set_errors(body.id, 1 - good)

    def go_out(self, at: Instant, service: ServiceName, change: int) -> None:
        """Nothing of a service answers: one outage more (1) or less (-1)."""
        self._out[service] = self._out.get(service, 0) + change
        for body in self.of(service):
            body.out = self._out[service]
            self._refresh(at, body)

    # --- snapshots --------------------------------------------------------------

    def samples(self, at: Instant) -> tuple[Sample[InstanceState], ...]:
        """The latest word on every instance, sorted by service and ordinal. What says nothing new
        is the same object as before."""
        return tuple([self._sample(self._all[name], at) for _, _, name in self._order])

    def _sample(self, body: Body, at: Instant) -> Sample[InstanceState]:
        sample = body.sample
        if body.away and sample is not None:
            return sample
        state = body.state
        if state is None or not body.steady:
            state = body.state = state_of(body, at)
            body.steady = body.probing is None or body.probing.is_steady
        elif sample is not None and at - sample.observed_at <= FRESH_FOR:
            return sample
        sample = body.sample = Sample(value=state, observed_at=at, source=body.node)
        return sample

    def measure(self, at: Instant, services: Iterable[ServiceName]) -> None:
        """Take the figures of what runs, of these services: CPU since the last time, memory."""
        elapsed = at - self.figured_at
        self.figured_at = at
        for service in services:
            for body in self.of(service):
                if body.away or not body.lives:
                    continue
                figures = self._plane.figures(body.id)
                used = max(0.0, figures.cpu_ns - body.cpu_ns)
                body.cpu_ns = figures.cpu_ns
                body.cpu_millicores = round(1000 * used / elapsed, 1) if elapsed else 0.0
                body.memory_bytes = figures.left_bytes
                body.state = None
