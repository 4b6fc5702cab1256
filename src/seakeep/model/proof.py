"""What the runs of a scenario, over several seeds, say together: does every objective hold?"""

from collections.abc import Mapping
from dataclasses import dataclass

from seakeep.model.ids import ServiceName
from seakeep.model.run import Run
from seakeep.model.scenario import Scenario
from seakeep.model.system import Objective, System


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over runs, and the interval that holds the true one with 95 % confidence (Student's
    t over the seeds). With a single run the interval is not known: `low` and `high` are None."""

    mean: float
    low: float | None = None
    high: float | None = None
    runs: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether one expectation holds in a scenario: it must in every run."""

    what: str
    """`web availability 99.9%`, `web latency 95% < 300ms`, `recovery within 60s`, ..."""
    objective: Objective | None
    """None: the scenario's own expectation (recovery)."""
    held: bool
    target: float
    measured: Estimate
    """In the unit of `target`: a fraction of requests, or seconds."""
    margin: float
    """How far from the target the worst run is, in its unit; negative when broken."""
    budget: Estimate | None = None
    """Share of the objective's error budget, over its whole window, that the scenario uses up."""
    worst_seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One scenario."""

    scenario: Scenario
    runs: tuple[Run, ...]
    """Sorted by seed."""
    verdicts: tuple[Verdict, ...]
    detect: Estimate | None
    """Seconds from the first fault until a balancer or controller did something about it, of those
    runs in which one did. None when nobody did, or there is no fault."""
    recover: Estimate | None
    """Seconds from the first fault until every objective was met again for good, of those runs in
    which they were. None without a fault, or when they never were."""
    peak_utilisation: Mapping[ServiceName, Estimate]
    """Worker slots taken, as a fraction of those of ready instances: the highest bucket."""
    scalings: Estimate
    """Changes of the wanted number of instances by controllers."""
    instance_hours: Mapping[ServiceName, Estimate]

    @property
    def held(self) -> bool:
        return all(verdict.held for verdict in self.verdicts) and not any(
            run.broken for run in self.runs
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that one call of `seakeep simulate` found out."""

    system: System
    proofs: tuple[Proof, ...]
    interrupted: bool = False
    """Ctrl-C: some seeds are missing."""

    @property
    def held(self) -> bool:
        return all(proof.held for proof in self.proofs)
