"""Hypothesis strategies derived from the types of the model."""

import dataclasses
import enum
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from hypothesis import strategies as st

from seakeep.model.codec import field_types
from seakeep.model.codec_scalars import INT_MAX, INT_MIN

TEXT = st.text(max_size=8) | st.sampled_from(
    ["web", "web-1", "a.b", "us-east/a/0", "\ud800", "\t\n"]
)


def values(hint: Any, overrides: Mapping[Any, st.SearchStrategy[Any]] | None = None) -> Any:
    """Values of a type, by its hints; `overrides` gives own strategies for some types."""
    overrides = overrides or {}
    if hint in overrides:
        return overrides[hint]
    origin, args = get_origin(hint), get_args(hint)
    plain = origin or hint
    if isinstance(hint, TypeVar):
        return st.none()
    if origin in (Union, types.UnionType):
        return st.one_of([values(one, overrides) for one in args])
    if origin is Literal:
        return st.sampled_from(args)
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return st.lists(values(args[0], overrides), max_size=3).map(tuple)
        return st.tuples(*[values(one, overrides) for one in args])
    if dataclasses.is_dataclass(plain):
        fields = {name: values(one, overrides) for name, one in field_types(hint).items()}
        return st.builds(lambda **given: plain(**given), **fields)
    if isinstance(plain, type) and issubclass(plain, enum.Enum):
        return st.sampled_from(list(plain))
    if isinstance(plain, type) and issubclass(plain, Mapping):
        key, item = args
        return st.dictionaries(values(key, overrides), values(item, overrides), max_size=3)
    if plain is type(None):
        return st.none()
    if plain is bool:
        return st.booleans()
    if plain is int:
        return st.integers(INT_MIN, INT_MAX)
    if plain is float:
        return st.floats(allow_nan=False)
    if plain is str:
        return TEXT
    raise TypeError(f"no strategy for {hint}")
