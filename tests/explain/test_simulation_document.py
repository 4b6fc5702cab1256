"""The document of a simulation is what its schema and its page say."""

import json
from dataclasses import replace

import jsonschema
import pytest
from tests.explain.report import small

from seakeep.explain.compare import comparison_document
from seakeep.explain.judge import judge
from seakeep.explain.simulation_document import document
from seakeep.explain.simulation_schema import simulation_schema
from seakeep.model.proof import Report
from seakeep.model.time import SECOND

SYSTEM = small.system()
LOSS = small.scenario(small.LOSS, recovery=30 * SECOND)
CALM = small.scenario(name="calm")


def report(*scenarios, of=SYSTEM, seeds=(1, 2)):
    proofs = [judge(of, one, [small.run(of, one, seed) for seed in seeds]) for one in scenarios]
    return Report(system=of, proofs=tuple(proofs))


def is_valid(found):
    schema = simulation_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(json.dumps(found, allow_nan=False)), schema)


@pytest.mark.parametrize(
    "found",
    [
        report(CALM, LOSS),
        report(LOSS, seeds=(4,)),
        report(LOSS, seeds=()),
        report(LOSS, of=small.system(objectives=False, traffic=False)),
        report(small.scenario(replace(small.LOSS, lasts=None), recovery=SECOND)),
        Report(system=SYSTEM, proofs=(), interrupted=True),
    ],
    ids=["two", "one seed", "no run", "no objective", "never recovers", "nothing"],
)
def test_every_document_is_valid(found):
    is_valid(document(found))


def test_a_comparison_is_valid():
    is_valid(comparison_document(report(CALM, LOSS), report(LOSS)))


def test_a_field_that_the_schema_does_not_know_is_noticed():
    found = document(report(CALM))
    found["scenarios"][0]["runs"][0]["colour"] = "blue"
    with pytest.raises(jsonschema.ValidationError):
        is_valid(found)


def test_every_run_has_its_own_figures():
    (loss,) = document(report(LOSS))["scenarios"]
    for run in loss["runs"]:
        assert run["detect_s"] == 0.1
        assert run["recover_s"] == 20
        assert run["scalings"] == 1
        assert run["peak_utilisation"]["web"] == 0.75
        assert [one["what"] for one in run["objectives"]] == [
            "web availability 99.9%",
            "web latency 95% < 300ms",
        ]
        flow = run["traffic"]["browsers"]
        ended = ("ok", "failed", "rejected", "timed_out", "in_flight")
        assert flow["requests"] == sum(flow[name] for name in ended)
        assert flow["queue_wait_s"] == dict.fromkeys(("mean", "p50", "p90", "p99", "p99_9", "max"))
        assert flow["latency_s"]["max"] == 0.1
