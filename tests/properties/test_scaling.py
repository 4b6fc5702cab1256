"""What must hold of scaling whatever the traffic: no flapping, bounds, monotony, determinism."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decide.views import AT, instance, view_of
from tests.world import Loop, service, system_of

from seakeep.act.track import Tracker
from seakeep.decide.arbitrate import ControlPlane, PlaneMemory
from seakeep.decide.scaling import ScalingController
from seakeep.decide.scaling_memory import ScalingMemory
from seakeep.model.codec import decode, dump_tree, encode
from seakeep.model.scale import (
    DOWN,
    UP,
    Follow,
    Forecast,
    Metric,
    Scale,
    ScaleRules,
    ScaleTarget,
    ScheduledBounds,
    Survive,
)
from seakeep.model.system import Replicas, Resources
from seakeep.model.time import HOUR, MINUTE, SECOND
from seakeep.model.view import Health, Signal
from seakeep.observe.observe import ObserveMemory

PLACES = {"us-east": {"a": 2, "b": 2}, "eu-west": {"a": 2, "b": 2}}
BOTH = {"us-east": 0.6, "eu-west": 0.4}
EVERY = 15 * SECOND
TARGET = ScaleTarget(metric=Metric.CONCURRENCY, target=8.0)
LEAST, MOST = 2, 40
NOON = 1_700_049_600 * SECOND


def scaled(least=LEAST, most=MOST, **scale):
    one = service("web", BOTH, scale=Scale(metrics=(TARGET,), **scale))
    return system_of(PLACES, [replace(one, replicas=Replicas(min=least, max=most))])


def rules(default, window):
    return ScaleRules(window=window, policies=default.policies)


# Requests in flight from each region, or None when its balancer tells nothing.
TRAFFIC = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 250), st.just(30)),
        st.one_of(st.none(), st.integers(0, 250), st.just(20)),
    ),
    min_size=1,
    max_size=60,
)
WINDOWS = st.sampled_from([0, 30 * SECOND, 2 * MINUTE, 5 * MINUTE])


def steps_of(system, traffic, controller=None, recode=False, jumps=()):
    """(when, the memory after) of every period: what is wanted is there at the next one."""
    controller = controller or ScalingController()
    memory = controller.initial()
    at, found = AT, []
    for number, (us, eu) in enumerate([(None, None), *traffic]):
        count = memory.services["web"].wanted if memory.services else 2
        spots = ["us-east/a/0", "us-east/b/0", "eu-west/a/0", "eu-west/b/0"]
        members = [instance(f"web-{n + 1}", spots[n % 4]) for n in range(count)]
        signals = {
            (region, "web"): Signal(
                window=EVERY,
                rate_per_s=float(load),
                failures_per_s=0.0,
                concurrency=float(load),
                pending=0.0,
                in_flight=load,
            )
            for region, load in (("us-east", us), ("eu-west", eu))
            if load is not None
        }
        jump = jumps[number % len(jumps)] if jumps else 0
        view = replace(view_of(system, members, at=at), signals=signals, wall=NOON + at - AT + jump)
        decision = controller.decide(system, view, memory)
        assert decision == controller.decide(system, view, memory)
        memory = decision.memory
        if recode:
            assert decode(ScalingMemory, encode(memory)) == memory
            memory = decode(ScalingMemory, encode(memory))
        found.append((at, memory, decision.reasons))
        at += EVERY
    return found


def changes(found):
    """(when, by how much) the number that carries the load has changed."""
    pairs = pairwise(found)
    moved = [(b[0], b[1].services["web"].current - a[1].services["web"].current) for a, b in pairs]
    return [(at, by) for at, by in moved if by]


def reversals(moves):
    """(when, since the last move the other way) for every change of direction."""
    pairs = pairwise(moves)
    return [(b[0], b[0] - a[0], b[1]) for a, b in pairs if (a[1] > 0) != (b[1] > 0)]


@settings(max_examples=150, deadline=None)
@given(TRAFFIC, WINDOWS)
def test_it_turns_downward_at_most_once_per_window(traffic, window):
    """Once it has grown, it does not shrink before a whole window has passed. Growing does not
    wait: by default the window for scaling up is 0, as upstream's."""
    found = steps_of(scaled(down=rules(DOWN, window)), traffic)
    for _, since, by in reversals(changes(found)):
        assert by > 0 or since >= window


@settings(max_examples=150, deadline=None)
@given(TRAFFIC, WINDOWS)
def test_with_a_window_both_ways_it_turns_at_most_once_per_window(traffic, window):
    system = scaled(up=rules(UP, window), down=rules(DOWN, window))
    for _, since, _ in reversals(changes(steps_of(system, traffic))):
        assert since >= window


