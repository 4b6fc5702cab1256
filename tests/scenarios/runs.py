"""Small systems and short questions about runs, for tests of scenarios."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seakeep.model.run import EventKind, Run, RunEvent
from seakeep.model.scenario import Deploy, Fault, FaultKind, Scenario, Step
from seakeep.model.system import System
from seakeep.model.time import SECOND, Duration
from seakeep.spec import load
from tests.scenarios.random_systems import Spec, system_of

SHOP = Path(__file__).parents[2] / "examples/shop/seakeep.yaml"


def shop() -> System:
    return load(SHOP).system


def spec(services: Mapping[str, Spec], **other: Any) -> Spec:
    """Two regions of two zones, one way 20 ms apart, and clients of the first service in each."""
    first = next(iter(services))
    plain: Spec = {
        "system": "trial",
        "regions": {
            "east": {"zones": ["a", "b"], "at": [40, -75], "nodes": {"count": 2, "cpu": 8}},
            "west": {"zones": ["a", "b"], "at": [40, -120], "nodes": {"count": 2, "cpu": 8}},
        },
        "network": {"east~west": "20ms"},
        "dns": {"zone": "trial.example", "ttl": "2s"},
        "traffic": {
            "easterners": {"from": [40, -75], "to": first, "rate": "40/s"},
            "westerners": {"from": [40, -120], "to": first, "rate": "40/s"},
        },
        "services": services,
    }
    return plain | other


def web(**other: Any) -> Spec:
    """A service that clients come to; its defaults leave room for twice the load."""
    plain: Spec = {
        "replicas": 4,
        "work": {"time": "exponential(mean=10ms)", "concurrency": 4},
        "routes": [{"host": "trial.example"}],
        "timeout": "2s",
        "probes": {
            "readiness": {"http": "/ready", "every": "500ms", "failures": 2},
            "liveness": {"http": "/live", "every": "1s", "failures": 3},
        },
    }
    return plain | other


def two_regions(**other: Any) -> System:
    return system_of(spec({"web": web(**other)}))


def fault(
    kind: FaultKind,
    subject: str = "",
    *,
    at_s: float = 10,
    for_s: float | None = None,
    amount: float = 0.0,
    deploy: Deploy | None = None,
) -> Step:
    lasts = None if for_s is None else round(for_s * SECOND)
    one = Fault(kind=kind, subject=subject, amount=amount, deploy=deploy)
    return Step(at=round(at_s * SECOND), fault=one, lasts=lasts)


def scenario(*steps: Step, duration_s: float = 60, warmup_s: float = 5) -> Scenario:
    return Scenario(
        name="trial",
        duration=round(duration_s * SECOND),
        warmup=round(warmup_s * SECOND),
        steps=steps,
    )


def events(run: Run, kind: EventKind, code: str = "", subject: str = "") -> list[RunEvent]:
    return [
        event
        for event in run.events
        if event.kind is kind
        and event.code.startswith(code)
        and (not subject or event.subject == subject)
    ]


def ok_fraction(run: Run, since_s: float, until_s: float) -> float:
    """Of the requests of all clients that ended in a span of time."""
    first, last = (round(at * SECOND) // run.bucket for at in (since_s, until_s))
    span = slice(first, last)
    well = sum(int(line.ok[span].sum()) for line in run.lines.values())
    ill = sum(
        int(counts[span].sum())
        for line in run.lines.values()
        for counts in (line.failed, line.rejected, line.timed_out)
    )
    return well / (well + ill) if well + ill else 1.0


def ready(run: Run, service: str, at_s: float, region: str = "") -> int:
    bucket = round(at_s * SECOND) // run.bucket
    return sum(
        int(load.ready[bucket])
        for (name, place), load in run.loads.items()
        if name == service and region in ("", place)
    )


def seconds(duration: Duration) -> float:
    return duration / SECOND
