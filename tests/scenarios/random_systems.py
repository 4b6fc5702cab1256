"""Random small systems, each with a scenario of random faults that end, and what must hold: nothing
unsafe while faults last, and whole again within a bound once they are over.

    python -m tests.scenarios.random_systems --seed 17            replays a failing seed
    python -m tests.scenarios.random_systems --seed 17 --shrink   and makes its spec small

One seed draws everything. A spec is made as a tree and goes through the loader as any file does.
"""

import argparse
import copy
import io
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from ruamel.yaml import YAML

from seakeep.model.run import Run
from seakeep.model.scenario import FaultKind
from seakeep.model.system import System
from seakeep.model.time import SECOND
from seakeep.model.work import mean_of
from seakeep.runtime.simulate import simulate
from seakeep.spec import SpecError, load

Spec: TypeAlias = dict[str, Any]

SCENARIO = "trouble"
FAULTS_UNTIL_S = 40
HEALED_WITHIN_S = 60
"""Of the last fault's end; requests are looked at in what follows."""
LOOKED_AT_S = 15
KEPT = ("for", "duration")
"""What no spec is made smaller by: a fault that never ends is never healed."""
BUSY_MAX, BUSY_MAX_SURGED = 0.25, 0.6
"""Fraction of all worker slots."""
OK_MIN = 0.97
"""Of the requests after that: random arrivals may still meet a full queue."""


# --- drawing ----------------------------------------------------------------


def spec_of(seed: int) -> Spec:
    """Of the specs that the seed draws, the first with room for its traffic, wherever calls go: a
    system that is at its limit may never get out of a storm of retries, and needs no fault."""
    rng = random.Random(seed)
    while True:
        spec = _drawn(rng)
        if has_room(spec, surges=False) and has_room(spec, surges=True):
            return spec


def has_room(spec: Spec, *, surges: bool) -> bool:
    """Whether no service has more to do than its fewest instances can, by a margin."""
    try:
        system = system_of(spec)
    except SpecError:
        return False
    trip = 2 * max((link.latency for link in system.links), default=0)
    rates = dict.fromkeys(system.services, 0.0)
    for name, source in system.traffic.items():
        factor = 1.0
        for step in system.scenarios[SCENARIO].steps:
            if surges and step.fault.kind is FaultKind.SURGE and step.fault.subject == name:
                factor *= step.fault.amount
        each = 1.0
        if source.sessions is not None:
            each = source.sessions.pages * (1 + source.sessions.resources)
        rates[source.service] += source.rate_per_s * each * factor
    for name, service in system.services.items():  # callers come before what they call
        for call in service.calls:
            rates[call.service] += rates[name] * call.per_request
    holds: dict[str, float] = {}
    for name, service in reversed(system.services.items()):
        waits = sum(call.per_request * (holds[call.service] + trip) for call in service.calls)
        assert service.work is not None
        holds[name] = mean_of(service.work.time) + waits
        slots = service.replicas.min * service.work.concurrency
        if rates[name] * holds[name] / SECOND > (BUSY_MAX_SURGED if surges else BUSY_MAX) * slots:
            return False
    return True


def _drawn(rng: random.Random) -> Spec:
    regions = rng.sample(["east", "west", "north"], rng.choice([1, 1, 2, 2, 3]))
    services = [f"s{index}" for index in range(rng.randint(1, 4))]
    spec: Spec = {
        "system": "trial",
        "regions": {name: _region(rng, index) for index, name in enumerate(regions)},
        "services": {},
        "traffic": {},
    }
    if rng.random() < 0.7:
        spec["dns"] = {"zone": "trial.example", "ttl": f"{rng.choice([1, 2, 5])}s"}
    for index, name in enumerate(services):
        spec["services"][name] = _service(rng, services, index, "dns" in spec, regions)
    for index in range(rng.randint(1, 3)):
        spec["traffic"][f"t{index}"] = _traffic(rng, services)
    steps = [_fault(rng, spec) for _ in range(rng.randint(1, 4))]
    duration = FAULTS_UNTIL_S + HEALED_WITHIN_S + LOOKED_AT_S
    spec["scenarios"] = {SCENARIO: {"duration": f"{duration}s", "warmup": "3s", "steps": steps}}
    return spec


def _region(rng: random.Random, index: int) -> Spec:
    return {
        "zones": ["a", "b", "c"][: rng.randint(1, 3)],
        "at": [40 + rng.uniform(-10, 10), -80 + 60 * index],
        "nodes": {"count": rng.randint(1, 2), "cpu": 8, "memory": "8GiB"},
    }


