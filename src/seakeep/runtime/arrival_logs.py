"""Access logs that traffic sources of the twin replay."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seakeep.load.plan import PlanError
from seakeep.load.replay import due_times
from seakeep.model.system import Shape, System
from seakeep.model.time import in_seconds


def read_logs(system: System, folder: Path) -> Mapping[str, NDArray[np.int64]]:
    """When the requests of each source with a log come, ns since its first. Paths are relative to
    `folder`, that of the spec. Raises PlanError."""
    found = {}
    for name, source in system.traffic.items():
        if source.shape is not Shape.LOG:
            continue
        path = folder / source.log
        try:
            times, report = due_times(path)
        except PlanError as error:
            raise PlanError(f"traffic.{name}: {error}", error.hint) from error
        if not times:
            why = f" (lines that are none: {report.unparsed})" if report.unparsed else ""
            raise PlanError(
                f"traffic.{name}: there is no request in {path}{why}",
                "give an access log: common, combined or JSON",
            )
        found[name] = np.array(times, dtype=np.int64)
    return found


def mean_rate(due: NDArray[np.int64]) -> float:
    """Requests/s of a log."""
    length = in_seconds(int(due[-1]))
    return len(due) / length if length else float(len(due))
