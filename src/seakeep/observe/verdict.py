"""The verdict on one instance from its own probes, before any doubt about freshness.

The semantics are those of Kubernetes (Pod lifecycle, container probes): the startup probe gates
the other two; a probe turns from passing to failing after `failures` equal results in a row and
back after `successes`; in between it keeps its last verdict. An instance is STARTING until its
startup probe has passed and its readiness probe has passed once.
"""

from typing import TypeAlias

from seakeep.model.observation import InstanceState, Phase, ProbeReading
from seakeep.model.system import Probe, ProbeKind
from seakeep.model.view import Health

Probes: TypeAlias = tuple[Probe | None, Probe | None, Probe | None]
"""Startup, readiness, liveness."""

NO_PROBES: Probes = (None, None, None)


def by_kind(probes: tuple[Probe, ...]) -> Probes:
    """The three probes in a fixed order; None where there is none."""
    found = {probe.kind: probe for probe in probes}
    return (
        found.get(ProbeKind.STARTUP),
        found.get(ProbeKind.READINESS),
        found.get(ProbeKind.LIVENESS),
    )


def judge(state: InstanceState, probes: Probes, before: Health | None) -> tuple[Health, str]:
    """The verdict and what it rests on. `before` is the verdict on the same process in the last
    view, None when there was none: it decides while a run is shorter than its threshold."""
    if state.phase is Phase.EXITED:
        return Health.FAILED, state.exit_detail or "exited"
    startup, readiness, liveness = probes
    started = ready = alive = None
    for reading in state.probes:
        if reading.kind is ProbeKind.READINESS:
            ready = reading
        elif reading.kind is ProbeKind.LIVENESS:
            alive = reading
        else:
            started = reading
    if startup is not None and not (started is not None and started.passed):
        if started is not None and _failing(started, startup):
            return Health.FAILED, describe(started)
        return Health.STARTING, describe(started) if started else "startup: not checked yet"
    if liveness is not None and alive is not None and _failing(alive, liveness):
        return Health.FAILED, describe(alive)
    if readiness is None:
        return Health.READY, "runs"
    if ready is None or not ready.passed:
        return Health.STARTING, describe(ready) if ready else "readiness: not checked yet"
    return _readiness(ready, readiness, before)


def _readiness(reading: ProbeReading, probe: Probe, before: Health | None) -> tuple[Health, str]:
    """Of an instance whose readiness has passed before."""
    if reading.ok:
        if reading.count >= probe.successes or before is not Health.UNREADY:
            return Health.READY, "readiness: passes"
    elif reading.count < probe.failures and before is not Health.UNREADY:
        return Health.READY, describe(reading)
    return Health.UNREADY, describe(reading)


def _failing(reading: ProbeReading, probe: Probe) -> bool:
    return not reading.ok and reading.count >= probe.failures


def describe(reading: ProbeReading) -> str:
    """`readiness: HTTP 503 x3`."""
    said = reading.detail or ("passes" if reading.ok else "fails")
    return f"{reading.kind.value}: {said} x{reading.count}"
