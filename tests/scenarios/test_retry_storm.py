"""Metastable failure: a retry storm that outlives its trigger, and what ends it, as
docs/concepts/twin.md tells it."""

from pathlib import Path

import pytest

from seakeep.model.run import Run
from seakeep.runtime.simulate import simulate
from seakeep.spec import load

SPEC = Path(__file__).parents[2] / "examples/retry-storm/seakeep.yaml"
SURGE_ENDS_S, DURATION_S = 80, 300


def run_with(change: tuple[str, str], tmp_path: Path) -> Run:
    text = SPEC.read_text()
    assert change[0] in text
    path = tmp_path / "seakeep.yaml"
    path.write_text(text.replace(*change))
    return simulate(load(path).system, "surge", seed=1)


def ok_per_s(run: Run, from_s: int, to_s: int) -> float:
    line = run.lines["clients", "home"]
    return float(line.ok[from_s:to_s].mean())


def test_the_storm_outlives_the_surge(tmp_path: Path) -> None:
    run = run_with(("budget: 100%", "budget: 100%"), tmp_path)
    assert ok_per_s(run, 0, 60) == pytest.approx(280, rel=0.05)
    assert ok_per_s(run, SURGE_ENDS_S, DURATION_S) < 1, "long after, and with a third of the load"
    flow = run.traffic["clients"]
    assert flow.retried > 2.5 * flow.timed_out
    assert run.broken == ()


@pytest.mark.parametrize(
    ("change", "within_s"),
    [
        (("budget: 100%", "budget: 20%"), 60),
        (("concurrency: 2", "concurrency: 2, queue: 50"), 20),
        (("concurrency: 2", "concurrency: 2, cancel: true"), 20),
    ],
    ids=["a retry budget", "a bounded queue", "giving up what nobody waits for"],
)
def test_what_ends_it(change: tuple[str, str], within_s: int, tmp_path: Path) -> None:
    run = run_with(change, tmp_path)
    assert ok_per_s(run, 65, 80) < 480, "the surge itself is too much all the same"
    back = ok_per_s(run, SURGE_ENDS_S + within_s, DURATION_S)
    assert back == pytest.approx(280, rel=0.03)
    assert run.broken == ()


def test_at_more_load_the_budget_is_not_enough(tmp_path: Path) -> None:
    """Balancers eject what times out, up to half of all instances, and the other half cannot bear
    the load."""
    path = tmp_path / "seakeep.yaml"
    path.write_text(
        SPEC.read_text()
        .replace("budget: 100%", "budget: 20%")
        .replace("rate: 280/s", "rate: 480/s")
        .replace("factor: 4", "factor: 2")
    )
    run = simulate(load(path).system, "surge", seed=1)
    assert ok_per_s(run, 200, DURATION_S) < 240
