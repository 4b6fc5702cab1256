"""Access logs that traffic follows, looked for before anything relies on them. What is in them is
read by who replays them."""

from collections.abc import Iterator
from pathlib import Path

from seakeep.spec.document import Document
from seakeep.spec.messages import Location, value_mark
from seakeep.spec.nodes import Mapping as Tree
from seakeep.spec.nodes import problem_at
from seakeep.spec.problem import Problem


def check_logs(document: Document, root: Tree, folder: Path) -> Iterator[Problem]:
    """What is wrong with the access logs that a sound document names. `folder`: of the spec."""
    for name, source in document.traffic.items():
        if source.shape.log is None:
            continue
        path = folder / source.shape.log
        location: Location = ("traffic", name, "shape", "log")
        mark = value_mark(root, location)
        why, hint = _unreadable(path)
        if why:
            yield problem_at(mark, f"traffic.{name}.shape.log: {path} {why}", hint)


def _unreadable(path: Path) -> tuple[str, str]:
    try:
        if not path.exists():
            return "does not exist", "the path is relative to the spec's folder"
        if not path.is_file():
            return "is no regular file", "name an access log"
        with path.open("rb"):
            return "", ""
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return f"cannot be read: {why}", "name an access log that you may read"
