"""How long the twin takes for whole systems, controllers awake.

    python benchmarks/twin_shop.py [--json] [--only loss,day,memory,seeds]

Each in a process of its own, wall-clock time:

- `loss`: the shop of examples/shop at 200 requests/s, ten simulated minutes of which its larger
  region is dark for five. First with nothing compiled before, then in a fresh process that finds
  the compiled code in the cache, then again in the same process (the median of three);
- `day`: a simulated day of three regions at 500 requests/s in waves, with scaling;
- `memory`: the greatest resident size of a process of 1, 10 and 60 simulated minutes of the shop;
- `seeds`: so many seeds of `loss`, one after the other and on all cores; and plain counting loops
  likewise, which show how many cores there really were while other work ran on the machine. The
  best of three rounds each: other work only ever adds to a run.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

import seakeep
from seakeep.model.scenario import Fault, FaultKind, Scenario, Step
from seakeep.model.system import System
from seakeep.model.time import MINUTE, SECOND
from seakeep.runtime.prove import prove
from seakeep.spec import load

SHOP = Path(__file__).parents[1] / "examples/shop/seakeep.yaml"
PARTS = ("loss", "day", "memory", "seeds")
SEEDS, ROUNDS, MINUTES = 24, 3, (1, 10, 60)
CORES = os.cpu_count() or 1
SPEED_UP = "seeds, speed-up / that of loops"
GOALS = {
    "loss, first run ever, s": 10.0,
    "loss, later runs, s": 1.0,
    "day, s": 120.0,
    SPEED_UP: 0.9,
}
PARALLEL = ("seeds alone", "loops alone", "seeds together", "loops together")
Figures: TypeAlias = dict[str, float]
DAY = """\
system: sun
regions:
  east: {zones: [a, b], at: [39.0, -77.5], nodes: {count: 8, cpu: 8, memory: 16GiB}}
  west: {zones: [a, b], at: [53.3, -6.3], nodes: {count: 8, cpu: 8, memory: 16GiB}}
  south: {zones: [a, b], at: [-33.9, 151.2], nodes: {count: 8, cpu: 8, memory: 16GiB}}
dns: {zone: sun.example, ttl: 30s}
traffic:
  americas: {from: [40.7, -74.0], to: web, rate: 200/s, shape: diurnal}
  europe: {from: [48.9, 2.4], to: web, rate: 200/s, shape: diurnal}
  oceania: {from: [-37.8, 145.0], to: web, rate: 100/s, shape: diurnal}
services:
  web:
    replicas: {min: 6, max: 60}
    routes: [{host: sun.example, path: /}]
    work: {time: 'lognormal(p50=8ms, p99=40ms)', concurrency: 4}
    calls: {catalog: 1}
    timeout: 1s
    scale: {on: rate, target: 25/s}
  catalog:
    replicas: {min: 12, max: 60}
    work: {time: 'lognormal(p50=4ms, p99=20ms)', concurrency: 4}
    timeout: 500ms
objectives:
  - {service: web, availability: 99.9%, window: 30d}
  - {service: web, latency: 95% < 300ms, window: 30d}
scenarios:
  day: {duration: 24h}