def _service(
    rng: random.Random, services: list[str], index: int, has_dns: bool, regions: list[str]
) -> Spec:
    least, more = rng.randint(1, 4), rng.randint(0, 4)
    work: Spec = {"time": _time(rng), "concurrency": rng.choice([2, 4, 8])}
    if rng.random() < 0.5:
        work["queue"] = rng.choice([20, 100])
    if rng.random() < 0.3:
        work["cpu"] = "50m"
    if rng.random() < 0.5:
        work["start"] = rng.choice(["300ms", "2s", "lognormal(p50=800ms, p99=3s)"])
    if rng.random() < 0.3:
        work["cancel"] = True
    service: Spec = {
        "replicas": {"min": least, "max": least + more},
        "work": work,
        "timeout": rng.choice(["1s", "3s"]),
        "retries": _retries(rng),
        "probes": _probes(rng),
        "drain": rng.choice(["500ms", "1s"]),
        "rollout": _rollout(rng),
    }
    later = services[index + 1 :]
    if later and rng.random() < 0.8:
        called = rng.sample(later, rng.randint(1, min(2, len(later))))
        service["calls"] = {name: rng.choice([0.5, 1]) for name in called}
    if index == 0 or rng.random() < 0.2:
        host = f"{services[index]}.trial.example" if has_dns else "*"
        path = "/" if has_dns or index == 0 else f"/{services[index]}"
        service["routes"] = [{"host": host, "path": path}]
    if rng.random() < 0.4:
        policies = ["round_robin", "random", "ring_hash", "maglev", "load_aware"]
        service["balance"] = {"policy": rng.choice(policies)}
        if service["balance"]["policy"] == "random":  # which knows no weights
            service["rollout"].pop("canary", None)
    if rng.random() < 0.3 and service.get("balance", {}).get("policy") not in _HASHED:
        service.setdefault("balance", {})["prefer"] = "zone"
    if more and rng.random() < 0.4:
        service["scale"] = {
            "metrics": [rng.choice(_METRICS)], "every": "5s", "down": {"window": "20s"},
        }  # fmt: skip
    if rng.random() < 0.3 and len(regions) > 1:
        service["spread"] = {"regions": rng.sample(regions, rng.randint(1, len(regions)))}
        passive = [name for name in regions if name not in service["spread"]["regions"]]
        if passive and rng.random() < 0.5:
            service["spread"] |= {"standby": {passive[0]: "50%"}, "failback": "5s"}
    service |= rng.choice([{}, {}, {}, *_BOUNDS])
    return service


_BOUNDS: list[Spec] = [
    {"limit": {"rate": "300/s", "scope": "system"}},
    {"limit": [{"rate": "200/s"}, {"rate": "100/s", "per": "client"}]},
    {"shed": {"latency": "500ms"}},
    {"breaker": {"requests": 200}},
]
"""That do not bite while nothing strikes."""


def _retries(rng: random.Random) -> Spec:
    retries: Spec = {"attempts": rng.randint(0, 2)}
    if retries["attempts"] and rng.random() < 0.3:
        retries |= {"per_try": "300ms", "hedge": rng.random() < 0.5}
    return retries


_HASHED = ("ring_hash", "maglev", "random")
_METRICS = (
    {"on": "rate", "target": "20/s"},
    {"on": "concurrency", "target": 2},
    {"on": "cpu", "target": "60%"},
)


def _time(rng: random.Random) -> str:
    mean = rng.choice([2, 5, 10])
    return rng.choice(
        [f"{mean}ms", f"exponential(mean={mean}ms)", f"lognormal(p50={mean}ms, p99={4 * mean}ms)"]
    )


def _probes(rng: random.Random) -> Spec:
    every = rng.choice(["300ms", "500ms", "1s"])
    probes: Spec = {}
    if rng.random() < 0.8:
        probes["readiness"] = {"http": "/ready", "every": every, "failures": rng.randint(1, 3)}
    if rng.random() < 0.7:
        probes["liveness"] = {"http": "/live", "every": "1s", "failures": rng.randint(2, 3)}
    if rng.random() < 0.4:
        probes["startup"] = {"http": "/live", "every": "500ms", "failures": 30}
    return probes


def _rollout(rng: random.Random) -> Spec:
    rollout: Spec = {"surge": rng.randint(1, 2), "on_failure": "rollback", "deadline": "10s"}
    if rng.random() < 0.2:
        rollout["unavailable"] = 1
    if rng.random() < 0.2:
        rollout["canary"] = [{"weight": "20%", "for": "5s"}]
    elif rng.random() < 0.2:
        rollout["strategy"] = "blue-green"
        rollout["keep"] = "5s"
        del rollout["surge"]
        rollout.pop("unavailable", None)
    return rollout


def _traffic(rng: random.Random, services: list[str]) -> Spec:
    source: Spec = {"to": services[0], "rate": f"{rng.choice([2, 5, 15])}/s"}
    if rng.random() < 0.8:
        source["from"] = [40, -80 + 30 * rng.randint(0, 4)]
    if rng.random() < 0.3:
        source["patience"] = "lognormal(p50=5s, p99=15s)"
    if rng.random() < 0.2:
        think = "exponential(mean=2s)"
        source |= {"rate": "1/s", "sessions": {"pages": 2, "think": think, "resources": 2}}
    return source


