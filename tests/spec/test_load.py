"""What a good spec becomes: YAML 1.2, anchors, defaults, revisions."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from seakeep.model.limits import LimitPer, LimitScope, Priority, RateLimit, Shed
from seakeep.model.scale import Forecast, Metric, Scale, ScaleTarget
from seakeep.model.system import (
    Call,
    Distribution,
    ExecCheck,
    Fault,
    FaultKind,
    GrpcCheck,
    HttpCheck,
    ProbeKind,
    Replicas,
    Retries,
    Shape,
    System,
    TcpCheck,
)
from seakeep.model.time import DAY, HOUR, MILLISECOND, MINUTE, SECOND
from seakeep.spec import load
from seakeep.spec.digest import digest
from tests.spec.writing import MINIMAL, problems_of, written

SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop" / "seakeep.yaml"


def system_of(folder: Path, text: str) -> System:
    loaded = load(written(folder, text))
    assert loaded.warnings == ()
    return loaded.system


def service(folder: Path, fields: str):
    text = "system: s\nregions: {x: {zones: [a]}, y: {zones: [a]}, z: {zones: [a]}}\n"
    return system_of(
        folder, f"{text}services: {{api: {{run: x}}, web: {{run: x, {fields}}}}}\n"
    ).services["web"]


def test_the_minimal_spec_gets_the_documented_defaults(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, MINIMAL))
    system = loaded.system
    web = system.services["web"]
    assert loaded.files == (tmp_path / "seakeep.yaml",)
    assert system.edge.port == 8080
    assert [zone.name for zone in system.regions["home"].zones.values()] == ["a", "b"]
    node = system.regions["home"].zones["a"].nodes[0]
    assert (node.id, node.capacity.cpu_millicores, node.capacity.memory_bytes) == (
        "home/a/0",
        4000,
        8 * 2**30,
    )
    assert web.workload.command == ("python", "app.py")
    assert web.workload.port == 8080
    assert web.workload.resources.cpu_millicores == 100
    assert web.workload.resources.memory_bytes == 128 * 2**20
    (probe,) = web.workload.probes
    assert (probe.kind, probe.check) == (ProbeKind.READINESS, TcpCheck())
    assert (probe.period, probe.timeout, probe.failures) == (SECOND, SECOND, 3)
    assert web.timeout == 15 * SECOND
    assert web.retries == Retries()
    assert (web.drain, web.workload.stop_grace) == (2 * SECOND, 10 * SECOND)
    assert web.replicas == Replicas(min=1, max=1)
    assert web.spread.regions == {"home": 1.0}


def test_nodes_are_counted_by_zone_and_inherit_from_the_region(tmp_path: Path) -> None:
    system = system_of(
        tmp_path,
        """\
system: s
regions:
  r:
    nodes: {count: 2, cpu: 2, memory: 1GiB}
    zones: {a: {nodes: {count: 3}}, b: {nodes: {cpu: 500m}}, c: }
services: {web: {run: x}}
""",
    )
    zones = system.regions["r"].zones
    assert [len(zone.nodes) for zone in zones.values()] == [3, 2, 2]
    assert [zone.nodes[0].capacity.cpu_millicores for zone in zones.values()] == [2000, 500, 2000]
    assert zones["a"].nodes[2].id == "r/a/2"
    assert {n.capacity.memory_bytes for z in zones.values() for n in z.nodes} == {2**30}


def test_words_of_yaml_1_1_are_text_and_keys(tmp_path: Path) -> None:
    text = """\
system: on
regions: {no: {zones: [y, n, yes]}}
services:
  off: {run: x, env: {on: no, YES: 012, V: 1.10, T: True, E: , H: 0x1F}, routes: [{path: /}]}
"""
    system = system_of(tmp_path, text)
    assert system.name == "on"
    assert list(system.regions["no"].zones) == ["y", "n", "yes"]
    assert dict(system.services["off"].workload.env) == {
        "on": "no",
        "YES": "012",
        "V": "1.10",
        "T": "True",
        "E": "",
        "H": "0x1F",
    }


def test_anchors_aliases_and_merge_keys(tmp_path: Path) -> None:
    text = """\
system: s
x-common: &common
  run: x
  timeout: 3s
  env: {A: b}
