"""The file that tells where clients are, looked into before anything relies on it."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import maxminddb

from seakeep.spec.document import Document
from seakeep.spec.messages import Location, value_mark
from seakeep.spec.nodes import Mapping as Tree
from seakeep.spec.nodes import problem_at
from seakeep.spec.problem import Problem, Severity

SAMPLE = 200
"""Entries looked at for coordinates."""
_PLACE: Location = ("dns", "database")
_HINT = "give a MaxMind DB file with coordinates, such as GeoLite2-City.mmdb, or remove it"


def check_database(document: Document, root: Tree, folder: Path) -> list[Problem]:
    """What is wrong with the database of places that a sound document names. `folder`: of the
    spec."""
    dns = document.dns
    if dns is None or dns.database is None:
        return []
    mark = value_mark(root, _PLACE)
    try:
        has_places = _has_places(folder / dns.database)
    except FileNotFoundError:
        message = f"dns.database: there is no file {folder / dns.database}"
        return [problem_at(mark, message, "the path is relative to the spec's folder")]
    except Exception as error:  # a damaged file makes the reader fail in every way there is
        return [problem_at(mark, f"dns.database: cannot be read: {error}", _HINT)]
    if has_places:
        return []
    message = "dns.database: knows no coordinates, so clients stay where their DNS server is"
    return [problem_at(mark, message, _HINT, Severity.WARNING)]


def _has_places(path: Path) -> bool:
    """Whether any of its first entries has a location. Raises whatever there is."""
    with maxminddb.open_database(str(path), maxminddb.MODE_FILE) as reader:
        return any(
            isinstance(entry, Mapping) and isinstance(entry.get("location"), Mapping)
            for _, entry in islice(reader, SAMPLE)
        )
