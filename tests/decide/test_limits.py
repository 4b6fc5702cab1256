"""How shares of a limit follow demand, one table row or story each."""

from dataclasses import replace

import pytest
from tests.decide.views import AT, parts_of, view_of
from tests.world import service, system_of

from seakeep.decide.fairness import divide
from seakeep.decide.limits import LimitsController, LimitsMemory
from seakeep.model.action import SetLimit
from seakeep.model.limits import LimitPer, LimitScope, RateLimit, Shed
from seakeep.model.observation import AppliedLimit, TrafficReading
from seakeep.model.system import Route, System
from seakeep.model.time import MILLISECOND, SECOND

SHARED = RateLimit(rate_per_s=100.0, burst=10, scope=LimitScope.SYSTEM)
SHARES = {"us": {"a": 1}, "eu": {"a": 1}}


def system(*limits: RateLimit, **other: object) -> System:
    return system_of(SHARES, [service("web", {"us": 0.5, "eu": 0.5}, limit=limits, **other)])


class Story:
    """A controller, balancers that take what they are told, and counters that grow by demand."""

    def __init__(self, what: System) -> None:
        self.what = what
        self.controller = LimitsController(epoch=1)
        self.memory = self.controller.initial()
        self.at = AT
        self.asked: dict[str, float] = dict.fromkeys(what.regions, 0.0)
        self.applied: dict[str, AppliedLimit] = {}
        self.down: set[str] = set()
        self.down_since = 0
        self.deaf: set[str] = set()
        self.reasons: list[str] = []

    def shares(self) -> dict[str, float]:
        even = 100.0 / len(self.what.regions)
        return {
            region: self.applied[region].rate_per_s if region in self.applied else even
            for region in self.what.regions
        }

    def step(self, after_s: float = 1.0, **demand: float) -> list[tuple[str, float]]:
        """What is sent `after_s` later, with so many requests/s asked for meanwhile."""
        self.at += round(after_s * SECOND)
        for region, rate in demand.items():
            self.asked[region] += rate * after_s
        readings = [
            TrafficReading(
                region=region,
                service="web",
                requests=round(asked),
                failures=0,
                retries=0,
                in_flight=0,
            )
            for region, asked in sorted(self.asked.items())
        ]
        parts = [
            replace(part, running=part.region not in self.down, changed_at=self.down_since)
            for part in parts_of(self.what)
        ]
        view = view_of(
            self.what,
            at=self.at,
            parts=parts,
            limits=[one for name, one in self.applied.items() if name not in self.down],
            traffic=readings,
        )
        decision = self.controller.decide(self.what, view, self.memory)
        self.memory = decision.memory
        self.reasons = [reason.code for reason in decision.reasons]
        sent = []
        for action in decision.actions:
            assert isinstance(action, SetLimit)
            sent.append((action.region, round(action.rate_per_s, 3)))
            if action.region not in self.deaf:
                self.applied[action.region] = AppliedLimit(
                    region=action.region,
                    limit=action.limit,
                    rate_per_s=action.rate_per_s,
                    applied_at=self.at,
                )
        return sent

    def settle(self, **demand: float) -> dict[str, float]:
        for _ in range(60):
            self.step(**demand)
        return {region: round(share, 1) for region, share in self.shares().items()}


@pytest.mark.parametrize(
    ("demands", "floor", "parts"),
    [
        ([], 1.0, []),
        ([0.0], 1.0, [100.0]),
        ([0.0, 0.0], 5.0, [50.0, 50.0]),
        ([20.0, 20.0], 5.0, [50.0, 50.0]),
        ([80.0, 80.0], 5.0, [50.0, 50.0]),
        ([10.0, 200.0], 5.0, [10.0, 90.0]),
        ([0.0, 200.0], 5.0, [5.0, 95.0]),
        ([10.0, 30.0, 500.0], 5.0, [10.0, 30.0, 60.0]),
        ([10.0, 300.0, 500.0], 5.0, [10.0, 45.0, 45.0]),
        ([0.0, 0.0], 500.0, [50.0, 50.0]),
    ],
)
def test_division(demands: list[float], floor: float, parts: list[float]) -> None:
    found = divide(100.0, dict(enumerate(demands)), floor)
    assert list(found.values()) == pytest.approx(parts)


def test_nothing_is_done_without_a_limit_or_while_all_have_what_they_need() -> None:
    plain = Story(system())
    assert plain.step(us=500.0) == []
    assert plain.memory == LimitsMemory()
    quiet = Story(system(SHARED))
    assert all(quiet.step(us=35.0, eu=10.0) == [] for _ in range(30))
    assert quiet.reasons == []


def test_a_limit_of_the_regions_own_is_not_divided() -> None:
    own = RateLimit(rate_per_s=100.0, burst=10)
    client = RateLimit(rate_per_s=5.0, burst=10, per=LimitPer.CLIENT)
    story = Story(system(own, client))
    assert all(story.step(us=500.0) == [] for _ in range(20))


def test_who_asks_for_more_gets_what_the_others_leave() -> None:
    story = Story(system(SHARED))
    assert story.settle(us=200.0, eu=20.0) == {"us": 75.0, "eu": 25.0}
    assert story.settle(us=200.0, eu=200.0) == {"us": 50.0, "eu": 50.0}
    # Down to its floor but for what would not be noticed.
    assert 5.0 <= story.settle(us=0.0, eu=500.0)["us"] < 10.0


