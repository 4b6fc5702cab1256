"""The control-plane side of the twin by itself, over a data plane that only takes notes."""

from collections.abc import Callable
from typing import Any

import pytest

from seakeep.act.admit import admit
from seakeep.engines.twin.engine import TwinEngine
from seakeep.engines.twin.faults import Faults
from seakeep.engines.twin.world import Process
from seakeep.model.action import (
    DrainInstance,
    Endpoint,
    Guard,
    Locality,
    RestartInstance,
    SetEndpoints,
    StartInstance,
    StartPart,
    StopInstance,
)
from seakeep.model.observation import InstanceState, Outcome, OutcomeStatus, PartKind, Phase
from seakeep.model.scenario import Deploy, Fault, FaultKind
from seakeep.model.system import ProbeKind
from seakeep.model.time import MILLISECOND, MINUTE, SECOND, Duration, Instant
from tests.world import probe, service, system_of

PROBES = (
    probe(ProbeKind.READINESS, failures=2, every=500 * MILLISECOND),
    probe(ProbeKind.LIVENESS),
)
SYSTEM = system_of(
    {"east": {"a": 1}, "west": {"a": 1}}, [service("web", {"east": 1.0}, probes=PROBES)]
)


class Plane:
    """Notes what it is told: states of instances, verdicts of checks."""

    def __init__(self) -> None:
        self.states: dict[str, Process] = {}
        self.checks: dict[tuple[str, str], bool] = {}
        self.errors: dict[str, float] = {}
        self.speeds: dict[str, float] = {}
        self.links: dict[tuple[str, str], dict[str, Any]] = {}
        self.edges: dict[str, Process] = {}
        self.factors: dict[str, float] = {}
        self.busy = 0

    def set_state(self, name: str, state: Process) -> None:
        self.states[name] = state

    def remove_instance(self, name: str) -> None:
        del self.states[name]

    def set_check(self, region: str, target: str, ok: bool) -> None:
        self.checks[region, target] = ok

    def set_errors(self, name: str, fraction: float) -> None:
        self.errors[name] = fraction

    def set_speed(self, name: str, cpu_left: float) -> None:
        self.speeds[name] = cpu_left

    def set_link(self, origin: str, target: str, **how: Any) -> None:
        self.links[origin, target] = how

    def set_edge(self, region: str, state: Process) -> None:
        self.edges[region] = state

    def set_factor(self, source: str, factor: float) -> None:
        self.factors[source] = factor

    def figures(self, name: str) -> Any:
        class Idle:
            busy, queued, cpu_ns, left_bytes, asked_at = self.busy, 0, 0.0, 0, 0

        return Idle

    def readings(self) -> tuple[()]:
        return ()

    revision_readings = notices = readings

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


class Rig:
    def __init__(self) -> None:
        self.plane = Plane()
        self.engine = TwinEngine(
            SYSTEM,
            self.plane,  # type: ignore[arg-type]
            admit,
            seed=1,
            now=SECOND,
            counted=(0, MINUTE),
            wall=0,
            checked=lambda at, region, target, ok: None,
            broken=lambda at, what: None,
        )
        self.engine.configure(SYSTEM)
        self.faults = Faults(self.engine, self.plane)  # type: ignore[arg-type]
        self.outcomes: dict[str, Outcome] = {}
        self.number = 0

    @property
    def at(self) -> Instant:
        return self.engine.clock.now()

    def run(self, duration: Duration) -> None:
        self.engine.pass_time(self.at + duration)

    def do(self, what: type[Any], **given: Any) -> Outcome:
        self.number += 1
        guard = Guard(revision=SYSTEM.revision, epoch=1, expires_at=self.at + MINUTE)
        action = what(id=str(self.number), guard=guard, **given)
        self.engine.submit([action])
        while action.id not in self.outcomes:
            self.engine.wait(self.at + SECOND)
            self.outcomes |= {one.action: one for one in self.engine.observe().outcomes}
        return self.outcomes[action.id]

    def start_parts(self, *regions: str) -> None:
        for region in regions:
            self.do(StartPart, part=f"edge:{region}", kind=PartKind.EDGE, region=region)
            self.do(
                StartPart, part=f"node:{region}/a/0", kind=PartKind.NODE, region=region, zone="a"
            )

    def start(self, name: str = "web-1") -> None:
        outcome = self.do(
            StartInstance,
            instance=name,
            service="web",
            region="east",
            zone="a",
            node="east/a/0",
            workload=SYSTEM.services["web"].workload,
        )
        assert outcome.status is OutcomeStatus.DONE

    def strike(self, kind: FaultKind, subject: str, amount: float = 0.0) -> Callable[[], None]:
        _, undo = self.faults.begin(self.at, Fault(kind=kind, subject=subject, amount=amount))
        return lambda: undo(self.at)

    def state(self, name: str = "web-1") -> InstanceState | None:
        found = [sample.value for sample in self.engine.observe().instances]
        return next((one for one in found if one is not None and one.id == name), None)

    def readings(self) -> dict[ProbeKind, tuple[bool, bool]]:
        state = self.state()
        assert state is not None
        return {one.kind: (one.ok, one.passed) for one in state.probes}


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.start_parts("east", "west")
    made.start()
    made.run(5 * SECOND)
    return made


