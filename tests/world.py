"""A toy engine for tests of the pure core: it carries actions out after fixed delays, and breaks
when told to. No clock, no processes, no randomness: `step` moves time, so a run is a function of
its inputs. It knows nothing of policy.

    system = system_of({"us-east": {"a": 2}}, [service("web", {"us-east": 1.0})])
    loop = Loop(system, ControlPlane(1))
    loop.run(20 * SECOND)
    loop.tick(SECOND, ("lose", "us-east/a"))

Faults are (verb, subject): `kill` (the process exits), `hang` (liveness and readiness fail),
`unready` (readiness fails) and `heal` take an instance or a service; `lose` and `restore` take a
region, a zone (`us-east/a`) or a node (`us-east/a/0`) and cut or return its power; `mute` and
`unmute` take a node, whose agent then reports nothing while all on it goes on. `doom` and `bless`
take a service: every process of it that starts exits at once, until blessed. `spoil` and `mend`
take a version, `web@w2`: no instance of it gets ready, or stays so, until mended. `drain` and
`undrain` take a region: an operator's order, given and withdrawn.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, assert_never

from seakeep.act.track import Tracker
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
from seakeep.model.decision import Decision
from seakeep.model.ids import node_id, ordinal_of
from seakeep.model.observation import (
    Address,
    AppliedAnswers,
    AppliedEndpoints,
    AppliedLimit,
    InstanceState,
    Observation,
    Outcome,
    OutcomeStatus,
    PartKind,
    PartState,
    Phase,
    ProbeReading,
    Sample,
    TrafficReading,
)
from seakeep.model.order import Order, OrderKind
from seakeep.model.rollout import RolloutRecord
from seakeep.model.system import (
    Balance,
    Link,
    Node,
    Probe,
    ProbeKind,
    Protocol,
    Region,
    Replicas,
    Resources,
    Retries,
    Rollout,
    Service,
    Spread,
    System,
    TcpCheck,
    Workload,
    Zone,
    nodes_of,
)
from seakeep.model.time import MILLISECOND, SECOND, Duration, Instant
from seakeep.model.view import Health, View
from seakeep.observe.observe import ObserveMemory, observe

WALL = 1_700_000_000 * SECOND
"""Unix time when the engine's clock stood at 0."""
START = 1_000 * SECOND
"""When a world begins; not zero, so that no code takes an unset time for a real one."""
PROCESS_DELAY = 100 * MILLISECOND
PART_DELAY = 200 * MILLISECOND
PUSH_DELAY = 10 * MILLISECOND
READY_AFTER = 1 * SECOND
POLL = 500 * MILLISECOND


# --- systems ----------------------------------------------------------------


def probe(
    kind: ProbeKind, *, failures: int = 3, successes: int = 1, every: Duration = SECOND
) -> Probe:
    return Probe(
        kind=kind,
        check=TcpCheck(),
        period=every,
        timeout=SECOND,
        failures=failures,
        successes=successes,
    )


PROBES = (probe(ProbeKind.READINESS), probe(ProbeKind.LIVENESS))


def service(
    name: str,
    regions: Mapping[str, float],
    *,
    replicas: int = 4,
    probes: tuple[Probe, ...] = PROBES,
    revision: str = "w1",
    **other: Any,
) -> Service:
    """A service whose other fields have plain defaults; `other` overrides them."""
    fields: dict[str, Any] = {
        "image": None,
        "replicas": Replicas(min=replicas, max=replicas * 2),
        "spread": Spread(regions=dict(regions)),
        "scale": None,
        "routes": (),
        "balance": Balance(),
        "timeout": SECOND,
        "retries": Retries(),
        "limit": (),
        "calls": (),
        "work": None,
        "rollout": Rollout(),
        "drain": SECOND,
        "proxy_protocol": False,
    }
    workload = Workload(
        command=("serve", name),
        port=8080,
        protocol=Protocol.HTTP,
        env=(),
        resources=Resources(cpu_millicores=250, memory_bytes=128 << 20),
        probes=probes,
        stop_grace=2 * SECOND,
        revision=revision,
    )
    return Service(name=name, workload=workload, **(fields | other))