def test_what_is_taken_is_taken_before_it_is_given() -> None:
    story = Story(system(SHARED))
    sent: list[tuple[str, float]] = []
    while not sent:
        sent = story.step(us=300.0, eu=0.0)
    assert [region for region, _ in sent] == ["eu"], "eu gives first"
    assert story.shares()["us"] == 50.0
    then = story.step(0.1, us=300.0, eu=0.0)
    assert [region for region, _ in then] == ["us"]
    assert sum(story.shares().values()) == pytest.approx(100.0)


def test_a_region_that_wakes_up_gets_through_at_once_and_its_part_within_seconds() -> None:
    story = Story(system(SHARED))
    story.settle(us=400.0, eu=0.0)
    assert story.shares()["eu"] == pytest.approx(5.0)
    took = 0
    while story.shares()["eu"] < 40.0:
        story.step(us=400.0, eu=80.0)
        took += 1
        assert took <= 6
    assert story.settle(us=400.0, eu=80.0) == {"us": 50.0, "eu": 50.0}


def test_a_balancer_that_is_down_gets_nothing_and_comes_back_to_its_part() -> None:
    story = Story(system(SHARED))
    story.settle(us=400.0, eu=400.0)
    story.down, story.down_since = {"eu"}, story.at
    for _ in range(9):
        assert story.step(us=400.0) == [], "it may be back at once"
    for _ in range(5):
        story.step(us=400.0)
    assert story.applied["us"].rate_per_s == pytest.approx(100.0)
    story.down = set()
    assert story.settle(us=400.0, eu=400.0) == {"us": 50.0, "eu": 50.0}


def test_the_balancer_that_comes_first_leaves_the_others_their_part() -> None:
    story = Story(system(SHARED))
    story.down = {"eu"}
    assert all(story.step(us=200.0) == [] for _ in range(9))
    story.down = set()
    assert story.shares() == {"us": 50.0, "eu": 50.0}


def test_shares_that_add_up_to_too_much_are_taken_back() -> None:
    """The first balancer is there long before the second, gets all, and the second comes with an
    even part that nobody has told it."""
    story = Story(system(SHARED))
    story.down = {"eu"}
    for _ in range(10):
        story.step(us=200.0)
    assert story.step(us=200.0) == [("us", 100.0)]
    story.down = set()
    assert story.shares() == {"us": 100.0, "eu": 50.0}
    assert story.settle(us=200.0) == {"us": 95.0, "eu": 5.0}


def test_a_balancer_that_does_not_take_its_share_is_asked_less_and_less_often() -> None:
    story = Story(system(SHARED))
    story.deaf = {"eu"}
    tries, told = 0, set()
    for _ in range(40):
        tries += len(story.step(us=300.0, eu=0.0))
        told |= set(story.reasons)
    assert 4 <= tries <= 15, "doubling from half a second to five"
    assert told == {"limits.share", "limits.held.backoff"}
    assert story.shares() == {"us": 50.0, "eu": 50.0}, "nobody gets what eu has not given up"


def test_a_new_supervisor_goes_on_from_what_balancers_run_with() -> None:
    story = Story(system(SHARED))
    story.settle(us=400.0, eu=10.0)
    before = story.shares()
    story.memory = story.controller.initial()
    story.asked = dict.fromkeys(story.asked, 0.0)
    assert all(story.step(us=400.0, eu=10.0) == [] for _ in range(30))
    assert story.shares() == before


def test_a_budget_that_the_spec_changes_is_divided_anew() -> None:
    story = Story(system(SHARED))
    story.settle(us=400.0, eu=10.0)
    story.what = replace(
        system(replace(SHARED, rate_per_s=40.0)), revision="r2", regions=story.what.regions
    )
    story.settle(us=400.0, eu=10.0)
    assert sum(story.shares().values()) == pytest.approx(40.0)


def test_limits_of_routes_are_divided_by_the_demand_of_the_service() -> None:
    routes = (Route(), Route(path="/x", limit=(SHARED,)))
    story = Story(system(routes=routes))
    while not (sent := story.step(us=300.0)):
        pass
    assert sent[0][0] == "eu"
    assert story.applied["eu"].limit == "web.1:0"


def test_what_is_refused_is_said_and_counts_as_demand() -> None:
    what = system(SHARED, shed=Shed(latency=50 * MILLISECOND))
    controller = LimitsController(epoch=1)

    def seen(second: int) -> object:
        reading = TrafficReading(
            region="us",
            service="web",
            requests=50 * second,
            failures=0,
            retries=0,
            in_flight=0,
            limited=150 * second,
            shed=10 * second,
        )
        return view_of(what, at=AT + second * SECOND, traffic=[reading])

    memory = controller.initial()
    for second in range(4):
        decision = controller.decide(what, seen(second), memory)
        memory = decision.memory
    told = {reason.code: dict(reason.numbers) for reason in decision.reasons}
    assert told["limits.refused"]["refused_per_s"] == 150.0
    assert told["limits.saturated"] == {"region": "us", "shed_per_s": 10.0, "demand_per_s": 210.0}
    decision = controller.decide(what, replace(seen(4), traffic=()), memory)
    assert decision.memory.flows == {}, "a balancer that is gone asks for nothing"
