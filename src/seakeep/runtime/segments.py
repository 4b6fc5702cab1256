"""The journal's files: how a record is framed, what the segments are called, what is left of
one after a crash.

A segment is a text file of records, one a line: a JSON object, a tab, the CRC-32 of the
object's bytes as eight hex digits, a newline. Segments are numbered: `00000001.jsonl` is the
oldest; a finished one may have become `00000001.jsonl.gz`. Neither a tab nor a newline occurs
raw in JSON, so every line says for itself whether it is whole.
"""

import contextlib
import gzip
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from seakeep.model.codec import CodecError, Json, dump_tree, load_tree
from seakeep.runtime.atomic import sync_folder, write_atomic

NAME = re.compile(r"^(\d{8,})\.jsonl(\.gz)?$")
CRC_HEX_DIGITS = 8
TAIL_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    number: int
    path: Path

    @property
    def packed(self) -> bool:
        return self.path.suffix == ".gz"


def segments(folder: Path) -> list[Segment]:
    """The segments of a journal, oldest first. Where a crash left both forms of one, the plain
    file counts."""
    found: dict[int, Segment] = {}
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            match = NAME.match(path.name)
            if match is None:
                continue
            number = int(match[1])
            if number not in found or found[number].packed:
                found[number] = Segment(number, path)
    return sorted(found.values())


def segment_path(folder: Path, number: int) -> Path:
    return folder / f"{number:08}.jsonl"


def frame(tree: Json) -> bytes:
    """A record as its line. Raises CodecError for what is no JSON tree."""
    body = dump_tree(tree)
    return b"%b\t%08x\n" % (body, zlib.crc32(body))


def unframe(line: bytes) -> dict[str, Any] | None:
    """The record of a whole line; None when the line is damaged or torn."""
    body, tab, crc = line.removesuffix(b"\n").rpartition(b"\t")
    if not tab or not line.endswith(b"\n") or len(crc) != CRC_HEX_DIGITS:
        return None
    # Compared as text: int() would take other spellings of the same number.
    if b"%08x" % zlib.crc32(body) != crc:
        return None
    try:
        tree = load_tree(body)
    except CodecError:
        return None
    if not isinstance(tree, dict) or not isinstance(tree.get("n"), int):
        return None
    return tree


def open_segment(segment: Segment) -> IO[bytes]:
    """Raises OSError."""
    if segment.packed:
        return gzip.open(segment.path, "rb")  # type: ignore[return-value]
    return segment.path.open("rb")


# --- recovery ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a segment: where whole records end, and the number of the last one."""

    end: int
    size: int
    last: int | None
    """None when there is no whole record."""


def tail_of(segment: Segment) -> Tail:
    """Find the last whole record of a plain segment, reading backward."""
    with segment.path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        end = size
        for line, ends in _lines_backward(file, size):
            tree = unframe(line)
            if tree is not None:
                return Tail(ends, size, tree["n"])
            end = ends - len(line)
    return Tail(end, size, None)


def _lines_backward(file: IO[bytes], size: int) -> Iterator[tuple[bytes, int]]:
    """(line with its newline, offset of its end), last first."""
    rest = b""
    start = size
    while start > 0:
        step = min(TAIL_CHUNK_BYTES, start)
        start -= step
        file.seek(start)
        rest = file.read(step) + rest
        cut = len(rest)
        while True:
            # The newline that ends the line before the one that ends at `cut`.
            before = rest.rfind(b"\n", 0, max(cut - 1, 0))
            if before < 0:
                break
            yield rest[before + 1 : cut], start + cut
            cut = before + 1
        rest = rest[:cut]
    if rest:
        yield rest, len(rest)


def last_number(found: list[Segment]) -> int:
    """The number of the newest whole record in any segment; 0 when there is none."""
    for segment in reversed(found):
        if not segment.packed:
            last = tail_of(segment).last
        else:
            last = None
            with contextlib.suppress(OSError, EOFError, zlib.error), open_segment(segment) as file:
                for line in file:
                    tree = unframe(line)
                    last = last if tree is None else tree["n"]
        if last is not None:
            return last
    return 0


# --- packing ----------------------------------------------------------------


def pack(segment: Segment) -> None:
    """Compress a finished segment: first the whole `.gz`, then the plain file goes. Raises
    OSError; the plain file is still there then."""
    target = segment.path.with_name(segment.path.name + ".gz")
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        with segment.path.open("rb") as source, temporary.open("wb") as sink:
            with gzip.GzipFile(filename="", fileobj=sink, mode="wb", mtime=0) as packed:
                shutil.copyfileobj(source, packed, 1 << 18)
            sink.flush()
            os.fsync(sink.fileno())
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)
    segment.path.unlink(missing_ok=True)


def create_segment(folder: Path, number: int, head: bytes) -> Path:
    """A new segment with its head, or, when this raises OSError, none."""
    path = segment_path(folder, number)
    write_atomic(path, head)
    return path


def remove_leftovers(folder: Path) -> None:
    """Temporary files of a crash, and packed segments whose plain file is still there."""
    plain = {path.name for path in folder.glob("*.jsonl")}
    for path in sorted(folder.iterdir()):
        half_packed = path.name.endswith(".gz") and path.name.removesuffix(".gz") in plain
        if half_packed or (path.name.startswith(".") and path.name.endswith(".tmp")):
            path.unlink(missing_ok=True)
