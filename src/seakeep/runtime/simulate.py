"""One scenario in the twin: the real controllers over a simulated world, in virtual time.

    run = simulate(system, "region-loss", seed=1)

Three spans follow each other. The system is built without traffic, by the controllers; that is
fast, since nothing happens most of the time. Then traffic begins, for the warm-up, which is not
counted. Then the scenario runs, its faults counted from its beginning.

The loop is that of `runtime.loop`: never two steps within 20 ms, at once when something happens,
and when a controller asked for it. In between it takes a step a second only while something is in
motion or has to be measured so often. A control plane that was down comes back as another
supervisor, which remembers nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from seakeep.act.admit import admit
from seakeep.engines.twin.engine import TwinEngine
from seakeep.engines.twin.faults import Faults, Undo
from seakeep.engines.twin.world import World
from seakeep.model.limits import LimitScope
from seakeep.model.rollout import Stage
from seakeep.model.run import Run
from seakeep.model.scale import Metric
from seakeep.model.scenario import Deploy, Fault, FaultKind, Scenario
from seakeep.model.system import BalancePolicy, Service, System
from seakeep.model.time import DAY, MILLISECOND, MINUTE, SECOND, Duration, Instant
from seakeep.model.view import Health
from seakeep.model.work import START, mean_of
from seakeep.runtime.invariants import Invariants
from seakeep.runtime.step import Pipeline, StepResult
from seakeep.runtime.story import Story

STEP_EVERY_MIN: Duration = 20 * MILLISECOND
STEP_EVERY: Duration = SECOND
"""While something is in motion."""
CALM_AFTER: Duration = 10 * SECOND
"""Without anything having happened, and with everything as it should be."""
BUILT_WITHIN: Duration = 5 * MINUTE
"""The system, beside ten times what its slowest process takes to start."""
MONDAY: Instant = 1_704_067_200 * SECOND
"""Unix time at the beginning of a scenario, for schedules: 2024-01-01, midnight UTC."""
BEGINNING: Instant = MINUTE
"""Of the clock; not zero, so that no code takes an unset time for a real one."""
BUILT_FOR: Duration = 2 * SECOND
"""The system stands once nothing has moved for so long."""
BUCKETS_MAX = 720
BUCKETS: tuple[Duration, ...] = tuple(
    seconds * SECOND for seconds in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
)
COUNTED = (Metric.RATE, Metric.LATENCY)
"""Metrics that are counted; the others are gauges."""
Logs: TypeAlias = Mapping[str, NDArray[np.int64]]
NO_LOGS: Logs = {}


class ScenarioError(ValueError):
    """The scenario cannot be run; `hint` says what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def simulate(
    system: System,
    scenario: Scenario | str,
    *,
    seed: int,
    bucket: Duration | None = None,
    controllers: bool = True,
    logs: Logs = NO_LOGS,
) -> Run:
    """One run. The same arguments give the same run, bit for bit.

    `scenario` may be the name of one of the system's. `bucket` is the length of one bucket of
    what is told over time, a second for short scenarios when None. Without `controllers` nobody
    acts once the system is built. `logs` are the arrivals of traffic sources that replay one, ns
    since its beginning. Raises ScenarioError.
    """
    if isinstance(scenario, str):
        scenario = _named(system, scenario)
    return _Simulation(system, scenario, seed, bucket, controllers, logs).run()


def _named(system: System, name: str) -> Scenario:
    if name not in system.scenarios:
        known = ", ".join(system.scenarios) or "none"
        raise ScenarioError(f"there is no scenario '{name}'", f"the spec has: {known}")
    return system.scenarios[name]


def _waits(service: Service) -> bool:
    """Whether a request that waits for an instance waits until its turn comes."""
    work = service.work
    return work is None or not (work.cancel or work.queue_timeout)


def bucket_for(duration: Duration) -> Duration:
    """The shortest of the usual lengths that gives no more than `BUCKETS_MAX` buckets."""
    return next((one for one in BUCKETS if duration <= one * BUCKETS_MAX), BUCKETS[-1])


@dataclass(frozen=True, slots=True)
class _Strike:
    """A fault that begins or ends."""

    at: Instant
    begins: bool
    index: int
    """Of the scenario's step."""


