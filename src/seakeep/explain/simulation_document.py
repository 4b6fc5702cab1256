"""What a simulation found out as one document: `seakeep simulate --json`, format
`seakeep.simulation/1`. docs/reference/simulation-json.md describes every field.

Times are in seconds, fractions between 0 and 1. What is not known is null. The same spec,
scenarios and seeds give the same bytes.
"""

import math
from collections.abc import Mapping
from typing import Any

from seakeep.explain import judge
from seakeep.model.hdr import Histogram
from seakeep.model.proof import Estimate, Proof, Report, Verdict
from seakeep.model.run import Flow, Run, RunEvent
from seakeep.model.scenario import Scenario
from seakeep.model.system import System
from seakeep.model.time import HOUR, in_seconds

FORMAT = "seakeep.simulation/1"
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999}

Document = dict[str, Any]


def document(report: Report) -> Document:
    """Of a whole report."""
    return {
        "format": FORMAT,
        "system": report.system.name,
        "revision": report.system.revision,
        "held": report.held,
        "interrupted": report.interrupted,
        "scenarios": [_scenario(report.system, proof) for proof in report.proofs],
    }


def _scenario(system: System, proof: Proof) -> Document:
    scenario = proof.scenario
    return {
        "name": scenario.name,
        "duration_s": in_seconds(scenario.duration),
        "warmup_s": in_seconds(scenario.warmup),
        "held": proof.held,
        "verdicts": [_verdict(verdict) for verdict in proof.verdicts],
        "detect_s": estimate_document(proof.detect),
        "recover_s": estimate_document(proof.recover),
        "peak_utilisation": _estimates(proof.peak_utilisation),
        "scalings": estimate_document(proof.scalings),
        "instance_hours": _estimates(proof.instance_hours),
        "runs": [_run(system, scenario, run) for run in proof.runs],
    }


def _verdict(verdict: Verdict) -> Document:
    objective = verdict.objective
    return {
        "what": verdict.what,
        "service": None if objective is None else objective.service,
        "kind": "recovery" if objective is None else objective.kind.value,
        "held": verdict.held,
        "target": verdict.target,
        "measured": estimate_document(verdict.measured),
        "margin": _finite(verdict.margin),
        "budget_used": estimate_document(verdict.budget),
        "worst_seed": verdict.worst_seed,
    }


def _run(system: System, scenario: Scenario, run: Run) -> Document:
    return {
        "seed": run.seed,
        "traffic": {name: _flow(flow) for name, flow in run.traffic.items()},
        "services": {name: _flow(flow) for name, flow in run.services.items()},
        "objectives": [
            {
                "what": judge.describe(objective),
                "good": int(one.good.sum()),
                "total": int(one.total.sum()),
            }
            for objective, one in zip(system.objectives, run.objectives, strict=True)
        ],
        "detect_s": judge.time_to_detect(scenario, run),
        "recover_s": judge.time_to_recover(system, scenario, run),
        "peak_utilisation": {name: judge.peak_utilisation(run, name) for name in system.services},
        "scalings": judge.scalings(run),
        "instance_hours": {name: spent / HOUR for name, spent in run.instance_ns.items()},
        "steps": run.steps,
        "broken": list(run.broken),
        "events": [_event(event) for event in run.events],
    }


def _flow(flow: Flow) -> Document:
    return {
        "requests": flow.requests,
        "ok": flow.ok,
        "failed": flow.failed,
        "rejected": flow.rejected,
        "timed_out": flow.timed_out,
        "in_flight": flow.in_flight,
        "retried": flow.retried,
        "latency_s": _times(flow.latency),
        "queue_wait_s": _times(flow.wait),
    }


def _times(histogram: Histogram) -> Document:
    points = {name: histogram.percentile_s(share) for name, share in PERCENTILES.items()}
    return {"mean": histogram.mean_s, **points, "max": histogram.max_s}


def _event(event: RunEvent) -> Document:
    return {
        "at_s": in_seconds(event.at),
        "kind": event.kind.value,
        "subject": event.subject,
        "code": event.code,
        "text": event.text,
    }


def estimate_document(estimate: Estimate | None) -> Document | None:
    """`{mean, low, high, runs}`; None of what is not known."""
    if estimate is None:
        return None
    return {
        "mean": _finite(estimate.mean),
        "low": _finite(estimate.low),
        "high": _finite(estimate.high),
        "runs": estimate.runs,
    }


def _estimates(estimates: Mapping[str, Estimate]) -> Document:
    return {name: estimate_document(one) for name, one in estimates.items()}


def _finite(value: float | None) -> float | None:
    """None for what never came."""
    return value if value is not None and math.isfinite(value) else None
