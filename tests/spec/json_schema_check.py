"""A small JSON Schema validator: the keywords that Seakeep's schema uses, after draft 2020-12,
and an error for any other, so that none is passed over."""

import re
from collections.abc import Iterator
from typing import Any

TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "null": type(None),
    "boolean": bool,
}
ANNOTATIONS = {"$schema", "$defs", "title", "description", "examples"}
"""Say nothing about validity."""


class UnknownKeyword(Exception):
    """The schema uses a keyword that this validator lacks."""


def errors_of(value: Any, schema: Any, root: Any, at: str = "$") -> Iterator[str]:
    """What of `value` the schema refuses."""
    if schema is True:
        return
    if schema is False:
        yield f"{at}: nothing is allowed here"
        return
    for keyword, operand in schema.items():
        if keyword in ANNOTATIONS:
            continue
        check = CHECKS.get(keyword)
        if check is None:
            raise UnknownKeyword(keyword)
        yield from check(value, operand, schema, root, at)


def _ref(value: Any, operand: str, schema: Any, root: Any, at: str) -> Iterator[str]:
    target = root
    for part in operand.removeprefix("#/").split("/"):
        target = target[part]
    yield from errors_of(value, target, root, at)


def _any_of(value: Any, operand: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    branches = [list(errors_of(value, option, root, at)) for option in operand]
    if all(branches):
        yield f"{at}: matches none of {len(branches)}: {branches}"


def _is(value: Any, name: str) -> bool:
    if name in ("number", "integer"):
        whole = name == "number" or (isinstance(value, int | float) and value == int(value))
        return isinstance(value, int | float) and not isinstance(value, bool) and whole
    return isinstance(value, TYPES[name])


def _type(value: Any, operand: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    names = [operand] if isinstance(operand, str) else operand
    if not any(_is(value, name) for name in names):
        yield f"{at}: {value!r} is no {names}"


def _enum(value: Any, operand: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    if value not in operand:
        yield f"{at}: {value!r} is not in {operand}"


def _const(value: Any, operand: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    if value != operand or type(value) is not type(operand):
        yield f"{at}: {value!r} is not {operand!r}"


def _pattern(value: Any, operand: str, schema: Any, root: Any, at: str) -> Iterator[str]:
    if isinstance(value, str) and not re.search(operand, value):
        yield f"{at}: {value!r} does not match {operand}"


def _bound(value: Any, keyword: str, operand: Any, at: str) -> Iterator[str]:
    holds = {
        "minimum": lambda: value >= operand,
        "maximum": lambda: value <= operand,
        "exclusiveMinimum": lambda: value > operand,
    }[keyword]
    if _is(value, "number") and not holds():
        yield f"{at}: {value!r} breaks {keyword} {operand}"


def _length(value: Any, kind: type, low: bool, operand: int, at: str) -> Iterator[str]:
    if isinstance(value, kind) and (len(value) < operand if low else len(value) > operand):
        yield f"{at}: length {len(value)}, bound {operand}"


def _required(value: Any, operand: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    for key in operand:
        if isinstance(value, dict) and key not in value:
            yield f"{at}: lacks {key}"


def _properties(value: Any, operand: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    for key, inner in operand.items():
        if isinstance(value, dict) and key in value:
            yield from errors_of(value[key], inner, root, f"{at}.{key}")


def _patterns(value: Any, operand: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    for pattern, inner in operand.items():
        for key in value if isinstance(value, dict) else ():
            if re.search(pattern, key):
                yield from errors_of(value[key], inner, root, f"{at}.{key}")


def _additional(value: Any, operand: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    patterns = schema.get("patternProperties", {})
    for key in value if isinstance(value, dict) else ():
        if key in schema.get("properties", {}) or any(re.search(p, key) for p in patterns):
            continue
        yield from errors_of(value[key], operand, root, f"{at}.{key}")


def _items(value: Any, operand: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    first = len(schema.get("prefixItems", ()))
    for index, item in enumerate(value if isinstance(value, list) else ()):
        if index >= first:
            yield from errors_of(item, operand, root, f"{at}[{index}]")


def _prefix(value: Any, operand: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    for index, (item, inner) in enumerate(
        zip(value if isinstance(value, list) else (), operand, strict=False)
    ):
        yield from errors_of(item, inner, root, f"{at}[{index}]")


CHECKS: dict[str, Any] = {
    "$ref": _ref,
    "anyOf": _any_of,
    "type": _type,
    "enum": _enum,
    "const": _const,
    "pattern": _pattern,
    "minimum": lambda v, o, s, r, at: _bound(v, "minimum", o, at),
    "maximum": lambda v, o, s, r, at: _bound(v, "maximum", o, at),
    "exclusiveMinimum": lambda v, o, s, r, at: _bound(v, "exclusiveMinimum", o, at),
    "minLength": lambda v, o, s, r, at: _length(v, str, True, o, at),
    "minItems": lambda v, o, s, r, at: _length(v, list, True, o, at),
    "maxItems": lambda v, o, s, r, at: _length(v, list, False, o, at),
    "required": _required,
    "properties": _properties,
    "patternProperties": _patterns,
    "additionalProperties": _additional,
    "items": _items,
    "prefixItems": _prefix,
}
