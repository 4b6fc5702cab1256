"""The verdict on one instance from its own probes, before any doubt about freshness.

The semantics are those of Kubernetes (Pod lifecycle, container probes): the startup probe gates
the other two; a probe turns from passing to failing after `failures` equal results in a row and
back after `successes`; in between it keeps its last verdict. An instance is STARTING until its
startup probe has passed and its readiness probe has passed once.
"""

from dataclasses import dataclass

from seakeep.model.observation import InstanceState, Phase, ProbeReading
from seakeep.model.system import Probe, ProbeKind
from seakeep.model.view import Health


@dataclass(frozen=True, slots=True)
class Probes:
    """The probes of a workload; None where there is none."""

    startup: Probe | None
    readiness: Probe | None
    liveness: Probe | None
    count: int


# Aliases: looking a member up on its enum costs as much as the judgement, and this runs for
# every instance in every step.
_EXITED = Phase.EXITED
_STARTUP, _READINESS = ProbeKind.STARTUP, ProbeKind.READINESS
_READY, _UNREADY = Health.READY, Health.UNREADY
_PASSES = (Health.READY, "readiness: passes")
_RUNS = (Health.READY, "runs")
PASSING = (_PASSES[1], _RUNS[1])
"""The details of instances whose every probe passes; they are READY."""

NO_PROBES = Probes(None, None, None, 0)


def by_kind(probes: tuple[Probe, ...]) -> Probes:
    """The probes of a workload, which has each kind at most once."""
    found = {probe.kind: probe for probe in probes}
    return Probes(
        found.get(ProbeKind.STARTUP),
        found.get(ProbeKind.READINESS),
        found.get(ProbeKind.LIVENESS),
        len(found),
    )


def judge(state: InstanceState, probes: Probes, before: Health | None) -> tuple[Health, str]:
    """The verdict and what it rests on. `before` is the verdict on the same process in the last
    view, None when there was none: it decides while a run is shorter than its threshold."""
    if state.phase is _EXITED:
        return Health.FAILED, state.exit_detail or "exited"
    readings = state.probes
    if before is not _UNREADY and len(readings) == probes.count:
        for reading in readings:
            if not (reading.ok and reading.passed):
                break
        else:  # the common case: everything that there is to check passes
            return _RUNS if probes.readiness is None else _PASSES
    return _weigh_up(state, probes, before)


def _weigh_up(state: InstanceState, probes: Probes, before: Health | None) -> tuple[Health, str]:
    readings = {reading.kind: reading for reading in state.probes}
    started, ready = readings.get(_STARTUP), readings.get(_READINESS)
    alive = readings.get(ProbeKind.LIVENESS)
    startup, readiness, liveness = probes.startup, probes.readiness, probes.liveness
    if startup is not None and not (started is not None and started.passed):
        if started is not None and _failing(started, startup):
            return Health.FAILED, describe(started)
        return Health.STARTING, describe(started) if started else "startup: not checked yet"
    if alive is not None and not alive.ok and liveness is not None and _failing(alive, liveness):
        return Health.FAILED, describe(alive)
    if readiness is None:
        return _RUNS
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
