"""Which regions DNS answers with, and when servers are told."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.decide.views import AT, instance, part, parts_of, view_of
from tests.world import Loop, service, system_of

from seakeep.decide.arbitrate import ControlPlane
from seakeep.decide.dns import ADOPTION_GRACE, DnsController
from seakeep.decide.dns_hosts import hosts_of
from seakeep.decide.members import ServiceMemory, enroll
from seakeep.model.action import AnswerDns, HostAnswers
from seakeep.model.observation import AppliedAnswers
from seakeep.model.system import Dns, Route, Steer, Steering
from seakeep.model.time import MILLISECOND, SECOND

EAST, WEST, SOUTH = "us-east", "eu-west", "ap-south"
PLACES = {EAST: {"a": 1}, WEST: {"a": 1}, SOUTH: {"a": 1}}
HOST = "shop.example"
DNS = Dns(zone=HOST, fall=SECOND, rise=5 * SECOND)
CONTROLLER = DnsController(epoch=7)


def system_with(steer=Steer(), *, host=HOST, dns=DNS, spread=None):  # noqa: B008
    web = service("web", spread or {EAST: 0.4, WEST: 0.3, SOUTH: 0.3},
                  routes=(Route(host=host, steer=steer),))  # fmt: skip
    return replace(system_of(PLACES, [web]), dns=dns)


SYSTEM = system_with()


def webs(*regions):
    return [instance(f"web-{n}", f"{name}/a/0") for n, name in enumerate(regions, 1)]


EVERYWHERE = webs(EAST, WEST, SOUTH)


def parts_with_dns(system, *down):
    parts = [*parts_of(system), *(part(f"dns:{name}") for name in system.regions)]
    return [replace(one, running=one.id not in down) for one in parts]


class Run:
    """The controller over time, servers that take what they are given."""

    def __init__(self, system=SYSTEM, answers=()):
        self.system = system
        self.memory = CONTROLLER.initial()
        self.rolls = {name: ServiceMemory() for name in system.services}
        self.answers = {one.region: one for one in answers}
        self.at = AT
        self.decision = None

    def see(
        self, instances=EVERYWHERE, *, after=0, down=(), drained=(), takes=True, pending=(),
        silent=(),
    ):  # fmt: skip
        self.at += after
        view = view_of(self.system, instances, at=self.at, pending=pending,
                       parts=parts_with_dns(self.system, *down))  # fmt: skip
        view = replace(view, answers=self.answers, silent=dict.fromkeys(silent, AT))
        self.rolls = {name: enroll(one, view, self.rolls[name])
                      for name, one in self.system.services.items()}  # fmt: skip
        rolls = {name: of.rolls for name, of in self.rolls.items()}
        self.decision = CONTROLLER.decide(self.system, view, self.memory, rolls, drained)
        self.memory = self.decision.memory
        if takes:
            for action in self.decision.actions:
                self.answers = {**self.answers, action.region: AppliedAnswers(
                    region=action.region, digest=action.digest, applied_at=self.at,
                    out=tuple(sorted(f"{one.host} {name}" for one in action.hosts
                                     for name in one.out)))}  # fmt: skip
        return self.decision

    @property
    def regions(self):
        return self.memory.table[0].regions

    def codes(self):
        return [reason.code for reason in self.decision.reasons]


def without(region):
    return [one for one in EVERYWHERE if one.state.region != region]


def test_without_a_zone_nothing_is_done():
    run = Run(replace(SYSTEM, dns=None))
    decision = run.see()
    assert (decision.actions, decision.reasons, decision.wake_at) == ((), (), None)


def test_every_server_is_given_the_whole_table_once():
    run = Run()
    decision = run.see()
    assert [action.region for action in decision.actions] == [EAST, WEST, SOUTH]
    action = decision.actions[0]
    assert isinstance(action, AnswerDns)
    assert action.hosts == (
        HostAnswers(host=HOST, by=Steering.LATENCY, regions=(EAST, WEST, SOUTH)),
    )
    assert action.id == f"answers:us-east:{action.digest}"
    assert run.see(after=SECOND).actions == ()
    assert run.decision.wake_at is None


def test_hosts_of_the_zone_alone_are_answered():
    web = service("web", {EAST: 1.0}, routes=(
        Route(host=HOST), Route(host=HOST, path="/x"), Route(host="*.shop.example"),
        Route(host="*"), Route(host="other.example"), Route(host="notshop.example"),
    ))  # fmt: skip
    api = service("api", {EAST: 1.0}, routes=(Route(host=HOST, path="/api"),))
    hosts = hosts_of(replace(system_of(PLACES, [web, api]), dns=DNS), DNS)
    assert [(host.name, host.services) for host in hosts] == [
        ("*.shop.example", ("web",)),
        (HOST, ("web", "api")),
    ]


@pytest.mark.parametrize(
    ("instances", "down", "why"),
    [
        (EVERYWHERE, (f"edge:{EAST}",), "its edge does not run"),
        (without(EAST), (), "no instance of web is ready"),
    ],
)
def test_a_region_that_cannot_serve_is_out_after_fall_and_in_after_rise(instances, down, why):
    run = Run()
    run.see()
    run.see(after=6 * SECOND)
    run.see(instances, down=down, after=0)
    assert run.codes() == ["dns.held.fall"]
    assert run.decision.wake_at == run.at + DNS.fall
    run.see(instances, down=down, after=DNS.fall)
    assert run.regions == (WEST, SOUTH)
    assert run.codes()[0] == "dns.region.out"
    assert dict(run.decision.reasons[0].numbers)["why"] == why
    assert len(run.decision.actions) == 3
    run.see()
    assert run.codes() == ["dns.held.rise"]
    run.see(after=DNS.rise - 1)
    assert run.regions == (WEST, SOUTH)
    run.see(after=1)
    assert run.regions == (EAST, WEST, SOUTH)
    assert run.codes()[0] == "dns.region.in"


def test_an_edge_that_gives_no_answer_serves_nobody():
    run = Run()
    run.see()
    run.see(silent=[f"edge:{EAST}"], after=6 * SECOND)
    run.see(silent=[f"edge:{EAST}"], after=DNS.fall)
    assert run.regions == (WEST, SOUTH)
    assert dict(run.decision.reasons[0].numbers)["why"] == "its edge gives no answer"


def test_a_short_trouble_changes_nothing():
    run = Run()
    run.see()
    run.see(without(EAST), after=6 * SECOND)
    run.see(after=DNS.fall - 1)
    assert run.regions == (EAST, WEST, SOUTH)
    assert run.decision.actions == ()


def test_a_region_that_flaps_stays_out_for_longer_each_time():
    run, waits = Run(), []
    run.see()
    run.see(after=6 * SECOND)
    for _ in range(6):
        run.see(without(EAST))
        run.see(without(EAST), after=DNS.fall)
        assert EAST not in run.regions
        run.see()
        waits.append(run.decision.wake_at - run.at)
        run.see(after=waits[-1])
        assert EAST in run.regions
    assert [wait // SECOND for wait in waits] == [5, 10, 20, 40, 40, 40]
    run.see(after=60 * SECOND)
    run.see(without(EAST))
    run.see(without(EAST), after=DNS.fall)
    run.see()
    assert run.decision.wake_at - run.at == DNS.rise


def test_one_that_has_only_begun_is_in_at_once():
    run = Run()
    run.see(webs(WEST))
    assert run.regions == (WEST,)
    run.see(webs(WEST, EAST), after=SECOND)
    assert run.regions == (EAST, WEST)


def test_all_are_answered_when_none_can_serve():
    run = Run()
    run.see([])
    assert run.regions == (EAST, WEST, SOUTH)
    assert "dns.fail_open" in run.codes()
    run.see([], after=60 * SECOND)
    assert run.regions == (EAST, WEST, SOUTH)
    assert "dns.fail_open" in run.codes()


def test_one_that_can_serve_again_is_better_than_those_that_cannot():
    run = Run()
    run.see()
    run.see([], after=6 * SECOND)
    run.see([], after=DNS.fall)
    assert run.regions == (EAST, WEST, SOUTH)
    run.see(webs(WEST))
    assert run.regions == (WEST,)


def test_a_drained_region_is_out_at_once_and_back_at_once():
    run = Run()
    run.see()
    run.see(drained=[EAST])
    assert run.regions == (WEST, SOUTH)
    assert "dns.drained" in run.codes()
    assert len(run.decision.actions) == 3
    run.see()
    assert run.regions == (EAST, WEST, SOUTH)


def test_drained_regions_serve_when_no_other_can():
    run = Run()
    run.see()
    run.see(webs(EAST), drained=[EAST], after=6 * SECOND)
    run.see(webs(EAST), drained=[EAST], after=DNS.fall)
    assert run.regions == (EAST,)
    assert "dns.held.drained" in run.codes()


@pytest.mark.parametrize(
    ("steer", "instances", "regions", "weights"),
    [
        (Steer(by=Steering.FAILOVER, order=(WEST, EAST)), EVERYWHERE, (WEST, EAST), ()),
        (Steer(by=Steering.FAILOVER, order=(WEST, EAST)), webs(EAST, SOUTH), (EAST,), ()),
        (Steer(by=Steering.FAILOVER, order=(WEST, EAST)), webs(SOUTH), (WEST, EAST), ()),
        (Steer(by=Steering.GEO), webs(SOUTH), (SOUTH,), ()),
        (Steer(by=Steering.WEIGHTED, weights={EAST: 0.7, WEST: 0.3}), EVERYWHERE,
         (EAST, WEST), (700, 300)),
        (Steer(by=Steering.WEIGHTED, weights={EAST: 0.7, WEST: 0.3}), webs(WEST, SOUTH),
         (WEST,), (300,)),
        (Steer(by=Steering.WEIGHTED, weights={EAST: 0.9999, WEST: 0.0001}), EVERYWHERE,
         (EAST, WEST), (1000, 1)),
        (Steer(by=Steering.WEIGHTED, weights={EAST: 1.0, WEST: 0.0}), webs(WEST, SOUTH),
         (WEST, SOUTH), (1, 1)),
    ],
)  # fmt: skip
def test_steering(steer, instances, regions, weights):
    run = Run(system_with(steer))
    run.see(instances)
    assert (run.regions, run.memory.table[0].weights) == (regions, weights)


def test_a_service_elsewhere_is_reached_through_any_edge():
    run = Run(system_with(spread={EAST: 1.0}))
    run.see(webs(EAST))
    assert run.regions == (EAST, WEST, SOUTH)
    run.see([], after=6 * SECOND)
    run.see([], after=DNS.fall)
    assert "dns.fail_open" in run.codes()


def test_another_ttl_is_told():
    run = Run()
    first = run.see().actions[0].digest
    run.system = replace(SYSTEM, revision="r2", dns=replace(DNS, ttl=30 * SECOND))
    actions = run.see(after=SECOND).actions
    assert len(actions) == 3
    assert actions[0].digest != first


def test_a_server_that_does_not_take_it_is_tried_again_later_and_later():
    run, times = Run(), []
    for _ in range(40):
        decision = run.see(after=500 * MILLISECOND, takes=False)
        if decision.actions:
            times.append((run.at - AT) / SECOND)
    assert times == [0.5, 1.0, 2.0, 4.0, 8.0, 13.0, 18.0]
    assert run.codes().count("dns.held.backoff") == 3


def test_one_on_its_way_is_not_sent_twice():
    run = Run()
    sent = [action.id for action in run.see(takes=False).actions]
    assert run.see(after=SECOND, takes=False, pending=sent).actions == ()


def test_a_server_that_does_not_run_is_told_when_it_does():
    run = Run()
    run.see(down=[f"dns:{WEST}"])
    assert [action.region for action in run.decision.actions] == [EAST, SOUTH]
    assert run.codes() == ["dns.answers", "dns.held.server", "dns.answers"]
    assert [action.region for action in run.see(after=SECOND).actions] == [WEST]


def applied(*out):
    return [AppliedAnswers(region=name, digest="old", applied_at=AT, out=out) for name in PLACES]


def test_a_new_supervisor_takes_over_who_is_out():
    run = Run(answers=applied(f"{HOST} {EAST}"))
    run.see()
    assert run.regions == (WEST, SOUTH)
    run.see(after=DNS.rise)
    assert run.regions == (EAST, WEST, SOUTH)


def test_a_new_supervisor_waits_for_nodes_to_be_heard_but_not_for_a_dead_edge():
    run = Run(answers=applied())
    run.see(webs(SOUTH), down=[f"edge:{WEST}"])
    run.see(webs(SOUTH), down=[f"edge:{WEST}"], after=DNS.fall)
    assert run.regions == (EAST, SOUTH)
    assert "dns.held.adoption" in run.codes()
    run.see(webs(SOUTH), down=[f"edge:{WEST}"], after=ADOPTION_GRACE - DNS.fall)
    assert run.regions == (SOUTH,)


SIGHTS = st.lists(
    st.tuples(
        st.lists(st.sampled_from([EAST, WEST, SOUTH]), unique=True, max_size=3),
        st.lists(st.sampled_from([f"edge:{EAST}", f"edge:{WEST}", f"dns:{SOUTH}"]), max_size=2),
        st.lists(st.sampled_from([EAST, WEST]), unique=True, max_size=2),
        st.integers(0, 12 * SECOND),
    ),
    max_size=25,
)
STEERS = st.sampled_from(
    [
        Steer(),
        Steer(by=Steering.WEIGHTED, weights={EAST: 0.5, WEST: 0.5}),
        Steer(by=Steering.FAILOVER, order=(SOUTH, EAST)),
    ]
)


@given(SIGHTS, STEERS)
def test_answers_are_never_empty_and_lead_to_who_can_serve(sights, steer):
    run = Run(system_with(steer))
    for ready, down, drained, after in sights:
        run.see(webs(*ready), down=down, drained=drained, after=after)
        named = run.memory.hosts[0].regions
        assert run.regions
        assert set(run.regions) <= set(named)
        able = {one for one in ready if f"edge:{one}" not in down} & set(named)
        inside = {one for one, of in run.memory.standings[HOST].items() if of.inside}
        if able - set(drained) and not inside - set(drained):
            assert set(run.regions) <= able


@given(SIGHTS)
def test_constant_input_leads_to_rest(sights):
    run = Run()
    for ready, down, drained, after in sights:
        run.see(webs(*ready), down=down, drained=drained, after=after)
    for _ in range(20):
        run.see(after=60 * SECOND)
    decision = run.decision
    assert (decision.actions, decision.reasons, decision.wake_at) == ((), (), None)
    assert run.regions == (EAST, WEST, SOUTH)


@given(SIGHTS)
def test_a_memory_without_caches_decides_alike(sights):
    warm, cold = Run(), Run()
    for ready, down, drained, after in sights:
        cold.memory = cold.memory.without_caches()
        both = [run.see(webs(*ready), down=down, drained=drained, after=after)
                for run in (warm, cold)]  # fmt: skip
        assert both[0].actions == both[1].actions
        assert both[0].reasons == both[1].reasons
        assert both[0].wake_at == both[1].wake_at


def test_the_whole_plane_leaves_a_lost_region_and_takes_it_back():
    loop = Loop(SYSTEM, ControlPlane(1))
    loop.run(30 * SECOND)
    assert {one.out for one in loop.world.answers.values()} == {()}
    assert len(loop.world.answers) == 3
    loop.tick(SECOND, ("lose", EAST))
    loop.run(3 * SECOND)
    assert {name: one.out for name, one in loop.world.answers.items()} == {
        WEST: (f"{HOST} {EAST}",),
        SOUTH: (f"{HOST} {EAST}",),
    }
    loop.tick(SECOND, ("restore", EAST))
    loop.run(60 * SECOND)
    assert {one.out for one in loop.world.answers.values()} == {()}
    assert len(loop.world.answers) == 3
    loop.configure(replace(SYSTEM, dns=None, revision="r2"))
    loop.run(10 * SECOND)
    assert loop.world.answers == {}
    assert not any(name.startswith("dns:") for name in loop.world.parts)
