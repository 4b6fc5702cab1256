"""How long one step of deciding takes: observe and decide, 50 regions x 200 instances.

    python benchmarks/decide_step.py [--json] [--steps 200]

The world is a table of values: no process, no network, and applying what was decided is not part
of the time. What is timed is the very step that the supervisor takes (`runtime.step`), from the
observation to the decision. Steps:

- `steady`: all is well, and every node has sent a heartbeat since the last step, so that every
  state of every instance is a new object with new figures (CPU, probe counts and times);
- `between heartbeats`: all is well, and the step was brought about by one node's news: the
  states of all other nodes are the same objects as in the last step;
- `restless`: one instance in a hundred turns unready, another hundredth turns ready again;
- `region lost`: every step from the loss of one region until nothing is left to do; the figure
  that counts is the slowest of them;
- `cold`: the first step of a new supervisor that adopts everything;
- `letting go`: no step, but what follows a steady one, once its actions are on their way: the
  last observation and what was made of it are freed.

The figures are CPU time of the one thread, so that a neighbour on the machine does not count; the
wall-clock median stands beside them. As in the supervisor (`runtime.loop`) Python's cyclic
collector runs between steps; `steady, collector on` shows what it would cost within them.
"""

import argparse
import gc
import json
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, assert_never

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
from seakeep.model.ids import node_id, ordinal_of
from seakeep.model.observation import (
    Address,
    AppliedEndpoints,
    InstanceState,
    Observation,
    Outcome,
    OutcomeStatus,
    PartState,
    Phase,
    ProbeReading,
    Sample,
)
from seakeep.model.rollout import RolloutRecord
from seakeep.model.system import (
    Balance,
    HttpCheck,
    Link,
    Node,
    Prefer,
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
    Workload,
    Zone,
    nodes_of,
)
from seakeep.model.time import MILLISECOND, SECOND, Duration, Instant
from seakeep.runtime.step import Pipeline, StepState

REGIONS = 50
INSTANCES_PER_REGION = 200
SERVICES = ("web", "catalog", "orders", "search")
ZONES = ("a", "b", "c")
NODES_PER_ZONE = 4
BOUND_MS = 50.0
READY_AFTER = 1 * SECOND


def the_system() -> System:
    """50 regions of 3 zones of 4 nodes; 4 services spread evenly; `web` prefers its zone."""
    names = [f"region-{number:02}" for number in range(REGIONS)]
    regions = {
        name: Region(
            name=name,
            zones={
                zone: Zone(
                    name=zone, nodes=tuple(_node(name, zone, i) for i in range(NODES_PER_ZONE))
                )
                for zone in ZONES
            },
        )
        for name in names
    }
    links = tuple(
        Link(a=a, b=b, latency=MILLISECOND * (5 + 3 * abs(names.index(a) - names.index(b))))
        for a in names
        for b in names
        if a < b
    )
    services = {name: _service(name, names) for name in SERVICES}
    return System(name="bench", revision="r1", regions=regions, links=links, services=services)


def _node(region: str, zone: str, index: int) -> Node:
    return Node(
        id=node_id(region, zone, index),
        region=region,
        zone=zone,
        capacity=Resources(cpu_millicores=16_000, memory_bytes=64 << 30),
    )


def _service(name: str, regions: Sequence[str]) -> Service:
    replicas = REGIONS * INSTANCES_PER_REGION // len(SERVICES)
    probes = tuple(
        Probe(
            kind=kind,
            check=HttpCheck(path="/healthz"),
            period=SECOND,
            timeout=SECOND,
            failures=3,
        )
        for kind in (ProbeKind.READINESS, ProbeKind.LIVENESS)
    )
    return Service(
        name=name,
        workload=Workload(
            command=("serve", name),
            port=8080,
            protocol=Protocol.HTTP,
            env=(),
            resources=Resources(cpu_millicores=250, memory_bytes=128 << 20),
            probes=probes,
            stop_grace=10 * SECOND,
            revision="w1",
        ),
        image=None,
        replicas=Replicas(min=replicas, max=2 * replicas),
        spread=Spread(regions=dict.fromkeys(regions, 1 / REGIONS)),
        scale=None,
        routes=(),
        balance=Balance(prefer=Prefer.ZONE if name == "web" else Prefer.REGION),
        timeout=SECOND,
        retries=Retries(),
        limit=(),
        calls=(),
        work=None,
        rollout=Rollout(surge=10, unavailable=0),
        drain=SECOND,
        proxy_protocol=False,
    )


