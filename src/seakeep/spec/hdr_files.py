"""Distributions that were measured: HdrHistogram logs, as `seakeep load --hdr` writes them, read
before anything relies on them.

The format is that of HdrHistogram's own tools, version 1.3: comments, a line of column names,
then one line an interval, perhaps with a tag. Values are nanoseconds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]
from pydantic import BaseModel

from seakeep.model.hdr import BITS_MAX, SUB, bucket_of
from seakeep.model.work import Distribution
from seakeep.spec.distributions import HdrFile
from seakeep.spec.document import Document
from seakeep.spec.messages import Location, as_written, dotted, value_mark
from seakeep.spec.nodes import Mapping as Tree
from seakeep.spec.nodes import problem_at
from seakeep.spec.problem import Problem

FILE_BYTES_MAX = 256 * 2**20
LINE_BYTES_MAX = 4 * 2**20
_HINT = "give a log that `seakeep load --hdr` has written"


class LogError(ValueError):
    """The log cannot be read: says why, with the line; `hint` says what to do."""

    def __init__(self, message: str, hint: str = _HINT) -> None:
        super().__init__(message)
        self.hint = hint


def read_hdr_files(
    document: Document, root: Tree, folder: Path
) -> tuple[Mapping[HdrFile, Distribution], list[Problem]]:
    """The distributions that a sound document takes from files, and what is wrong with these.
    `folder`: of the spec."""
    found: dict[HdrFile, Distribution] = {}
    problems: list[Problem] = []
    for location, file in _named_in(document):
        if file in found:
            continue
        try:
            found[file] = read_log(folder / file.path, file.tag)
        except LogError as error:
            message = f"{dotted(as_written(root, location))}: {error}"
            problems.append(problem_at(value_mark(root, location), message, error.hint))
    return found, problems


def _named_in(document: Document) -> Iterator[tuple[Location, HdrFile]]:
    for name, service in document.services.items():
        if service.work is not None:
            yield from _inside(("services", name, "work"), service.work)
    for name, source in document.traffic.items():
        yield from _inside(("traffic", name), source)


def _inside(location: Location, part: BaseModel) -> Iterator[tuple[Location, HdrFile]]:
    for name, about in type(part).model_fields.items():
        value = getattr(part, name)
        at = (*location, about.alias or name)
        if isinstance(value, HdrFile):
            yield at, value
        elif isinstance(value, BaseModel):
            yield from _inside(at, value)


# --- one file ---------------------------------------------------------------


def read_log(path: Path, tag: str | None) -> Distribution:
    """All intervals of a log, or those with a tag, as one distribution. Raises LogError."""
    try:
        if not path.is_file():
            why = "is no regular file" if path.exists() else "does not exist"
            raise LogError(f"{path} {why}", "the path is relative to the spec's folder")
        if path.stat().st_size > FILE_BYTES_MAX:
            raise LogError(f"{path} has more than {FILE_BYTES_MAX // 2**20} MiB")
        with path.open("rb") as file:
            return _Log(path, tag).read(file)
    except (OSError, ValueError) as error:
        if isinstance(error, LogError):
            raise
        raise LogError(f"{path} cannot be read: {error}") from None


@dataclass(slots=True)
class _Log:
    path: Path
    tag: str | None
    counts: dict[tuple[int, int, int], Any] = field(default_factory=dict)
    """By (lowest, highest, digits) of histograms: their counts, added up."""
    kinds: dict[tuple[int, int, int], Any] = field(default_factory=dict)
    """One histogram of each kind, which knows what its counts are of."""
    tags: dict[str, None] = field(default_factory=dict)

    def read(self, file: Any) -> Distribution:
        number = 0
        while raw := file.readline(LINE_BYTES_MAX + 1):
            number += 1
            if len(raw) > LINE_BYTES_MAX:
                raise LogError(f"{self.path}:{number}: the line is too long")
            line = raw.decode("utf-8", "replace").strip()
            if line and line[0] not in '#"':
                self._line(line, number)
        if not self.counts:
            raise self._nothing()
        return _distribution(self._buckets())

    def _line(self, line: str, number: int) -> None:
        """`[Tag=browsers,]start,length,max,histogram`."""
        place = f"{self.path}:{number}"
        tag = ""
        if line.startswith("Tag="):
            tag, _, line = line[4:].partition(",")
        self.tags[tag] = None
        columns = line.split(",")
        if len(columns) != 4:
            raise LogError(f"{place}: is not a line of an HdrHistogram log")
        if self.tag is not None and tag != self.tag:
            return
        try:
            one = HdrHistogram.decode(columns[3])
            counts = np.ctypeslib.as_array(one.counts).astype(np.int64)
        except Exception as error:  # damage makes the library fail in every way there is
            why = str(error) or type(error).__name__
            raise LogError(f"{place}: holds no histogram: {why}") from None
        if counts.min(initial=0) < 0:
            raise LogError(f"{place}: holds negative counts")
        if not counts.any():
            return
        kind = (one.lowest_trackable_value, one.highest_trackable_value, one.significant_figures)
        if kind in self.counts:
            counts = counts + self.counts[kind]
        self.counts[kind], self.kinds[kind] = counts, one

    def _nothing(self) -> LogError:
        known = ", ".join(name for name in self.tags if name)
        if self.tag is not None and self.tag not in self.tags and self.tags:
            hint = f"it has {known}" if known else "its lines have no tags; leave tag out"
            return LogError(f"{self.path} has no line with Tag={self.tag}", hint)
        return LogError(f"{self.path} holds no values")

    def _buckets(self) -> dict[int, int]:
        """Counts by bucket of `model.hdr`: fine enough for any use, and few."""
        found: dict[int, int] = {}
        for kind, counts in self.counts.items():
            one = self.kinds[kind]
            for index in np.flatnonzero(counts):
                value = one.get_value_from_index(int(index))
                middle = (value + one.get_highest_equivalent_value(value)) // 2
                bucket = bucket_of(min(max(middle, 0), 2**BITS_MAX - 1))
                found[bucket] = found.get(bucket, 0) + int(counts[index])
        return found


def _distribution(buckets: Mapping[int, int]) -> Distribution:
    """Evenly spread within each bucket, and nothing between those that are apart."""
    total = sum(buckets.values())
    points: list[tuple[float, float]] = []
    seen = 0
    for bucket in sorted(buckets):
        low, high = _lower_edge(bucket), _lower_edge(bucket + 1)
        if not points or points[-1][1] != low:
            points.append((seen / total, low))
        seen += buckets[bucket]
        points.append((seen / total, high))
    return Distribution(name="empirical", points=tuple(points))


def _lower_edge(bucket: int) -> float:
    shift = max(0, bucket // SUB - 1)
    return float((bucket - SUB * shift) << shift)
