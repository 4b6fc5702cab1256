"""Faults that no machine can be given are refused, with what to do instead."""

from pathlib import Path

import pytest

from seakeep.engines.local.layout import layout_for
from seakeep.model.scenario import Fault, FaultKind
from seakeep.runtime.faults import FaultError, hold

REAL = {
    FaultKind.KILL, FaultKind.FREEZE, FaultKind.SLOW, FaultKind.LOSE_NODE, FaultKind.LOSE_ZONE,
    FaultKind.LOSE_REGION, FaultKind.PARTITION, FaultKind.DELAY,
}  # fmt: skip


@pytest.mark.parametrize("kind", [kind for kind in FaultKind if kind not in REAL])
def test_a_fault_of_the_twin_is_refused(kind: FaultKind, tmp_path: Path) -> None:
    with (
        pytest.raises(FaultError) as caught,
        hold(layout_for(tmp_path), Fault(kind=kind, subject="x")),
    ):
        pass
    assert "no system is up" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("kind", sorted(REAL))
def test_a_real_one_needs_a_system(kind: FaultKind, tmp_path: Path) -> None:
    with (
        pytest.raises(FaultError, match="no system is up here"),
        hold(layout_for(tmp_path), Fault(kind=kind, subject="x")),
    ):
        pass