def _fault(rng: random.Random, spec: Spec) -> Spec:
    services, regions = list(spec["services"]), list(spec["regions"])
    service, region = rng.choice(services), rng.choice(regions)
    zone = f"{region}/{rng.choice(spec['regions'][region]['zones'])}"
    at = rng.randint(0, FAULTS_UNTIL_S - 20)
    faults: list[Spec] = [
        {"kill": service},
        {"freeze": service},
        {"slow": {"service": service, "cpu": "10%"}},
        {"errors": {"service": service, "rate": "30%"}},
        {"outage": service},
        {"lose": {"node": f"{zone}/0"}},
        {"lose": {"zone": zone}},
        {"lose": {"region": region}},
        {"surge": {"traffic": rng.choice(list(spec["traffic"])), "factor": 4}},
        {"deploy": {"service": service, "ready": rng.random() < 0.5}},
        {"control": "down"},
    ]
    if "dns" in spec:
        faults.append({"dns": "stale"})
    if len(regions) > 1:
        pair = rng.choice("~>").join(rng.sample(regions, 2))
        faults += [
            {"partition": pair},
            {"delay": {"link": pair, "by": f"{rng.choice([50, 400])}ms"}},
            {"loss": {"link": pair, "rate": "10%"}},
        ]
    fault = {"at": f"{at}s", **rng.choice(faults)}
    if not {"kill", "deploy"} & set(fault):
        fault["for"] = f"{rng.choice([1, 4, 10, 20])}s"
    return fault


# --- judging ----------------------------------------------------------------


def system_of(spec: Spec) -> System:
    """Raises SpecError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seakeep.yaml"
        path.write_text(written(spec))
        return load(path).system


def written(spec: Spec) -> str:
    out = io.StringIO()
    YAML(typ="safe", pure=True).dump(spec, out)
    return out.getvalue()


def trouble(spec: Spec, seed: int) -> list[str]:
    """What does not hold, in sentences. Raises SpecError."""
    system = system_of(spec)
    run = simulate(system, SCENARIO, seed=seed)
    return [*run.broken, *_not_healed(system, run)]


def _not_healed(system: System, run: Run) -> Iterator[str]:
    for name, service in system.services.items():
        ready = sum(int(load.ready[-1]) for (of, _), load in run.loads.items() if of == name)
        if ready < service.replicas.min:
            yield f"{name} has {ready} ready in the end, of at least {service.replicas.min}"
    since = -(LOOKED_AT_S * SECOND // run.bucket)
    for source in system.traffic:
        lines = [line for (of, _), line in run.lines.items() if of == source]
        well = sum(int(line.ok[since:].sum()) for line in lines)
        ill = sum(
            int(counts[since:].sum())
            for line in lines
            for counts in (line.failed, line.rejected, line.timed_out)
        )
        if well < OK_MIN * (well + ill):
            yield f"in the end {ill} of {well + ill} requests of {source} do not go well"


# --- shrinking --------------------------------------------------------------


def shrunk(spec: Spec, is_bad: Callable[[Spec], bool]) -> Spec:
    """A smaller spec that is still bad: nothing more can be left out of it, one by one."""
    smaller = True
    while smaller:
        smaller = False
        for path in list(_paths(spec)):
            trial = _without(spec, path)
            if trial is not None and is_bad(trial):
                spec, smaller = trial, True
                break
    return spec


def _paths(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of everything that could be left out, the largest first."""
    keys: list[Any] = []
    if isinstance(tree, dict):
        keys = list(tree)
    elif isinstance(tree, list):
        keys = list(range(len(tree)))
    for key in keys:
        if key not in KEPT:
            yield (*path, key)
    for key in keys:
        yield from _paths(tree[key], (*path, key))


def _without(spec: Spec, path: tuple[Any, ...]) -> Spec | None:
    trial = copy.deepcopy(spec)
    *around, last = path
    place: Any = trial
    for key in around:
        place = place[key]
    del place[last]
    if path[:1] == ("services",) and len(path) == 2:
        _drop_mentions(trial, last)
    return trial


def _drop_mentions(spec: Spec, service: str) -> None:
    for one in spec["services"].values():
        one.get("calls", {}).pop(service, None)


def _kinds(sentences: list[str]) -> set[str]:
    """What sort of thing does not hold, whatever its figures and names."""
    return {re.sub(r"\b[a-z]?[\d.-]+\b", "#", one) for one in sentences}


def is_bad_as(spec: Spec, seed: int) -> Callable[[Spec], bool]:
    """Whether another spec has a trouble of the same sort, with as much room."""
    kinds = _kinds(trouble(spec, seed))

    def is_bad(trial: Spec) -> bool:
        try:
            room = has_room(trial, surges=False) and has_room(trial, surges=True)
            return room and bool(_kinds(trouble(trial, seed)) & kinds)
        except (SpecError, KeyError, ValueError):
            return False

    return is_bad


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Replay a random system.")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--shrink", action="store_true", help="make the spec small first")
    given = parser.parse_args(arguments)
    spec = spec_of(given.seed)
    if given.shrink:
        is_bad = is_bad_as(spec, given.seed)
        spec = shrunk(spec, is_bad) if is_bad(spec) else spec
    print(written(spec))
    found = trouble(spec, given.seed)
    for sentence in found:
        print(sentence)
    print("nothing is wrong" if not found else f"{len(found)} things are wrong")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
