"""The verdict on one instance, by the semantics of Kubernetes' probes."""

from dataclasses import replace

import pytest
from tests.world import START, probe

from seakeep.model.observation import Address, InstanceState, Phase, ProbeReading
from seakeep.model.system import ProbeKind
from seakeep.model.time import SECOND
from seakeep.model.view import Health
from seakeep.observe.verdict import by_kind, judge

STARTUP, READINESS, LIVENESS = ProbeKind.STARTUP, ProbeKind.READINESS, ProbeKind.LIVENESS

STATE = InstanceState(
    id="web-1",
    service="web",
    region="us-east",
    zone="a",
    node="us-east/a/0",
    revision="w1",
    address=Address(host="127.1.1.1", port=8080),
    phase=Phase.RUNNING,
    pid=7,
    created_at=START,
    started_at=START,
    restarts=0,
)


def reading(kind: ProbeKind, ok: bool, count: int, *, passed: bool = True) -> ProbeReading:
    return ProbeReading(
        kind=kind,
        ok=ok,
        count=count,
        passed=passed,
        checked_at=START + SECOND,
        detail="" if ok else "HTTP 503",
    )


ALL = (
    probe(STARTUP, failures=5),
    probe(READINESS, failures=3, successes=2),
    probe(LIVENESS, failures=2),
)
NO_STARTUP = ALL[1:]


@pytest.mark.parametrize(
    ("probes", "readings", "before", "verdict", "detail"),
    [
        # Nothing is asked for: what runs is ready.
        ((), (), None, Health.READY, "runs"),
        (ALL[2:], (), None, Health.READY, "runs"),
        # The startup probe gates the other two.
        (ALL, (), None, Health.STARTING, "startup: not checked yet"),
        (
            ALL,
            (reading(STARTUP, False, 4, passed=False), reading(LIVENESS, False, 9)),
            None,
            Health.STARTING,
            "startup: HTTP 503 x4",
        ),
        (
            ALL,
            (reading(STARTUP, False, 5, passed=False),),
            Health.STARTING,
            Health.FAILED,
            "startup: HTTP 503 x5",
        ),
        (
            ALL,
            (reading(STARTUP, True, 1),),
            Health.STARTING,
            Health.STARTING,
            "readiness: not checked yet",
        ),
        # A startup probe that has passed is history, whatever it says now.
        (
            ALL,
            (reading(STARTUP, False, 9), reading(READINESS, True, 2)),
            None,
            Health.READY,
            "readiness: passes",
        ),
        # Until the first readiness it is starting, however long readiness fails.
        (
            NO_STARTUP,
            (reading(READINESS, False, 50, passed=False),),
            Health.STARTING,
            Health.STARTING,
            "readiness: HTTP 503 x50",
        ),
        # Once ready, below the threshold it stays what it was.
        (
            NO_STARTUP,
            (reading(READINESS, False, 2),),
            Health.READY,
            Health.READY,
            "readiness: HTTP 503 x2",
        ),
        (
            NO_STARTUP,
            (reading(READINESS, False, 3),),
            Health.READY,
            Health.UNREADY,
            "readiness: HTTP 503 x3",
        ),
        (
            NO_STARTUP,
            (reading(READINESS, True, 1),),
            Health.UNREADY,
            Health.UNREADY,
            "readiness: passes x1",
        ),
        (
            NO_STARTUP,
            (reading(READINESS, False, 1),),
            Health.UNREADY,
            Health.UNREADY,
            "readiness: HTTP 503 x1",
        ),
        (
            NO_STARTUP,
            (reading(READINESS, True, 2),),
            Health.UNREADY,
            Health.READY,
            "readiness: passes",
        ),
        # Nothing is known of before (Seakeep was restarted): the benefit of the doubt.
        (
            NO_STARTUP,
            (reading(READINESS, False, 1),),
            None,
            Health.READY,
            "readiness: HTTP 503 x1",
        ),
        # Liveness goes before readiness.
        (
            NO_STARTUP,
            (reading(READINESS, True, 9), reading(LIVENESS, False, 1)),
            Health.READY,
            Health.READY,
            "readiness: passes",
        ),
        (
            NO_STARTUP,
            (reading(READINESS, True, 9), reading(LIVENESS, False, 2)),
            Health.READY,
            Health.FAILED,
            "liveness: HTTP 503 x2",
        ),
        (
            NO_STARTUP,
            (reading(READINESS, False, 9, passed=False), reading(LIVENESS, False, 2)),
            Health.STARTING,
            Health.FAILED,
            "liveness: HTTP 503 x2",
        ),
    ],
)
def test_judges_by_thresholds(probes, readings, before, verdict, detail):
    state = replace(STATE, probes=readings)
    assert judge(state, by_kind(probes), before) == (verdict, detail)


def test_an_exited_process_has_failed_whatever_its_probes_said():
    state = replace(
        STATE,
        phase=Phase.EXITED,
        exit_detail="exit code 1",
        probes=(reading(READINESS, True, 9),),
    )
    assert judge(state, by_kind(ALL), Health.READY) == (Health.FAILED, "exit code 1")


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.STOPPING])
def test_draining_keeps_the_verdict(phase):
    state = replace(
        STATE,
        phase=phase,
        draining_since=START,
        probes=(reading(READINESS, True, 9),),
    )
    assert judge(state, by_kind(NO_STARTUP), Health.READY)[0] is Health.READY


def test_judging_twice_gives_the_same():
    """What makes it safe to keep the verdict of a state that is the same object."""
    for ok in (True, False):
        for count in range(1, 5):
            for before in (None, Health.READY, Health.UNREADY, Health.STARTING):
                state = replace(STATE, probes=(reading(READINESS, ok, count),))
                once = judge(state, by_kind(NO_STARTUP), before)
                assert judge(state, by_kind(NO_STARTUP), once[0]) == once
