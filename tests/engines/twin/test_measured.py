"""From a log of what was measured to what the twin draws."""

import random
from pathlib import Path

import numpy as np
import pytest

from seakeep.model.time import SECOND
from seakeep.spec.hdr_files import read_log
from tests.engines.twin.test_numbers import drawn
from tests.spec.test_twin import hdr_log


def test_what_is_drawn_is_distributed_as_what_was_measured(tmp_path: Path) -> None:
    measured = random.Random(1)
    values = [round(measured.lognormvariate(15, 1)) for _ in range(20_000)]
    stalls = [2 * SECOND] * 200
    found = read_log(hdr_log(tmp_path, {"east": values, "west": stalls}), None)
    out = drawn(found)
    wanted = np.array(values + stalls)
    assert np.mean(out) == pytest.approx(np.mean(wanted), rel=0.03)
    for fraction in (0.01, 0.1, 0.5, 0.9, 0.98):
        exact = np.quantile(wanted, fraction)
        assert np.quantile(out, fraction) == pytest.approx(exact, rel=0.03)
    between = (out > max(values) * 1.01) & (out < 2 * SECOND * 0.99)
    assert not between.any(), "nothing was measured there"
