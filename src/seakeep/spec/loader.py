"""From a path to a system, or to everything that is wrong: the stages in their order."""

from collections.abc import Sequence as Texts
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from seakeep.model.system import System
from seakeep.spec.build import build
from seakeep.spec.build_twin import Measured
from seakeep.spec.dns_files import check_database
from seakeep.spec.document import Document
from seakeep.spec.files import gather
from seakeep.spec.hdr_files import read_hdr_files
from seakeep.spec.log_files import check_logs
from seakeep.spec.messages import key_mark, problems_of
from seakeep.spec.nodes import Mapping, problem_at
from seakeep.spec.overrides import override
from seakeep.spec.plain import plain_of
from seakeep.spec.problem import Problem, Severity, SpecError, in_order
from seakeep.spec.references import check_references
from seakeep.spec.salvage import salvage


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A spec that can be used."""

    system: System
    warnings: tuple[Problem, ...]
    files: tuple[Path, ...]
    """The root, then what it includes, as they were read."""


def load(path: Path, *, to_run: bool = False, overrides: Texts[str] = ()) -> Loaded:
    """Read, check and build the spec at `path` with everything that it includes.

    `to_run`: for an engine that runs the services for real, which then must have something to run.
    `overrides`: what stands in for the file's values, each as `services.web.replicas.max=20`.

    Raises SpecError with every problem found; never anything else for a file's content, nor
    for a path that cannot be read."""
    gathered = gather(path)
    problems = list(gathered.problems)
    if gathered.root is None:
        raise SpecError(tuple(problems))
    root, refused = override(gathered.root, overrides)
    problems += refused
    document, found = check(root)
    problems += found
    measured: Measured = {}
    if document is not None:
        folder = path.resolve().parent
        problems += check_database(document, root, folder)
        measured, damaged = read_hdr_files(document, root, folder)
        problems += damaged
        problems += check_logs(document, root, folder)
        problems += _nothing_to_run(document, root) if to_run else []
    if document is None or any(p.severity is Severity.ERROR for p in problems):
        raise SpecError(tuple(problems))
    return Loaded(
        system=build(document, measured), warnings=in_order(problems), files=tuple(gathered.files)
    )


def _nothing_to_run(document: Document, root: Mapping) -> list[Problem]:
    return [
        problem_at(
            key_mark(root, ("services", name)),
            f"services.{name}: there is nothing to run",
            "write run: and the command that starts it; without it the service is there for "
            "`seakeep simulate` alone",
        )
        for name, service in document.services.items()
        if service.run is None
    ]


_SECTIONS = tuple(Document.model_fields)
_NAMED = ("regions", "services", "traffic", "network")


def check(root: Mapping) -> tuple[Document | None, list[Problem]]:
    """The document, when its values are sound, and everything that is wrong with it. A section
    without content is as if it were not there."""
    sections = plain_of(root).items()
    plain = {key: value for key, value in sections if value is not None or key not in _SECTIONS}
    names = {name: _keys(plain.get(name)) for name in _NAMED}
    try:
        document = Document.model_validate(plain)
    except ValidationError as error:
        problems = problems_of(error, root)
        rest, aside = salvage(plain, error)
        if rest is not None:
            problems += check_references(rest, root, names, aside)
        return None, problems
    return document, check_references(document, root, names, set())


def _keys(section: Any) -> tuple[str, ...]:
    return tuple(section) if isinstance(section, dict) else ()