x-slow: &slow {timeout: 9s, drain: 1s}
regions: {r: {zones: [a]}}
services:
  one: {<<: *common}
  two: {<<: [*slow, *common], run: y}
  three: {<<: *common, timeout: 4s, probes: &p {readiness: {http: /r}}}
  four: {<<: *slow, run: z, probes: *p}
"""
    services = system_of(tmp_path, text).services
    assert [s.timeout for s in services.values()] == [
        3 * SECOND,
        9 * SECOND,
        4 * SECOND,
        9 * SECOND,
    ]
    assert services["two"].workload.command == ("y",)
    assert services["two"].drain == SECOND
    assert services["four"].workload.probes == services["three"].workload.probes


@pytest.mark.parametrize(
    ("spread", "weights"),
    [
        ("even", {"x": 1 / 3, "y": 1 / 3, "z": 1 / 3}),
        ("[x, z]", {"x": 0.5, "z": 0.5}),
        ("{x: 60%, y: 40%}", {"x": 0.6, "y": 0.4}),
        ("{x: 100%, y: 0%}", {"x": 1.0, "y": 0.0}),
        ("{x: 50%, y: even, z: even}", {"x": 0.5, "y": 0.25, "z": 0.25}),
        ("{x: 33.3%, y: 33.3%, z: 33.4%}", {"x": 0.333, "y": 0.333, "z": 0.334}),
    ],
)
def test_spread(tmp_path: Path, spread: str, weights: dict[str, float]) -> None:
    got = service(tmp_path, f"spread: {{regions: {spread}}}").spread.regions
    assert got == pytest.approx(weights)
    assert list(got) == list(weights)


@pytest.mark.parametrize(
    ("probe", "check"),
    [
        ("{http: /ready}", HttpCheck(path="/ready")),
        ("{tcp: true}", TcpCheck()),
        ("{exec: pg_isready -q -U 'a b'}", ExecCheck(command=("pg_isready", "-q", "-U", "a b"))),
        ("{exec: [test, -f, /x y]}", ExecCheck(command=("test", "-f", "/x y"))),
        ("{grpc: shop.Cart}", GrpcCheck(service="shop.Cart")),
    ],
)
def test_probe_forms(tmp_path: Path, probe: str, check: object) -> None:
    (got,) = service(tmp_path, f"probes: {{liveness: {probe}}}").workload.probes
    assert (got.kind, got.check) == (ProbeKind.LIVENESS, check)


def test_probe_numbers(tmp_path: Path) -> None:
    fields = "probes: {startup: {http: /h, every: 250ms}, readiness: {http: /r, every: 5s, "
    fields += "timeout: 2s, failures: 7, successes: 2, delay: 3s}, liveness: {http: /h, every: 9s}}"
    startup, readiness, liveness = service(tmp_path, fields).workload.probes
    assert (startup.period, startup.timeout, startup.failures) == (
        250 * MILLISECOND,
        250 * MILLISECOND,
        30,
    )
    assert (readiness.timeout, readiness.failures, readiness.successes, readiness.delay) == (
        2 * SECOND,
        7,
        2,
        3 * SECOND,
    )
    assert (liveness.timeout, liveness.failures) == (SECOND, 3)


def test_short_and_long_forms(tmp_path: Path) -> None:
    web = service(
        tmp_path,
        "replicas: 3, balance: ring_hash, calls: {api: 0.5},"
        " limit: {rate: 600/min}, work: {time: lognormal(p50=12ms, p99=60ms), concurrency: 4}",
    )
    assert web.replicas == Replicas(min=3, max=3)
    assert web.balance.policy.value == "ring_hash"
    assert web.calls == (Call(service="api", per_request=0.5),)
    assert web.limit == (RateLimit(rate_per_s=10.0, burst=10),)
    assert web.work is not None
    assert web.work.time == Distribution(
        name="lognormal", parameters=(("p50", 12e6), ("p99", 60e6))
    )
    assert (web.work.concurrency, web.work.queue) == (4, None)
    long = service(
        tmp_path,
        "replicas: {min: 2, max: 9}, balance: {policy: maglev, header: X-User, prefer: zone,"
        " slow_start: 10s, panic: 40%}, scale: [{on: cpu, target: 70%}, {on: rate, target: 5/s}],"
        " retries: {attempts: 1, budget: 10%, per_try: 300ms, methods: [GET]},"
        " work: {time: 'gamma(mean=3ms, cv=0.5)', queue: 100},"
        " rollout: {surge: 0, unavailable: 1}",
    )
    assert long.balance.hash_header == "x-user"
    assert long.balance.panic_fraction == 0.4
    assert [(s.metric, s.target) for s in long.scale.metrics] == [("cpu", 0.7), ("rate", 5.0)]
    assert long.retries.per_try_timeout == 300 * MILLISECOND
    assert long.retries.methods == ("GET",)
    assert long.work is not None
    assert long.work.time.parameters == (("mean", 3e6), ("cv", 0.5))
    assert long.work.queue == 100
    assert (long.rollout.surge, long.rollout.unavailable) == (0, 1)


def test_a_command_is_split_or_taken_as_a_list(tmp_path: Path) -> None:
    text = MINIMAL + "  a: {run: [sh, -c, 'x && y']}\n  b: {run: \"x 'a b' ${PORT}\"}\n"
    services = system_of(tmp_path, text).services
    assert services["a"].workload.command == ("sh", "-c", "x && y")
    assert services["b"].workload.command == ("x", "a b", "${PORT}")


def test_traffic_shapes(tmp_path: Path) -> None:
    text = (
        MINIMAL
        + """\
