"""Scenarios times seeds, on all cores -> the report: does the system hold?"""

import os
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from seakeep.explain.judge import judge
from seakeep.model.proof import Report
from seakeep.model.run import Run
from seakeep.model.scenario import Scenario
from seakeep.model.system import System
from seakeep.runtime import workers

PRELOAD = ("seakeep.runtime.warm",)
Logs: TypeAlias = Mapping[str, NDArray[np.int64]]
NO_LOGS: Logs = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run."""

    scenario: Scenario
    seed: int


class ProofError(Exception):
    """A run that should have come to an end did not; which is said. `trace` is Python's of the
    worker, empty when it died."""

    def __init__(self, message: str, task: Task, trace: str = "") -> None:
        super().__init__(message)
        self.task = task
        self.trace = trace


@dataclass(frozen=True, slots=True)
class Shared:
    """What all runs have in common."""

    system: System
    logs: Logs


Work: TypeAlias = Callable[[Shared, Task], Run]
"""A function of a module: workers find it by its name."""


def in_twin(shared: Shared, task: Task) -> Run:
    """A run in the twin."""
    # Here, so that only workers bring the twin and its compiler along.
    from seakeep.runtime.simulate import simulate

    return simulate(shared.system, task.scenario, seed=task.seed, logs=shared.logs)


def cores() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def prove(
    system: System,
    scenarios: Iterable[Scenario],
    seeds: Sequence[int],
    *,
    jobs: int,
    logs: Logs = NO_LOGS,
    begun: Callable[[], None] = lambda: None,
    progress: Callable[[Task], None] = lambda task: None,
    work: Work = in_twin,
) -> Report:
    """Every scenario with every seed, `jobs` at a time: all scenarios with the first seed, then
    with the next. `begun` is called when the simulator is loaded or compiled; `progress` is told of
    each run that has ended. Ctrl-C ends it: then the report has what was done by then, and says
    so. Raises ProofError."""
    chosen = tuple(scenarios)
    tasks = [Task(scenario=scenario, seed=seed) for seed in seeds for scenario in chosen]
    done: dict[str, list[Run]] = {scenario.name: [] for scenario in chosen}
    interrupted = False
    try:
        for task, run in workers.each(work, Shared(system, logs), tasks, jobs, PRELOAD, begun):
            done[task.scenario.name].append(run)
            progress(task)
    except KeyboardInterrupt:
        interrupted = True
    except workers.WorkerDied as death:
        raise ProofError(_died(death), death.task) from None
    except workers.TaskFailed as failure:
        message = f"{_named(failure.task)}: {failure}"
        raise ProofError(message, failure.task, failure.trace) from None
    proofs = [judge(system, scenario, done[scenario.name]) for scenario in chosen]
    return Report(system=system, proofs=tuple(proofs), interrupted=interrupted)


def _died(death: workers.WorkerDied) -> str:
    code = death.exit_code
    if code is None or code >= 0:
        why = "" if code is None else f" with exit code {code}"
    else:
        why = f" of signal {-code}{' (out of memory?)' if code == -signal.SIGKILL else ''}"
    return f"{_named(death.task)}: its process died{why}"


def _named(task: Task) -> str:
    return f"scenario {task.scenario.name}, seed {task.seed}"