def test_a_process_serves_once_its_start_is_over() -> None:
    rig = Rig()
    rig.start_parts("east")
    rig.start()
    assert rig.plane.states["web-1"] is Process.STARTING
    rig.run(990 * MILLISECOND)
    assert rig.plane.states["web-1"] is Process.STARTING
    rig.run(20 * MILLISECOND)
    assert rig.plane.states["web-1"] is Process.SERVING
    rig.run(SECOND)
    assert rig.readings()[ProbeKind.READINESS] == (True, True)


def test_a_frozen_process_hangs_and_the_one_that_takes_its_place_does_not(rig: Rig) -> None:
    tcp = rig.strike(FaultKind.FREEZE, "web")
    rig.run(5 * SECOND)
    assert rig.plane.states["web-1"] is Process.FROZEN
    # The kernel accepts on its behalf, and these probes ask for no more.
    assert rig.readings()[ProbeKind.LIVENESS] == (True, True)
    rig.do(RestartInstance, instance="web-1")
    rig.run(2 * SECOND)
    assert rig.plane.states["web-1"] is Process.SERVING
    tcp()
    state = rig.state()
    assert state is not None
    assert (state.restarts, state.phase) == (1, Phase.RUNNING)
    assert rig.plane.states["web-1"] is Process.SERVING


def test_a_killed_process_is_reported_at_once(rig: Rig) -> None:
    rig.engine.observe()
    rig.strike(FaultKind.KILL, "web-1")
    assert rig.engine.has_news
    state = rig.state()
    assert state is not None
    assert (state.phase, state.exit_detail) == (Phase.EXITED, "killed by SIGKILL")
    assert rig.plane.states["web-1"] is Process.DEAD


def test_a_node_without_power_says_nothing_and_later_that_all_has_ended(rig: Rig) -> None:
    back = rig.strike(FaultKind.LOSE_ZONE, "east/a")
    rig.run(10 * SECOND)
    (sample,) = rig.engine.observe().instances
    assert sample.observed_at == rig.at - 10 * SECOND
    assert sample.value is not None
    assert sample.value.phase is Phase.RUNNING
    assert rig.plane.states["web-1"] is Process.DARK
    node = {"part": "node:east/a/0", "kind": PartKind.NODE, "region": "east", "zone": "a"}
    assert rig.do(StartPart, **node).detail == "no power in east/a"
    back()
    rig.run(SECOND)
    assert rig.do(StartPart, **node).status is OutcomeStatus.DONE
    state = rig.state()
    assert state is not None
    assert state.exit_detail == "ended while its node agent was away"
    rig.do(RestartInstance, instance="web-1")
    rig.run(3 * SECOND)
    assert rig.plane.states["web-1"] is Process.SERVING


def test_one_that_was_replaced_while_its_node_was_gone_is_forgotten(rig: Rig) -> None:
    rig.strike(FaultKind.LOSE_NODE, "east/a/0")
    assert rig.do(StopInstance, instance="web-1", grace=SECOND).status is OutcomeStatus.DONE
    assert rig.state() is None
    assert rig.engine.observe().ordinals[0].last == 1


def test_a_region_without_power_takes_its_envoy_along(rig: Rig) -> None:
    back = rig.strike(FaultKind.LOSE_REGION, "east")
    assert rig.plane.edges["east"] is Process.DARK
    parts = {one.value.id: one.value for one in rig.engine.observe().parts if one.value}
    assert not parts["edge:east"].running
    assert parts["edge:west"].running
    back()
    assert rig.plane.edges["east"] is Process.DEAD
    rig.do(StartPart, part="edge:east", kind=PartKind.EDGE, region="east")
    assert rig.plane.edges["east"] is Process.SERVING


def test_one_that_is_told_to_stop_answers_what_it_has_begun_and_at_most_for_its_grace(
    rig: Rig,
) -> None:
    rig.do(DrainInstance, instance="web-1")
    rig.plane.busy = 1
    rig.do(StopInstance, instance="web-1", grace=2 * SECOND)
    rig.run(1_900 * MILLISECOND)
    state = rig.state()
    assert state is not None
    assert state.phase is Phase.STOPPING
    rig.run(200 * MILLISECOND)
    assert rig.state() is None
    rig.start("web-2")
    rig.plane.busy = 0
    rig.do(StopInstance, instance="web-2", grace=2 * SECOND)
    rig.run(100 * MILLISECOND)
    assert rig.state("web-2") is None


