"""Draws of the control-plane side have the distributions that they are said to have."""

import pytest

from seakeep.engines.twin.chance import Draws, drawn, fraction
from seakeep.model.work import Distribution, mean_of

SECOND = 1e9
ONES = (
    Distribution(name="constant", parameters=(("value", SECOND),)),
    Distribution(name="exponential", parameters=(("mean", SECOND),)),
    Distribution(name="erlang", parameters=(("mean", SECOND), ("k", 3.0))),
    Distribution(name="gamma", parameters=(("mean", SECOND), ("cv", 0.5))),
    Distribution(name="gamma", parameters=(("mean", SECOND), ("cv", 1.5))),
    Distribution(name="lognormal", parameters=(("p50", SECOND), ("p99", 3 * SECOND))),
    Distribution(name="pareto", parameters=(("min", SECOND), ("alpha", 4.0))),
    Distribution(name="empirical", points=((0.2, SECOND), (0.7, 2 * SECOND), (1.0, 5 * SECOND))),
)


@pytest.mark.parametrize("one", ONES, ids=lambda one: one.name)
def test_the_mean_is_that_of_the_distribution(one: Distribution) -> None:
    values = [drawn(one, Draws(1, f"try {number}")) for number in range(10_000)]
    assert sum(values) / len(values) == pytest.approx(mean_of(one), rel=0.06)
    assert all(value > 0 for value in values)


def test_quantiles_of_a_lognormal_are_those_that_were_said() -> None:
    one = ONES[5]
    values = sorted(drawn(one, Draws(1, f"try {number}")) for number in range(10_000))
    assert values[5_000] == pytest.approx(SECOND, rel=0.05)
    assert values[9_900] == pytest.approx(3 * SECOND, rel=0.1)


def test_a_draw_follows_from_its_name_alone() -> None:
    one = ONES[1]
    first = drawn(one, Draws(1, "start web-1 0"))
    assert first == drawn(one, Draws(1, "start web-1 0"))
    assert first != drawn(one, Draws(2, "start web-1 0"))
    assert 0 <= fraction(1, "x") < 1


def test_what_is_no_distribution_is_an_error() -> None:
    with pytest.raises(ValueError, match="no distribution is called 'odd'"):
        drawn(Distribution(name="odd"), Draws(1, "x"))
