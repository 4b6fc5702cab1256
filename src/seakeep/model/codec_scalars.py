"""The leaves of JSON trees: numbers, text, enums, and the error that says where one is wrong.

Part of `seakeep.model.codec`, which is what everybody imports.
"""

import enum
import math
from collections.abc import Callable
from typing import Any, TypeAlias

Json: TypeAlias = Any
"""None, bool, int, float, str, list of Json, or dict of str to Json."""

Encoder: TypeAlias = Callable[[Any], Json]
Decoder: TypeAlias = Callable[[Json], Any]

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
NON_FINITE = "float"
SCALARS = (str, bool, int, float, type(None))


class CodecError(ValueError):
    """A value that its type does not allow. `path` says where: `instances[3].value.pid`."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.steps: list[str] = []

    @property
    def path(self) -> str:
        return "".join(reversed(self.steps)).removeprefix(".")

    def __str__(self) -> str:
        return f"at {self.path}: {self.problem}" if self.steps else self.problem

    def inside(self, step: str) -> "CodecError":
        """The same error, seen from one level further out."""
        self.steps.append(step)
        return self


def scalar(kind: type) -> tuple[Encoder, Decoder]:
    if kind is float:
        return encode_float, decode_float
    if kind is int:
        return _whole_number, _whole_number

    def exact(value: Any) -> Any:
        if type(value) is kind:
            return value
        if kind is not bool and isinstance(value, kind) and not isinstance(value, bool):
            return kind(value)
        raise CodecError(f"expected {_word(kind)}, got {value!r:.80}")

    return exact, exact


def _whole_number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise CodecError(f"expected a whole number, got {value!r:.80}")
    if not INT_MIN <= value <= INT_MAX:
        raise CodecError(f"{value} does not fit into 64 bits")
    return int(value)


def _word(kind: type) -> str:
    return {str: "text", bool: "true or false"}.get(kind, "null")


def encode_float(value: Any) -> Json:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise CodecError(f"expected a number, got {value!r:.80}")
    number = float(value)
    # Adding 0.0 turns -0.0, which equals 0.0, into it.
    return number + 0.0 if math.isfinite(number) else {NON_FINITE: repr(number)}


def decode_float(tree: Json) -> float:
    if isinstance(tree, int | float) and not isinstance(tree, bool):
        return float(tree)
    if isinstance(tree, dict) and tree.get(NON_FINITE) in ("inf", "-inf", "nan"):
        return float(tree[NON_FINITE])
    raise CodecError(f"expected a number, got {tree!r:.80}")


def enum_of(kind: type[enum.Enum]) -> tuple[Encoder, Decoder]:
    by_value = {member.value: member for member in kind}

    def encode_enum(value: Any) -> Json:
        if not isinstance(value, kind):
            raise CodecError(f"expected one of {kind.__name__}, got {value!r:.80}")
        return value.value

    def decode_enum(tree: Json) -> Any:
        found = by_value.get(tree) if isinstance(tree, str | int) else None
        if found is None:
            raise CodecError(f"expected {choices(by_value)}, got {tree!r:.80}")
        return found

    return encode_enum, decode_enum


def literal(allowed: tuple[Any, ...]) -> tuple[Encoder, Decoder]:
    def check(value: Any) -> Any:
        if not any(type(value) is type(choice) and value == choice for choice in allowed):
            raise CodecError(f"expected {choices(allowed)}, got {value!r:.80}")
        return value

    return check, check


def choices(names: Any) -> str:
    return "one of " + ", ".join(str(name) for name in names)