SCHEDULE = (
    ScheduledBounds(
        days=tuple(range(7)), start=8 * HOUR, end=12 * HOUR, zone="UTC", offsets=(), min=9
    ),
    ScheduledBounds(
        days=(0, 5), start=22 * HOUR, end=6 * HOUR, zone="UTC", offsets=(), min=5, max=12
    ),
)
EXTRAS = st.fixed_dictionaries(
    {},
    optional={
        "survive": st.sampled_from(Survive),
        "follow": st.sampled_from(Follow),
        "schedule": st.just(SCHEDULE),
        "forecast": st.just(Forecast(season=HOUR, slot=5 * MINUTE, ahead=MINUTE)),
        "idle": st.sampled_from([MINUTE, 10 * MINUTE]),
        "down": st.builds(rules, st.just(DOWN), WINDOWS),
    },
)
JUMPS = st.lists(st.sampled_from([0, 0, 12 * HOUR, -3 * HOUR, 500 * SECOND]), max_size=5)


@settings(max_examples=200, deadline=None)
@given(TRAFFIC, EXTRAS, st.sampled_from([0, 2]), JUMPS)
def test_always_within_bounds_and_laid_out_as_wanted(traffic, extras, least, jumps):
    for _, memory, _ in steps_of(scaled(least=least, **extras), traffic, jumps=jumps):
        web = memory.services["web"]
        assert least <= web.current <= web.wanted <= MOST
        if web.layout:
            assert sum(web.layout.values()) == web.wanted
            assert set(web.layout) == set(PLACES)
            assert min(web.layout.values()) >= 0


@settings(max_examples=100, deadline=None)
@given(TRAFFIC, EXTRAS, JUMPS)
def test_memories_read_back_decide_the_same(traffic, extras, jumps):
    system = scaled(**extras)
    kept = steps_of(system, traffic, jumps=jumps)
    read = steps_of(system, traffic, recode=True, jumps=jumps)
    for (_, one, told), (_, other, told_again) in zip(kept, read, strict=True):
        assert (one, told) == (other, told_again)
        assert dump_tree(encode(one)) == dump_tree(encode(other))


@settings(max_examples=100, deadline=None)
@given(TRAFFIC, st.integers(0, 120))
def test_more_traffic_never_wants_fewer(traffic, more):
    """From the same state, in the first period."""
    one = steps_of(scaled(), traffic[:1])[-1][1].services["web"].wanted
    raised = [tuple(None if load is None else load + more for load in traffic[0])]
    assert steps_of(scaled(), raised)[-1][1].services["web"].wanted >= one


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 200), st.integers(0, 200), EXTRAS)
def test_constant_traffic_leads_to_rest(us, eu, extras):
    extras.pop("schedule", None)
    found = steps_of(scaled(**extras), [(us, eu)] * 60)
    late = [memory.services["web"] for _, memory, _ in found[-30:]]
    assert {(one.current, one.wanted) for one in late[8:]} == {(late[-1].current, late[-1].wanted)}
    assert all(one.layout == late[-1].layout for one in late[8:])
    if late[-1].wanted < MOST:
        assert late[-1].current * TARGET.target * 1.1 >= us + eu - 1e-6


@settings(max_examples=100, deadline=None)
@given(TRAFFIC)
def test_what_is_remembered_is_bounded(traffic):
    system = scaled(forecast=Forecast(season=HOUR, slot=5 * MINUTE, ahead=MINUTE))
    for _, memory, _ in steps_of(system, traffic * 4):
        web = memory.services["web"]
        assert len(web.recommendations) <= 5 * MINUTE // EVERY + 1
        assert max(map(len, web.needs.values()), default=0) <= 5 * MINUTE // EVERY + 1
        assert len(web.ups) + len(web.downs) <= 4
        assert web.forecast is None or len(web.forecast.peaks) <= 12


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(0, 200), st.sampled_from(Survive))
def test_what_is_left_after_any_loss_meets_the_target(us, eu, survive):
    web = steps_of(scaled(most=500, survive=survive), [(us, eu)] * 12)[-1][1].services["web"]
    load = us + eu
    for region, count in web.layout.items():
        lost = count if survive is Survive.REGION else -(-count // len(PLACES[region]))
        left = web.wanted - lost
        assert left * TARGET.target * 1.1 >= load, (web.layout, load)


# --- in the whole plane ---

CALLS = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 120)), min_size=1, max_size=8)
SYSTEM = system_of(
    PLACES,
    [
        replace(
            service(
                "web",
                BOTH,
                scale=Scale(metrics=(TARGET,), every=5 * SECOND, down=rules(DOWN, 20 * SECOND)),
            ),
            replicas=Replicas(min=LEAST, max=20),
        )
    ],
)


