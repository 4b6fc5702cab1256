"""From observations to views: freshness, lost nodes, last words, indexes."""

from dataclasses import replace

import pytest
from tests.world import START, World, probe, service, system_of

from seakeep.decide.parts import PartsController
from seakeep.model.action import Guard, StartInstance
from seakeep.model.observation import Observation, PartKind, PartState, Sample
from seakeep.model.system import ProbeKind
from seakeep.model.time import MILLISECOND, SECOND
from seakeep.model.view import Health
from seakeep.observe.observe import NODE_GRACE, STALE, ObserveMemory, observe

SYSTEM = system_of(
    {"us-east": {"a": 1, "b": 1}},
    [service("web", {"us-east": 1.0}), service("api", {"us-east": 1.0})],
)


def running_world(system=SYSTEM) -> World:
    """Parts up; web-1, web-2, web-10 and api-1 ready, on the nodes of zones a, b, a, b."""
    world = World(system)
    memory = ObserveMemory()
    view, _ = observe(system, world.observe(), memory)
    parts = PartsController(1)
    world.submit(parts.decide(system, view, parts.initial()).actions)
    world.step(SECOND)
    for name, zone in (("web-1", "a"), ("web-2", "b"), ("web-10", "a"), ("api-1", "b")):
        of = name.partition("-")[0]
        world.submit(
            [
                StartInstance(
                    id=f"start:{name}",
                    guard=Guard(revision="r1", epoch=1, expires_at=world.at + SECOND),
                    instance=name,
                    service=of,
                    region="us-east",
                    zone=zone,
                    node=f"us-east/{zone}/0",
                    workload=system.services[of].workload,
                )
            ]
        )
    world.step(3 * SECOND)
    return world


def healths(view) -> dict[str, Health]:
    return {name: one.health for name, one in view.instances.items()}


class Eye:
    """Observes a world step by step."""

    def __init__(self, world, system=SYSTEM):
        self.world, self.system, self.memory = world, system, ObserveMemory()

    def look(self, dt=500 * MILLISECOND, *faults):
        view, self.memory = observe(self.system, self.world.step(dt, *faults), self.memory)
        return view


def test_indexes_services_of_the_spec_first_in_order_of_ordinals():
    view = Eye(running_world()).look()
    assert list(view.by_service) == ["web", "api"]
    assert [one.state.id for one in view.by_service["web"]] == ["web-1", "web-2", "web-10"]
    assert set(view.instances) == {"web-1", "web-2", "web-10", "api-1"}
    assert set(view.parts) == {
        "edge:us-east",
        "node:us-east/a/0",
        "node:us-east/b/0",
    }


def test_a_service_without_instances_is_there_and_one_beyond_the_spec_too():
    world = running_world()
    other = system_of(
        {"us-east": {"a": 1, "b": 1}},
        [service("new", {"us-east": 1.0}), service("web", {"us-east": 1.0})],
        revision="r2",
    )
    view, _ = observe(other, world.step(), ObserveMemory())
    assert list(view.by_service) == ["new", "web", "api"]
    assert view.by_service["new"] == ()


def test_a_silent_node_makes_its_instances_unknown_then_lost():
    eye = Eye(running_world())
    eye.look()
    view = eye.look(0, ("mute", "us-east/a/0"))
    assert view.instances["web-1"].health is Health.READY
    # Just within STALE nothing is doubted.
    view = eye.look(STALE)
    assert view.instances["web-1"].health is Health.READY
    view = eye.look(1)
    assert healths(view) == {
        "web-1": Health.UNKNOWN,
        "web-2": Health.READY,
        "web-10": Health.UNKNOWN,
        "api-1": Health.READY,
    }
    assert view.instances["web-1"].last_word is Health.READY
    assert view.instances["web-1"].detail == "node us-east/a/0 has not been heard"
    assert eye.look(NODE_GRACE).instances["web-1"].health is Health.UNKNOWN
    view = eye.look(1)
    assert view.instances["web-1"].health is Health.LOST
    assert view.instances["web-1"].last_word is Health.READY
    # Heard again, it is what it says.
    view = eye.look(0, ("unmute", "us-east/a/0"))
    assert set(healths(view).values()) == {Health.READY}
    assert view.instances["web-1"].last_word is None