def system_of(
    regions: Mapping[str, Mapping[str, int]],
    services: Sequence[Service],
    *,
    capacity: Resources = Resources(cpu_millicores=8_000, memory_bytes=16 << 30),  # noqa: B008
    revision: str = "r1",
) -> System:
    """Regions as `{"us-east": {"a": nodes, "b": nodes}}`; links are 10 ms x (1 + how far apart
    the two regions stand in the mapping)."""
    places = {
        region: Region(
            name=region,
            zones={
                zone: Zone(
                    name=zone,
                    nodes=tuple(
                        Node(
                            id=node_id(region, zone, index),
                            region=region,
                            zone=zone,
                            capacity=capacity,
                        )
                        for index in range(count)
                    ),
                )
                for zone, count in zones.items()
            },
        )
        for region, zones in regions.items()
    }
    names = list(places)
    links = tuple(
        Link(
            a=a,
            b=b,
            latency=10 * MILLISECOND * (1 + abs(names.index(a) - names.index(b))),
        )
        for a in sorted(names)
        for b in sorted(names)
        if a < b
    )
    return System(
        name="toy",
        revision=revision,
        regions=places,
        links=links,
        services={one.name: one for one in services},
    )


# --- the world --------------------------------------------------------------


@dataclass
class Body:
    """An instance in the world."""

    state: InstanceState
    probes: tuple[Probe, ...]
    heard_at: Instant
    hangs_since: Instant | None = None
    unready_since: Instant | None = None
    healed_at: Instant = 0
    """When its probes last began to pass again."""
    gone_at: Instant | None = None
    """When it is forgotten, once it is stopping."""


