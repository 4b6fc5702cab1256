"""A path → one tree: files are read within limits, and what they include is merged in.

Sections merge by name: a service may come from any file, but only from one. `objectives` are
lists and are put one after the other, in the order of the files.
"""

import glob
import itertools
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from seakeep.spec.nodes import (
    Budget,
    Mapping,
    Mark,
    Node,
    Scalar,
    Sequence,
    Unreadable,
    compose,
    duplicate_key,
    problem_at,
    resolve,
)
from seakeep.spec.problem import Problem, Severity

BYTES_MAX = 5 * 2**20
"""Of all files of a spec together."""
FILES_MAX = 500

_STARTER_HINT = "write a starter with: seakeep init"


@dataclass(slots=True)
class Gathering:
    """What reading a spec's files came to."""

    root: Mapping | None
    """The merged document; None when the root file cannot be used."""
    problems: list[Problem] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)


def gather(path: Path) -> Gathering:
    """Read `path` and everything that it includes. Never raises: what is wrong is in
    `problems`."""
    reader = _Reader()
    root = reader.read(path, None)
    return Gathering(root=root, problems=reader.problems, files=reader.files)


@dataclass(slots=True)
class _Reader:
    problems: list[Problem] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    open_files: list[Path] = field(default_factory=list)
    """Resolved paths from the root to the file being read, to see cycles."""
    done: set[Path] = field(default_factory=set)
    bytes_read: int = 0
    budget: Budget = field(default_factory=Budget)

    def read(self, path: Path, asked_at: Mark | None) -> Mapping | None:
        """The document of one file with its includes merged in. `asked_at` is where it is
        included; None for the root."""
        try:
            text = self._text(path, asked_at)
            self.files.append(path)
            node = compose(text, path, self.budget, self.problems)
        except Unreadable as error:
            self.problems.append(error.problem)
            return None
        if node is None and asked_at is None:
            self.problems.append(problem_at(Mark(path, 1, 1), "the file is empty", _STARTER_HINT))
            return None
        if node is None:
            return Mapping(Mark(path, 1, 1), {})
        if not isinstance(node, Mapping):
            self.problems.append(
                problem_at(
                    node.mark, "a spec must be a mapping of sections", "begin with system: my-name"
                )
            )
            return None
        return self._with_includes(path, node)

    def _text(self, path: Path, asked_at: Mark | None) -> str:
        """The text of a regular file of at most BYTES_MAX; the size is looked at before the
        file is, and again as it is read."""
        mark = asked_at or Mark(path, 1, 1)
        try:
            info = os.stat(path)
            if stat.S_ISDIR(info.st_mode):
                raise Unreadable(
                    problem_at(mark, f"{path} is a folder", f"name a file, such as {path}/*.yaml")
                    if asked_at
                    else problem_at(mark, "is a folder", f"name a file: {path}/seakeep.yaml")
                )
            if not stat.S_ISREG(info.st_mode):
                raise Unreadable(problem_at(mark, f"{path} is not a regular file"))
            left = BYTES_MAX - self.bytes_read
            with open(path, "rb") as file:
                raw = file.read(left + 1) if info.st_size <= left else b""
        except (OSError, ValueError) as error:
            raise Unreadable(_unreadable(path, error, asked_at)) from None
        if info.st_size > left or len(raw) > left:
            limit = f"{BYTES_MAX // 2**20} MiB"
            what = f"{path} has {info.st_size:,} bytes; a spec may have {limit}"
            raise Unreadable(problem_at(mark, f"{what} in all", "is this the right file?"))
        self.bytes_read += len(raw)
        return _decoded(raw, path)

    def _with_includes(self, path: Path, node: Mapping) -> Mapping:
        entry = node.entries.pop("include", None)
        self.open_files.append(path.resolve())
        merged = Mapping(node.mark, {}, node.size)
        _merge(merged, node, self.problems)
        for target, mark in self._targets(path, entry):
            included = self._included(target, mark)
            if included is not None:
                _merge(merged, included, self.problems)
        self.done.add(self.open_files.pop())
        return merged

    def _targets(self, path: Path, entry: tuple[Scalar, Node] | None) -> list[tuple[Path, Mark]]:
        """The files that `include:` names, patterns expanded and sorted."""
        if entry is None:
            return []
        _, value = entry
        if isinstance(value, Scalar) and resolve(value) is None:
            return []
        targets: list[tuple[Path, Mark]] = []
        for item in value.items if isinstance(value, Sequence) else [value]:
            if not isinstance(item, Scalar) or not item.text or "\0" in item.text:
                self.problems.append(
                    problem_at(item.mark, "include takes file names", "write [services/*.yaml]")
                )
                continue
            targets += self._expanded(path, item)
        return targets

    def _expanded(self, path: Path, item: Scalar) -> list[tuple[Path, Mark]]:
        pattern = item.text
        if not any(c in pattern for c in "*?["):
            return [(path.parent / pattern, item.mark)]
        whole = pattern if os.path.isabs(pattern) else f"{glob.escape(str(path.parent))}/{pattern}"
        found = glob.iglob(whole, recursive=True)
        try:
            names = sorted(itertools.islice(filter(os.path.isfile, found), FILES_MAX + 1))
        except (OSError, ValueError, RecursionError):
            names = []
        own = path.resolve()
        # A bare file name lies in ".", which messages are better off without.
        matches = [Path(os.path.normpath(name)) for name in names if Path(name).resolve() != own]
        if not matches:
            self.problems.append(
                problem_at(
                    item.mark,
                    f"'{pattern}' matches no file",
                    "patterns are relative to this file; mend it, or remove it",
                    Severity.WARNING,
                )
            )
        return [(match, item.mark) for match in matches]

    def _included(self, target: Path, mark: Mark) -> Mapping | None:
        try:
            resolved = target.resolve()
        except (OSError, RuntimeError):
            resolved = target
        if resolved in self.open_files:
            names = " → ".join(p.name for p in [*self.open_files, resolved])
            self.problems.append(
                problem_at(mark, f"files include each other: {names}", "remove this include")
            )
            return None
        if resolved in self.done:
            return None
        if len(self.files) >= FILES_MAX:
            if len(self.files) == FILES_MAX:
                self.problems.append(problem_at(mark, f"more than {FILES_MAX} files in one spec"))
            return None
        if len(self.open_files) >= 20:
            self.problems.append(problem_at(mark, "includes are nested deeper than 20 files"))
            return None
        return self.read(target, mark)