def test_a_node_without_power_is_doubted_at_once_and_lost_after_the_grace():
    eye = Eye(running_world())
    eye.look()
    view = eye.look(100 * MILLISECOND, ("lose", "us-east/b"))
    assert view.instances["web-2"].health is Health.UNKNOWN
    assert view.instances["web-2"].detail == "node us-east/b/0 is not running: no power"
    assert eye.look(NODE_GRACE).instances["web-2"].health is Health.UNKNOWN
    assert eye.look(1).instances["web-2"].health is Health.LOST
    assert eye.look().instances["web-1"].health is Health.READY


def test_a_restarted_seakeep_gives_a_gone_node_its_grace_again():
    eye = Eye(running_world())
    eye.look(10 * SECOND, ("lose", "us-east/b"))
    assert eye.look(10 * SECOND).instances["web-2"].health is Health.LOST
    assert Eye(eye.world).look().instances["web-2"].health is Health.UNKNOWN


def test_a_node_that_nobody_reports_is_gone():
    eye = Eye(running_world())
    eye.look()
    del eye.world.parts["node:us-east/b/0"]
    assert eye.look().instances["api-1"].detail == "node us-east/b/0 is not there"
    eye.look(NODE_GRACE)
    assert eye.look().instances["api-1"].health is Health.LOST


def test_a_stale_sample_from_a_running_node_is_unknown_never_lost():
    """The node answers, its report of one instance is old: doubt the report only."""
    observation = running_world().observe()
    old = tuple(
        replace(sample, observed_at=START) if sample.value.id == "web-1" else sample
        for sample in observation.instances
    )
    memory = ObserveMemory()
    for step in range(20):
        at = observation.at + step * SECOND
        parts = tuple(replace(sample, observed_at=at) for sample in observation.parts)
        fresh = tuple(
            sample if sample.value.id == "web-1" else replace(sample, observed_at=at)
            for sample in old
        )
        view, memory = observe(
            SYSTEM, Observation(seq=step, at=at, instances=fresh, parts=parts), memory
        )
    assert healths(view)["web-1"] is Health.UNKNOWN
    assert healths(view)["web-2"] is Health.READY


def test_a_source_that_cannot_say_keeps_its_last_word():
    world = running_world()
    first = world.observe()
    _, memory = observe(SYSTEM, first, ObserveMemory())
    nothing = Sample(value=None, observed_at=first.at, source="node:us-east/a/0")
    later = replace(
        first,
        at=first.at + SECOND,
        instances=(
            nothing,
            *(one for one in first.instances if one.value.node == "us-east/b/0"),
        ),
    )
    view, memory = observe(SYSTEM, later, memory)
    assert set(view.instances) == {"web-1", "web-2", "web-10", "api-1"}
    assert [one.state.id for one in view.by_service["web"]] == ["web-1", "web-2", "web-10"]
    # And when it is heard again without the instance, the instance is gone.
    view, _ = observe(SYSTEM, replace(later, instances=later.instances[1:]), memory)
    assert set(view.instances) == {"web-2", "api-1"}


def test_hysteresis_starts_anew_with_a_new_process():
    eye = Eye(running_world())
    eye.look()
    view = eye.look(4 * SECOND, ("unready", "web-1"))
    assert view.instances["web-1"].health is Health.UNREADY
    body = eye.world.bodies["web-1"]
    eye.world._begin(body, restarts=1)
    assert eye.look().instances["web-1"].health is Health.STARTING
    assert eye.look(SECOND).instances["web-1"].health is Health.READY


def test_instances_of_an_earlier_workload_are_judged_by_their_own_probes():
    plain = system_of(
        {"us-east": {"a": 1, "b": 1}},
        [
            service("web", {"us-east": 1.0}, probes=(probe(ProbeKind.LIVENESS),)),
            service("api", {"us-east": 1.0}),
        ],
    )
    eye = Eye(running_world(plain), plain)
    eye.look()
    eye.system = SYSTEM.__class__(
        name="toy",
        revision="r2",
        regions=SYSTEM.regions,
        links=SYSTEM.links,
        services={
            "web": service("web", {"us-east": 1.0}, revision="w2"),
            "api": SYSTEM.services["api"],
        },
    )
    # The new spec has a readiness probe, which those that run were never asked by.
    assert eye.look().instances["web-1"].health is Health.READY
    assert eye.look().instances["web-1"].health is Health.READY
    # A Seakeep that never saw the old spec goes by the kinds that they report.
    eye.memory = ObserveMemory()
    assert eye.look().instances["web-1"].health is Health.READY


