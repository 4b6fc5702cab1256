"""The loop's state as a journal keeps it: small, and enough to go on from."""

from dataclasses import replace

from seakeep.model.codec import dump_tree, dumps
from seakeep.model.decision import Decision
from seakeep.model.system import System
from seakeep.model.time import SECOND
from seakeep.model.view import View
from seakeep.runtime.step import Pipeline, StepResult, StepState, decision_tree
from tests.world import World, service, system_of

SYSTEM = system_of(
    {"us-east": {"a": 2, "b": 2}, "eu-west": {"a": 2, "b": 2}},
    [service(name, {"us-east": 0.5, "eu-west": 0.5}, replicas=20) for name in ("web", "api")],
)
FAULTS = {
    20: ("unready", "web-1"),
    24: ("kill", "web-2"),
    30: ("lose", "us-east"),
    60: ("restore", "us-east"),
    64: ("mute", "eu-west/a/0"),
    70: ("unmute", "eu-west/a/0"),
    72: ("heal", "web-1"),
}
"""By step."""


def turn(pipeline: Pipeline, world: World, state: StepState, number: int) -> StepResult:
    faults = [FAULTS[number]] if number in FAULTS else []
    result = pipeline.step(SYSTEM, world.step(SECOND, *faults), state)
    world.submit(result.decision.actions)
    return result


def test_a_state_that_was_written_and_read_at_every_step_leads_to_the_same() -> None:
    pipeline, kept_world, read_world = Pipeline(1), World(SYSTEM), World(SYSTEM)
    kept, read = pipeline.initial(), pipeline.initial()
    acted = 0
    for number in range(100):
        one = turn(pipeline, kept_world, kept, number)
        other = turn(pipeline, read_world, read, number)
        trees = [
            decision_tree(of.actions, of.reasons, of.wake_at)
            for of in (one.decision, other.decision)
        ]
        assert trees[0] == trees[1]
        acted += len(one.decision.actions)
        kept = one.state
        tree = pipeline.encode_state(other.state)
        read = pipeline.decode_state(tree)
        assert pipeline.encode_state(read) == tree
    assert acted > 100


def test_a_written_state_holds_the_last_readings_and_little_else() -> None:
    pipeline, world = Pipeline(1), World(SYSTEM)
    state = pipeline.initial()
    for number in range(20):
        state = turn(pipeline, world, state, number).state
    observation = world.observe()
    assert len(observation.instances) == 40
    written = dump_tree(pipeline.encode_state(state))
    assert len(written) < 1.5 * len(dumps(replace(observation, endpoints=())))


class Counting:
    """A controller that counts its steps."""

    def initial(self) -> int:
        return 0

    def decide(self, system: System, view: View, memory: int) -> Decision[int]:
        return Decision(memory=memory + 1)


def test_a_memory_that_knows_no_caches_is_written_whole() -> None:
    pipeline, world = Pipeline(1, Counting()), World(SYSTEM)
    state = turn(pipeline, world, pipeline.initial(), 0).state
    assert pipeline.decode_state(pipeline.encode_state(state)).decided == 1
