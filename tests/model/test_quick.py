"""A quick constructor does what the generated one does."""

from dataclasses import FrozenInstanceError, dataclass, field, replace

import pytest

from seakeep.model.quick import quick_init


@dataclass(frozen=True, slots=True)
class Plain:
    one: int
    two: str = "two"
    three: int = field(default=3, kw_only=True)


@quick_init
@dataclass(frozen=True, slots=True)
class Quick:
    one: int
    two: str = "two"
    three: int = field(default=3, kw_only=True)


@pytest.mark.parametrize(
    ("given", "named"),
    [((1,), {}), ((1, "b"), {"three": 4}), ((), {"two": "c", "one": 5})],
)
def test_takes_what_the_generated_one_takes(given, named):
    plain, quick = Plain(*given, **named), Quick(*given, **named)
    for name in ("one", "two", "three"):
        assert getattr(plain, name) == getattr(quick, name)
    assert quick == Quick(*given, **named)
    assert replace(quick, one=9).one == 9


@pytest.mark.parametrize(("given", "named"), [((), {}), ((1, "b", 3), {}), ((1,), {"four": 4})])
def test_refuses_what_the_generated_one_refuses(given, named):
    for kind in (Plain, Quick):
        with pytest.raises(TypeError, match="__init__"):
            kind(*given, **named)


def test_stays_frozen():
    with pytest.raises(FrozenInstanceError):
        Quick(1).one = 2


def test_refuses_classes_that_need_more():
    with pytest.raises(TypeError, match="plain fields"):

        @quick_init
        @dataclass(frozen=True, slots=True)
        class Factory:
            many: list[int] = field(default_factory=list)

    with pytest.raises(TypeError, match="__post_init__"):

        @quick_init
        @dataclass(frozen=True, slots=True)
        class After:
            one: int

            def __post_init__(self) -> None: ...
