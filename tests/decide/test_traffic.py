"""Clusters, localities and priorities; who is listed; when balancers are told."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.decide.views import AT, exited, hung, instance, part, parts_of, starting, view_of
from tests.world import service, system_of

from seakeep.decide.clusters import digest_of
from seakeep.decide.traffic import TrafficController
from seakeep.decide.weights import weight_of
from seakeep.model.action import Endpoint, Guard, Locality, SetEndpoints
from seakeep.model.observation import Address, AppliedEndpoints, Phase
from seakeep.model.system import Balance, BalancePolicy, Prefer
from seakeep.model.time import MILLISECOND, SECOND
from seakeep.model.view import Health

PLACES = {"us-east": {"a": 1, "b": 1}, "eu-west": {"a": 1}, "ap-south": {"a": 1}}
WEB = service("web", {"us-east": 0.5, "eu-west": 0.5})
SYSTEM = system_of(PLACES, [WEB])
ALONE = system_of({"us-east": {"a": 1, "b": 1}}, [service("web", {"us-east": 1.0})])
CONTROLLER = TrafficController(epoch=7)


def decide(instances, memory=None, *, system=SYSTEM, **view):
    return CONTROLLER.decide(
        system, view_of(system, instances, **view), memory or CONTROLLER.initial()
    )


def cluster(decision, region="us-east", name="web") -> SetEndpoints:
    return next(
        action for action in decision.actions if (action.region, action.cluster) == (region, name)
    )


def shape(action: SetEndpoints) -> list[tuple]:
    """(priority, place, endpoints): `web-1` healthy, `web-1!` not, `web-1~` draining."""
    return [
        (
            one.priority,
            one.region if one.zone is None else f"{one.region}/{one.zone}",
            " ".join(
                (end.instance or end.host)
                + ("" if end.healthy else "!")
                + ("~" if end.draining else "")
                for end in one.endpoints
            ),
        )
        for one in action.localities
    ]


def applied(decision) -> list[AppliedEndpoints]:
    return [
        AppliedEndpoints(region=one.region, cluster=one.cluster, digest=one.digest, applied_at=AT)
        for one in decision.actions
    ]


FOUR = [
    instance("web-1", "us-east/a/0"),
    instance("web-2", "us-east/b/0"),
    instance("web-3", "eu-west/a/0"),
    instance("web-10", "us-east/a/0"),
]


def test_own_zones_first_then_other_regions_by_distance():
    decision = decide(FOUR)
    assert shape(cluster(decision)) == [
        (0, "us-east/a", "web-1 web-10"),
        (0, "us-east/b", "web-2"),
        (1, "eu-west", "eu-west"),
    ]
    assert shape(cluster(decision, name="web.local")) == [
        (0, "us-east/a", "web-1 web-10"),
        (0, "us-east/b", "web-2"),
    ]
    assert shape(cluster(decision, "eu-west")) == [
        (0, "eu-west/a", "web-3"),
        (1, "us-east", "us-east"),
    ]
    # A region that has none of its own: the nearest other region comes first, without a gap.
    assert shape(cluster(decision, "ap-south")) == [
        (0, "eu-west", "eu-west"),
        (1, "us-east", "us-east"),
    ]
    assert shape(cluster(decision, "ap-south", "web.local")) == []


def test_the_whole_of_one_action():
    decision = decide([instance("web-1")], system=ALONE)
    localities = (
        Locality(
            region="us-east",
            zone="a",
            priority=0,
            weight=0,
            endpoints=(Endpoint(instance="web-1", host="web-1.us-east", port=8080, healthy=True),),
        ),
    )
    digest = digest_of(localities)
    assert decision.actions[0] == SetEndpoints(
        id=f"endpoints:us-east:web:{digest}",
        guard=Guard(revision="r1", epoch=7, expires_at=AT + 5 * SECOND),
        region="us-east",
        cluster="web",
        service="web",
        localities=localities,
        digest=digest,
    )
    assert decision.reasons[0].code == "traffic.endpoints"
    assert decision.reasons[0].action == decision.actions[0].id


def test_another_region_is_one_endpoint_named_by_it_at_the_services_port():
    away = cluster(decide(FOUR)).localities[-1]
    assert away.endpoints == (Endpoint(instance=None, host="eu-west", port=8080, healthy=True),)


@pytest.mark.parametrize(
    ("one", "listed"),
    [
        (instance("web-1"), "web-1"),
        (instance("web-1", health=Health.UNREADY), "web-1!"),
        (instance("web-1", draining_since=AT), "web-1~"),
        (instance("web-1", health=Health.UNREADY, draining_since=AT), "web-1!~"),
        (instance("web-1", phase=Phase.STOPPING, draining_since=AT), "web-1~"),
        (starting("web-1"), None),
        (exited("web-1"), None),
        (hung("web-1"), "web-1!"),
        (instance("web-1", health=Health.LOST, last_word=Health.READY), None),
        (instance("web-1", health=Health.UNKNOWN, last_word=Health.READY), "web-1"),
        (instance("web-1", health=Health.UNKNOWN, last_word=Health.UNREADY), "web-1!"),
        (instance("web-1", health=Health.UNKNOWN, last_word=Health.STARTING), None),
    ],
    ids=lambda one: one if isinstance(one, str) else None,
)
def test_who_is_listed_and_with_what_word(one, listed):
    action = cluster(decide([one], system=ALONE))
    assert shape(action) == ([(0, "us-east/a", listed)] if listed else [])


def test_other_regions_are_healthy_while_somebody_there_is_ready():
    def away(*others, parts=None):
        found = decide([instance("web-1"), *others], parts=parts)
        return shape(cluster(found))[1:]

    ready = instance("web-2", "eu-west/a/0")
    assert away(ready) == [(1, "eu-west", "eu-west")]
    assert away(replace_health(ready, Health.UNREADY)) == [(1, "eu-west", "eu-west!")]
    assert away(exited("web-2", "eu-west/a/0")) == [(1, "eu-west", "eu-west!")]
    assert away(replace_health(ready, Health.LOST)) == [(1, "eu-west", "eu-west!")]
    # One that drains gets no new requests, so a region of such is not to be called.
    leaving = instance("web-2", "eu-west/a/0", draining_since=AT)
    assert away(leaving) == [(1, "eu-west", "eu-west!")]
    # Nor one whose gateway does not run.
    dead = [one for one in parts_of(SYSTEM) if one.id != "edge:eu-west"]
    dead.append(part("edge:eu-west", running=False))
    assert away(ready, parts=dead) == [(1, "eu-west", "eu-west!")]
    assert away() == []


def replace_health(one, health):
    return type(one)(one.state, health, one.detail)


def test_calls_that_prefer_their_zone_have_a_cluster_a_zone():
    web = replace(WEB, balance=Balance(prefer=Prefer.ZONE))
    decision = decide(FOUR, system=system_of(PLACES, [web]))
    assert [one.cluster for one in decision.actions if one.region == "us-east"] == [
        "web",
        "web@a",
        "web@b",
        "web.local",
    ]
    assert shape(cluster(decision, name="web@b")) == [
        (0, "us-east/b", "web-2"),
        (1, "us-east/a", "web-1 web-10"),
        (2, "eu-west", "eu-west"),
    ]


def test_a_region_that_leaves_the_spec_is_the_last_resort():
    smaller = system_of({"us-east": {"a": 1, "b": 1}, "ap-south": {"a": 1}}, [WEB], revision="r2")
    found = decide(
        [instance("web-1"), instance("web-3", "eu-west/a/0"), instance("web-4", "ap-south/a/0")],
        system=smaller,
        parts=parts_of(SYSTEM),
        endpoints=[AppliedEndpoints(region="eu-west", cluster="web", digest="old", applied_at=AT)],
    )
    assert shape(cluster(found)) == [
        (0, "us-east/a", "web-1"),
        (1, "ap-south", "ap-south"),
        (2, "eu-west", "eu-west"),
    ]
    # Its own balancer is kept up to date with what it says it still runs with.
    assert [one.cluster for one in found.actions if one.region == "eu-west"] == ["web"]
    assert shape(cluster(found, "eu-west"))[0] == (0, "eu-west/a", "web-3")


def test_a_leaving_balancer_is_told_of_zones_that_are_empty_already():
    web = replace(WEB, balance=Balance(prefer=Prefer.ZONE))
    smaller = system_of({"us-east": {"a": 1}}, [web], revision="r2")
    ran_with = [
        AppliedEndpoints(region="eu-west", cluster=name, digest="old", applied_at=AT)
        for name in ("web", "web.local", "web@a", "web@b", "web@b-2", "website")
    ]
    last = instance("web-3", "eu-west/a/0", draining_since=AT)
    found = decide([last], system=smaller, parts=parts_of(SYSTEM), endpoints=ran_with)
    told = {one.cluster: shape(one) for one in found.actions if one.region == "eu-west"}
    assert set(told) == {"web", "web.local", "web@a", "web@b", "web@b-2"}
    assert told["web@b"] == [(0, "eu-west/a", "web-3~")]


def test_nothing_is_sent_while_balancers_have_what_they_should_have():
    first = decide(FOUR)
    again = decide(FOUR, first.memory, endpoints=applied(first))
    assert (again.actions, again.wake_at) == ((), None)
    # Whoever forgets everything finds the same.
    cold = decide(FOUR, endpoints=applied(first))
    assert cold.actions == ()


def test_only_balancers_that_are_concerned_are_told():
    first = decide(FOUR)
    sick = [replace_health(one, Health.UNREADY) if one.state.id == "web-2" else one for one in FOUR]
    second = decide(sick, first.memory, endpoints=applied(first))
    assert [(one.region, one.cluster) for one in second.actions] == [
        ("us-east", "web"),
        ("us-east", "web.local"),
    ]


def test_a_new_address_is_told():
    first = decide([instance("web-1")], system=ALONE)
    moved = instance("web-1", address=Address(host="127.1.1.9", port=8080))
    second = decide([moved], first.memory, system=ALONE, endpoints=applied(first))
    assert cluster(second).localities[0].endpoints[0].host == "127.1.1.9"


def test_a_balancer_that_does_not_run_is_not_told():
    parts = [one for one in parts_of(SYSTEM) if one.id != "edge:us-east"]
    decision = decide(FOUR, parts=[*parts, part("edge:us-east", running=False)])
    assert {one.region for one in decision.actions} == {"eu-west", "ap-south"}
    assert ("traffic.held.edge", "us-east") in [(one.code, one.subject) for one in decision.reasons]


def test_a_push_without_effect_is_repeated_with_a_new_id_and_ever_later():
    one = [instance("web-1")]
    decision = decide(one, system=ALONE)
    digest = cluster(decision).digest
    pending = [action.id for action in decision.actions]
    under_way = decide(one, decision.memory, system=ALONE, at=AT + SECOND, pending=pending)
    assert under_way.actions == ()
    memory, at, found = decision.memory, AT, []
    for _ in range(6):
        early = decide(one, memory, system=ALONE, at=at + 499 * MILLISECOND)
        assert early.actions == ()
        at_next = early.wake_at
        decision = decide(one, early.memory, system=ALONE, at=at_next)
        found.append(((at_next - at) / SECOND, cluster(decision).id.rpartition(digest)[2]))
        memory, at = decision.memory, at_next
    assert found == [(0.5, ".2"), (1, ".3"), (2, ".4"), (4, ".5"), (5, ".6"), (5, ".7")]


def test_a_new_supervisor_takes_nothing_away_until_nodes_had_time_to_be_heard():
    """A balancer serves instances whose node has not been heard by the new supervisor yet."""
    serving = replace(applied(decide(FOUR))[0], serving=("web-1", "web-2", "web-10"))
    tell = {"system": ALONE, "endpoints": [serving]}

    def told(decision):
        return [one.cluster for one in decision.actions]

    first = decide([instance("web-1")], **tell)
    assert told(first) == ["web.local"]  # of which the balancer has nothing yet
    held = next(one for one in first.reasons if one.code == "traffic.held.adoption")
    assert dict(held.numbers)["instances"] == 2
    assert dict(held.numbers)["until_ns"] == AT + 5 * SECOND
    early = decide([instance("web-1")], first.memory, at=AT + 5 * SECOND - 1, **tell)
    assert "web" not in told(early)
    # The nodes are heard: the balancer is told of what is new at once.
    heard = [instance("web-1"), instance("web-2", "us-east/b/0"), instance("web-10")]
    more = decide([*heard, instance("web-11")], first.memory, at=AT + SECOND, **tell)
    assert "web" in told(more)
    # They are not: in the end the balancer is told what is known.
    late = decide([instance("web-1")], early.memory, at=AT + 5 * SECOND, **tell)
    assert "web" in told(late)


def test_says_when_nobody_is_ready_here_or_anywhere():
    here = decide([hung("web-1"), instance("web-3", "eu-west/a/0")])
    told = [(one.code, one.subject, one.numbers) for one in here.reasons if one.action is None]
    assert told == [("traffic.elsewhere", "web", (("region", "us-east"), ("to", "eu-west")))]
    nowhere = decide([hung("web-1")])
    assert ("traffic.nobody", "web") in [(one.code, one.subject) for one in nowhere.reasons]


# --- digests ---


def test_digests_are_over_every_field():
    action = cluster(decide(FOUR))
    assert action.digest == digest_of(action.localities)
    local = action.localities[0]
    end = local.endpoints[0]
    others = [
        action.localities[::-1],
        (replace(local, priority=1), *action.localities[1:]),
        (replace(local, weight=1), *action.localities[1:]),
        (replace(local, zone="z"), *action.localities[1:]),
        (replace(local, region="r"), *action.localities[1:]),
        *(
            (replace(local, endpoints=(other, *local.endpoints[1:])), *action.localities[1:])
            for other in (
                replace(end, instance="web-9"),
                replace(end, host="h"),
                replace(end, port=1),
                replace(end, healthy=False),
                replace(end, draining=True),
                replace(end, weight=2),
            )
        ),
    ]
    digests = {digest_of(tuple(other)) for other in others} | {action.digest}
    assert len(digests) == len(others) + 1


# --- load-aware weights ---

AWARE = system_of(
    {"us-east": {"a": 1}},
    [service("web", {"us-east": 1.0}, balance=Balance(policy=BalancePolicy.LOAD_AWARE))],
)


def loaded(*millicores: float):
    return [instance(f"web-{n}", cpu_millicores=cpu) for n, cpu in enumerate(millicores, 1)]


def weights(decision) -> list[int]:
    return [end.weight for end in cluster(decision).localities[0].endpoints]


def test_weights_follow_the_cpu_that_is_left():
    assert weights(decide(loaded(0, 125, 250, 400), system=AWARE)) == [100, 50, 5, 5]
    assert weights(decide(loaded(0, 125), system=ALONE)) == [1, 1]


def test_weights_change_seldom_and_only_by_much():
    first = decide(loaded(100, 100), system=AWARE)
    tell = {"system": AWARE, "endpoints": applied(first)}
    memory, changes = first.memory, []
    for step in range(1, 60):
        decision = decide(loaded(240, 100), memory, at=AT + step * SECOND, **tell)
        memory = decision.memory
        if decision.actions:
            changes.append((step, weights(decision)))
            tell["endpoints"] = applied(decision) + tell["endpoints"][2:]
    steps = [step for step, _ in changes]
    assert steps[0] == 5
    assert all(later - sooner >= 5 for sooner, later in pairwise(steps))
    # It comes to rest, close to what the load says.
    assert steps[-1] <= 30
    assert changes[-1][1][1] == weight_of(100, 250)
    assert abs(changes[-1][1][0] - weight_of(240, 250)) <= 2
    small = decide(loaded(110, 100), first.memory, at=AT + 60 * SECOND, system=AWARE)
    assert [one.weight for one in first.actions[0].localities[0].endpoints] == [
        one.weight for one in small.actions[0].localities[0].endpoints
    ]


def test_a_newcomer_has_a_weight_at_once():
    first = decide(loaded(100, 100), system=AWARE)
    second = decide(loaded(100, 100, 0), first.memory, system=AWARE, at=AT + SECOND)
    assert weights(second) == [60, 60, 100]


# --- properties ---

NODES = ("us-east/a/0", "us-east/b/0", "eu-west/a/0", "ap-south/a/0")
KINDS = st.sampled_from(
    [
        instance,
        starting,
        exited,
        hung,
        lambda name, place: instance(name, place, Health.UNREADY),
        lambda name, place: instance(name, place, draining_since=AT),
        lambda name, place: instance(name, place, Health.LOST),
        lambda name, place: instance(name, place, Health.UNKNOWN, last_word=Health.READY),
    ]
)
FLEETS = st.dictionaries(st.integers(1, 24), KINDS, max_size=8).map(
    lambda drawn: [make(f"web-{n}", NODES[n % 4]) for n, make in drawn.items()]
)
"""An instance stays where it was started: its ordinal says where."""


@given(FLEETS)
def test_a_cluster_is_never_empty_while_anybody_could_answer(fleet):
    decision = decide(fleet)
    ready = [one for one in fleet if one.health is Health.READY or one.last_word is Health.READY]
    for region in PLACES:
        action = cluster(decision, region)
        ends = [end for one in action.localities for end in one.endpoints]
        if any(one.state.draining_since is None for one in ready):
            assert any(end.healthy and not end.draining for end in ends)
        elif ready:
            assert ends
        priorities = [one.priority for one in action.localities]
        assert sorted(set(priorities)) == list(range(len(set(priorities))))


@given(st.lists(FLEETS, min_size=2, max_size=5))
def test_what_is_remembered_changes_nothing_in_what_is_wanted(fleets):
    """Through any history, clusters built on caches equal those built from nothing."""
    memory = None
    for step, fleet in enumerate(fleets):
        warm = decide(fleet, memory, at=AT + step * 60 * SECOND)
        cold = decide(fleet, at=AT + step * 60 * SECOND)
        wanted = {key: built.localities for key, built in cold.memory.clusters.items()}
        assert {key: built.localities for key, built in warm.memory.clusters.items()} == wanted
        assert all(
            built.digest == digest_of(built.localities) for built in warm.memory.clusters.values()
        )
        memory = warm.memory