@dataclass
class Table:
    """The world as values: actions take effect by the next step."""

    system: System
    at: Instant = 1_000 * SECOND
    seq: int = 0
    states: dict[str, InstanceState] = field(default_factory=dict)
    heard: dict[str, Instant] = field(default_factory=dict)
    unready: set[str] = field(default_factory=set)
    parts: dict[str, PartState] = field(default_factory=dict)
    applied: dict[tuple[str, str], AppliedEndpoints] = field(default_factory=dict)
    rollouts: dict[str, RolloutRecord] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    lost: str = ""
    """A region without power."""

    def look(self, only: str = "") -> Observation:
        """`only`: the one node that has sent a report since the last look; all, without."""
        self.seq += 1
        outcomes, self.outcomes = tuple(self.outcomes), []
        for name, state in self.states.items():
            if state.region != self.lost and only in ("", state.node):
                self.heard[name] = self.at
                self.states[name] = self._fresh(state)
        ordered = sorted(self.states.values(), key=lambda one: (one.service, ordinal_of(one.id)))
        return Observation(
            seq=self.seq,
            at=self.at,
            instances=tuple(
                Sample(value=state, observed_at=self.heard[state.id], source=state.node)
                for state in ordered
            ),
            parts=tuple(
                Sample(value=self.parts[name], observed_at=self.at, source="engine")
                for name in sorted(self.parts)
            ),
            endpoints=tuple(self.applied[key] for key in sorted(self.applied)),
            outcomes=outcomes,
            rollouts=tuple(self.rollouts[name] for name in sorted(self.rollouts)),
        )

    def _fresh(self, state: InstanceState) -> InstanceState:
        """As decoded from a report: a new object down to its names."""
        age = self.at - state.started_at
        passed = age >= READY_AFTER
        ready = passed and state.id not in self.unready
        readings = tuple(
            ProbeReading(
                kind=kind,
                ok=ok,
                count=1 + age // SECOND,
                passed=passed,
                checked_at=self.at,
                detail="" if ok else "HTTP 503",
            )
            for kind, ok in ((ProbeKind.READINESS, ready), (ProbeKind.LIVENESS, True))
        )
        cpu = 100.0 + (hash_of(state.id) + self.seq * 7) % 50
        return replace(
            state,
            id=_decoded(state.id),
            service=_decoded(state.service),
            region=_decoded(state.region),
            zone=_decoded(state.zone),
            node=_decoded(state.node),
            revision=_decoded(state.revision),
            probes=readings,
            cpu_millicores=cpu,
            address=Address(host=_decoded(state.address.host), port=state.address.port),
        )

    def lose(self, region: str) -> None:
        self.lost = region
        for name, part in self.parts.items():
            if part.region == region:
                self.parts[name] = replace(
                    part, running=False, changed_at=self.at, detail=f"no power in {region}"
                )

    def apply(self, actions: Sequence[Action]) -> None:
        for action in actions:
            done = self._do(action)
            status = OutcomeStatus.DONE if done else OutcomeStatus.FAILED
            self.outcomes.append(Outcome(action=action.id, status=status, at=self.at))

    def _do(self, action: Action) -> bool:
        match action:
            case StartInstance():
                self.states[action.instance] = self._instance(action)
            case RestartInstance():
                state = self.states[action.instance]
                self.states[state.id] = replace(
                    state, started_at=self.at, restarts=state.restarts + 1, phase=Phase.RUNNING
                )
            case DrainInstance():
                state = self.states[action.instance]
                self.states[state.id] = replace(state, draining_since=self.at)
            case StopInstance():
                self.states.pop(action.instance, None)
            case SetLimit():
                pass  # no limits in this system
            case SetEndpoints():
                self.applied[action.region, action.cluster] = AppliedEndpoints(
                    region=action.region,
                    cluster=action.cluster,
                    digest=action.digest,
                    applied_at=self.at,
                    serving=tuple(
                        one.instance
                        for locality in action.localities
                        for one in locality.endpoints
                        if one.instance is not None and not one.draining
                    ),
                )
            case StartPart():
                return self._power_up(action)
            case RetirePart():
                self.parts.pop(action.part, None)
            case AnswerDns():
                pass  # this system has no zone
            case RecordRollout():
                self.rollouts[action.record.service] = action.record
            case _:
                assert_never(action)
        return True

    def _instance(self, action: StartInstance) -> InstanceState:
        return InstanceState(
            id=action.instance,
            service=action.service,
            region=action.region,
            zone=action.zone,
            node=action.node,
            revision=action.workload.revision,
            address=Address(host=f"{action.instance}.test", port=action.workload.port),
            phase=Phase.RUNNING,
            pid=1,
            created_at=self.at,
            started_at=self.at,
            restarts=0,
        )

    def _power_up(self, action: StartPart) -> bool:
        if action.region == self.lost:
            return False
        node = action.part.removeprefix("node:")
        capacity = next((one.capacity for one in nodes_of(self.system) if one.id == node), None)
        self.parts[action.part] = PartState(
            id=action.part,
            kind=action.kind,
            region=action.region,
            zone=action.zone,
            running=True,
            restarts=0,
            changed_at=self.at,
            capacity=capacity,
        )
        return True


