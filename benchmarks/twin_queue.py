"""How many requests a second the twin simulates of a single queue, M/M/8 at 80 % load.

    python benchmarks/twin_queue.py [--json] [--requests 10000000] [--rounds 3]

One core, the same queue everywhere, rounds in turn, the median of each. There is no shortcut in
the twin for this model: requests come from a traffic source, pass the region's balancer and are
counted in histograms, by source, service and time; probes and controllers are awake. Peers:

- SimPy with a Resource of eight, a process for each request, as its manual writes a bank;
- SimPy with eight workers that take from a Store, which is faster;
- `twin_queue.c`, compiled with -O3: the same heap of events, and nothing of the rest.

Every one says its mean wait, which is to be what Erlang's formula says.
"""

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import simpy

import seakeep
from seakeep.spec import load

SERVERS, SERVICE_S, PER_S = 8, 1e-3, 6400
LOAD = PER_S * SERVICE_S
SIMPY_REQUESTS = 100_000
TIMES_SIMPY, TIMES_C = 80, 0.6
SPEC = f"""\
system: queue
regions: {{here: {{zones: [a]}}}}
services:
  station:
    work: {{time: exponential(mean=1ms), concurrency: {SERVERS}}}
    timeout: none
    retries: {{attempts: 0}}
traffic:
  all: {{to: station, rate: {PER_S}/s}}
scenarios:
  steady: {{duration: DURATION}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run."""

    requests: int
    cpu_s: float
    wait_s: float
    """Mean over all requests."""

    @property
    def per_s(self) -> float:
        return self.requests / self.cpu_s


def twin(requests: int, seed: int, folder: Path) -> Measured:
    path = folder / "seakeep.yaml"
    path.write_text(SPEC.replace("DURATION", f"{max(1, round(requests / PER_S))}s"))
    system = load(path).system
    began = time.process_time()
    run = seakeep.simulate(system, "steady", seed=seed)
    took = time.process_time() - began
    flow = run.traffic["all"]
    return Measured(requests=flow.requests, cpu_s=took, wait_s=flow.wait.mean_s or 0.0)


def simpy_resource(requests: int, seed: int) -> Measured:
    env = simpy.Environment()
    draw = random.Random(seed).expovariate
    servers = simpy.Resource(env, SERVERS)
    waited = 0.0

    def customer() -> Generator[simpy.Event, Any, None]:
        nonlocal waited
        came = env.now
        with servers.request() as turn:
            yield turn
            waited += env.now - came
            yield env.timeout(draw(1 / SERVICE_S))

    def source() -> Generator[simpy.Event, Any, None]:
        for _ in range(requests):
            yield env.timeout(draw(PER_S))
            env.process(customer())

    env.process(source())
    began = time.process_time()
    env.run()
    took = time.process_time() - began
    return Measured(requests=requests, cpu_s=took, wait_s=waited / requests)


def simpy_workers(requests: int, seed: int) -> Measured:
    env = simpy.Environment()
    draw = random.Random(seed).expovariate
    queue = simpy.Store(env)
    waited = 0.0

    def worker() -> Generator[simpy.Event, Any, None]:
        nonlocal waited
        while True:
            came = yield queue.get()
            waited += env.now - came
            yield env.timeout(draw(1 / SERVICE_S))

    def source() -> Generator[simpy.Event, Any, None]:
        for _ in range(requests):
            yield env.timeout(draw(PER_S))
            queue.put(env.now)

    for _ in range(SERVERS):
        env.process(worker())
    env.process(source())
    began = time.process_time()
    env.run()
    took = time.process_time() - began
    return Measured(requests=requests, cpu_s=took, wait_s=waited / requests)


def compiled(folder: Path) -> Path | None:
    """The C program, or None where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    program = folder / "twin_queue"
    source = Path(__file__).with_suffix(".c")
    subprocess.run(
        [compiler, "-O3", "-march=native", "-o", str(program), str(source), "-lm"], check=True
    )
    return program


def in_c(program: Path, requests: int, seed: int) -> Measured:
    words = (requests, seed, SERVERS, SERVICE_S * 1e9, 1e9 / PER_S)
    done = subprocess.run(
        [str(program), *map(str, words)], check=True, capture_output=True, text=True
    )
    cpu_ns, wait_ns = map(float, done.stdout.split())
    return Measured(requests=requests, cpu_s=cpu_ns / 1e9, wait_s=wait_ns / 1e9)


def erlang_wait_s() -> float:
    """Mean wait of M/M/c (Erlang C; Kleinrock, Queueing Systems I, 3.40)."""
    blocked = 1.0
    for servers in range(1, SERVERS + 1):
        blocked = LOAD * blocked / (servers + LOAD * blocked)
    waits = blocked / (1 - LOAD / SERVERS * (1 - blocked))
    return waits * SERVICE_S / (SERVERS - LOAD)


def measured(requests: int, rounds: int) -> tuple[dict[str, list[Measured]], float]:
    """By name, and what the twin's first run took, compilation included."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.perf_counter()
        twin(PER_S, 0, folder)
        first_s = time.perf_counter() - began
        programs: dict[str, Callable[[int], Measured]] = {
            "twin": lambda seed: twin(requests, seed, folder),
            "SimPy, Resource": lambda seed: simpy_resource(SIMPY_REQUESTS, seed),
            "SimPy, workers": lambda seed: simpy_workers(SIMPY_REQUESTS, seed),
        }
        program = compiled(folder)
        if program is not None:
            programs["C -O3"] = lambda seed: in_c(program, requests, seed)
        runs: dict[str, list[Measured]] = {name: [] for name in programs}
        for seed in range(1, rounds + 1):
            for which, one in programs.items():
                runs[which].append(one(seed))
    return runs, first_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--requests", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    runs, first_s = measured(options.requests, options.rounds)
    rate = {name: statistics.median(one.per_s for one in some) for name, some in runs.items()}
    wait = {name: statistics.mean(one.wait_s for one in some) for name, some in runs.items()}
    times_simpy = rate["twin"] / rate["SimPy, Resource"]
    times_c = rate["twin"] / rate["C -O3"] if "C -O3" in rate else None
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": f"Python {platform.python_version()}, numba {version('numba')}, "
        f"SimPy {version('simpy')}, Seakeep {version('seakeep')}",
        "load average": f"{os.getloadavg()[0]:.1f}",
        "requests/s": {name: round(one) for name, one in rate.items()},
        "mean wait, ms": {name: round(1e3 * one, 4) for name, one in wait.items()}
        | {"Erlang": round(1e3 * erlang_wait_s(), 4)},
        "twin's first run, s": round(first_s, 2),
        f"twin / SimPy, to reach {TIMES_SIMPY}": round(times_simpy, 1),
        f"twin / C, to reach {TIMES_C}": None if times_c is None else round(times_c, 2),
    }
    if options.json:
        print(json.dumps(report))
    else:
        show(report)
    return 0 if times_simpy >= TIMES_SIMPY and (times_c is None or times_c >= TIMES_C) else 1


def show(report: dict[str, Any]) -> None:
    for key, value in report.items():
        if isinstance(value, dict):
            print(f"{key}:")
            for name, one in value.items():
                print(f"  {name}: {one:,}")
        else:
            print(f"{key}: {value}")


if __name__ == "__main__":
    sys.exit(main())
