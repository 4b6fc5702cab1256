"""The JSON Schema: takes what `check` takes, refuses what an editor can know to be wrong, and
describes every key."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from seakeep.cli.init import starter
from seakeep.spec import json_schema, load
from tests.spec.json_schema_check import errors_of

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json_schema()

EVERYTHING = """\
system: shop
include: [more/*.yaml]
x-common: &common {run: [sh, -c, x], timeout: 3s}
regions:
  a: {zones: [x, y], at: [39.0, -77.5], nodes: {count: 2, cpu: 3.5, memory: 8GiB}}
  b: {zones: {x: , y: {nodes: {cpu: 250m}}}}
network: {a~b: {latency: 38ms, jitter: 5ms, loss: 0.1%, bandwidth: 1Gbps}}
edge: {port: 9000}
services:
  web:
    <<: *common
    image: example/web
    env: {A: 1, B: true, C: , D: text}
    resources: {cpu: 2, memory: 128Mi}
    replicas: {min: 1, max: 3}
    spread: {regions: {a: 60%, b: even}, zones: any, node_anti_affinity: 0}
    scale: [{on: cpu, target: 70%}]
    probes:
      startup: {http: /x, every: 250ms}
      readiness: {tcp: true, delay: 0}
      liveness: {exec: x y, timeout: 1s, failures: 3, successes: 1}
    routes: [{host: "*.example", path: /, headers: {x-a: 1}}]
    balance: {policy: ring_hash, header: x-a, prefer: zone, slow_start: 10s, panic: 40%}
    retries: {attempts: 1, budget: 20%, per_try: 300ms, hedge: true, on: 5xx, methods: [GET]}
    breaker: {requests: 100, pending: 50}
    timeout: none
    limit: {rate: 500/s, burst: 10}
    calls: {db: 0.1, desk: {per_request: 3, parallel: true}}
    work:
      {time: lognormal(p50=12ms, p99=60ms), concurrency: 4, queue: 10, cancel: true, errors: 1%,
       queue_timeout: exponential(mean=2s), cpu: 500m,
       start: gamma(mean=2s, cv=2), warmup: {factor: 3, for: 30s}, leak: 2kB,
       pauses: {every: exponential(mean=10s), time: erlang(mean=50ms, k=3)}, response: 30kB}
    rollout: {surge: 1, unavailable: 0}
    drain: 2s
    stop_grace: 1m30s
  db:
    {run: x, protocol: tcp, proxy_protocol: true, routes: [{port: 5432}], replicas: 3,
     balance: maglev, spread: {regions: [a, b]}}
  desk: {work: {time: 10ms}, retries: 0, routes: [{path: /desk}]}
  job:
    run: x
    replicas: {min: 0, max: 9}
    scale:
      metrics: [{on: latency, target: 95% < 300ms}, {on: rate, target: 5/s}]
      every: 5s
      tolerance: 5%
      up: {window: 30s, select: min, policies: [{percent: 200%, per: 1m}, {instances: 4, per: 1s}]}
      down: disabled
      follow: spread
      schedule: [{days: mon-fri, from: "08:00", to: "18:00", zone: Europe/Dublin, min: 2, max: 9}]
      forecast: {season: 1d, ahead: 20m, slot: 30m}
      survive: zone
      idle: 5m
      hold: 5s
      warmup: 1m
  api: {run: x, replicas: {min: 1, max: 2}, scale: {on: cpu, target: 70%, forecast: 7d}}
traffic:
  t: {from: [0, 1.5], to: web, rate: 10/min, shape: diurnal, path: /x}
  u: {from: [0, 1.5], to: web, rate: 1/s, shape: {step: {30s: 3/s}}}
  v: {from: [0, 1.5], to: web, rate: 1/s, shape: {diurnal: {period: 1h, amplitude: 10%}}}
  s: {to: desk, rate: 1/s, shape: {surge: {at: 1m, for: 1m, factor: 3}}}
  r: {to: desk, rate: 1/s, patience: erlang(mean=2s, k=2), sessions: {pages: 3, think: 5s}}
objectives:
  - {service: web, availability: 99.9%, window: 30d}
  - {service: web, latency: 95% < 300ms}
scenarios:
  s:
    duration: 10m
    warmup: 30s
    steps:
      - {at: 0s, lose: {zone: a/x}, for: 1m}
      - {at: 0, slow: {service: web, cpu: 20%}}
      - {at: 1s, partition: a>b}
      - {at: 1s, delay: {link: a~b, by: 200ms}}
      - {at: 1s, surge: {traffic: t, factor: 3}}
      - {at: 1s, errors: {service: web, rate: 5%}}
      - {at: 1s, loss: {link: a>b, rate: 5%}}
      - {at: 1s, outage: web}
      - {at: 1s, deploy: {service: web, errors: 5%, slower: 2, ready: false}}
      - {at: 1s, deploy: api}
      - {at: 1s, control: down}
    expect: {recovery: 60s, budget: 10%}
"""


def document(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def errors(value: Any) -> list[str]:
    return list(errors_of(value, SCHEMA, SCHEMA))


def test_it_takes_the_starter_the_shop_and_every_key() -> None:
    assert errors(document(starter()["seakeep.yaml"])) == []
    assert errors(document((ROOT / "examples/shop/seakeep.yaml").read_text())) == []
    assert errors(document(EVERYTHING)) == []


def test_the_example_of_every_key_loads_too(tmp_path: Path) -> None:
    (tmp_path / "seakeep.yaml").write_text(EVERYTHING)
    assert [w.message for w in load(tmp_path / "seakeep.yaml").warnings] == [
        "'more/*.yaml' matches no file"
    ]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("typo",), 1),
        (("databases",), {}),
        (("system",), "Shop"),
        (("regions", "a", "zone"), []),
        (("regions", "A"), {"zones": ["x"]}),
        (("regions", "a", "at"), [91, 0]),
        (("regions", "a", "at"), [1, 2, 3]),
        (("network", "a"), "3ms"),
        (("services", "web", "comand"), "x"),
        (("services", "web", "port"), "80"),
        (("services", "web", "port"), 70000),
        (("services", "web", "timeout"), 3),
        (("services", "web", "timeout"), "never"),
        (("services", "web", "calls", "db"), "often"),
        (("services", "web", "breaker", "requests"), 0),
        (("services", "web", "work", "cancel"), 1),
        (("services", "web", "work", "pauses"), "5ms"),
        (("network", "a~b"), 38),
        (("network", "a~b", "bandwidth"), "1Gb"),
        (("traffic", "s", "shape", "surge", "for"), 3),
        (("scenarios", "s", "steps", 9, "control"), "up"),
        (("services", "web", "retries", "budget"), 0.2),
        (("services", "web", "replicas"), "3"),
        (("services", "web", "probes", "startup", "http"), "x"),
        (("services", "web", "balance"), "least"),
        (("services", "web", "resources", "memory"), 128),
        (("objectives", 0, "availability"), 0.999),
        (("objectives", 1, "latency"), "300ms"),
        (("scenarios", "s", "steps", 0, "lose", "zoen"), "a/x"),
        (("traffic", "t", "rate"), 10),
    ],
)
def test_it_refuses(path: tuple[str | int, ...], value: Any) -> None:
    tree = copy.deepcopy(document(EVERYTHING))
    holder = tree
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = value
    assert errors(tree)


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every mapping with keys of its own, wherever it stands."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for value in schema.values():
            yield from objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from objects(value)


def test_every_key_is_described_and_unknown_ones_refused() -> None:
    found = list(objects(SCHEMA))
    assert len(found) > 20
    for schema in found:
        assert schema["additionalProperties"] is False
        for name, inner in schema["properties"].items():
            described = inner.get("description") or SCHEMA["$defs"].get(
                inner.get("$ref", "").rpartition("/")[2], {}
            ).get("description")
            assert described, name
            assert "\n" not in described


def test_it_is_of_draft_2020_12_and_the_same_each_time() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json_schema() == SCHEMA
