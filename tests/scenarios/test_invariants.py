"""Invariants that would hold of everything are worth nothing: here each is broken on purpose."""

from dataclasses import replace

import pytest

from seakeep.decide.arbitrate import ControlPlane
from seakeep.engines.twin.world import World
from seakeep.model.action import DrainInstance, Guard
from seakeep.model.hdr import empty
from seakeep.model.run import Flow
from seakeep.model.scenario import FaultKind
from seakeep.model.time import SECOND
from seakeep.runtime.invariants import Invariants
from seakeep.runtime.simulate import simulate
from tests.scenarios.random_systems import Spec, system_of
from tests.scenarios.runs import fault, scenario, two_regions
from tests.world import Loop, service
from tests.world import system_of as toy_system_of


def test_a_balancer_that_goes_on_asking_what_is_down_is_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    down = fault(FaultKind.CONTROL_DOWN, at_s=5, for_s=30)
    lost = fault(FaultKind.KILL, "web", at_s=10, for_s=0)
    system, plan = two_regions(replicas=8), scenario(down, lost)
    assert simulate(system, plan, seed=1).broken == ()
    passes = World.set_check

    def blind(world: World, region: str, target: str, ok: bool) -> None:
        if ok:
            passes(world, region, target, ok)

    monkeypatch.setattr(World, "set_check", blind)
    # Ejection of outliers would keep most requests away, and excuses the rest.
    monkeypatch.setattr(World, "notices", lambda world: [])
    broken = simulate(system, plan, seed=1).broken
    assert broken
    assert "was still asked" in broken[0]


def test_controllers_that_drain_too_much_are_told_of() -> None:
    system = toy_system_of({"east": {"a": 2}}, [service("web", {"east": 1.0}, replicas=3)])
    loop = Loop(system, ControlPlane(1))
    loop.run(10 * SECOND)
    guard = Guard(revision=system.revision, epoch=1, expires_at=0)
    drains = [
        DrainInstance(id=f"drain:{name}", guard=guard, instance=name)
        for name in list(loop.view.instances)[:2]
    ]
    watch = Invariants(0)
    watch.decided(system, loop.view, [])
    assert watch.broken() == ()
    watch.decided(system, loop.view, drains[:1])
    (sentence,) = watch.broken()
    assert sentence.endswith(
        "controllers took web-1 out of service, which left 2 instances of web ready where it has "
        "at least 3"
    )
    # One that leaves already is not taken out twice, and is not there any more.
    watch.decided(system, loop.view, drains)
    assert "left 1 instances" in watch.broken()[-1]


def test_requests_that_are_lost_are_told_of() -> None:
    flow = Flow(
        requests=10,
        ok=7,
        failed=1,
        rejected=0,
        timed_out=0,
        in_flight=1,
        retried=0,
        latency=empty(),
        wait=empty(),
    )
    watch = Invariants(0)
    watch.counted("from", {"people": flow})
    assert watch.broken() == (
        "of 10 requests from people, 8 have ended and 1 are under way: 1 are missing",
        "7 requests from people went well, and 0 have a latency",
    )
    watch = Invariants(0)
    watch.counted("from", {"people": replace(flow, ok=0, in_flight=9)})
    assert watch.broken() == ()


def test_queues_that_do_not_fit_their_waits_are_told_of() -> None:
    run = simulate(system_of(queue()), scenario(duration_s=400), seed=1)
    assert run.broken == ()
    desk = run.services["desk"]
    short = replace(desk, wait=replace(desk.wait, sum_ns=desk.wait.sum_ns // 2))
    watch = Invariants(0)
    watch.queued({"desk": short}, run.loads, run.duration)
    (sentence,) = watch.broken()
    assert "requests waited for desk on average" in sentence


def queue() -> Spec:
    return {
        "system": "queue",
        "regions": {"home": {"zones": ["a"]}},
        "services": {"desk": {"work": {"time": "exponential(mean=10ms)", "concurrency": 4}}},
        "traffic": {"people": {"to": "desk", "rate": "340/s"}},
    }
