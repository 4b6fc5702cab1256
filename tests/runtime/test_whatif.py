"""A recorded run, decided by another spec: what differs, where, and why."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from seakeep.model.system import Probe, ProbeKind, Replicas, Spread, System
from seakeep.model.time import SECOND
from seakeep.runtime.journal import Limits
from seakeep.runtime.reading import read
from seakeep.runtime.whatif import Group, WhatIf, what_if
from tests.runtime.journals import begin, eventful, two_regions
from tests.world import World, probe


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """15 s of rest, a kill, a lost zone that comes back, a restarted supervisor."""
    folder = tmp_path_factory.mktemp("journal")
    run = begin(folder, World(two_regions()))
    run.run(15)
    run.fault("kill", "web-1")
    run.run(15)
    run.fault("lose", "us-east/a")
    run.run(20)
    run.fault("restore", "us-east/a")
    run.run(15)
    run.journal.close()
    again = begin(folder, run.world, epoch=2)
    again.run(10)
    again.fault("hang", "web-3")
    again.run(15)
    again.journal.close()
    return folder


def changed(**fields: object) -> System:
    system = two_regions()
    web = replace(system.services["web"], **fields)  # type: ignore[arg-type]
    return replace(system, revision="changed", services={"web": web})


def found(folder: Path, system: System) -> WhatIf:
    return what_if(read(folder), system)


def groups(what: WhatIf, change: str, verb: str) -> Iterator[Group]:
    return (one for one in what.groups if (one.change, one.verb) == (change, verb))


def test_the_same_spec_decides_the_same(journal: Path) -> None:
    what = found(journal, two_regions())
    assert not what.is_different
    assert (what.differing, what.skipped, what.gaps, what.first_at) == (0, 0, (), None)
    assert what.steps > 100


def test_a_spec_that_differs_in_nothing_that_matters_decides_the_same(journal: Path) -> None:
    assert not found(journal, changed(timeout=9 * SECOND)).is_different


def test_more_replicas_are_starts_more(journal: Path) -> None:
    what = found(journal, changed(replicas=Replicas(min=8, max=16)))
    added = list(groups(what, "added", "start"))
    assert {group.service for group in added} == {"web"}
    assert {group.region for group in added} <= {"us-east", "eu-west"}
    assert sum(group.count for group in added) >= 2
    assert "placement.start.missing" in added[0].changed
    assert not list(groups(what, "dropped", "start"))
    assert what.first_at is not None
    assert what.first_at == min(group.first_at for group in what.groups)


def test_another_spread_starts_elsewhere(journal: Path) -> None:
    what = found(journal, changed(spread=Spread(regions={"eu-west": 1.0})))
    (moved,) = [one for one in groups(what, "elsewhere", "start") if one.region == "us-east"]
    assert moved.to == "eu-west"
    assert moved.count >= 3
    assert "placement.start.missing" in moved.recorded


def test_a_more_patient_probe_restarts_less(journal: Path) -> None:
    web = two_regions().services["web"]
    patient: tuple[Probe, ...] = (
        probe(ProbeKind.READINESS),
        probe(ProbeKind.LIVENESS, failures=1_000),
    )
    workload = replace(web.workload, probes=patient)
    what = found(journal, changed(workload=workload))
    (fewer,) = groups(what, "dropped", "restart")
    assert fewer.count == 1
    assert set(fewer.recorded) == {"health.restart.liveness"}


def test_a_later_restart_has_moved(journal: Path) -> None:
    web = two_regions().services["web"]
    slower = (probe(ProbeKind.READINESS), probe(ProbeKind.LIVENESS, failures=6))
    what = found(journal, changed(workload=replace(web.workload, probes=slower)))
    moved = [*groups(what, "later", "restart"), *groups(what, "dropped", "restart")]
    assert len(moved) == 1
    assert set(moved[0].recorded) == {"health.restart.liveness"}


def test_gaps_are_told_and_left_out(tmp_path: Path) -> None:
    eventful(tmp_path, Limits(segment_bytes=30_000, packed=False))
    whole = found(tmp_path, two_regions()).steps
    victim = sorted(tmp_path.glob("*.jsonl"))[1]
    lines = victim.read_bytes().splitlines(keepends=True)
    del lines[len(lines) // 2]
    victim.write_bytes(b"".join(lines))
    what = found(tmp_path, two_regions())
    assert what.gaps
    assert 0 < what.steps < whole


def test_two_runs_give_the_same(journal: Path) -> None:
    system = changed(replicas=Replicas(min=8, max=16))
    assert found(journal, system) == found(journal, system)