@settings(max_examples=10, deadline=None)
@given(CALLS)
def test_placement_makes_it_true_and_then_rests(calls):
    """A world that follows: what was wanted is there, where it was wanted."""
    loop = Loop(SYSTEM, ControlPlane(1))
    loop.run(20 * SECOND)
    for us, eu in calls:
        loop.world.offer("web", us_east=us, eu_west=eu)
        loop.run(15 * SECOND)
        web = loop.memory.scaling.services["web"]
        assert LEAST <= web.wanted <= 20
    loop.run(2 * MINUTE)
    web = loop.memory.scaling.services["web"]
    assert loop.ready("web") == web.wanted
    for region, count in web.layout.items():
        assert loop.ready("web", region) == count
    assert loop.run(MINUTE) == []


@settings(max_examples=8, deadline=None)
@given(CALLS)
def test_planes_that_are_read_back_decide_the_same(calls):
    kept, read = Loop(SYSTEM, ControlPlane(1)), Loop(SYSTEM, ControlPlane(1))
    for us, eu in calls:
        for loop in (kept, read):
            loop.world.offer("web", us_east=us, eu_west=eu)
        for _ in range(12):
            one, other = kept.tick(SECOND), read.tick(SECOND)
            assert (one.actions, one.reasons, one.wake_at) == (
                other.actions,
                other.reasons,
                other.wake_at,
            )
        read.memory = decode(PlaneMemory, encode(read.memory.without_caches()))
        read.seen = decode(ObserveMemory, encode(read.seen.without_caches()))
        read.tracker = decode(Tracker, encode(read.tracker))


@pytest.mark.parametrize("survive", [None, Survive.REGION])
def test_a_region_that_is_lost_takes_nothing_that_is_needed_with_it(survive):
    """Its callers come in by the other one; with `survive` that one has room at once."""
    one = SYSTEM.services["web"]
    scale = replace(one.scale, survive=survive)
    system = replace(SYSTEM, services={"web": replace(one, scale=scale)})
    loop = Loop(system, ControlPlane(1))
    loop.world.offer("web", us_east=40, eu_west=24)
    loop.run(90 * SECOND)
    assert loop.memory.scaling.services["web"].current == 8
    loop.world.offer("web", us_east=0, eu_west=64)
    loop.tick(SECOND, ("lose", "us-east"))
    if survive:
        assert loop.ready("web", "eu-west") >= 8
    loop.run(MINUTE)
    assert loop.ready("web", "eu-west") >= 8
    assert any(
        one.code.startswith("scaling.held") or one.code == "scaling.steady"
        for one in loop.decision.reasons
    )
    loop.tick(SECOND, ("restore", "us-east"))
    loop.world.offer("web", us_east=40, eu_west=24)
    loop.run(3 * MINUTE)
    assert loop.memory.scaling.services["web"].current == 8
    assert all(one.health is Health.READY for one in loop.view.instances.values())


def test_a_restarted_seakeep_keeps_what_was_scaled_up():
    loop = Loop(SYSTEM, ControlPlane(1))
    loop.world.offer("web", us_east=60, eu_west=36)
    loop.run(MINUTE)
    assert loop.ready("web") == 12
    loop.restart()
    assert loop.run(15 * SECOND) == []
    loop.world.offer("web", us_east=8, eu_west=8)
    loop.run(MINUTE)
    assert loop.ready("web") == 2


def test_a_scale_up_without_room_says_what_is_missing():
    """Four nodes of half a core each hold two instances: eight in all."""
    small = Resources(cpu_millicores=500, memory_bytes=16 << 30)
    places = {"us-east": {"a": 2}, "eu-west": {"a": 2}}
    system = system_of(places, list(SYSTEM.services.values()), capacity=small)
    loop = Loop(system, ControlPlane(1))
    loop.world.offer("web", us_east=96, eu_west=0)
    loop.run(90 * SECOND)
    assert loop.memory.scaling.services["web"].wanted == 12
    assert loop.ready("web") == 8
    told = {one.code: dict(one.numbers) for one in loop.decision.reasons}
    assert told["scaling.limited.capacity"] == {"wanted": 12, "replicas": 4, "short": "cpu"}
