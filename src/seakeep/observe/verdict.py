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

# Aliases: looking a member up on its enum costs as much as the judgement, and this runs for
# every instance in every step.
_EXITED = Phase.EXITED
_STARTUP, _READINESS = ProbeKind.STARTUP, ProbeKind.READINESS
_READY, _UNREADY = Health.READY, Health.UNREADY
_PASSES = (Health.READY, "readiness: passes")

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
    if state.phase is _EXITED:
        return Health.FAILED, state.exit_detail or "exited"
    startup, readiness, liveness = probes
    started = ready = alive = None
    for reading in state.probes:
        kind = reading.kind
        if kind is _READINESS:
            ready = reading
        elif kind is _STARTUP:
            started = reading
        else:
            alive = reading
    if startup is not None and not (started is not None and started.passed):
        if started is not None and _failing(started, startup):
            return Health.FAILED, describe(started)
        return Health.STARTING, describe(started) if started else "startup: not checked yet"
    if alive is not None and not alive.ok and liveness is not None and _failing(alive, liveness):
        return Health.FAILED, describe(alive)
    if readiness is None:
        return _READY, "runs"
    if ready is None or not ready.passed:
        return Health.STARTING, describe(ready) if ready else "readiness: not checked yet"
    if ready.ok and before is not _UNREADY:
        return _PASSES
    return _readiness(ready, readiness, before)


def _readiness(reading: ProbeReading, probe: Probe, before: Health | None) -> tuple[Health, str]:
    """Of an instance that has been ready: its last verdict stands until a run is long enough."""
    if reading.ok:
        if reading.count >= probe.successes:
            return _PASSES
    elif before is not _UNREADY and reading.count < probe.failures:
        return _READY, describe(reading)
    return _UNREADY, describe(reading)


def _failing(reading: ProbeReading, probe: Probe) -> bool:
    return not reading.ok and reading.count >= probe.failures


def describe(reading: ProbeReading) -> str:
    """`readiness: HTTP 503 x3`."""
    said = reading.detail or ("passes" if reading.ok else "fails")
    return f"{reading.kind.value}: {said} x{reading.count}"
