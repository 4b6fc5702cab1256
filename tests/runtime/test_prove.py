"""Scenarios times seeds, with made-up runs in the place of the twin's."""

import os
import signal

import pytest

from seakeep.runtime.prove import ProofError, prove
from tests.explain.report import small

SYSTEM = small.system()
SCENARIOS = (small.scenario(small.LOSS), small.scenario(name="calm"))


def make(shared, task):
    return small.run(shared.system, task.scenario, task.seed)


def fail_at_two(shared, task):
    if task.seed == 2:
        raise ValueError("two is too many")
    return make(shared, task)


def die_at_two(shared, task):
    if task.seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return make(shared, task)


def test_every_scenario_runs_with_every_seed():
    told = []
    report = prove(
        SYSTEM, SCENARIOS, [3, 1, 2], jobs=2, work=make,
        begun=lambda: told.append("begun"),
        progress=lambda task: told.append((task.scenario.name, task.seed)),
    )  # fmt: skip
    assert [proof.scenario.name for proof in report.proofs] == ["region-loss", "calm"]
    for proof in report.proofs:
        assert [run.seed for run in proof.runs] == [1, 2, 3]
        assert {run.scenario for run in proof.runs} == {proof.scenario.name}
    assert told[0] == "begun"
    assert sorted(told[1:]) == [(name, n) for name in ("calm", "region-loss") for n in (1, 2, 3)]
    assert not report.interrupted


@pytest.mark.parametrize(
    ("work", "says", "has_trace"),
    [
        (fail_at_two, "scenario calm, seed 2: ValueError: two is too many", True),
        (die_at_two, r"scenario calm, seed 2: its process died of signal 9 \(out of memory", False),
    ],
)
def test_a_run_that_fails_is_named(work, says, has_trace):
    with pytest.raises(ProofError, match=says) as found:
        prove(SYSTEM, SCENARIOS[1:], [1, 2, 3], jobs=1, work=work)
    assert (found.value.task.scenario.name, found.value.task.seed) == ("calm", 2)
    assert ("fail_at_two" in found.value.trace) is has_trace


def test_ctrl_c_keeps_what_has_finished():
    def stop(task):
        if task.seed == 2:
            raise KeyboardInterrupt  # as the interpreter does, wherever it is

    report = prove(SYSTEM, SCENARIOS, range(1, 100), jobs=1, work=make, progress=stop)
    assert report.interrupted
    assert [len(proof.runs) for proof in report.proofs] == [2, 1]
