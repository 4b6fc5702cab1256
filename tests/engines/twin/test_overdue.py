"""Requests that nobody answers, and nobody gives up either, are no good ones."""

import pytest

from seakeep.runtime.simulate import simulate
from seakeep.spec import load

SPEC = """
system: queue
regions: {here: {zones: [a]}}
traffic:
  clients: {to: desk, rate: 10/s}
services:
  desk:
    work: {time: 50ms, concurrency: 8}
    retries: {attempts: 0}
    timeout: none
    TWEAK
  clerk:
    work: {time: 50ms, concurrency: 8}
    timeout: none
objectives:
  - {service: desk, availability: 99%}
  - {service: desk, latency: 99% < 2s}
  - {service: clerk, availability: 99%}
scenarios:
  frozen: {duration: 60s, steps: [{at: 20s, freeze: desk}]}
  calm: {duration: 60s}
"""


def run_of(tmp_path, scenario, tweak="calls: {clerk: 1}", spec=SPEC):
    path = tmp_path / "seakeep.yaml"
    path.write_text(spec.replace("TWEAK", tweak))
    return simulate(load(path).system, scenario, seed=1)


def bad(good):
    return good.total - good.good


def test_they_are_bad_once_they_have_waited_too_long(tmp_path):
    run = run_of(tmp_path, "frozen")
    flow = run.traffic["clients"]
    assert flow.in_flight == pytest.approx(400, rel=0.2)
    available, fast, _ = run.objectives
    for one, after_s in ((available, 10), (fast, 2)):
        first = 20 + after_s
        assert bad(one)[: first - 1].sum() == 0
        assert bad(one)[first:].min() > 0
        assert bad(one).sum() == pytest.approx((60 - first) * 10, rel=0.2)


def test_so_are_calls_of_other_services(tmp_path):
    spec = SPEC.replace("freeze: desk", "freeze: clerk")
    run = run_of(tmp_path, "frozen", spec=spec)
    assert bad(run.objectives[2])[29:].sum() == 8, "every slot of the desk waits for the clerk"


def test_those_that_take_long_as_usual_are_not(tmp_path):
    slow = SPEC.replace("50ms, concurrency: 8", "25s, concurrency: 1000", 1)
    available, fast, _ = run_of(tmp_path, "calm", spec=slow).objectives
    assert bad(available).sum() == 0
    assert bad(fast).sum() > 400


def test_when_all_is_well_there_are_none(tmp_path):
    for one in run_of(tmp_path, "calm").objectives:
        assert bad(one).sum() == 0
