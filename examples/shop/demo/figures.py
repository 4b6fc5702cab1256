"""Two figures that need no fault: what a decision costs, and what Envoy costs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
DECIDE_MS_MAX = 50.0
TIMEOUT_S = 120

Document = dict[str, Any]


def measure() -> dict[str, Document]:
    """Run both benchmarks, one after the other; their documents by name."""
    return {
        "decide_step": _run("decide_step.py", "--steps", "6"),
        "envoy_cost": _run("envoy_cost.py", "--seconds", "2"),
    }


def _run(name: str, *options: str) -> Document:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / name, "--json", *options],
        capture_output=True, text=True, timeout=TIMEOUT_S, check=True,
    )  # fmt: skip
    document: Document = json.loads(done.stdout)
    return document


def figures_table(documents: dict[str, Document]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), title="what it costs", title_justify="left")
    for name in ("figure", "measured", "to reach", ""):
        table.add_column(name)
    decide = documents["decide_step"]
    steady = decide["steady_ms"]["median"]
    lost = decide["region_lost_ms"]["slowest"]
    what = f"decide step, {decide['regions']} regions, {decide['instances']:,} instances"
    for kind, value in (("at rest", steady), ("a region lost, slowest step", lost)):
        met = Text("✓ met", "green") if value < DECIDE_MS_MAX else Text("✗ missed", "red")
        table.add_row(
            f"{what}, {kind}", f"{value:.0f} ms on one core", f"< {DECIDE_MS_MAX:.0f} ms", met
        )
    paths = documents["envoy_cost"]["paths"]
    for path, name in (("direct", "directly to an instance"), ("edge", "through the edge")):
        figures = paths[path]
        table.add_row(
            f"requests {name}, 16 connections",
            f"{figures['requests_per_s']:,.0f}/s, p99 {figures['busy_p99_ms']:.1f} ms",
        )
    return table


def line_of(documents: dict[str, Document]) -> str:
    """What Envoy costs, in one line."""
    cost = documents["envoy_cost"]
    return (
        f"Envoy {cost['machine']['envoy']} takes {cost['envoy_cpu_us_per_request']:.0f} µs of CPU "
        f"per request and {cost['envoy_memory_bytes'] / 2**20:.0f} MiB; at "
        f"{cost['calm_per_s']} requests/s its p50 is {cost['paths']['edge']['calm_p50_ms']:.2f} ms "
        f"beside {cost['paths']['direct']['calm_p50_ms']:.2f} ms directly"
    )
