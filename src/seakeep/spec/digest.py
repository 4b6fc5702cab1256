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


def _plain(value: object) -> object:
    """The value in JSON, with the names of dataclasses, so that unlike things differ."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, int | float | str):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        pairs = [[field.name, _plain(getattr(value, field.name))] for field in fields(value)]
        return {type(value).__name__: pairs}
    if isinstance(value, Mapping):
        return {"mapping": [[_plain(key), _plain(item)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    raise TypeError(f"cannot digest a {type(value).__name__}")
