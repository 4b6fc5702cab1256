"""What the twin predicts beside what happens: the shop, simulated and real, under equal faults.

    python benchmarks/twin_reality.py [--json]

The shop of examples/shop runs for real (Envoys, DNS servers, processes) while its traffic flows and
a zone, then a region is lost for 15 s; then the twin runs the same scenarios with ten seeds. Told
side by side: how many requests of the clients of the region that is hit were not answered. Two
minutes. Latencies are not compared: `seakeep load` runs beside the edges, without an ocean between.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seakeep import simulate
from seakeep.model.run import Run
from seakeep.model.scenario import Fault, FaultKind, Scenario, Step
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
Figures = dict[str, int]


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of one case."""

    case: str
    what: str
    measured: int
    predicted: tuple[int, float, int]
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
    subprocess.run(seakeep("inject", kind.value, place, "--for", f"{LOST_S}s"), check=True,
                   **quiet)  # fmt: skip
    running.wait(90)
    sources = json.loads(report.read_text())["sources"]
    source = next(one for one in sources if one["source"] == SOURCE)
    return {"requests": source["requests"], "not answered": source["failed"]}


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
    system = load(SHOP / "seakeep.yaml").system
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


def figures(run: Run) -> Figures:
    flow = run.traffic[SOURCE]
    bad = flow.failed + flow.rejected + flow.timed_out
    return {"requests": flow.requests, "not answered": bad}


# --- side by side -------------------------------------------------------------


def compare() -> list[Compared]:
    real, twin = in_reality(), in_the_twin()
    found = []
    for case, measured in real.items():
        for what, value in measured.items():
            guesses = [one[what] for one in twin[case]]
            spread = (min(guesses), sum(guesses) / len(guesses), max(guesses))
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
        least, mean, most = one.predicted
        print(
            f"{one.case:22} {one.what:13} measured {one.measured:6}   predicted {mean:8.1f} "
            f"({least} to {most})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