def test_a_restart_decided_for_another_process_is_refused(rig: Rig) -> None:
    guard = Guard(revision=SYSTEM.revision, epoch=1, expires_at=rig.at + MINUTE, restarts=3)
    rig.engine.submit([RestartInstance(id="late", guard=guard, instance="web-1")])
    rig.run(SECOND)
    (outcome,) = rig.engine.observe().outcomes
    assert outcome.status is OutcomeStatus.REFUSED
    rig.engine.supervise()
    assert rig.do(DrainInstance, instance="web-1").status is OutcomeStatus.REFUSED  # epoch 1


def test_a_gateway_is_well_while_one_behind_it_is(rig: Rig) -> None:
    endpoint = Endpoint(instance="web-1", host="web-1.a", port=8080, healthy=True)
    here = Locality(region="east", zone="a", priority=0, weight=0, endpoints=(endpoint,))
    there = Locality(
        region="east",
        zone=None,
        priority=0,
        weight=0,
        endpoints=(Endpoint(instance=None, host="east", port=8080, healthy=True),),
    )
    for region, cluster, localities in (
        ("east", "web", (here,)),
        ("east", "web.local", (here,)),
        ("west", "web", (there,)),
    ):
        rig.do(
            SetEndpoints,
            region=region,
            cluster=cluster,
            service="web",
            localities=localities,
            digest=f"{region} {cluster}",
        )
    rig.run(5 * SECOND)
    assert rig.plane.checks == {("east", "web-1"): True, ("west", "east:web"): True}
    healed = rig.strike(FaultKind.PARTITION, "west>east")
    rig.run(10 * SECOND)
    assert rig.plane.checks["west", "east:web"] is False
    assert rig.plane.links["west", "east"]["cut"]
    assert ("east", "west") not in rig.plane.links
    healed()
    rig.run(5 * SECOND)
    assert rig.plane.checks["west", "east:web"] is True
    rig.strike(FaultKind.KILL, "web")
    rig.run(10 * SECOND)
    assert rig.plane.checks == {("east", "web-1"): False, ("west", "east:web"): True}


def test_errors_of_a_service_hold_for_what_starts_meanwhile(rig: Rig) -> None:
    well = rig.strike(FaultKind.ERRORS, "web", 0.5)
    more = rig.strike(FaultKind.ERRORS, "web-1", 0.5)
    rig.start("web-2")
    assert rig.plane.errors == {"web-1": 0.75, "web-2": 0.5}
    well()
    more()
    assert rig.plane.errors == {"web-1": 0.0, "web-2": 0.0}


def test_an_outage_is_of_every_process_that_there_is_or_will_be(rig: Rig) -> None:
    over = rig.strike(FaultKind.OUTAGE, "web")
    rig.start("web-2")
    rig.run(5 * SECOND)
    assert set(rig.plane.states.values()) == {Process.DEAD}
    assert rig.readings()[ProbeKind.LIVENESS] == (False, True)
    over()
    assert set(rig.plane.states.values()) == {Process.SERVING}


def test_slowness_and_surges_of_several_faults_add_up(rig: Rig) -> None:
    first = rig.strike(FaultKind.SLOW, "web-1", 0.5)
    rig.strike(FaultKind.SLOW, "web-1", 0.2)
    assert rig.plane.speeds["web-1"] == 0.2
    first()
    assert rig.plane.speeds["web-1"] == 0.2
    rig.strike(FaultKind.SURGE, "people", 2.0)
    over = rig.strike(FaultKind.SURGE, "people", 3.0)
    assert rig.plane.factors["people"] == 6.0
    over()
    assert rig.plane.factors["people"] == 2.0


def test_a_version_that_never_gets_ready_does_not_serve(rig: Rig) -> None:
    revision = SYSTEM.services["web"].workload.revision
    rig.engine.instances.deploys["web", revision] = Deploy(ready=False)
    rig.start("web-2")
    rig.run(20 * SECOND)
    assert rig.plane.states["web-2"] is Process.STARTING
    state = rig.state("web-2")
    assert state is not None
    assert not any(one.passed for one in state.probes)


def test_the_time_that_instances_ran_is_summed_up(rig: Rig) -> None:
    began = rig.at
    rig.strike(FaultKind.KILL, "web-1")
    rig.run(10 * SECOND)
    rig.do(RestartInstance, instance="web-1")
    again = rig.at
    rig.run(10 * SECOND)
    rig.engine.instances.count_runs(rig.at)
    first = began - 5 * SECOND
    assert rig.engine.ran.total["web"] == pytest.approx(began - first + rig.at - again, abs=SECOND)
