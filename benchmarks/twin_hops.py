"""How many five-hop requests a second the twin simulates, with timeouts and retries at every hop.

    python benchmarks/twin_hops.py [--json] [--seconds 300] [--rounds 3]

Five services in a row, each of which calls the next for every request. A try in a hundred fails
at the last one and is sent again; every hop has a timeout, a time per try and a retry budget. One
core, median of the rounds; a request is one of a client, with all that it leads to.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import seakeep
from seakeep.model.run import Run
from seakeep.spec import load

PER_S, GOAL_PER_S = 4000, 1_000_000
HEAD = f"""\
system: hops
regions: {{here: {{zones: [a]}}}}
traffic:
  all: {{to: one, rate: {PER_S}/s}}
services:
"""
SERVICE = """\
  {name}:
    replicas: 4
    work: {{time: exponential(mean=2ms), concurrency: 64{errors}}}
    timeout: {timeout}ms
    retries: {{attempts: 2, per_try: {per_try}ms, budget: 20%, on: 5xx}}
    {calls}
"""
NAMES = ("one", "two", "three", "four", "five")


def text_of(seconds: int) -> str:
    parts = [HEAD]
    for place, name in enumerate(NAMES):
        last = place == len(NAMES) - 1
        parts.append(
            SERVICE.format(
                name=name,
                errors=", errors: 1%" if last else "",
                timeout=500 - 80 * place,
                per_try=240 - 40 * place,
                calls="" if last else f"calls: {{{NAMES[place + 1]}: 1}}",
            )
        )
    parts.append(f"scenarios:\n  steady: {{duration: {seconds}s}}\n")
    return "".join(parts)


def measured(seconds: int, rounds: int) -> tuple[list[float], Run, float]:
    """Requests per second of CPU of each round, the last run, and seconds of the first."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seakeep.yaml"
        path.write_text(text_of(1))
        short = load(path).system
        path.write_text(text_of(seconds))
        system = load(path).system
    began = time.perf_counter()
    run = seakeep.simulate(short, "steady", seed=0)
    first_s = time.perf_counter() - began
    rates = []
    for seed in range(1, rounds + 1):
        began = time.process_time()
        run = seakeep.simulate(system, "steady", seed=seed)
        rates.append(run.traffic["all"].requests / (time.process_time() - began))
    return rates, run, first_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rates, run, first_s = measured(options.seconds, options.rounds)
    flow, last = run.traffic["all"], run.services["five"]
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": f"Python {platform.python_version()}, numba {version('numba')}, "
        f"Seakeep {version('seakeep')}",
        "load average": f"{os.getloadavg()[0]:.1f}",
        "requests of a run": flow.requests,
        "ok": flow.ok,
        "retried at the last hop": last.retried,
        "first run, s": round(first_s, 2),
        f"requests/s, to reach {GOAL_PER_S:,}": round(statistics.median(rates)),
    }
    if options.json:
        print(json.dumps(report))
    else:
        for key, value in report.items():
            print(f"{key}: {value:,}" if isinstance(value, int) else f"{key}: {value}")
    return 0 if statistics.median(rates) >= GOAL_PER_S else 1


if __name__ == "__main__":
    sys.exit(main())
