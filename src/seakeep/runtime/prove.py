"""Scenarios times seeds, on all cores -> the report: does the system hold?"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from seakeep.explain.judge import judge
from seakeep.model.proof import Report
from seakeep.model.run import Run
from seakeep.model.scenario import Scenario
from seakeep.model.system import System
from seakeep.runtime import workers
from seakeep.runtime.simulate import NO_LOGS, Logs, ScenarioError, simulate

PRELOAD = ("seakeep.runtime.prove",)


class ProofError(Exception):
    """A run that should have come to an end did not; `hint` says how to see it again."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run."""

    scenario: Scenario
    seed: int


@dataclass(frozen=True, slots=True)
class Shared:
    """What all runs have in common."""

    system: System
    logs: Logs


def prove(
    system: System,
    scenarios: Iterable[Scenario],
    seeds: Sequence[int],
    *,
    jobs: int,
    logs: Logs = NO_LOGS,
    progress: Callable[[Task, Run], None] = lambda task, run: None,
) -> Report:
    """Every scenario with every seed. `progress` is told of each run that has ended. Ctrl-C ends
    it: then the report has what was done by then, and says so. Raises ScenarioError, ProofError.
    """
    chosen = tuple(scenarios)
    tasks = [Task(scenario=scenario, seed=seed) for scenario in chosen for seed in seeds]
    done: dict[str, list[Run]] = {scenario.name: [] for scenario in chosen}
    interrupted = False
    try:
        for task, run in workers.each(_run, Shared(system, logs), tasks, jobs, PRELOAD):
            done[task.scenario.name].append(run)
            progress(task, run)
    except KeyboardInterrupt:
        interrupted = True
    except workers.WorkerDied as death:
        why = f"the process died with exit code {death.exit_code}"
        raise ProofError(f"{_named(death.task)}: {why}", again(death.task)) from None
    except workers.TaskFailed as failure:
        if isinstance(failure.error, ScenarioError):
            raise failure.error from None
        raise ProofError(f"{_named(failure.task)}: {failure}\n{failure.trace}",
                         again(failure.task)) from None  # fmt: skip
    proofs = [judge(system, scenario, done[scenario.name]) for scenario in chosen]
    return Report(system=system, proofs=tuple(proofs), interrupted=interrupted)


def _run(shared: Shared, task: Task) -> Run:
    return simulate(shared.system, task.scenario, seed=task.seed, logs=shared.logs)


def _named(task: Task) -> str:
    return f"scenario {task.scenario.name}, seed {task.seed}"


def again(task: Task) -> str:
    """How to see a run once more."""
    return (
        f"`seakeep simulate --scenario {task.scenario.name} --seed {task.seed} --seeds 1` runs it "
        "again"
    )