traffic:
  plain: {from: [1, 2.5], to: web, rate: 120/s}
  even: {from: [1, 2], to: web, rate: 6/min, shape: constant, path: '/x?y=1'}
  wave: {from: [1, 2], to: web, rate: 1/s, shape: diurnal}
  short: {from: [1, 2], to: web, rate: 1/s, shape: {diurnal: {period: 1h, amplitude: 90%}}}
  steps: {from: [1, 2], to: web, rate: 1/s, shape: {step: {30s: 300/s, 60s: 0/s}}}
"""
    )
    traffic = system_of(tmp_path, text).traffic
    assert [t.shape for t in traffic.values()] == [
        Shape.POISSON,
        Shape.CONSTANT,
        Shape.DIURNAL,
        Shape.DIURNAL,
        Shape.STEP,
    ]
    assert traffic["plain"].location.longitude_deg == 2.5
    assert traffic["even"].rate_per_s == 0.1
    assert (traffic["wave"].period, traffic["wave"].amplitude) == (DAY, 0.5)
    assert (traffic["short"].period, traffic["short"].amplitude) == (HOUR, 0.9)
    assert traffic["steps"].steps == ((30 * SECOND, 300.0), (MINUTE, 0.0))


def test_objectives_and_scenarios(tmp_path: Path) -> None:
    text = """\
system: s
regions: {a: {zones: [x]}, b: {zones: [x]}}
services: {web: {run: x, routes: [{path: /}]}}
traffic: {t: {from: [0, 0], to: web, rate: 1/s}}
objectives:
  - {service: web, availability: 99.9%}
  - {service: web, latency: 95% < 300ms, window: 7d}
scenarios:
  all:
    duration: 10m
    steps:
      - {at: 0s, lose: {region: b}, for: 1m}
      - {at: 1s, lose: {zone: a/x}}
      - {at: 2s, lose: {node: a/x/0}}
      - {at: 3s, kill: web-3}
      - {at: 4s, freeze: web}
      - {at: 5s, slow: {service: web, cpu: 20%}}
      - {at: 6s, partition: b~a}
      - {at: 7s, partition: b>a}
      - {at: 8s, delay: {link: b~a, by: 200ms}}
      - {at: 9s, surge: {traffic: t, factor: 3}}
    expect: {recovery: 60s}
"""
    system = system_of(tmp_path, text)
    availability, latency = system.objectives
    assert (availability.target, availability.window, availability.threshold) == (
        0.999,
        30 * DAY,
        None,
    )
    assert (latency.target, latency.threshold, latency.window) == (
        0.95,
        300 * MILLISECOND,
        7 * DAY,
    )
    scenario = system.scenarios["all"]
    assert scenario.recovery == MINUTE
    assert [step.fault for step in scenario.steps] == [
        Fault(kind=FaultKind.LOSE_REGION, subject="b"),
        Fault(kind=FaultKind.LOSE_ZONE, subject="a/x"),
        Fault(kind=FaultKind.LOSE_NODE, subject="a/x/0"),
        Fault(kind=FaultKind.KILL, subject="web-3"),
        Fault(kind=FaultKind.FREEZE, subject="web"),
        Fault(kind=FaultKind.SLOW, subject="web", amount=0.2),
        Fault(kind=FaultKind.PARTITION, subject="a~b"),
        Fault(kind=FaultKind.PARTITION, subject="b>a"),
        Fault(kind=FaultKind.DELAY, subject="a~b", amount=2e8),
        Fault(kind=FaultKind.SURGE, subject="t", amount=3.0),
    ]
    assert [step.lasts for step in scenario.steps[:4]] == [MINUTE, None, None, 0]


def test_latencies_follow_the_network_then_the_distance_then_a_default(tmp_path: Path) -> None:
    text = """\
