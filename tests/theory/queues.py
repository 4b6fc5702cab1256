"""Systems for the tests of theory, written as a user would, run over several seeds, and compared.

Requests of one run depend on one another: a long queue makes all of them wait. So a run gives one
value, runs with other seeds are independent, and Student's t over them says how far their mean may
lie from the truth: in one test of a million it lies farther by chance. A comparison also says how
narrow that interval must be, or it would prove nothing.
"""

import math
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

import seakeep
from seakeep.model.hdr import SUB, Histogram, bucket_of
from seakeep.model.run import Flow, Run
from seakeep.model.time import SECOND
from seakeep.spec import load

FALSE_ALARM = 1e-6
SEEDS = 24


def spec(
    services: str, *, to: str, per_s: float, seconds: float, warmup_s: float = 0, source: str = ""
) -> str:
    """One region and zone, one Poisson source; `source` is what else stands of it."""
    more = f", {source}" if source else ""
    return (
        "system: theory\n"
        "regions: {here: {zones: [a]}}\n"
        f"traffic:\n  all: {{to: {to}, rate: {per_s:.6f}/s{more}}}\n"
        f"scenarios:\n  steady: {{duration: {seconds:.6f}s, warmup: {warmup_s:.6f}s}}\n"
        f"services:\n{services}"
    )


def station(
    name: str, work: str, *, retries: str = "{attempts: 0}", timeout: str = "none", more: str = ""
) -> str:
    """A service that only does what it is told."""
    return (
        f"  {name}:\n    work: {{{work}}}\n    timeout: {timeout}\n    retries: {retries}\n{more}"
    )


def runs_of(text: str, seeds: int = SEEDS) -> list[Run]:
    """One run a seed, each of which kept what it was given."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seakeep.yaml"
        path.write_text(text)
        system = load(path).system
    scenario = system.scenarios["steady"]
    runs = [seakeep.simulate(system, scenario, seed=seed) for seed in range(1, seeds + 1)]
    for run in runs:
        conserved(run)
    return runs


def conserved(run: Run) -> None:
    assert run.broken == ()
    for flow in [*run.traffic.values(), *run.services.values()]:
        ended = flow.ok + flow.failed + flow.rejected + flow.timed_out
        assert flow.requests == ended + flow.in_flight
        assert flow.latency.total == flow.ok


def agree(what: str, values: Iterable[float], expected: float, within: float) -> None:
    """The runs' values are those of theory, and tell it from what is `within` (a fraction) away."""
    sample = np.array(list(values))
    error = sample.std(ddof=1) / math.sqrt(sample.size)
    far = float(stats.t.isf(FALSE_ALARM / 2, sample.size - 1)) * error
    print(f"{what}: {sample.mean():.6g} ± {far:.2g}, theory {expected:.6g}")  # shown on failure
    assert far <= within * expected, f"{what}: ± {far:.3g} of {expected:.3g} is too wide to tell"
    assert abs(sample.mean() - expected) <= far, (
        f"{what}: {sample.mean():.6g} ± {far:.2g}, but theory says {expected:.6g}"
    )


def clients(runs: Sequence[Run]) -> list[Flow]:
    return [run.traffic["all"] for run in runs]


def mean_waits_s(runs: Sequence[Run]) -> list[float]:
    return [flow.wait.mean_s or 0.0 for flow in clients(runs)]


def mean_times_s(runs: Sequence[Run]) -> list[float]:
    return [flow.latency.mean_s or 0.0 for flow in clients(runs)]


def edge_s(near_s: float) -> float:
    """Where a histogram's bucket ends, near a time: shares beyond it are exact."""
    bucket = bucket_of(round(near_s * SECOND)) + 1
    shift = max(0, bucket // SUB - 1)
    return ((bucket - SUB * shift) << shift) / SECOND


def share_longer(histogram: Histogram, than_s: float) -> float:
    """The fraction not shorter than so: `than_s` is an `edge_s`."""
    bucket = bucket_of(round(than_s * SECOND))
    return float(histogram.counts[bucket:].sum() / histogram.counts.sum())
