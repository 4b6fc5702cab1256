"""What pydantic found → problems at a line and a column, in words that say what to write."""

import difflib
from functools import lru_cache
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from seakeep.spec.document import LATER_SECTIONS, Document
from seakeep.spec.fields import described
from seakeep.spec.nodes import Mapping, Mark, Node, Scalar, Sequence, problem_at
from seakeep.spec.problem import Problem

Location = tuple[str | int, ...]

SYNONYMS = {
    "command": "run",
    "cmd": "run",
    "entrypoint": "run",
    "environment": "env",
    "healthcheck": "probes",
    "health": "probes",
    "instances": "replicas",
    "depends_on": "calls",
    "ingress": "routes",
    "period": "every",
    "interval": "every",
    "name": "system",
}
"""Words that other tools use for the same thing."""


PROBLEMS_MAX = 1000
"""Beyond this many a file is no spec at all, and each further one costs time."""


def problems_of(error: ValidationError, root: Mapping) -> list[Problem]:
    """One problem for each error, at the deepest node of its location that exists; of more
    than PROBLEMS_MAX the first, and how many there are beside."""
    found = error.errors(include_url=False, include_input=True)
    problems = [_problem(one, root) for one in found[:PROBLEMS_MAX]]
    if len(found) > PROBLEMS_MAX:
        rest = f"and {len(found) - PROBLEMS_MAX:,} more errors in this file"
        problems.append(problem_at(root.mark, rest, "is this the right file?"))
    return problems


def _problem(found: Any, root: Mapping) -> Problem:
    location: Location = tuple(part for part in found["loc"] if part != "[key]")
    context = found.get("ctx", {})
    kind = found["type"]
    if kind == "seakeep":
        location += tuple(context["at"])
        at_key = "[key]" in found["loc"]
        mark = key_mark(root, location) if at_key else value_mark(root, location)
        return problem_at(mark, _named(location, context["message"], root), context["hint"])
    if kind == "extra_forbidden":
        return _unknown(location, root)
    if kind == "missing":
        name = str(location[-1])
        return problem_at(
            key_mark(root, location[:-1]),
            _named(location[:-1], f"'{name}' is missing", root),
            _missing_hint(location),
        )
    message, hint = _plain_words(kind, context, found)
    return problem_at(value_mark(root, location), _named(location, message, root), hint)


def _named(location: Location, message: str, root: Node) -> str:
    """The message with the path that it is about before it."""
    path = dotted(as_written(root, location))
    return f"{path}: {message}" if path else message