system: s
regions:
  us-east: {zones: [a], at: [39.0, -77.5]}
  eu-west: {zones: [a], at: [53.3, -6.3]}
  eu-north: {zones: [a], at: [59.3, 18.1]}
  nowhere: {zones: [a]}
network: {us-east~eu-west: 38ms}
services: {web: {run: x}}
"""
    links = {(k.a, k.b): k.latency for k in system_of(tmp_path, text).links}
    assert list(links) == sorted(links)
    assert len(links) == 6
    assert links["eu-west", "us-east"] == 38 * MILLISECOND
    assert links["eu-north", "nowhere"] == 10 * MILLISECOND
    # Dublin to Stockholm: 1,630 km apart, 2,040 km of cable.
    assert links["eu-north", "eu-west"] == pytest.approx(10.2 * MILLISECOND, rel=0.02)


def test_both_shares_of_a_list_merge_and_empty_sections_are_fine(tmp_path: Path) -> None:
    system_of(tmp_path, MINIMAL + "traffic:\nobjectives:\nscenarios:\nnetwork:\nedge:\ninclude:\n")


def test_a_revision_changes_with_what_makes_the_process_and_nothing_else(tmp_path: Path) -> None:
    base = service(tmp_path, "env: {A: '1', B: '2'}, timeout: 1s")
    assert service(tmp_path, "env: {B: 2, A: 1}, timeout: 1s").workload == base.workload
    assert service(tmp_path, "env: {A: '1', B: '2'}, timeout: 2s, replicas: 4").workload == (
        base.workload
    )
    others = [
        "env: {A: '1', B: '3'}",
        "env: {A: '1', B: '2'}, port: 9",
        "env: {A: '1', B: '2'}, stop_grace: 9s",
        "env: {A: '1', B: '2'}, resources: {cpu: 101m}",
        "env: {A: '1', B: '2'}, probes: {readiness: {tcp: true, every: 2s}}",
        "env: {A: '1', B: '2'}, calls: {api: 1}",
    ]
    revisions = {service(tmp_path, other).workload.revision for other in others}
    assert len(revisions | {base.workload.revision}) == len(others) + 1


def test_the_system_revision_covers_everything(tmp_path: Path) -> None:
    texts = [
        MINIMAL,
        MINIMAL.replace("hello", "hallo"),
        MINIMAL.replace("[a, b]", "[b, a]"),
        MINIMAL + "edge: {port: 9}\n",
        MINIMAL + "objectives: [{service: web, availability: 99%}]\n",
        MINIMAL + "traffic: {t: {from: [0, 0], to: web, rate: 1/s}}\n",
        MINIMAL + "scenarios: {calm: {duration: 1m}}\n",
    ]
    systems = [system_of(tmp_path, text) for text in texts]
    assert len({system.revision for system in systems}) == len(texts)
    assert all(digest(replace(system, revision="")) == system.revision for system in systems)


def test_revisions_do_not_depend_on_the_process() -> None:
    code = (
        "from pathlib import Path; from seakeep.spec import load;"
        f"s = load(Path({str(SHOP)!r})).system;"
        "print(s.revision, *(v.workload.revision for v in s.services.values()))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("0", "1", "4711")
    }
    system = load(SHOP).system
    wanted = [system.revision, *(s.workload.revision for s in system.services.values())]
    assert outputs == {" ".join(wanted) + "\n"}


def test_warnings_do_not_stop_a_spec(tmp_path: Path) -> None:
    text = "system: s\nregions: {r: {zones: [a]}}\nservices: {w: {run: x, calls: {w: 1}}}\n"
    loaded = load(written(tmp_path, text))
    (warning,) = loaded.warnings
    assert "circle: w → w" in warning.message
    assert problems_of(tmp_path / "seakeep.yaml") == (warning,)


def test_limits_in_their_forms(tmp_path: Path) -> None:
    web = service(
        tmp_path,
        "limit: [600/min, {rate: 5/s, burst: 9, per: client}, {rate: 1/s, header: X-Api-Key},"
        " {rate: 90/s, scope: system}], shed: 150ms,"
        " routes: [{path: /, limit: 7/s, priority: critical}]",
    )
    assert web.limit == (
        RateLimit(rate_per_s=10.0, burst=10),
        RateLimit(rate_per_s=5.0, burst=9, per=LimitPer.CLIENT),
        RateLimit(rate_per_s=1.0, burst=1, per=LimitPer.HEADER, header="x-api-key"),
        RateLimit(rate_per_s=90.0, burst=90, scope=LimitScope.SYSTEM),
    )
    assert web.shed == Shed(latency=150 * MILLISECOND)
    assert web.routes[0].limit == (RateLimit(rate_per_s=7.0, burst=7),)
    assert web.routes[0].priority is Priority.CRITICAL


def scale_of(folder: Path, text: str) -> Scale:
    scale = service(folder, f"replicas: {{min: 1, max: 30}}, scale: {text}").scale
    assert scale is not None
    return scale


def test_one_metric_gets_the_defaults_of_kubernetes(tmp_path: Path) -> None:
    scale = scale_of(tmp_path, "{on: concurrency, target: 8}")
    assert scale == Scale(metrics=(ScaleTarget(metric=Metric.CONCURRENCY, target=8.0),))
    assert (scale.every, scale.down.window, scale.up.window) == (15 * SECOND, 5 * MINUTE, 0)
    assert scale.up.tolerance == scale.down.tolerance == 0.1


def test_every_word_of_scale(tmp_path: Path) -> None:
    scale = scale_of(
        tmp_path,
        "{metrics: [{on: latency, target: 95% < 300ms}, {on: memory, target: 80%}], every: 5s,"
        " tolerance: 5%, follow: spread, survive: region, idle: 3m, warmup: 1m,"
        " hold: {for: 4s, connections: 7}, forecast: {season: 1d, ahead: 20m, slot: 30m},"
        " up: {window: 30s, select: min, policies: [{percent: 200%, per: 1m},"
        " {instances: 4, per: 15s}]}, down: disabled,"
        ' schedule: [{days: "fri-mon", from: "22:00", to: "06:00", zone: Europe/Dublin, min: 9}]}',
    )
    latency, memory = scale.metrics
    assert (latency.target, latency.quantile) == (300.0 * MILLISECOND, 0.95)
    assert memory == ScaleTarget(metric=Metric.MEMORY, target=0.8)
    assert [(one.kind.value, one.amount, one.period) for one in scale.up.policies] == [
        ("percent", 200.0, MINUTE),
        ("instances", 4.0, 15 * SECOND),
    ]
    assert (scale.up.select.value, scale.down.select.value) == ("min", "disabled")
    assert scale.up.tolerance == 0.05
    assert scale.forecast == Forecast(season=DAY, slot=30 * MINUTE, ahead=20 * MINUTE)
    assert (scale.hold.time, scale.hold.connections_max) == (4 * SECOND, 7)
    (bounds,) = scale.schedule
    assert (bounds.days, bounds.start, bounds.end) == ((0, 4, 5, 6), 22 * HOUR, 6 * HOUR)
    assert {one.offset for one in bounds.offsets} == {0, HOUR}


def test_metric_and_pace_beside_each_other(tmp_path: Path) -> None:
    scale = scale_of(tmp_path, "{on: cpu, target: 70%, down: {window: 1m}}")
    assert scale.metrics == (ScaleTarget(metric=Metric.CPU, target=0.7),)
    assert scale.down.window == MINUTE


def test_a_service_that_stands_by(tmp_path: Path) -> None:
    regions = "system: shop\nregions: {east: {zones: [a]}, west: {zones: [a]}}\n"
    spread = (
        system_of(
            tmp_path,
            regions + "services: {web: {run: x, spread: {standby: {west: 20%}, failback: 1m}}}",
        )
        .services["web"]
        .spread
    )
    assert spread.regions == {"east": 1.0}
    assert spread.standby == {"west": 0.2}
    assert spread.failback == MINUTE