def test_views_do_not_depend_on_what_is_remembered_of_unchanged_states():
    """The same objects again: kept verdicts equal those made from scratch."""
    world = running_world()
    observation = world.step(SECOND, ("unready", "web-2"))
    warm, memory = observe(SYSTEM, observation, ObserveMemory())
    again, after = observe(SYSTEM, observation, memory)
    cold, _ = observe(SYSTEM, observation, ObserveMemory())
    assert warm == again == cold
    assert after.instances == memory.instances
    assert all(after.instances[name] is one for name, one in memory.instances.items())


@pytest.mark.parametrize(
    ("fault", "services"),
    [
        (None, []),
        (("heal", "web-1"), []),
        (("unready", "web-1"), ["web"]),
        (("kill", "api-1"), ["api"]),
        (("mute", "us-east/a/0"), ["web"]),
        (("drain", "web-2"), ["web"]),
        (("restart", "web-2"), ["web"]),
        (("forget", "web-10"), ["web"]),
    ],
)
def test_tells_which_services_changed_in_more_than_figures(fault, services):
    world = running_world()
    eye = Eye(world)
    begun = eye.look().changed
    assert begun == {"web": world.at, "api": world.at}
    assert eye.look().changed == begun  # counts and times of probes move all the time
    body = None if fault is None else world.bodies.get(fault[1])
    if fault is not None and fault[0] == "drain":
        body.state = replace(body.state, draining_since=world.at)
    elif fault is not None and fault[0] == "restart":
        body.state = replace(body.state, started_at=world.at - 2 * SECOND, restarts=1)
    elif fault is not None and fault[0] == "forget":
        del world.bodies[fault[1]]
    elif fault is not None:
        world.fault(*fault)
    seen = [eye.look(SECOND) for _ in range(5)]
    for name in ("web", "api"):
        last = seen[-1].changed[name]
        assert (last > begun[name]) == (name in services)
        assert last in (begun[name], *(view.at for view in seen))


def test_a_service_changes_when_its_doubts_end():
    world = running_world()
    eye = Eye(world)
    eye.look()
    eye.look(4 * SECOND, ("mute", "us-east/a/0"))
    view = eye.look(SECOND, ("unmute", "us-east/a/0"))
    assert view.changed["web"] == view.at
    assert view.changed["api"] < view.at


def test_pending_and_outcomes_are_those_handed_in():
    observation = running_world().observe()
    view, _ = observe(SYSTEM, observation, ObserveMemory(), pending=frozenset({"start:web-9"}))
    assert view.pending == {"start:web-9"}
    assert view.outcomes == observation.outcomes
    view, _ = observe(SYSTEM, observation, ObserveMemory(), outcomes=())
    assert view.outcomes == ()


def test_a_part_that_runs_and_is_not_heard_is_silent_until_it_is_heard_again():
    def seen(at, heard):
        part = PartState(
            id="edge:us-east", kind=PartKind.EDGE, region="us-east", zone=None,
            running=True, restarts=0, changed_at=START,
        )  # fmt: skip
        sample = Sample(value=part, observed_at=heard, source="local")
        return Observation(seq=1, at=at, parts=(sample,))

    at = START + 10 * SECOND
    view, memory = observe(SYSTEM, seen(at, at - STALE), ObserveMemory())
    assert view.silent == {}
    view, memory = observe(SYSTEM, seen(at + 1, at - STALE), memory)
    assert view.silent == {"edge:us-east": at + 1}
    view, memory = observe(SYSTEM, seen(at + SECOND, at - STALE), memory)
    assert view.silent == {"edge:us-east": at + 1}, "since when that is known"
    view, memory = observe(SYSTEM, seen(at + 2 * SECOND, at + 2 * SECOND), memory)
    assert view.silent == {}
