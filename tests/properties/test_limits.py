"""What the division of a shared limit never does, and where it always gets to."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decide.test_limits import SHARED, Story
from tests.decide.views import AT, view_of
from tests.world import service, system_of

from seakeep.decide.fairness import divide
from seakeep.decide.limits import LimitsController
from seakeep.model.codec import decode, encode
from seakeep.model.decision import Decision
from seakeep.model.system import System

BUDGETS = st.floats(min_value=0.01, max_value=1e6)
DEMANDS = st.lists(st.floats(min_value=0.0, max_value=1e6), min_size=1, max_size=8)


@given(BUDGETS, DEMANDS, st.floats(min_value=0.0, max_value=1.0))
def test_a_division_is_whole_fair_and_keeps_the_floor(
    budget: float, demands: list[float], floor_fraction: float
) -> None:
    even = budget / len(demands)
    floor = floor_fraction * even
    parts = divide(budget, dict(enumerate(demands)), floor)
    close = 1e-9 * budget
    assert abs(sum(parts.values()) - budget) <= close * len(demands)
    assert min(parts.values()) >= floor - close
    for name, part in parts.items():
        if part < demands[name] - close:  # it lacks something: then nobody has more than it
            others = [parts[other] for other in parts if parts[other] > max(part, floor) + close]
            assert not others


@given(BUDGETS, DEMANDS)
def test_a_division_does_not_depend_on_the_order(budget: float, demands: list[float]) -> None:
    there = divide(budget, dict(enumerate(demands)), 0.1)
    back = divide(budget, dict(reversed(list(enumerate(demands)))), 0.1)
    for name, part in there.items():
        assert abs(back[name] - part) <= 1e-9 * budget


REGIONS = ("us", "eu", "ap")
SECONDS = st.tuples(
    st.fixed_dictionaries({name: st.floats(min_value=0, max_value=400) for name in REGIONS}),
    st.sets(st.sampled_from(REGIONS), max_size=2),
    st.sampled_from((0.05, 0.5, 1.0, 1.7)),
)


def three() -> System:
    places = {name: {"a": 1} for name in REGIONS}
    return system_of(places, [service("web", dict.fromkeys(REGIONS, 1 / 3), limit=(SHARED,))])


@settings(max_examples=60)
@given(st.lists(SECONDS, min_size=5, max_size=40))
def test_shares_never_add_up_to_more_than_the_budget_and_come_to_rest(
    life: list[tuple[dict[str, float], set[str], float]],
) -> None:
    story = Story(three())
    for demand, deaf, after_s in life:
        story.deaf = deaf
        story.step(after_s, **demand)
        assert sum(story.shares().values()) <= 100.0 * (1 + 1e-6)
        assert min(story.shares().values()) >= 100.0 / 3 * 0.1 - 1e-6
    story.deaf = set()
    demand = life[-1][0]
    for _ in range(3):  # what was asked for before fades by a tenth a second
        story.settle(**demand)
    rest = story.shares()
    for _ in range(60):
        assert story.step(**demand) == [], "constant input leads to rest"
    assert story.shares() == rest
    ideal = divide(100.0, {name: demand[name] * 1.25 for name in REGIONS}, 100.0 / 3 * 0.1)
    for name, share in rest.items():
        satisfied = share >= demand[name] * 1.2
        assert satisfied or share >= ideal[name] - 100.0 / 3 * 0.12


@settings(max_examples=30)
@given(st.lists(SECONDS, min_size=3, max_size=15))
def test_the_memory_survives_being_written_down(
    life: list[tuple[dict[str, float], set[str], float]],
) -> None:
    whole, written = Story(three()), Story(three())
    for demand, deaf, after_s in life:
        whole.deaf = written.deaf = deaf
        written.memory = decode(type(written.memory), encode(written.memory))
        assert whole.step(after_s, **demand) == written.step(after_s, **demand)
        assert whole.memory == written.memory


def test_equal_views_lead_to_equal_decisions_whatever_the_order_of_regions_in_a_mapping() -> None:
    def decided() -> Decision[object]:
        what = three()
        view = view_of(what, at=AT)
        return LimitsController(epoch=1).decide(
            what,
            replace(view, parts=dict(sorted(view.parts.items()))),
            LimitsController(1).initial(),
        )

    assert decided() == decided()