@dataclass
class World:
    system: System
    at: Instant = START
    bodies: dict[str, Body] = field(default_factory=dict)
    parts: dict[str, PartState] = field(default_factory=dict)
    applied: dict[tuple[str, str], AppliedEndpoints] = field(default_factory=dict)
    shares: dict[tuple[str, str], AppliedLimit] = field(default_factory=dict)
    answers: dict[str, AppliedAnswers] = field(default_factory=dict)
    queue: list[tuple[Instant, int, Action]] = field(default_factory=list)
    dark: set[str] = field(default_factory=set)
    muted: dict[str, Instant] = field(default_factory=dict)
    doomed: set[str] = field(default_factory=set)
    orders: dict[str, Order] = field(default_factory=dict)
    traffic: dict[tuple[str, str], int] = field(default_factory=dict)
    """Requests so far, by (region of the balancer, service)."""
    spoiled: set[str] = field(default_factory=set)
    outcomes: list[Outcome] = field(default_factory=list)
    log: list[tuple[Instant, Action]] = field(default_factory=list)
    """Every action carried out, with its time."""
    offered: dict[tuple[str, str], int] = field(default_factory=dict)
    """Requests in flight, by (region of the callers, service); each takes 100 ms."""
    asked: dict[tuple[str, str], int] = field(default_factory=dict)
    """Requests so far, as the region's balancer has counted them."""
    rollouts: dict[str, RolloutRecord] = field(default_factory=dict)
    seq: int = 0
    count: int = 0

    def offer(self, service: str, **in_flight: int) -> None:
        """What callers ask for from now on: `offer("web", us_east=40)`."""
        for region, number in in_flight.items():
            self.offered[region.replace("_", "-"), service] = number

    def configure(self, system: System) -> None:
        self.system = system

    def submit(self, actions: Sequence[Action]) -> None:
        for action in actions:
            self.count += 1
            self.queue.append((self.at + _delay(action), self.count, action))

    def step(self, dt: Duration = POLL, *faults: tuple[str, str]) -> Observation:
        """Apply the faults now, let `dt` pass, and look."""
        for verb, subject in faults:
            self.fault(verb, subject)
        end = self.at + dt
        while due := sorted(item for item in self.queue if item[0] <= end):
            self.queue.remove(due[0])
            self.at = max(self.at, due[0][0])
            self._carry_out(due[0][2])
        self.at = end
        for key, number in self.offered.items():
            self.asked[key] = self.asked.get(key, 0) + number * dt * 10 // SECOND
        self._forget_the_stopped()
        return self.observe()

    def observe(self) -> Observation:
        self.seq += 1
        outcomes, self.outcomes = tuple(self.outcomes), []
        for body in self.bodies.values():
            if self._reports(body.state.node):
                body.heard_at = self.at
                body.state = replace(body.state, probes=self._readings(body))
        return Observation(
            seq=self.seq,
            at=self.at,
            instances=tuple(
                Sample(
                    value=body.state, observed_at=body.heard_at, source=f"node:{body.state.node}"
                )
                for body in sorted(
                    self.bodies.values(),
                    key=lambda body: (body.state.service, ordinal_of(body.state.id)),
                )
            ),
            parts=tuple(
                Sample(
                    value=self.parts[part],
                    observed_at=self.muted.get(part.removeprefix("node:"), self.at),
                    source="toy",
                )
                for part in sorted(self.parts)
            ),
            endpoints=tuple(self.applied[key] for key in sorted(self.applied)),
            limits=tuple(self.shares[key] for key in sorted(self.shares)),
            answers=tuple(self.answers[region] for region in sorted(self.answers)),
            outcomes=outcomes,
            orders=tuple(self.orders[name] for name in sorted(self.orders)),
            traffic=tuple(self._counted()),
            wall=WALL + self.at,
            rollouts=tuple(self.rollouts[name] for name in sorted(self.rollouts)),
        )

    def _counted(self) -> Iterator[TrafficReading]:
        for region in sorted(self.system.regions):
            edge = self.parts.get(f"edge:{region}")
            runs = edge is not None and edge.running
            for name in sorted(self.system.services):
                counted = self.traffic.get((region, name))
                if not runs and counted is None:
                    continue
                yield TrafficReading(
                    region=region,
                    service=name,
                    requests=self.asked.get((region, name), 0) + (counted or 0),
                    failures=0,
                    retries=0,
                    in_flight=self.offered.get((region, name), 0),
                )

    # --- orders ---

    def give(self, kind: OrderKind, subject: str, argument: str = "") -> None:
        order = Order(
            kind=kind, subject=subject, argument=argument, given_at=self.at, given_by="ann@desk"
        )
        self.orders[order.id] = order

    # --- faults ---

    def fault(self, verb: str, subject: str) -> None:
        match verb:
            case "lose":
                self.dark.add(subject)
                self._cut_power()
            case "restore":
                self.dark.discard(subject)
            case "mute":
                self.muted[subject] = self.at
            case "unmute":
                self.muted.pop(subject)
            case "doom":
                self.doomed.add(subject)
            case "bless":
                self.doomed.discard(subject)
            case "drain":
                self.give(OrderKind.DRAIN, subject)
            case "undrain":
                self.orders.pop(f"drain:{subject}", None)
            case "spoil":
                self.spoiled.add(subject)
            case "mend":
                self.spoiled.discard(subject)
            case _:
                for body in self.bodies.values():
                    if subject in (body.state.id, body.state.service):
                        self._hurt(verb, body)

    def _hurt(self, verb: str, body: Body) -> None:
        match verb:
            case "kill" if body.state.phase is Phase.EXITED:
                pass
            case "kill":
                self._exit(body, "killed by SIGKILL")
            case "hang":
                body.hangs_since = self.at
            case "unready":
                body.unready_since = self.at
            case "heal":
                if body.hangs_since is not None or body.unready_since is not None:
                    body.healed_at = self.at
                body.hangs_since = body.unready_since = None
            case _:
                raise ValueError(verb)

    def _cut_power(self) -> None:
        for part in self.parts.values():
            if part.running and self._is_dark(part.id.partition(":")[2]):
                self.parts[part.id] = replace(
                    part, running=False, changed_at=self.at, detail="no power"
                )
        for body in self.bodies.values():
            if self._is_dark(body.state.node) and body.state.phase is not Phase.EXITED:
                self._exit(body, "killed by SIGKILL")
        for region, cluster in list(self.applied):
            if self._is_dark(region):
                del self.applied[region, cluster]
        for region in [region for region in self.answers if self._is_dark(region)]:
            del self.answers[region]

    def _is_dark(self, place: str) -> bool:
        return any(place == lost or place.startswith(lost + "/") for lost in self.dark)

    def _reports(self, node: str) -> bool:
        part = self.parts.get(f"node:{node}")
        return part is not None and part.running and node not in self.muted

    # --- processes ---

    def _exit(self, body: Body, why: str) -> None:
        body.hangs_since = body.unready_since = None
        if body.gone_at is None:
            body.state = replace(
                body.state,
                phase=Phase.EXITED,
                pid=None,
                probes=(),
                exited_at=self.at,
                exit_detail=why,
            )

    def _readings(self, body: Body) -> tuple[ProbeReading, ...]:
        if body.state.phase is not Phase.RUNNING:
            return ()
        ready_at = body.state.started_at + READY_AFTER
        spoiled = f"{body.state.service}@{body.state.revision}" in self.spoiled
        readings = []
        for one in body.probes:
            first = body.state.started_at if one.kind is ProbeKind.LIVENESS else ready_at
            bad = [body.hangs_since]
            if one.kind is not ProbeKind.LIVENESS:
                bad.append(body.unready_since)
            if spoiled and one.kind is not ProbeKind.LIVENESS:
                bad.append(body.state.started_at)
            since = max((at for at in bad if at is not None), default=None)
            if since is None and self.at < first:
                since = body.state.started_at
            ok = since is None
            begun = max(first, body.healed_at) if ok else since
            assert begun is not None
            readings.append(
                ProbeReading(
                    kind=one.kind,
                    ok=ok,
                    count=1 + max(0, self.at - begun) // one.period,
                    passed=self.at >= first and not (spoiled and first == ready_at),
                    checked_at=self.at,
                    detail="" if ok else "timed out after 1s",
                )
            )
        return tuple(readings)

    def _forget_the_stopped(self) -> None:
        for body in list(self.bodies.values()):
            if body.gone_at is not None and body.gone_at <= self.at:
                del self.bodies[body.state.id]

    # --- actions ---

    def _carry_out(self, action: Action) -> None:
        refusal = None
        if action.guard.expires_at <= self.at:
            refusal = Outcome(
                action=action.id, status=OutcomeStatus.REFUSED, at=self.at, detail="expired"
            )
        trouble = "" if refusal else self._do(action)
        if not refusal and not trouble:
            self.log.append((self.at, action))
        self.outcomes.append(
            refusal
            or Outcome(
                action=action.id,
                status=OutcomeStatus.FAILED if trouble else OutcomeStatus.DONE,
                at=self.at,
                detail=trouble,
            )
        )

    def _do(self, action: Action) -> str:
        """Empty when it is done, else why it could not be."""
        match action:
            case StartInstance():
                return self._start(action)
            case RestartInstance():
                body = self.bodies.get(action.instance)
                if body is None or not self._reports(body.state.node):
                    return "no such instance here"
                self._begin(body, restarts=body.state.restarts + 1)
            case DrainInstance():
                body = self.bodies.get(action.instance)
                if body is None:
                    return "no such instance"
                body.state = replace(body.state, draining_since=self.at)
            case StopInstance():
                self._stop(action)
            case SetEndpoints():
                return self._push(action)
            case SetLimit():
                self.shares[action.region, action.limit] = AppliedLimit(
                    region=action.region,
                    limit=action.limit,
                    rate_per_s=action.rate_per_s,
                    applied_at=self.at,
                )
            case AnswerDns():
                return self._answer(action)
            case StartPart():
                return self._power_up(action)
            case RetirePart():
                self.parts.pop(action.part, None)
                region = action.part.partition(":")[2]
                if action.part.startswith("dns:"):
                    self.answers.pop(region, None)
                if action.part.startswith("edge:"):
                    for key in [key for key in self.applied if key[0] == region]:
                        del self.applied[key]
            case RecordRollout():
                self.rollouts[action.record.service] = action.record
            case _:
                assert_never(action)
        return ""

    def _start(self, action: StartInstance) -> str:
        if not self._reports(action.node):
            return f"node {action.node} is not running"
        if action.instance in self.bodies:
            return "already there"
        state = InstanceState(
            id=action.instance,
            service=action.service,
            region=action.region,
            zone=action.zone,
            node=action.node,
            revision=action.workload.revision,
            address=Address(host=f"{action.instance}.{action.zone}", port=action.workload.port),
            phase=Phase.RUNNING,
            pid=1,
            created_at=self.at,
            started_at=self.at,
            restarts=0,
        )
        body = Body(state=state, probes=action.workload.probes, heard_at=self.at)
        self.bodies[action.instance] = body
        self._begin(body, restarts=0)
        return ""

    def _begin(self, body: Body, *, restarts: int) -> None:
        body.hangs_since = body.unready_since = None
        body.state = replace(
            body.state,
            phase=Phase.RUNNING,
            pid=1,
            started_at=self.at,
            restarts=restarts,
            exited_at=None,
            exit_detail="",
        )
        if body.state.service in self.doomed:
            self._exit(body, "exit code 1")

    def _stop(self, action: StopInstance) -> None:
        body = self.bodies.get(action.instance)
        if body is None:
            return
        if body.state.phase is Phase.EXITED or not self._reports(body.state.node):
            del self.bodies[action.instance]
            return
        body.state = replace(body.state, phase=Phase.STOPPING)
        body.gone_at = self.at + PROCESS_DELAY

    def _push(self, action: SetEndpoints) -> str:
        edge = self.parts.get(f"edge:{action.region}")
        if edge is None or not edge.running:
            return "the edge is not running"
        self.applied[action.region, action.cluster] = AppliedEndpoints(
            region=action.region,
            cluster=action.cluster,
            digest=action.digest,
            applied_at=self.at,
            serving=tuple(
                endpoint.instance
                for locality in action.localities
                for endpoint in locality.endpoints
                if endpoint.instance is not None and not endpoint.draining
            ),
        )
        return ""

    def _answer(self, action: AnswerDns) -> str:
        server = self.parts.get(f"dns:{action.region}")
        if server is None or not server.running:
            return "the server is not running"
        self.answers[action.region] = AppliedAnswers(
            region=action.region,
            digest=action.digest,
            applied_at=self.at,
            out=tuple(sorted(f"{one.host} {name}" for one in action.hosts for name in one.out)),
        )
        return ""

    def _power_up(self, action: StartPart) -> str:
        if self._is_dark(action.part.partition(":")[2]):
            detail = "no power"
        else:
            detail = ""
        old = self.parts.get(action.part)
        if old is not None and old.running:
            return ""
        node = action.part.removeprefix("node:")
        capacity = next((one.capacity for one in nodes_of(self.system) if one.id == node), None)
        self.parts[action.part] = PartState(
            id=action.part,
            kind=action.kind,
            region=action.region,
            zone=action.zone,
            running=not detail,
            restarts=0 if old is None else old.restarts + (not detail),
            changed_at=self.at,
            capacity=capacity if action.kind is PartKind.NODE else None,
            detail=detail,
        )
        return detail


