"""Journals for tests, written by the real pipeline over the toy world of `tests.world`.

Run as a program, `python -m tests.runtime.journals write FOLDER` writes one and
`python -m tests.runtime.journals replay FOLDER` prints the digests of its decisions made anew.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from seakeep.model.system import System
from seakeep.model.time import MILLISECOND, SECOND, Instant
from seakeep.runtime.journal import Journal, Limits
from seakeep.runtime.reading import read
from seakeep.runtime.replay import replay
from seakeep.runtime.step import Pipeline, StepState
from tests.world import World, service, system_of

POLL = 500 * MILLISECOND


def two_regions(web: int = 6) -> System:
    return system_of(
        {"us-east": {"a": 2, "b": 2}, "eu-west": {"a": 2}},
        [service("web", {"us-east": 0.5, "eu-west": 0.5}, replicas=web)],
    )


class WorldClock:
    """The engine's clock of the toy world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def now(self) -> Instant:
        return self.world.at


@dataclass
class Run:
    """A supervisor's run over a world: every step journalled before it is carried out."""

    world: World
    system: System
    pipeline: Pipeline
    journal: Journal
    state: StepState

    def tick(self, *faults: tuple[str, str]) -> None:
        observation = self.world.step(POLL, *faults)
        state = self.state
        result = self.pipeline.step(self.system, observation, state)
        assert self.journal.step(
            observation, result.decision, before=lambda: self.pipeline.encode_state(state)
        )
        self.world.submit(result.decision.actions)
        self.state = result.state

    def run(self, seconds: int) -> None:
        for _ in range(seconds * SECOND // POLL):
            self.tick()

    def fault(self, verb: str, subject: str) -> None:
        self.journal.note(f"{verb} {subject}", self.world.at, what=f"fault.{verb}")
        self.tick((verb, subject))

    def configure(self, system: System) -> None:
        self.system = system
        self.world.configure(system)
        self.journal.system(system, self.world.at)


def begin(folder: Path, world: World, *, epoch: int = 1, limits: Limits | None = None) -> Run:
    journal = Journal.open(
        folder, world.system.name, epoch=epoch, clock=WorldClock(world), limits=limits
    )
    pipeline = Pipeline(epoch)
    journal.system(world.system, world.at)
    return Run(
        world=world,
        system=world.system,
        pipeline=pipeline,
        journal=journal,
        state=pipeline.initial(),
    )


def eventful(folder: Path, limits: Limits | None = None, system: System | None = None) -> Run:
    """Start, a kill, a lost zone that comes back, a new spec, and a restarted supervisor."""
    run = begin(folder, World(system or two_regions()), limits=limits)
    run.run(15)
    run.fault("kill", "web-1")
    run.run(15)
    run.fault("lose", "us-east/a")
    run.run(20)
    run.fault("restore", "us-east/a")
    run.run(15)
    run.configure(replace(two_regions(8), revision="r2"))
    run.run(10)
    run.journal.close()
    again = begin(folder, run.world, epoch=2, limits=limits)
    again.run(5)
    again.fault("hang", "web-3")
    again.run(15)
    again.journal.close()
    return again


def main() -> None:
    verb, folder = sys.argv[1], Path(sys.argv[2])
    if verb == "write":
        eventful(folder)
    report = replay(folder)
    assert report.identical, report
    for record in read(folder):
        print(getattr(record, "digest", type(record).__name__))


if __name__ == "__main__":
    main()