"""


def shop(minutes: int) -> tuple[System, Scenario]:
    """The shop, and a scenario in which its larger region is dark for half of the time."""
    system = load(SHOP).system
    lost = Step(
        at=minutes * MINUTE // 5,
        fault=Fault(kind=FaultKind.LOSE_REGION, subject="us-east"),
        lasts=minutes * MINUTE // 2,
    )
    return system, Scenario(name="loss", duration=minutes * MINUTE, steps=(lost,))


def timed(system: System, scenario: Scenario, seed: int) -> tuple[float, int]:
    """Seconds, and requests of clients."""
    began = time.perf_counter()
    run = seakeep.simulate(system, scenario, seed=seed)
    took = time.perf_counter() - began
    return took, sum(flow.requests for flow in run.traffic.values())


def loss() -> Figures:
    system, scenario = shop(10)
    first, requests = timed(system, scenario, 1)
    later = [timed(system, scenario, seed)[0] for seed in (2, 3, 4)]
    return {"first": first, "later": statistics.median(later), "requests": requests}


def day() -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seakeep.yaml"
        path.write_text(DAY)
        system = load(path).system
    timed(system, replace(system.scenarios["day"], duration=10 * SECOND), 1)
    took, requests = timed(system, system.scenarios["day"], 1)
    return {"day": took, "requests": requests}


def memory(minutes: int) -> Figures:
    timed(*shop(minutes), 1)
    return {"mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def loops(jobs: int) -> Figures:
    """As much counting for each core, by so many processes."""
    began = time.perf_counter()
    program = [sys.executable, "-c", "for _ in range(10**8): pass"]
    for _ in range(CORES // jobs):
        for one in [subprocess.Popen(program) for _ in range(jobs)]:
            one.wait()
    return {"took": time.perf_counter() - began}


def seeds(jobs: int) -> Figures:
    system, scenario = shop(10)
    chosen = range(1, SEEDS + 1)
    began = time.perf_counter()
    prove(system, [scenario], chosen, jobs=jobs)
    return {"took": time.perf_counter() - began}


CHILDREN: dict[str, Callable[[], Figures]] = {
    "loss": loss,
    "day": day,
    **{f"memory {minutes}": partial(memory, minutes) for minutes in MINUTES},
    "seeds alone": partial(seeds, 1),
    "loops alone": partial(loops, 1),
    "seeds together": partial(seeds, CORES),
    "loops together": partial(loops, CORES),
}


def apart(what: str, cache: str) -> Figures:
    """One of the above in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", what],
        env={**os.environ, "NUMBA_CACHE_DIR": cache},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: Figures = json.loads(done.stdout)
    return found


def measured(only: list[str], cache: str) -> Figures:
    """By name, as in GOALS, and what belongs to it."""
    found: Figures = {}
    if "loss" in only:
        cold, warm = apart("loss", cache), apart("loss", cache)
        found["loss, requests"] = cold["requests"]
        found["loss, first run ever, s"] = cold["first"]
        found["loss, first run of a process, s"] = warm["first"]
        found["loss, later runs, s"] = min(cold["later"], warm["later"])
    if "day" in only:
        one = apart("day", cache)
        found |= {"day, requests": one["requests"], "day, s": one["day"]}
    if "memory" in only:
        for minutes in MINUTES:
            found[f"memory, {minutes} min, MiB"] = apart(f"memory {minutes}", cache)["mib"]
    if "seeds" in only:
        rounds = [{what: apart(what, cache)["took"] for what in PARALLEL} for _ in range(ROUNDS)]
        took = {what: min(one[what] for one in rounds) for what in PARALLEL}
        gain = {
            what: took[f"{what} alone"] / took[f"{what} together"] for what in ("seeds", "loops")
        }
        found["seeds, one after the other, s"] = took["seeds alone"]
        found["seeds, in parallel, s"] = took["seeds together"]
        found["seeds, speed-up"] = gain["seeds"]
        found["loops, speed-up"] = gain["loops"]
        found[SPEED_UP] = gain["seeds"] / gain["loops"]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(CHILDREN[options.child]()))
        return 0
    with tempfile.TemporaryDirectory() as cache:
        found = measured(options.only.split(","), cache)
    report = {
        "machine": f"{platform.machine()}, {CORES} cores, {platform.system()}",
        "versions": f"Python {platform.python_version()}, numba {version('numba')}, "
        f"Seakeep {version('seakeep')}",
        "load average": f"{os.getloadavg()[0]:.1f}",
        **{name: round(value, 2) for name, value in found.items()},
    }
    if options.json:
        print(json.dumps(report))
    else:
        for name, value in report.items():
            goal = f" (to reach: {GOALS[name]:g})" if name in GOALS else ""
            print(f"{name}: {value}{goal}")
    return 0 if all(reached(name, value) for name, value in found.items()) else 1


def reached(name: str, value: float) -> bool:
    if name not in GOALS:
        return True
    return value >= GOALS[name] if name == SPEED_UP else value <= GOALS[name]


if __name__ == "__main__":
    sys.exit(main())
