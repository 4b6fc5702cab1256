"""YAML text → a tree of nodes that know their line and column.

The tree is built from libyaml's event stream: 5,000 lines take some 60 ms, where composing
with ruamel.yaml's own parser takes over a second, and the limits below hold while the text is
being read, before anything large exists. Scalars follow the core schema of YAML 1.2: `on`,
`no` and `yes` are text. Merge keys (`<<`), which YAML 1.2 left out, work, since files rely on
them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from seakeep.spec.problem import Problem, Severity, one_line

DEPTH_MAX = 40
NODES_MAX = 200_000
"""Nodes that a spec may hold in all its files, those that aliases repeat included."""

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What YAML 1.2 (§5.1) bans from a stream."""

_DIRECTIVE = re.compile(r"^%", re.MULTILINE)

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INT_LENGTH_MAX = 18
_WORDS: dict[str, bool | float | None] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_NUMERIC_START = frozenset("0123456789+-.")

_STR_TAGS = ("tag:yaml.org,2002:str", "!")
_PLAIN_TAGS = tuple(
    f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null", "map", "seq")
)


class Mark(NamedTuple):
    """A place in a file; line and column count from 1."""

    file: Path
    line: int
    column: int


@dataclass(slots=True)
class Scalar:
    mark: Mark
    text: str
    plain: bool
    """Written without quotes: the core schema decides its type."""
    size: int = 1


@dataclass(slots=True)
class Sequence:
    mark: Mark
    items: list["Node"]
    size: int = 1


@dataclass(slots=True)
class Mapping:
    mark: Mark
    entries: dict[str, tuple[Scalar, "Node"]]
    """By the key's text: the key as it is written, and its value."""
    size: int = 1


Node: TypeAlias = Scalar | Sequence | Mapping


def problem_at(
    mark: Mark, message: str, hint: str = "", severity: Severity = Severity.ERROR
) -> Problem:
    return Problem(
        file=mark.file,
        line=mark.line,
        column=mark.column,
        message=one_line(message),
        hint=one_line(hint),
        severity=severity,
    )


