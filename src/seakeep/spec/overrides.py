"""`--set services.web.replicas.max=20`: values that stand in for the file's, set in its tree before
anything is checked, so that all rules hold for them as for what is written.

A path names keys with dots between and items of lists with their index, from 0; a key with a dot
in it is put into quotes: `services.web.env."a.b"=1`. The value is YAML.
"""

import re
from collections.abc import Sequence as Texts
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from seakeep.spec.messages import (
    Location,
    dotted,
    is_one_of,
    kind_at,
    known_keys,
    model_of,
    nearest,
    unknown_hint,
)
from seakeep.spec.nodes import (
    Budget,
    Mapping,
    Mark,
    Node,
    Scalar,
    Sequence,
    Unreadable,
    compose,
    problem_at,
)
from seakeep.spec.plain import plain_of
from seakeep.spec.problem import Problem, one_line

_EXAMPLE = "write --set services.web.replicas.max=20"
_SEGMENT = re.compile(r"""\.?(?:"([^"]+)"|'([^']+)'|\[([0-9]{1,9})\]|([^.\[\]"'=]+))""")


def override(root: Mapping, texts: Texts[str]) -> tuple[Mapping, list[Problem]]:
    """The document with the values of `texts` in it, the later over the earlier, and what is wrong
    with them. `root` is left as it is."""
    problems: list[Problem] = []
    for text in texts:
        try:
            location, value = _parsed(text, problems)
            changed = _Setting(text, location, value).into(root, 0)
            assert isinstance(changed, Mapping)
            root = changed
        except Unreadable as error:
            problems.append(error.problem)
    return root, problems


def _refused(text: str, message: str, hint: str) -> Unreadable:
    return Unreadable(problem_at(Mark(_file(text), 1, 1), message, hint))


def _file(text: str) -> Path:
    """Where problems say that they are: `--set services.web.replicas.max`. Line and column are
    those of the value."""
    return Path(f"--set {one_line(text.partition('=')[0])}")


def _parsed(text: str, problems: list[Problem]) -> tuple[Location, Node]:
    location: list[str | int] = []
    position = 0
    while position < len(text) and text[position] != "=":
        match = _SEGMENT.match(text, position)
        if match is None or (text[position] != "." and location and match[3] is None):
            message = f"'{text[position : position + 40]}' does not go on the path"
            raise _refused(text, message, _EXAMPLE)
        index = match[3]
        location.append(
            int(index) if index is not None else (match[1] or match[2] or match[4]).strip()
        )
        position = match.end()
    if position == len(text):
        raise _refused(text, "there is no value", _EXAMPLE)
    if not location:
        raise _refused(text, "does not say what to set", _EXAMPLE)
    if location[0] == "include":
        raise _refused(text, "files are included before anything is set", "name another spec")
    raw = text[position + 1 :]
    value = compose(raw, _file(text), Budget(), problems)
    return tuple(location), value or Scalar(Mark(_file(text), 1, 1), "", True)


@dataclass(frozen=True, slots=True)
class _Setting:
    text: str
    location: Location
    value: Node

    def into(self, node: Node, depth: int) -> Node:
        """A copy of the node at this depth of the path, with the value set below it. Nodes are
        shared by aliases and merge keys, so none is changed."""
        if depth == len(self.location):
            return self.value
        part, at = self.location[depth], self.location[:depth]
        node = _long_form(node, at, part)
        if isinstance(node, Mapping) and isinstance(part, str):
            key, inner = node.entries.get(part) or self._new_entry(node, depth)
            entries = {**node.entries, part: (key, self.into(inner, depth + 1))}
            return Mapping(node.mark, entries, node.size)
        if isinstance(node, Sequence):
            index = self._index(node, depth)
            items = list(node.items)
            items[index] = self.into(items[index], depth + 1)
            return Sequence(node.mark, items, node.size)
        if isinstance(node, Mapping) and part == 0 and is_one_of(kind_at(at), list):
            return self.into(node, depth + 1)  # one item, which needs no list
        if isinstance(node, Mapping):
            raise self._error(f"{dotted(at)} has no item {part}", _keys_of(node, at))
        raise self._error(
            f"{dotted(at)} has nothing below it to set",
            f"write --set {dotted(at)}=VALUE",
        )

    def _error(self, message: str, hint: str) -> Unreadable:
        return _refused(self.text, message, hint)

    def _new_entry(self, node: Mapping, depth: int) -> tuple[Scalar, Node]:
        """The entry of a key that the file does not have, but may."""
        name, at = str(self.location[depth]), self.location[:depth]
        is_last = depth + 1 == len(self.location)
        known = known_keys(at)
        where = dotted(at)
        if is_one_of(kind_at(at), dict):
            if not is_last:
                names = tuple(node.entries)
                raise self._error(f"{where} has no '{name[:63]}'", nearest(name, names))
        elif name not in known:
            before = f"{where}: " if where else ""
            raise self._error(f"{before}unknown key '{name[:60]}'", unknown_hint(name, known))
        mark = self.value.mark
        return Scalar(mark, name, True), Mapping(mark, {})

    def _index(self, node: Sequence, depth: int) -> int:
        part, at = self.location[depth], self.location[:depth]
        count = len(node.items)
        if isinstance(part, str) and not (part.isascii() and part.isdigit()):
            raise self._error(
                f"{dotted(at)} is a list, and '{part[:60]}' is no index",
                f"write {dotted(at)}[0].{part[:60]}, or the whole list as the value",
            )
        if int(part) >= count:
            last = f"write 0 to {count - 1}" if count else "it is empty"
            raise self._error(
                f"{dotted(at)} has no item {part}",
                f"items count from 0: {last}, or write the whole list as the value",
            )
        return int(part)


def _keys_of(node: Mapping, at: Location) -> str:
    known = list(node.entries) or known_keys(at)
    return f"known here: {', '.join(known)}" if known else "write the whole as the value"


def _long_form(node: Node, at: Location, part: str | int) -> Node:
    """What stands for a mapping, written out as that mapping, where the path goes into it: nothing
    at all, the short form of a part, or a list of names."""
    kind = kind_at(at)
    model = model_of(kind)
    if isinstance(node, Mapping):
        return node
    if isinstance(node, Sequence):
        names = [item for item in node.items if isinstance(item, Scalar)]
        if not is_one_of(kind, dict) or part not in [name.text for name in names]:
            return node
        # Of zones each has its defaults; of shares, an even one.
        value = "even" if model is None else ""
        return Mapping(
            node.mark, {name.text: (name, Scalar(name.mark, value, True)) for name in names}
        )
    plain = plain_of(node)
    if plain is None and (is_one_of(kind, dict) or model is not None):
        return Mapping(node.mark, {})
    if model is None or is_one_of(kind, dict):
        return node
    try:
        long = model.expand(plain)  # type: ignore[attr-defined]
    except PydanticCustomError:
        return node
    return _tree(long, node.mark) if isinstance(long, dict) else node


def _tree(value: Any, mark: Mark) -> Node:
    """Plain values as a tree that stands at one place."""
    if isinstance(value, dict):
        return Mapping(
            mark, {key: (Scalar(mark, key, True), _tree(one, mark)) for key, one in value.items()}
        )
    if isinstance(value, list):
        return Sequence(mark, [_tree(one, mark) for one in value])
    if isinstance(value, str):
        return Scalar(mark, value, False)
    if isinstance(value, bool):
        return Scalar(mark, "true" if value else "false", True)
    return Scalar(mark, "" if value is None else repr(value), True)