def _decoded(text: str) -> str:
    return text.encode().decode()


def hash_of(name: str) -> int:
    """A number for a name that is the same in every process."""
    return sum(ord(letter) * (place + 1) for place, letter in enumerate(name))


@dataclass
class Bench:
    table: Table
    pipeline: Pipeline = field(default_factory=lambda: Pipeline(1))
    state: StepState = field(init=False)
    wall_ms: list[float] = field(default_factory=list)
    """Of every step so far."""
    let_go_ms: list[float] = field(default_factory=list)
    """Likewise."""

    def __post_init__(self) -> None:
        self.state = self.pipeline.initial()

    def step(self, after: Duration = SECOND, only: str = "") -> tuple[float, int]:
        """Milliseconds that the step took, and how many actions came of it."""
        self.table.at += after
        observation = self.table.look(only)
        begun, begun_wall = time.thread_time(), time.perf_counter()
        result = self.pipeline.step(self.table.system, observation, self.state)
        ended = time.thread_time()
        self.wall_ms.append((time.perf_counter() - begun_wall) * 1_000)
        actions, self.state = result.decision.actions, result.state
        del result
        self.let_go_ms.append((time.thread_time() - ended) * 1_000)
        if not gc.isenabled():
            gc.collect(1)
        self.table.apply(actions)
        return (ended - begun) * 1_000, len(actions)

    def settle(self, steps_max: int = 200) -> list[tuple[float, int]]:
        """Steps until nothing has been decided for a while."""
        steps: list[tuple[float, int]] = []
        quiet = 0
        while quiet < 5 and len(steps) < steps_max:
            steps.append(self.step())
            quiet = 0 if steps[-1][1] else quiet + 1
        return steps

    def restless(self, steps: int) -> list[float]:
        names = sorted(self.table.states)
        share = len(names) // 100
        took = []
        for number in range(steps):
            first = number * share % len(names)
            self.table.unready = set(names[first : first + share])
            took.append(self.step()[0])
        self.table.unready = set()
        return took


