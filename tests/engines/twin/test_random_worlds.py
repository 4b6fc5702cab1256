"""Small random worlds in random trouble: nothing is ever lost or counted twice."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from seakeep.engines.twin.world import Process, World
from seakeep.model.limits import LimitPer, RateLimit, Shed
from seakeep.model.system import (
    Balance,
    BalancePolicy,
    Breaker,
    Call,
    Link,
    Retries,
    Service,
    System,
)
from seakeep.model.time import MILLISECOND, SECOND
from seakeep.model.traffic import Sessions, TrafficSource
from seakeep.model.work import Pauses, Warmup
from tests.engines.twin.audit import audit
from tests.engines.twin.worlds import (
    constant,
    endpoint,
    exponential,
    gateway,
    locality,
    region,
    service,
    source,
    system,
    work,
    world,
)

REGIONS = ("a", "b")
NAMES = ("web", "mid", "db")
LONG = 20 * SECOND


@st.composite
def services(draw: Any) -> list[Service]:
    found = []
    for index, name in enumerate(NAMES):
        times = st.sampled_from([0, 1, 5, 20, 100])
        mean = draw(times) * MILLISECOND
        does = work(
            draw(st.sampled_from([exponential(max(mean, 1)), constant(mean)])),
            draw(st.integers(1, 6)),
            queue=draw(st.sampled_from([None, 0, 3])),
            queue_timeout=draw(st.sampled_from([None, exponential(50 * MILLISECOND)])),
            cancel=draw(st.booleans()),
            errors=draw(st.sampled_from([0.0, 0.2])),
            cpu=draw(st.sampled_from([0.0, 0.5, 1.5])),
            warmup=draw(st.sampled_from([None, Warmup(factor=3.0, time=5 * SECOND)])),
            pauses=draw(
                st.sampled_from(
                    [None, Pauses(every=exponential(SECOND), time=constant(30 * MILLISECOND))]
                )
            ),
            response_bytes=draw(st.sampled_from([0, 10_000])),
        )
        calls = []
        if index + 1 < len(NAMES) and draw(st.booleans()):
            calls.append(
                Call(
                    service=NAMES[index + 1],
                    per_request=draw(st.sampled_from([0.3, 1.0, 2.5])),
                    parallel=draw(st.booleans()),
                )
            )
        found.append(
            service(
                name,
                work=does,
                calls=tuple(calls),
                timeout=draw(st.sampled_from([0, 80, 500])) * MILLISECOND,
                retries=Retries(
                    attempts=draw(st.integers(0, 3)),
                    budget_fraction=draw(st.sampled_from([0.2, 1.0])),
                    per_try_timeout=draw(st.sampled_from([None, 40 * MILLISECOND])),
                    hedge=draw(st.booleans()),
                    server_errors=draw(st.booleans()),
                ),
                balance=Balance(
                    policy=draw(st.sampled_from(list(BalancePolicy))),
                    slow_start=draw(st.sampled_from([0, 3 * SECOND])),
                ),
                limit=draw(
                    st.sampled_from([(), (RateLimit(rate_per_s=40, burst=5, per=LimitPer.CLIENT),)])
                ),
                breaker=Breaker(requests=draw(st.sampled_from([None, 5]))),
                shed=draw(st.sampled_from([None, Shed(latency=50 * MILLISECOND, at_least=2)])),
            )
        )
    return found


@st.composite
def sources(draw: Any) -> list[TrafficSource]:
    sessions = Sessions(pages=3.0, think=exponential(200 * MILLISECOND), resources=2)
    return [
        source(
            f"clients-{index}",
            to=draw(st.sampled_from(NAMES)),
            rate=draw(st.sampled_from([5.0, 60.0])),
            patience=draw(st.sampled_from([None, exponential(150 * MILLISECOND)])),
            sessions=draw(st.sampled_from([None, sessions])),
        )
        for index in range(draw(st.integers(1, 2)))
    ]


@st.composite
def systems(draw: Any) -> System:
    link = Link(
        a="a",
        b="b",
        latency=draw(st.sampled_from([0, 5, 40])) * MILLISECOND,
        jitter=draw(st.sampled_from([0, 3 * MILLISECOND])),
        loss=draw(st.sampled_from([0.0, 0.05])),
        bandwidth_bps=draw(st.sampled_from([None, 1e8])),
    )
    places = [region(name, millicores=2000) for name in REGIONS]
    return system(draw(services()), draw(sources()), places, [link])


STATES = st.sampled_from([Process.SERVING, Process.DEAD, Process.FROZEN, Process.DARK])


@st.composite
def troubles(draw: Any) -> list[tuple[Any, ...]]:
    instance = st.tuples(st.sampled_from(REGIONS), st.sampled_from(NAMES), st.integers(0, 1)).map(
        lambda one: f"{one[1]}-{one[0]}-{one[2]}"
    )
    kinds = st.one_of(
        st.tuples(st.just("state"), instance, STATES),
        st.tuples(st.just("speed"), instance, st.sampled_from([0.1, 1.0])),
        st.tuples(st.just("errors"), instance, st.sampled_from([0.0, 1.0])),
        st.tuples(st.just("remove"), instance),
        st.tuples(st.just("check"), st.sampled_from(REGIONS), instance, st.booleans()),
        st.tuples(st.just("edge"), st.sampled_from(REGIONS), STATES),
        st.tuples(st.just("cut"), st.sampled_from(REGIONS), st.booleans()),
        st.tuples(st.just("factor"), st.sampled_from([0.0, 5.0])),
        st.tuples(st.just("node"), st.sampled_from(REGIONS), st.sampled_from([200, 4000])),
    )
    return draw(st.lists(kinds, max_size=12))


def begun(one: System, seed: int) -> World:
    made = world(one, seed=seed, end=LONG)
    for place in REGIONS:
        other = REGIONS[1 - REGIONS.index(place)]
        for name in NAMES:
            ids = [f"{name}-{place}-{i}" for i in range(2)]
            for instance in ids:
                made.add_instance(
                    instance,
                    service=name,
                    region=place,
                    zone="a",
                    node=f"{place}/a/0",
                    revision=instance[-1],
                )
                made.set_state(instance, Process.SERVING)
                made.set_check(place, instance, ok=True)
            near = locality(map(endpoint, ids), region=place)
            made.set_endpoints(place, f"{name}.local", [near])
            far = locality([gateway(other)], 1, region=other)
            made.set_endpoints(place, name, [near, far])
            made.set_check(place, f"{other}:{name}", ok=True)
    made.start_traffic(0)
    return made


def trouble(one: World, what: tuple[Any, ...], gone: set[str]) -> None:
    kind, *rest = what
    if kind in ("state", "speed", "errors", "remove") and rest[0] in gone:
        return
    match kind:
        case "state":
            one.set_state(*rest)
        case "speed":
            one.set_speed(*rest)
        case "errors":
            one.set_errors(*rest)
        case "remove":
            one.remove_instance(*rest)
            gone.add(rest[0])
        case "check":
            one.set_check(*rest)
        case "edge":
            one.set_edge(*rest)
        case "cut":
            other = REGIONS[1 - REGIONS.index(rest[0])]
            one.set_link(rest[0], other, added=0, loss=0.0, cut=rest[1])
        case "factor":
            one.set_factor("clients-0", *rest)
        case "node":
            one.set_node(f"{rest[0]}/a/0", rest[1])


def sane(one: World, gone: set[str]) -> None:
    """Nothing is below nothing, and every flow adds up."""
    assert one.broken() == []
    for flow in [*one.traffic().values(), *one.flows().values()]:
        assert flow.in_flight >= 0
        assert flow.latency.total == flow.ok
    for reading in one.readings():
        assert reading.in_flight >= 0
    for place in REGIONS:
        for name in NAMES:
            for instance in (f"{name}-{place}-{i}" for i in range(2)):
                if instance not in gone:
                    figures = one.figures(instance)
                    assert figures.busy >= 0
                    assert figures.queued >= 0
    audit(one)


@settings(max_examples=60, deadline=None)
@given(systems(), troubles(), st.integers(0, 1000))
def test_random_worlds_lose_nothing(one: System, events: list[tuple[Any, ...]], seed: int) -> None:
    made = begun(one, seed)
    gone: set[str] = set()
    for place, what in enumerate(events):
        made.advance((place + 1) * SECOND)
        trouble(made, what, gone)
        sane(made, gone)
    made.advance(LONG)
    sane(made, gone)


@settings(max_examples=10, deadline=None)
@given(systems(), troubles(), st.integers(0, 1000))
def test_random_worlds_are_the_same_however_they_are_advanced(
    one: System, events: list[tuple[Any, ...]], seed: int
) -> None:
    def once(steps: int) -> list[bytes]:
        made = begun(one, seed)
        gone: set[str] = set()
        for place, what in enumerate(events):
            for part in range(steps):
                made.advance(place * SECOND + (part + 1) * SECOND // steps)
            trouble(made, what, gone)
        made.advance(LONG)
        return [flow.latency.counts.tobytes() for flow in made.traffic().values()]

    assert once(1) == once(5)
