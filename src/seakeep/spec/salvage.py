"""What of a faulty document can still be checked: faulty values are set aside, and harmless
ones stand in for what a section cannot do without, so that one pass over the file finds the
errors between sections as well as those within them. Nothing made here reaches a `System`.
"""

from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from seakeep.spec.document import Document

Location = tuple[str | int, ...]

ROUNDS_MAX = 8
"""A round goes up one level at most, and documents are shallow."""

_WHOLE: dict[str, Any] = {
    "system": "stand-in",
    "regions": {"stand-in": {"zones": ["a"]}},
    "services": {"stand-in": {"run": "stand-in"}},
}
_FIELDS: dict[Location, Any] = {
    ("services", "run"): "stand-in",
    ("traffic", "from"): [0, 0],
    ("traffic", "rate"): "1/s",
    ("scenarios", "duration"): "36500d",
}
_ITEMS: dict[str, Any] = {
    "objectives": {"service": "stand-in", "availability": "99%"},
    "routes": {"port": 65535},
    "steps": {"at": 0, "kill": "stand-in"},
}
"""By the list that they stand in. Kept so that the other items keep their index."""

_ITEM_FIELDS: dict[Location, Any] = {
    ("objectives", "availability"): "99%",
    ("objectives", "latency"): "99% < 1s",
    ("objectives", "window"): "30d",
    ("steps", "at"): 0,
    ("steps", "for"): "1ms",
    ("steps", "slow", "cpu"): "50%",
    ("steps", "delay", "by"): "1ms",
    ("steps", "surge", "factor"): 1,
}
"""Values within an item that others can stand in for, so that the rest of it is still checked."""


def salvage(plain: dict[str, Any], error: ValidationError) -> tuple[Document | None, set[Location]]:
    """The document without what `error` found, and the locations that were set aside; None
    when it cannot be mended. Changes `plain`."""
    aside: set[Location] = set()
    for _ in range(ROUNDS_MAX):
        gone: set[Location] = set()
        for found in error.errors(include_url=False, include_input=False, include_context=False):
            location = tuple(part for part in found["loc"] if part != "[key]")
            if not any(location[:depth] in gone for depth in range(1, len(location) + 1)):
                gone.add(_set_aside(plain, location, missing=found["type"] == "missing"))
        aside |= gone
        for name, stand_in in _WHOLE.items():
            if not plain.get(name):
                plain[name] = deepcopy(stand_in)
                aside.add((name,))
        try:
            return Document.model_validate(plain), aside
        except ValidationError as again:
            error = again
    return None, aside


def _set_aside(plain: dict[str, Any], location: Location, *, missing: bool) -> Location:
    """Replace or remove a faulty value, or what lacks one, or the list that holds it; where.
    What cannot do without it is found faulty in the next round, and goes then."""
    for depth, part in enumerate(location):
        if isinstance(part, int) and location[depth - 1] in _ITEMS:
            name = str(location[depth - 1])
            within = _ITEM_FIELDS.get((name, *location[depth + 1 :]))
            if within is not None and not missing:
                _at(plain, location[:-1])[location[-1]] = within
                return location
            _at(plain, location[:depth])[part] = deepcopy(_ITEMS[name])
            return location[: depth + 1]
    entry = _at(plain, location[:2])
    field = tuple(location[0:3:2])
    if len(location) >= 3 and field in _FIELDS and isinstance(entry, dict):
        entry[location[2]] = deepcopy(_FIELDS[field])
        return location[:3]
    listed = next((i for i, part in enumerate(location) if isinstance(part, int)), len(location))
    depth = min(listed, len(location) - 1 if missing else len(location))
    while depth > 0:
        holder = _at(plain, location[: depth - 1])
        if isinstance(holder, dict) and location[depth - 1] in holder:
            del holder[location[depth - 1]]
            break
        depth -= 1  # a short form: the error lies below what the file has
    return location[:depth]


def _at(plain: Any, location: Location) -> Any:
    """The value at a location; None when there is none."""
    for part in location:
        try:
            plain = plain[part]
        except (KeyError, IndexError, TypeError):
            return None
    return plain