class Unreadable(Exception):
    """The text cannot be read on from here; carries the one problem that says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def resolve(scalar: Scalar) -> str | int | float | bool | None:
    """The value of a scalar under the core schema of YAML 1.2 (§10.3.2). A number too long to
    mean anything stays text, and so is refused wherever a number is asked for."""
    text = scalar.text
    if not scalar.plain:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC_START:
        return text
    if _INT.fullmatch(text):
        return (
            int(text, 0 if text[:2] in ("0x", "0o") else 10)
            if len(text) <= _INT_LENGTH_MAX
            else text
        )
    if _FLOAT.fullmatch(text) and len(text) <= 64:
        return float(text)
    return text


@dataclass(slots=True)
class Budget:
    """How many nodes the files of a spec hold so far."""

    nodes: int = 0


def compose(text: str, file: Path, budget: Budget, problems: list[Problem]) -> Node | None:
    """The one document of `text`, or None when it is empty. Problems that leave the tree
    usable (a key given twice, a tag) are appended to `problems`; raises Unreadable at one
    that does not."""
    _refuse_unprintable(text, file)
    if len(_DIRECTIVE.findall(text)) > 8:
        raise Unreadable(problem_at(Mark(file, 1, 1), "too many lines that begin with %"))
    composer = _Composer(file=file, budget=budget, problems=problems)
    try:
        return composer.document(iter(YAML(typ="safe").parse(text)))
    except MarkedYAMLError as error:
        raise Unreadable(_syntax_problem(error, file)) from None
    except YAMLError as error:
        message = f"not YAML: {str(error).splitlines()[0]}"
        raise Unreadable(problem_at(Mark(file, 1, 1), message)) from None


def _refuse_unprintable(text: str, file: Path) -> None:
    match = _UNPRINTABLE.search(text)
    if match is None:
        return
    before = text[: match.start()]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    raise Unreadable(
        problem_at(
            Mark(file, line, column),
            f"character U+{ord(match[0]):04X} is not allowed in YAML",
            "a spec is plain text; is this the right file?",
        )
    )


_SYNTAX_HINTS = (
    ("mapping values are not allowed", "put text that holds ': ' into quotes, or mend the indent"),
    ("cannot start any token", "indent with spaces, not tabs; quote text that starts so"),
    (
        "expected ',' or",
        "close the bracket, put a comma between the items, or quote text with {} or []",
    ),
    ("expected <block end>", "line it up with the keys above; every level has one indent"),
    ("could not find expected ':'", "write key: value, with a space after the colon"),
    ("end of stream", "close the quote or bracket that is open here"),
    ("unknown escape", "use single quotes, in which \\ is only itself"),
)


def _syntax_problem(error: MarkedYAMLError, file: Path) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = Mark(file, mark.line + 1, mark.column + 1) if mark else Mark(file, 1, 1)
    what = (error.problem or str(error)).splitlines()[0]
    context = f" {error.context}" if error.context else ""
    hint = next((hint for part, hint in _SYNTAX_HINTS if part in what), "")
    return problem_at(place, f"not YAML: {what}{context}", hint)


@dataclass(slots=True)
class _Composer:
    """Events in, nodes out. Depth and size are bounded as they grow."""

    file: Path
    budget: Budget
    problems: list[Problem]
    anchors: dict[str, Node] = field(default_factory=dict)

    def document(self, events: Iterator[Any]) -> Node | None:
        root: Node | None = None
        seen = False
        for event in events:
            if isinstance(event, DocumentStartEvent):
                if seen:
                    raise Unreadable(
                        problem_at(
                            self._mark(event),
                            "a second document begins here",
                            "a spec is one document: remove the '---', or split the file "
                            "and use include:",
                        )
                    )
                seen = True
                root = self._node(next(events), events, 1)
            elif isinstance(event, StreamEndEvent):
                break
        if isinstance(root, Scalar) and resolve(root) is None:
            return None
        return root

    def _mark(self, event: Any) -> Mark:
        start = event.start_mark
        return Mark(self.file, start.line + 1, start.column + 1)

    def _grow(self, by: int, mark: Mark) -> None:
        self.budget.nodes += by
        if self.budget.nodes > NODES_MAX:
            raise Unreadable(
                problem_at(
                    mark,
                    f"the spec grows beyond {NODES_MAX:,} values here",
                    "aliases that repeat aliases multiply; write less, or split the system",
                )
            )

    def _node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        mark = self._mark(event)
        if isinstance(event, AliasEvent):
            return self._alias(event, mark)
        self._grow(1, mark)
        if depth > DEPTH_MAX:
            raise Unreadable(
                problem_at(mark, f"nested deeper than {DEPTH_MAX} levels", "no section needs that")
            )
        plain = self._plain(event, mark)
        node: Node
        if isinstance(event, ScalarEvent):
            node = Scalar(mark, event.value, plain)
        elif isinstance(event, SequenceStartEvent):
            node = self._sequence(mark, events, depth)
        else:
            assert isinstance(event, MappingStartEvent)
            node = self._mapping(mark, events, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _alias(self, event: Any, mark: Mark) -> Node:
        target = self.anchors.get(event.anchor)
        if target is None:
            name = event.anchor[:60]
            raise Unreadable(
                problem_at(
                    mark,
                    f"alias *{name} has no anchor before it",
                    f"write &{name} at the value that it repeats, earlier in this file; text "
                    "that begins with * needs quotes",
                )
            )
        self._grow(target.size, mark)
        return target

    def _plain(self, event: Any, mark: Mark) -> bool:
        """Whether a scalar's type is left to the core schema."""
        tag = None if event.tag is None else str(event.tag)
        if tag is not None and tag not in _STR_TAGS and tag not in _PLAIN_TAGS:
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            self.problems.append(
                problem_at(mark, f"tag {shown[:60]} is not used in a spec", "remove the tag")
            )
        return tag not in _STR_TAGS and not getattr(event, "style", None)

    def _sequence(self, mark: Mark, events: Iterator[Any], depth: int) -> Sequence:
        node = Sequence(mark, [])
        while not isinstance(event := next(events), SequenceEndEvent):
            item = self._node(event, events, depth + 1)
            node.items.append(item)
            node.size += item.size
        return node

    def _mapping(self, mark: Mark, events: Iterator[Any], depth: int) -> Mapping:
        node = Mapping(mark, {})
        merged: list[tuple[Scalar, Node]] = []
        last = ""
        while not isinstance(event := next(events), MappingEndEvent):
            key = self._node(event, events, depth + 1)
            value = self._node(next(events), events, depth + 1)
            node.size += key.size + value.size
            if not isinstance(key, Scalar):
                self.problems.append(problem_at(key.mark, "a key must be text", "write key: value"))
            elif (whole := _whole_call(node.entries.get(last), key, value)) is not None:
                node.entries[last] = (node.entries[last][0], whole)
                continue
            elif key.plain and key.text == "<<":
                merged.append((key, value))
            elif (first := node.entries.get(key.text)) is not None:
                self.problems.append(duplicate_key(key, first[0]))
            else:
                node.entries[key.text] = (key, value)
            last = key.text if isinstance(key, Scalar) else ""
        for key, value in merged:
            self._merge(node, key, value)
        return node

    def _merge(self, node: Mapping, key: Scalar, value: Node) -> None:
        """What is written beside `<<` wins over what it brings, earlier sources over later."""
        sources = value.items if isinstance(value, Sequence) else [value]
        for source in sources:
            if not isinstance(source, Mapping):
                self.problems.append(
                    problem_at(
                        key.mark,
                        "<< merges mappings only",
                        "write <<: *anchor, where the anchor is at a mapping",
                    )
                )
                continue
            for name, entry in source.entries.items():
                node.entries.setdefault(name, entry)


_REST = re.compile(r"[A-Za-z0-9_]+ *=[^()]*\)?")


def _whole_call(last: tuple[Scalar, Node] | None, key: Scalar, value: Node) -> Scalar | None:
    """The value before a key without a value, where the key is the rest of it. Between braces YAML
    splits `time: lognormal(p50=12ms, p99=60ms)` at its comma, into a text and such a key. People
    write it so, and it can mean nothing else."""
    if last is None or not isinstance(last[1], Scalar) or not isinstance(value, Scalar):
        return None
    begun = last[1]
    is_open = begun.plain and "(" in begun.text and ")" not in begun.text
    if is_open and key.plain and value.plain and not value.text and _REST.fullmatch(key.text):
        return Scalar(begun.mark, f"{begun.text}, {key.text}", True)
    return None


def duplicate_key(key: Scalar, first: Scalar) -> Problem:
    shown = key.text if len(key.text) <= 60 else key.text[:60] + "…"
    return problem_at(
        key.mark,
        f"'{shown}' is already defined at {place(first.mark, key.mark.file)}",
        "remove one of the two, or give it another name",
    )


def place(mark: Mark, seen_from: Path) -> str:
    """`line 3` in the same file, `services/web.yaml:3` in another."""
    return f"line {mark.line}" if mark.file == seen_from else f"{mark.file}:{mark.line}"