def _delay(action: Action) -> Duration:
    match action:
        case StartPart() | RetirePart():
            return PART_DELAY
        case SetEndpoints() | AnswerDns() | SetLimit() | DrainInstance() | RecordRollout():
            return PUSH_DELAY
        case _:
            return PROCESS_DELAY


# --- the loop ---------------------------------------------------------------


@dataclass
class Loop:
    """A controller over a world: observe, decide, submit, as the real loop does."""

    system: System
    plane: Any
    """A controller, such as `ControlPlane(1)`."""
    world: World = field(init=False)
    memory: Any = field(init=False)
    seen: ObserveMemory = field(default_factory=ObserveMemory)
    tracker: Tracker = field(default_factory=Tracker)
    view: View = field(init=False)
    decision: Decision[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.world = World(self.system)
        self.memory = self.plane.initial()
        self.tick(0)

    def configure(self, system: System) -> None:
        """Go on with another spec."""
        self.system = system
        self.world.configure(system)

    def restart(self) -> None:
        """As when Seakeep is killed and started again: every memory is lost."""
        self.memory, self.seen = self.plane.initial(), ObserveMemory()
        self.tracker = Tracker()

    def tick(self, dt: Duration = POLL, *faults: tuple[str, str]) -> Decision[Any]:
        """One step of the world, then one of the controller."""
        observation = self.world.step(dt, *faults)
        self.tracker, outcomes = self.tracker.seen(observation.outcomes, observation.at)
        self.view, self.seen = observe(
            self.system,
            observation,
            self.seen,
            pending=self.tracker.pending,
            outcomes=outcomes,
        )
        self.decision = self.plane.decide(self.system, self.view, self.memory)
        self.memory = self.decision.memory
        self.tracker = self.tracker.submitted(self.decision.actions, observation.at)
        self.world.submit(self.decision.actions)
        return self.decision

    def run(self, duration: Duration, dt: Duration = POLL) -> list[Action]:
        """Ticks for `duration`; every action decided meanwhile."""
        actions: list[Action] = []
        for _ in range(max(1, duration // dt)):
            actions.extend(self.tick(dt).actions)
        return actions

    def ready(self, service: str, place: str = "") -> int:
        """Instances that are READY and not draining, in a region or zone (`us-east/a`)."""
        return sum(
            1
            for one in self.view.by_service.get(service, ())
            if one.health is Health.READY
            and one.state.draining_since is None
            and f"{one.state.region}/{one.state.zone}/".startswith(place)
        )
