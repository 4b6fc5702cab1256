"""Frozen values to JSON and back."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Literal, NewType

import pytest
from hypothesis import given, settings
from tests.runtime.journals import two_regions
from tests.runtime.strategies import values

from seakeep.model.action import Action, DrainInstance, Guard, PartKind, StartPart
from seakeep.model.codec import (
    HIDDEN,
    CodecError,
    decode,
    digest,
    dumps,
    encode,
    encoder_of,
    hiding,
    load_tree,
    loads,
)
from seakeep.model.decision import Reason
from seakeep.model.observation import Observation
from seakeep.model.system import Check, HttpCheck, System, TcpCheck, Workload


@pytest.mark.parametrize("hint", [Observation, Action, Reason, Check, System])
def test_round_trip(hint: Any) -> None:
    @settings(max_examples=60, deadline=None)
    @given(values(hint))
    def check(value: object) -> None:
        data = dumps(value, hint)
        again = loads(hint, data)
        assert again == value
        assert dumps(again, hint) == data

    check()


Count = NewType("Count", int)


class Colour(IntEnum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    pairs: Mapping[tuple[str, int], float]
    names: frozenset[str]
    nested: tuple[tuple[str, int | float | str], ...]
    count: Count
    colour: Colour
    mode: Literal["a", "b"]
    parent: "Everything | None" = None
    check: Check | None = None
    flag: bool = False
    times: int = 3


SAMPLE = Everything(
    pairs={("b", 2): 0.5, ("a", 1): -0.0},
    names=frozenset({"x", "y", "z", "w"}),
    nested=(("k", 1.0), ("t", "s"), ("f", 1.5)),
    count=Count(4),
    colour=Colour.BLUE,
    mode="b",
    check=HttpCheck(path="/"),
)


def test_every_kind_of_type() -> None:
    value = dataclasses.replace(SAMPLE, parent=SAMPLE)
    tree = encode(SAMPLE)
    assert tree == {
        "pairs": [[["b", 2], 0.5], [["a", 1], 0.0]],
        "names": ["w", "x", "y", "z"],
        "nested": [["k", 1], ["t", "s"], ["f", 1.5]],
        "count": 4,
        "colour": 2,
        "mode": "b",
        "check": {"type": "HttpCheck", "path": "/"},
        "times": 3,
    }
    assert decode(Everything, encode(value)) == value


def test_of_secrets_that_are_hidden_only_the_names_are_written() -> None:
    workload = dataclasses.replace(
        two_regions().services["web"].workload, env=(("API_KEY", "hunter2"), ("MODE", "x"))
    )
    with hiding():
        tree = encode(workload)
    assert tree["env"] == [["API_KEY", HIDDEN], ["MODE", HIDDEN]]
    assert decode(Workload, encode(workload)) == workload


def test_equal_values_give_equal_bytes() -> None:
    one = Reason(code="a", subject="b", numbers=(("n", 2), ("m", -0.0)))
    other = Reason(code="a", subject="b", numbers=(("n", 2.0), ("m", 0)))
    assert one == other
    assert dumps(one) == dumps(other)
    assert digest(one) == digest(other)
    assert len(digest(one)) == 16


def test_bytes_do_not_depend_on_the_hash_seed() -> None:
    program = "from tests.model.test_codec import SAMPLE, dumps; print(dumps(SAMPLE).decode())"
    printed = set()
    for seed in ("1", "2", "77"):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        printed.add(subprocess.check_output([sys.executable, "-c", program], env=environment))
    assert printed == {dumps(SAMPLE) + b"\n"}


def test_a_field_named_kind_does_not_hide_the_type() -> None:
    guard = Guard(revision="r", epoch=1, expires_at=5)
    action = StartPart(id="i", guard=guard, part="edge:x", kind=PartKind.EDGE, region="x")
    tree = encode(action, Action)
    assert (tree["type"], tree["kind"]) == ("StartPart", "edge")
    assert decode(Action, tree) == action


GOOD = encode(
    DrainInstance(id="i", guard=Guard(revision="r", epoch=1, expires_at=5), instance="web-1"),
    Action,
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "Explode"}, "expected a type, one of StartInstance, "),
        ({"type": None}, "expected a type"),
        ({"type": ["DrainInstance"]}, "expected a type"),
        ({"instance": 7}, "at instance: expected text, got 7"),
        ({"instence": "x"}, "DrainInstance has no field instence; nearest is instance"),
        ({"guard": {"revision": "r", "epoch": True, "expires_at": 5}}, "at guard.epoch: expected"),
        ({"guard": {"revision": "r", "epoch": 1.5, "expires_at": 5}}, "at guard.epoch: expected"),
        ({"guard": {"revision": "r", "epoch": 1}}, "at guard: Guard lacks the field expires_at"),
        ({"guard": {"revision": "r", "epoch": 2**63, "expires_at": 5}}, "fit into 64 bits"),
        ({"guard": []}, "at guard: expected an object"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CodecError) as caught:
        decode(Action, {**GOOD, **change})
    assert message in str(caught.value)


def test_a_place_inside_arrays_and_objects() -> None:
    with pytest.raises(CodecError) as caught:
        decode(
            Observation, {"seq": 1, "at": 2, "outcomes": [{"action": "a", "status": "no", "at": 1}]}
        )
    assert str(caught.value) == (
        "at outcomes[0].status: expected one of done, refused, failed, got 'no'"
    )


def test_a_value_of_the_wrong_type_is_not_written() -> None:
    with pytest.raises(CodecError, match=r"at check: expected one of"):
        encode(dataclasses.replace(SAMPLE, check="tcp"))  # type: ignore[arg-type]
    with pytest.raises(CodecError, match=r"at pid: expected a whole number"):
        encode(_with_pid("12"))
    assert encode(TcpCheck()) == {}


def _with_pid(pid: Any) -> Any:
    @dataclasses.dataclass(frozen=True)
    class Process:
        pid: int

    Process.__annotations__["pid"] = int
    return Process(pid)


def test_a_type_without_a_form_is_refused() -> None:
    for hint in (object, bytes, complex, dict, int | list[int]):
        with pytest.raises(CodecError):
            encoder_of(hint)
        with pytest.raises(CodecError):
            encoder_of(hint)


@pytest.mark.parametrize("data", [b"", b"{", b"nul", b"\xff\xfe", b"[" * 100_000, b'{"a":NaN}'])
def test_what_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        load_tree(data)


def test_infinite_numbers_and_broken_text_survive() -> None:
    reason = Reason(code="a", subject="\ud83d", numbers=(("up", float("inf")),))
    assert loads(Reason, dumps(reason)) == reason