class _Simulation:
    def __init__(
        self,
        system: System,
        scenario: Scenario,
        seed: int,
        bucket: Duration | None,
        controllers: bool,
        logs: Logs,
    ) -> None:
        slowest = max((_mean_start(one) for one in system.services.values()), default=0.0)
        self._built_at = BEGINNING + BUILT_WITHIN + round(10 * slowest)
        self._zero = self._built_at + scenario.warmup
        self._end = self._zero + scenario.duration
        self._system = self._wanted = system
        self._scenario, self._seed, self._controllers = scenario, seed, controllers
        self._bucket = bucket or bucket_for(scenario.duration)
        self._story = Story(self._zero, MONDAY - self._zero)
        self._invariants = Invariants(self._zero)
        self._world = World(
            system,
            seed=seed,
            now=BEGINNING,
            counted_from=self._zero,
            end=self._end,
            bucket=self._bucket,
            logs=logs,
        )
        self._engine = TwinEngine(
            system,
            self._world,
            admit,
            seed=seed,
            now=BEGINNING,
            counted=(self._zero, self._end),
            wall=MONDAY - self._zero,
            checked=self._story.checked,
            broken=self._invariants.note,
        )
        self._faults = Faults(self._engine, self._world)
        self._undo: dict[int, Undo] = {}
        self._strikes = _strikes_of(scenario, self._zero, self._end)
        self._struck = 0
        self._down = 0
        """Faults that keep the control plane down."""
        self._deployed = 0
        self._pipeline = Pipeline(self._engine.epoch)
        self._state = self._pipeline.initial()
        self._stirred_at = BEGINNING
        """When something was last in motion, as far as the controllers can tell."""
        self._sensed_every = sensed_every(system)
        self._steps = 0

    def run(self) -> Run:
        self._engine.configure(self._system)
        self._build()
        self._world.start_traffic(self._built_at)
        self._keep()
        self._engine.instances.count_runs(self._end)
        self._engine.edges.vigil.end(self._end)
        return self._result()

    def _result(self) -> Run:
        world = self._world
        traffic, services = world.traffic(), world.flows()
        self._invariants.counted("from", traffic)
        self._invariants.counted("to", services)
        loads = world.loads()
        if not self._scenario.steps:
            patient = {
                name: flow for name, flow in services.items() if _waits(self._system.services[name])
            }
            self._invariants.queued(patient, loads, self._scenario.duration)
        ran = self._engine.ran.total
        return Run(
            scenario=self._scenario.name,
            seed=self._seed,
            duration=self._scenario.duration,
            bucket=self._bucket,
            traffic=traffic,
            services=services,
            lines=world.lines(),
            loads=loads,
            objectives=world.goods(),
            events=self._story.events(),
            instance_ns={name: ran.get(name, 0) for name in self._system.services},
            steps=self._steps,
            broken=self._invariants.broken(),
        )

    # --- time ---

    @property
    def _now(self) -> Instant:
        return self._engine.clock.at

    def _build(self) -> None:
        """Let the controllers start everything; then let time pass until traffic begins."""
        while self._now < self._built_at:
            at = self._now
            wake = self._step()
            if at - self._stirred_at >= BUILT_FOR:
                break
            self._engine.pass_time(min(at + STEP_EVERY_MIN, self._built_at))
            self._engine.wait(min(wake, self._built_at))
        self._engine.pass_time(self._built_at)

    def _keep(self) -> None:
        """Warm-up and scenario."""
        while self._now < self._end:
            at = self._now
            if self._down or not self._controllers:
                self._pass_to(min(self._next_strike(), self._end))
                continue
            wake = self._step()
            self._pass_to(min(at + STEP_EVERY_MIN, self._end))
            self._wait_to(min(wake, self._end))

    def _pass_to(self, until: Instant) -> None:
        while self._now < until:
            self._engine.pass_time(min(self._next_strike(), until))
            self._look_around()

    def _wait_to(self, until: Instant) -> None:
        while self._now < until and not self._engine.has_news:
            self._engine.wait(min(self._next_strike(), until))
            self._look_around()

    def _look_around(self) -> None:
        for notice in self._engine.notices():
            self._story.ejected(notice)
        self._strike()

    # --- control ---

    def _step(self) -> Instant:
        """One turn of the control loop. When the next is due, if nothing happens before."""
        at = self._now
        if self._wanted is not self._system:
            self._system = self._wanted
            self._engine.configure(self._system)
            self._sensed_every = sensed_every(self._system)
        result = self._pipeline.step(self._system, self._engine.observe(), self._state)
        self._state = result.state
        self._engine.submit(result.decision.actions)
        self._invariants.decided(self._system, result.view, result.decision.actions)
        self._story.step(result.view, result.decision)
        self._steps += at >= self._zero
        if _stirs(self._system, result):
            self._stirred_at = at
        until = at + DAY
        if at - self._stirred_at < CALM_AFTER:
            until = at + STEP_EVERY
        elif at >= self._built_at:
            until = at + self._sensed_every
        wake = result.decision.wake_at
        return until if wake is None else min(until, wake)

    # --- faults ---

    def _next_strike(self) -> Instant:
        return self._strikes[self._struck].at if self._struck < len(self._strikes) else self._end

    def _strike(self) -> None:
        """All faults that begin or end now."""
        while self._struck < len(self._strikes) and self._strikes[self._struck].at <= self._now:
            strike = self._strikes[self._struck]
            self._struck += 1
            fault = self._scenario.steps[strike.index].fault
            if strike.begins:
                hit, self._undo[strike.index] = self._begin(fault)
                self._story.fault(self._now, fault, hit)
            else:
                self._undo[strike.index](self._now)
                self._story.heal(self._now, fault)

    def _begin(self, fault: Fault) -> tuple[str | None, Undo]:
        match fault.kind:
            case FaultKind.CONTROL_DOWN:
                self._down += 1
                return "", self._take_over
            case FaultKind.DEPLOY:
                return self._deploy(fault), lambda at: None
            case _:
                return self._faults.begin(self._now, fault)

    def _take_over(self, at: Instant) -> None:
        """Another supervisor comes, and remembers nothing."""
        self._down -= 1
        if not self._down:
            self._engine.supervise()
            self._pipeline = Pipeline(self._engine.epoch)
            self._state = self._pipeline.initial()
            self._stirred_at = at

    def _deploy(self, fault: Fault) -> str:
        """The spec has another workload for a service from now on."""
        self._deployed += 1
        system, number = self._wanted, self._deployed
        service = system.services[fault.subject]
        old = service.workload
        revision = f"{old.revision}.{number}"
        env = (*old.env, ("SEAKEEP_DEPLOY", str(number)))
        changed = replace(service, workload=replace(old, env=env, revision=revision))
        self._engine.instances.deploys[service.name, revision] = fault.deploy or Deploy()
        self._wanted = replace(
            system,
            revision=f"{system.revision}.{number}",
            services={**system.services, service.name: changed},
        )
        self._engine.wake()
        return service.name


