"""Revisions: short digests of values, the same on every machine and in every process."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum

DIGEST_LENGTH = 12


def digest(*values: object) -> str:
    """The first 48 bits, in hex, of the SHA-256 of the values: dataclasses, mappings (in their
    order), tuples, enums, text and numbers. Raises TypeError for anything else."""
    text = json.dumps([_plain(value) for value in values], ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


_SCALARS = frozenset((int, float, str, bool, type(None)))


def _plain(value: object) -> object:
    """The value in JSON, with the names of dataclasses, so that unlike things differ."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {"mapping": [[_plain(key), _plain(item)] for key, item in value.items()]}
    if is_dataclass(value) and not isinstance(value, type):
        pairs = [[field.name, _plain(getattr(value, field.name))] for field in fields(value)]
        return {kind.__name__: pairs}
    raise TypeError(f"cannot digest a {kind.__name__}")