def dotted(location: Location) -> str:
    """`services.web.routes[0].path`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part[:63]}"
    return text.removeprefix(".")


_TYPE_WORDS = {
    "string_type": ("text", "put it into quotes"),
    "int_type": ("a whole number", "write it without quotes or fraction"),
    "int_from_float": ("a whole number", "write it without a fraction"),
    "float_type": ("a number", "write it without quotes or unit"),
    "bool_type": ("true or false", "write true or false"),
    "list_type": ("a list", "write [one, two]"),
    "dict_type": ("a mapping", "write {key: value}"),
    "model_type": ("a mapping", "write {key: value}"),
    "model_attributes_type": ("a mapping", "write {key: value}"),
    "finite_number": ("a finite number", "write a plain number"),
}

_BOUND_WORDS = {
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
    "greater_than": ("gt", "more than"),
    "less_than": ("lt", "less than"),
}


def _plain_words(kind: str, context: Any, found: Any) -> tuple[str, str]:
    value = found["input"]
    if kind in _TYPE_WORDS:
        wanted, hint = _TYPE_WORDS[kind]
        return f"must be {wanted}, not {described(value)}", hint
    if kind in _BOUND_WORDS:
        key, words = _BOUND_WORDS[kind]
        return f"must be {words} {context[key]:g}, not {value}", ""
    if kind == "literal_error":
        expected = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        options = [option.lower() if option == "True" else option for option in expected]
        close = difflib.get_close_matches(str(value), options, n=1)
        shown = f"'{value[:40]}'" if isinstance(value, str) else described(value)
        hint = f"did you mean {close[0]}?" if close else ""
        return f"must be {', '.join(options)}, not {shown}", hint
    return str(found["msg"]), ""


def _missing_hint(location: Location) -> str:
    name = str(location[-1])
    examples = {
        "system": "write system: my-system",
        "regions": "write regions: {us-east: {zones: [a, b]}}",
        "services": "write services: {web: {run: python app.py}}",
        "zones": "write zones: [a, b]",
        "rate": "write rate: 100/s",
        "duration": "write duration: 10m",
        "at": "write at: 30s",
        "for": "write for: 30s",
        "time": "write time: 10ms",
        "think": "write think: exponential(mean=20s)",
    }
    return examples.get(name, f"add {name}:")


def _unknown(location: Location, root: Mapping) -> Problem:
    name = str(location[-1])
    mark = key_mark(root, location)
    if len(location) == 1 and name in LATER_SECTIONS:
        sections = [s for s in known_keys(()) if s != "include"]
        return problem_at(
            mark,
            f"section '{name}' is not in this release",
            f"remove it; this release reads {', '.join(sections)}",
        )
    hint = unknown_hint(name, known_keys(location[:-1]))
    return problem_at(mark, _named(location[:-1], f"unknown key '{name[:60]}'", root), hint)


def unknown_hint(name: str, known: list[str]) -> str:
    """What may have been meant by a key that a mapping cannot have."""
    words = {**{k: v for k, v in SYNONYMS.items() if v in known}, **{k: k for k in known}}
    close = difflib.get_close_matches(name[:63].lower(), words, n=1, cutoff=0.7)
    if close:
        return f"did you mean {words[close[0]]}?"
    return f"known here: {', '.join(known)}" if known else ""


def known_keys(location: Location) -> list[str]:
    """The keys that the mapping at a location may have, in the order of its model."""
    model = model_of(kind_at(location))
    if model is None:
        return []
    return [field.alias or name for name, field in model.model_fields.items()]


def kind_at(location: Location) -> Any:
    """The type, as the models declare it, of the value at a location; None when none may be
    there."""
    kind: Any = Document
    for part in location:
        kind = _inside(kind, part)
    return kind


def model_of(kind: Any) -> type[BaseModel] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next((m for arg in get_args(kind) if (m := model_of(arg)) is not None), None)


def _inside(kind: Any, part: str | int) -> Any:
    """The type of the value under a key or an index of a value of type `kind`."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            if (field.alias or name) == part:
                return field.annotation
        return None
    model = model_of(kind)
    return model if is_one_of(kind, dict, list) or model is None else _inside(model, part)


def is_one_of(kind: Any, *containers: type) -> bool:
    """Whether a declared type is a container of one of these kinds."""
    return any(getattr(k, "__origin__", None) in containers for k in (kind, *get_args(kind)))


_COMPARED_MAX = 500


@lru_cache(maxsize=1024)
def nearest(name: str, names: tuple[str, ...]) -> str:
    """A hint that names the nearest of some names, or all of them when they are few."""
    close = difflib.get_close_matches(name[:63], names[:_COMPARED_MAX], n=1)
    if close:
        return f"did you mean {close[0]}?"
    if not names:
        return "there are none"
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"there is {shown}" if len(names) == 1 else f"there are {shown}"


# --- places -----------------------------------------------------------------


def walk(root: Node, location: Location) -> list[tuple[Scalar | None, Node]]:
    """The (key, value) pairs along a location, as far as it exists; the root has no key."""
    trail: list[tuple[Scalar | None, Node]] = [(None, root)]
    for part in location:
        node = trail[-1][1]
        if isinstance(node, Mapping) and isinstance(part, str) and part in node.entries:
            trail.append(node.entries[part])
        elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
            trail.append((None, node.items[part]))
        elif not _is_unwritten(node, part):
            break
    return trail


def as_written(root: Node, location: Location) -> Location:
    """The location without keys that the file leaves out."""
    return tuple(
        part
        for depth, part in enumerate(location)
        if not _is_unwritten(walk(root, location[:depth])[-1][1], part)
    )


def _is_unwritten(node: Node, part: str | int) -> bool:
    """Whether a mapping stands for the list of which it is the one item, or a list for the
    mapping whose one key this is."""
    if isinstance(node, Sequence):
        return part == "metrics"
    return isinstance(node, Mapping) and isinstance(part, int)


def value_mark(root: Node, location: Location) -> Mark:
    """Where the value at a location is, or the deepest that there is above it."""
    return walk(root, location)[-1][1].mark


def key_mark(root: Node, location: Location) -> Mark:
    """Where the key of a location is; its value, for an item of a list."""
    key, value = walk(root, location)[-1]
    return value.mark if key is None else key.mark
