"""The JSON Schema of what `seakeep simulate --json` prints, and of `--compare` with it."""

from collections.abc import Mapping
from typing import Any

from seakeep.explain.compare import FORMAT as COMPARISON
from seakeep.explain.simulation_document import FORMAT as SIMULATION
from seakeep.explain.simulation_document import PERCENTILES
from seakeep.model.run import EventKind

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
YES_NO: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
AMOUNT: Schema = {"type": "number", "minimum": 0}
NUMBER: Schema = {"type": "number"}
FRACTION: Schema = {"type": "number", "minimum": 0, "maximum": 1}


def simulation_schema() -> Schema:
    """Of both formats; a document of either is valid."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What `seakeep simulate --json` prints",
        "oneOf": [_part("simulation"), _part("comparison")],
        "$defs": {
            "simulation": _simulation(),
            "comparison": _comparison(),
            "scenario": _scenario(),
            "verdict": _verdict(),
            "estimate": _estimate(),
            "run": _run(),
            "flow": _flow(),
            "times": _times(),
            "event": _event(),
        },
    }


def _simulation() -> Schema:
    return _object(
        "What came of the scenarios of one spec.",
        format=_said({"const": SIMULATION}, "Changes when a field goes or means something else."),
        system=_said(TEXT, "The system's name."),
        revision=_said(TEXT, "Digest of the spec, with what `--set` changed."),
        held=_said(YES_NO, "Whether all scenarios are."),
        interrupted=_said(YES_NO, "Ctrl-C: some runs are missing."),
        scenarios=_list(_part("scenario")),
    )


def _comparison() -> Schema:
    return _object(
        "Two specs under the same scenarios and seeds.",
        format={"const": COMPARISON},
        this=_part("simulation"),
        other=_part("simulation"),
        differences=_list(
            _object(
                "One figure of a scenario that both have.",
                scenario=TEXT,
                what=_said(TEXT, "`web availability 99.9%: good`, `browsers p99`."),
                unit={"enum": ["fraction", "seconds", "hours", "count"]},
                this=_part("estimate"),
                other=_part("estimate"),
                difference=_said(_part("estimate"), "This less the other, seed by seed."),
            )
        ),
    )


def _scenario() -> Schema:
    return _object(
        "All runs of one scenario.",
        name=TEXT,
        duration_s=_said(AMOUNT, "Counted, without the warm-up."),
        warmup_s=AMOUNT,
        held=_said(YES_NO, "All verdicts, and no run broke an invariant."),
        verdicts=_list(_part("verdict")),
        detect_s=_said(_or_null(_part("estimate")), "Of the runs in which somebody noticed."),
        recover_s=_said(_or_null(_part("estimate")), "Of the runs that recovered."),
        peak_utilisation=_by_name(_part("estimate"), "By service."),
        scalings=_part("estimate"),
        instance_hours=_by_name(_part("estimate"), "By service."),
        runs=_said(_list(_part("run")), "By seed."),
    )


def _verdict() -> Schema:
    return _object(
        "Whether one expectation holds, in every run.",
        what=_said(TEXT, "`web availability 99.9%`, `recovery within 60s`."),
        service=_said(_or_null(TEXT), "Null: the scenario's own expectation."),
        kind={"enum": ["availability", "latency", "recovery"]},
        held=YES_NO,
        target=_said(AMOUNT, "A fraction of requests; seconds for recovery."),
        measured=_said(_part("estimate"), "In the unit of `target`."),
        margin=_said(
            _or_null(NUMBER), "Of the worst run; negative when broken; null: it never recovered."
        ),
        budget_used=_said(
            _or_null(_part("estimate")), "Share of the error budget over the objective's window."
        ),
        worst_seed=_or_null(COUNT),
    )


def _estimate() -> Schema:
    return _object(
        "A figure over the runs.",
        mean=_said(_or_null(NUMBER), "Null: one run has no finite value."),
        low=_said(_or_null(NUMBER), "With `high`: holds the true mean with 95 % confidence."),
        high=_or_null(NUMBER),
        runs=_said(COUNT, "That it rests on."),
    )


def _run() -> Schema:
    return _object(
        "One scenario with one seed.",
        seed=COUNT,
        traffic=_by_name(_part("flow"), "By source: as its clients saw it."),
        services=_by_name(_part("flow"), "As the balancers of the callers saw it."),
        objectives=_list(_object("In the order of the spec.", what=TEXT, good=COUNT, total=COUNT)),
        detect_s=_said(_or_null(AMOUNT), "From the first fault until somebody noticed."),
        recover_s=_said(_or_null(AMOUNT), "From the first fault until all was met for good."),
        peak_utilisation=_by_name(FRACTION, "By service: worker slots taken, at most."),
        scalings=_said(COUNT, "Changes of the wanted number of instances."),
        instance_hours=_by_name(AMOUNT, "By service."),
        steps=_said(COUNT, "Of the control loop."),
        broken=_said(_list(TEXT), "Invariants that did not hold."),
        events=_said(_list(_part("event")), "By time."),
    )


def _flow() -> Schema:
    return _object(
        "Requests: the sum of ok, failed, rejected, timed_out and in_flight.",
        requests=COUNT,
        ok=COUNT,
        failed=COUNT,
        rejected=COUNT,
        timed_out=COUNT,
        in_flight=COUNT,
        retried=_said(COUNT, "Tries beyond the first."),
        latency_s=_part("times"),
        queue_wait_s=_part("times"),
    )


def _times() -> Schema:
    points = {name: _or_null(AMOUNT) for name in ("mean", *PERCENTILES, "max")}
    return _object("In seconds; null when there is none.", **points)


def _event() -> Schema:
    return _object(
        "What happened.",
        at_s=_said(NUMBER, "Since the end of the warm-up."),
        kind={"enum": [kind.value for kind in EventKind]},
        subject=TEXT,
        code=_said(TEXT, "Of the reason, or the fault's kind."),
        text=TEXT,
    )


# --- pieces -------------------------------------------------------------------


def _object(description: str, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _part(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _by_name(value: Schema, description: str) -> Schema:
    return {"type": "object", "description": description, "additionalProperties": value}


def _or_null(value: Schema) -> Schema:
    return {"anyOf": [value, {"type": "null"}]}


def _said(value: Schema, description: str) -> Schema:
    return {**value, "description": description}