def measure(steps: int = 100) -> dict[str, Any]:
    """Figures in milliseconds of CPU time, with what they were measured on:

    - `machine`, `python`, `regions`, `instances`, `services`, `bound_ms`;
    - `steady_ms`, `between_heartbeats_ms`, `restless_ms`, `steady_collector_on_ms` and
      `letting_go_ms`: each with `median`, `p99`, `max` and the number of `steps`;
    - `steady_wall_median_ms`;
    - `region_lost_ms`: `slowest`, the number of `steps` and `actions`, and of the `first` steps
      pairs of milliseconds and actions;
    - `cold_ms`: one step; `start_from_nothing_ms`: `slowest`, and the number of `steps`.
    """
    bench = Bench(Table(the_system()))
    gc.disable()
    try:
        return _measure(bench, steps)
    finally:
        gc.enable()


def _measure(bench: Bench, steps: int) -> dict[str, Any]:
    started = bench.settle()
    steady = [bench.step()[0] for _ in range(steps)]
    wall, let_go = bench.wall_ms[-steps:], bench.let_go_ms[-steps:]
    nodes = [node.id for node in nodes_of(bench.table.system)]
    between = [bench.step(20 * MILLISECOND, nodes[n % len(nodes)])[0] for n in range(steps)]
    bench.settle()
    gc.enable()
    collected = [bench.step()[0] for _ in range(steps)]
    gc.disable()
    restless = bench.restless(steps)
    bench.settle()
    cold_ms = Bench(bench.table).step()[0]
    bench.settle()
    bench.table.lose("region-25")
    lost = [bench.step() for _ in range(20)]
    return {
        "machine": _machine(),
        "python": platform.python_version(),
        "regions": REGIONS,
        "instances": REGIONS * INSTANCES_PER_REGION,
        "services": len(SERVICES),
        "bound_ms": BOUND_MS,
        "steady_ms": _figures(steady),
        "steady_wall_median_ms": round(statistics.median(wall), 2),
        "between_heartbeats_ms": _figures(between),
        "restless_ms": _figures(restless),
        "steady_collector_on_ms": _figures(collected),
        "letting_go_ms": _figures(let_go),
        "region_lost_ms": {
            "slowest": round(max(took for took, _ in lost), 2),
            "steps": len(lost),
            "actions": sum(count for _, count in lost),
            "first": [[round(took, 2), count] for took, count in lost[:8]],
        },
        "cold_ms": round(cold_ms, 2),
        "start_from_nothing_ms": {
            "slowest": round(max(took for took, _ in started), 2),
            "steps": len(started),
        },
    }


def _figures(took: Sequence[float]) -> dict[str, float]:
    ordered = sorted(took)
    return {
        "median": round(statistics.median(ordered), 2),
        "p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 2),
        "max": round(ordered[-1], 2),
        "steps": len(ordered),
    }


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Time one step of deciding.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args(arguments)
    found = measure(options.steps)
    if options.json:
        print(json.dumps(found))
        return 0
    print(f"{found['machine']}, Python {found['python']}, one core")
    print(f"{found['regions']} regions, {found['instances']} instances, bound {BOUND_MS:.0f} ms")
    print(f"{'step (CPU time)':<24}{'median':>10}{'p99':>10}{'slowest':>10}")
    for name in ("steady", "between_heartbeats", "restless", "steady_collector_on", "letting_go"):
        row = found[f"{name}_ms"]
        label = name.replace("_", " ")
        figures = f"{row['median']:>10.2f}{row['p99']:>10.2f}{row['max']:>10.2f}"
        print(f"{label:<24}{figures}  ms")
    lost = found["region_lost_ms"]
    print(f"{'region lost':<24}{'':>10}{'':>10}{lost['slowest']:>10.2f}  ms")
    print(f"{'cold (adopt everything)':<24}{'':>10}{'':>10}{found['cold_ms']:>10.2f}  ms")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