def _mean_start(service: Service) -> float:
    return mean_of(START if service.work is None else service.work.start)


def _strikes_of(scenario: Scenario, zero: Instant, end: Instant) -> tuple[_Strike, ...]:
    """By time; at one instant what ends comes before what begins."""
    strikes: list[_Strike] = []
    for index, step in enumerate(scenario.steps):
        begin = zero + step.at
        strikes.append(_Strike(begin, True, index))
        if step.lasts:
            strikes.append(_Strike(begin + step.lasts, False, index))
    found = [one for one in strikes if one.at < end]
    return tuple(sorted(found, key=lambda one: (one.at, one.begins, one.index)))


def _stirs(system: System, result: StepResult) -> bool:
    """Whether anything is in motion."""
    view = result.view
    if result.decision.actions or view.pending or view.outcomes:
        return True
    if any(one.stage is not Stage.SETTLED for one in view.rollouts.values()):
        return True
    if not all(part.running for part in view.parts.values()):
        return True
    for service in system.services.values():
        if service.replicas.min and not view.by_service.get(service.name):
            return True
    ready = Health.READY
    return any(
        one.health is not ready or one.state.draining_since is not None
        for one in view.instances.values()
    )


def sensed_every(system: System) -> Duration:
    """How often controllers must look at what nobody tells them of, beside when they ask to.
    Of counters it makes no difference how often one looks, but gauges have to be sampled."""
    for service in system.services.values():
        limits = (service.limit, *(route.limit for route in service.routes))
        metrics = service.scale.metrics if service.scale is not None else ()
        if (
            service.balance.policy is BalancePolicy.LOAD_AWARE
            or any(one.metric not in COUNTED for one in metrics)
            or any(limit.scope is LimitScope.SYSTEM for of in limits for limit in of)
        ):
            return SECOND
    return DAY
