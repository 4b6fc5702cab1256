"""How soon clients of a lost region are served by the other one.

    python benchmarks/dns_failover.py [--json]

The shop of examples/shop, for real: two regions, Envoys, DNS servers, TTL 5 s. Clients near us-east
ask 40 times a second in three ways at once while the power of us-east is cut for 20 s: by DNS,
keeping its TTL; by DNS, a twentieth of them overstaying it threefold, which is what `seakeep load`
does by itself; and, as the peer, at the nearest edge whatever happens, as without DNS. About a
minute. The figure to reach: TTL + 2 s for clients that keep the TTL.
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
from datetime import datetime
from pathlib import Path
from typing import Any

SHOP = Path(__file__).resolve().parent.parent / "examples" / "shop"
SOURCE, REGION = "browsers-na", "us-east"
TTL_S, BOUND_S = 5, 7
RATE = "40/s"
BEFORE_S, LOST_S, AFTER_S = 5, 20, 3
WAYS = {
    "by DNS, keeping the TTL": ("--overstay", "0%"),
    "by DNS, 5% overstaying it threefold": ("--overstay", "5%"),
    "without DNS": ("--no-dns",),
}


def seakeep(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "seakeep.cli.main", *arguments]


def measure(folder: Path) -> dict[str, dict[str, Any]]:
    """Of each way: when, after the power went, the last failed request was due. The power went
    when the first request of all failed."""
    reports = {way: folder / f"{number}.json" for number, way in enumerate(WAYS)}
    quiet: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL,
                             "stderr": subprocess.DEVNULL}  # fmt: skip
    loads = [
        subprocess.Popen(
            seakeep("load", "--source", SOURCE, "--rate", RATE, "--json", str(reports[way]),
                    "--duration", f"{BEFORE_S + LOST_S + AFTER_S}s", *options),
            **quiet,
        )
        for way, options in WAYS.items()
    ]  # fmt: skip
    time.sleep(BEFORE_S)
    subprocess.run(seakeep("inject", "lose-region", REGION, "--for", f"{LOST_S}s"), check=True,
                   **quiet)  # fmt: skip
    for load in loads:
        load.wait(60)
    read = {way: json.loads(path.read_text()) for way, path in reports.items()}
    cut_at = min(at for report in read.values() for at in failures(report))
    return {way: summary(report, cut_at) for way, report in read.items()}


def failures(report: dict[str, Any]) -> list[float]:
    """When failed requests were due, in seconds since the epoch."""
    started = datetime.fromisoformat(report["started_at"]).timestamp()
    return [started + one["due_s"] for one in report["failures"]]


def summary(report: dict[str, Any], cut_at: float) -> dict[str, Any]:
    (source,) = report["sources"]
    failed_after = [at - cut_at for at in failures(report)]
    return {
        "requests": source["requests"],
        "failed": source["failed"],
        "last_failed_s": round(max(failed_after), 2) if failed_after else 0.0,
        "by_region": source["requests_by_region"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print a document")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "shop"
        shutil.copytree(SHOP, folder, ignore=shutil.ignore_patterns(".seakeep", "__pycache__"))
        try:
            subprocess.run(seakeep("up"), cwd=folder, check=True, stdout=subprocess.DEVNULL)
            found = measure(folder)
        finally:
            subprocess.run(seakeep("down"), cwd=folder, check=True, stdout=subprocess.DEVNULL)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    if arguments.json:
        print(json.dumps({"machine": machine, "bound_s": BOUND_S, "ways": found}, indent=2))
        return 0
    print(f"{machine}; {REGION} lost for {LOST_S} s, TTL {TTL_S} s, to reach: {BOUND_S} s")
    for way, one in found.items():
        print(
            f"{way:36} last failed request due {one['last_failed_s']:5.2f} s after the power went,"
            f" {one['failed']} of {one['requests']} failed"
            + ("" if one["failed"] else f": none was sent to {REGION} when that was lost")
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
