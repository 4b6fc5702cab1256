"""What the twin predicts beside what happens: the shop, simulated and real, under equal faults.

    python benchmarks/twin_reality.py [--json]

The shop of examples/shop runs for real (Envoys, DNS servers, processes) while its traffic flows and
a zone, then a region is lost for 15 s; then the twin runs the same scenarios with ten seeds. Told
side by side: requests that were not answered, when the last of them was due after the fault, and
latencies. Two minutes. Clients are put beside their regions in both: `seakeep load` is on
the same machine as the edges, so its requests do not cross an ocean.
"""

import argparse
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from seakeep import simulate
from seakeep.model.run import Run
from seakeep.model.scenario import Fault, FaultKind, Scenario, Step
from seakeep.model.system import System
from seakeep.model.time import SECOND
from seakeep.spec import load

SHOP = Path(__file__).resolve().parent.parent / "examples" / "shop"
SOURCE = "browsers-na"
"""Its clients go to the region that is hit."""
BEFORE_S, LOST_S, AFTER_S = 10, 15, 10
SEEDS = range(1, 11)
CASES = {
    "zone us-east/a lost": (FaultKind.LOSE_ZONE, "us-east/a"),
    "region us-east lost": (FaultKind.LOSE_REGION, "us-east"),
}
NEAR = {"browsers-na": "us-east", "browsers-eu": "eu-west"}
Figures = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of one case."""

    case: str
    what: str
    measured: float | None
    predicted: tuple[float, float, float] | None
    """(the least, the mean, the most) of the seeds."""


def seakeep(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "seakeep.cli.main", *arguments]


# --- for real -----------------------------------------------------------------


def measure(folder: Path, kind: FaultKind, place: str) -> Figures:
    report = folder / "report.json"
    quiet: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL,
                             "stderr": subprocess.DEVNULL}  # fmt: skip
    running = subprocess.Popen(
        seakeep("load", "--json", str(report), "--overstay", "5%", "--duration",
                f"{BEFORE_S + LOST_S + AFTER_S}s"), **quiet)  # fmt: skip
    time.sleep(BEFORE_S)
    struck = time.time()
    subprocess.run(seakeep("inject", kind.value, place, "--for", f"{LOST_S}s"), check=True,
                   **quiet)  # fmt: skip
    running.wait(90)
    read = json.loads(report.read_text())
    started = datetime.fromisoformat(read["started_at"]).timestamp()
    source = next(one for one in read["sources"] if one["source"] == SOURCE)
    failed = [started + one["due_s"] - struck for one in read["failures"]]
    first = min(failed, default=0.0)
    """The command takes a moment until the power goes."""
    return {
        "requests": source["requests"],
        "not answered": source["failed"],
        "last one due, s after the fault": max(failed, default=0.0) - first,
        "p50, ms": source["latency_ms"]["p50"],
        "p99, ms": source["latency_ms"]["p99"],
    }


def in_reality() -> dict[str, Figures]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "shop"
        shutil.copytree(SHOP, folder, ignore=shutil.ignore_patterns(".seakeep", "__pycache__"))
        found = {}
        try:
            for case, (kind, place) in CASES.items():
                subprocess.run(seakeep("up"), cwd=folder, check=True, stdout=subprocess.DEVNULL)
                found[case] = measure(folder, kind, place)
                subprocess.run(seakeep("down"), cwd=folder, check=True, stdout=subprocess.DEVNULL)
        finally:
            subprocess.run(seakeep("down"), cwd=folder, check=True, stdout=subprocess.DEVNULL)
        return found


# --- in the twin --------------------------------------------------------------


def in_the_twin() -> dict[str, list[Figures]]:
    system = beside(load(SHOP / "seakeep.yaml").system)
    found = {}
    for case, (kind, place) in CASES.items():
        fault = Fault(kind=kind, subject=place)
        scenario = Scenario(
            name="lost",
            duration=(BEFORE_S + LOST_S + AFTER_S) * SECOND,
            steps=(Step(at=BEFORE_S * SECOND, fault=fault, lasts=LOST_S * SECOND),),
        )
        found[case] = [figures(simulate(system, scenario, seed=seed)) for seed in SEEDS]
    return found


def beside(system: System) -> System:
    """Clients where their regions are."""
    traffic = {
        name: replace(source, location=system.regions[NEAR[name]].location)
        for name, source in system.traffic.items()
    }
    return replace(system, traffic=traffic)


def figures(run: Run) -> Figures:
    flow = run.traffic[SOURCE]
    bad = np.sum(
        [
            line.failed + line.rejected + line.timed_out
            for (source, _), line in run.lines.items()
            if source == SOURCE
        ],
        axis=0,
    )
    ended = np.flatnonzero(bad)
    # Told to the bucket, and by when they ended: a request that hangs does so after its timeout.
    last = float(ended[-1] * run.bucket / SECOND) - BEFORE_S if len(ended) else 0.0
    p50, p99 = flow.latency.percentile_s(0.5), flow.latency.percentile_s(0.99)
    return {
        "requests": flow.requests,
        "not answered": flow.failed + flow.rejected + flow.timed_out,
        "last one due, s after the fault": last,
        "p50, ms": None if p50 is None else p50 * 1e3,
        "p99, ms": None if p99 is None else p99 * 1e3,
    }


# --- side by side -------------------------------------------------------------


def compare() -> list[Compared]:
    real, twin = in_reality(), in_the_twin()
    found = []
    for case, measured in real.items():
        for what, value in measured.items():
            guesses = [one[what] for one in twin[case]]
            known = [guess for guess in guesses if guess is not None]
            spread = (min(known), math.fsum(known) / len(known), max(known)) if known else None
            found.append(Compared(case, what, value, spread))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print a document")
    arguments = parser.parse_args()
    found = compare()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    if arguments.json:
        rows = [{"case": one.case, "what": one.what, "measured": one.measured,
                 "predicted": one.predicted} for one in found]  # fmt: skip
        print(json.dumps({"machine": machine, "source": SOURCE, "figures": rows}, indent=2))
        return 0
    print(f"{machine}; clients of {SOURCE}, {len(SEEDS)} seeds of the twin")
    for one in found:
        guess = (
            "-" if one.predicted is None else "{1:8.1f} ({0:.1f} to {2:.1f})".format(*one.predicted)
        )
        value = "-" if one.measured is None else f"{one.measured:8.1f}"
        print(f"{one.case:22} {one.what:33} measured {value}   predicted {guess}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