def _unreadable(path: Path, error: Exception, asked_at: Mark | None) -> Problem:
    if isinstance(error, FileNotFoundError):
        what, hint = "does not exist", _STARTER_HINT if asked_at is None else "mend the path"
        if asked_at is not None:
            hint = "paths are relative to the file that includes; mend the path"
    elif isinstance(error, PermissionError):
        what, hint = "may not be read by you", "give yourself read permission"
    else:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        what, hint = f"cannot be read: {reason}", ""
    if asked_at is not None:
        return problem_at(asked_at, f"{path} {what}", hint)
    return problem_at(Mark(path, 1, 1), what if what[0] != "d" else f"{path.name} {what}", hint)


def _decoded(raw: bytes, path: Path) -> str:
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        raise Unreadable(
            problem_at(
                Mark(path, line, column),
                f"byte 0x{raw[error.start]:02X} is not UTF-8",
                "a spec is plain text in UTF-8; save it as such, or name the right file",
            )
        ) from None


def _merge(into: Mapping, other: Mapping, problems: list[Problem]) -> None:
    """Put the sections of one file into the whole: names join, lists follow on, and a name
    that is there already is a problem that names both places."""
    for name, (key, value) in other.entries.items():
        if name.startswith("x-"):  # a place for anchors, of its own file only
            continue
        present = into.entries.get(name)
        if present is None or _is_null(present[1]):
            into.entries[name] = (key, _shallow_copy(value))
        elif _is_null(value):
            continue
        elif isinstance(present[1], Mapping) and isinstance(value, Mapping):
            for inner, entry in value.entries.items():
                first = present[1].entries.get(inner)
                if first is None:
                    present[1].entries[inner] = entry
                else:
                    problems.append(duplicate_key(entry[0], first[0]))
        elif isinstance(present[1], Sequence) and isinstance(value, Sequence):
            present[1].items.extend(value.items)
        else:
            problems.append(duplicate_key(key, present[0]))


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and resolve(node) is None


def _shallow_copy(node: Node) -> Node:
    """A copy of a section that merging may extend; an anchor's other users keep theirs."""
    if isinstance(node, Mapping):
        return Mapping(node.mark, dict(node.entries), node.size)
    if isinstance(node, Sequence):
        return Sequence(node.mark, list(node.items), node.size)
    return node
