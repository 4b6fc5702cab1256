"""Reading a journal: lines to whole records, whatever has happened to the files.

Never raises for what it finds, never returns a damaged record, and says what is missing. The
writer may be alive: `follow` goes on as it writes, through rotation and compression.
"""

import threading
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seakeep.model.action import Action
from seakeep.model.codec import CodecError, Json, decode, decoder_of
from seakeep.model.decision import Reason
from seakeep.model.observation import Observation
from seakeep.model.record import (
    Missing,
    Noted,
    Opened,
    Record,
    Remembered,
    Specified,
    Stepped,
)
from seakeep.model.system import System
from seakeep.model.time import Instant
from seakeep.runtime.delta import patched
from seakeep.runtime.segments import Segment, open_segment, segments, unframe

POLL_S = 0.2

_decode_actions = decoder_of(tuple[Action, ...])
_decode_reason = decoder_of(Reason)
_decode_system = decoder_of(System)


@dataclass(frozen=True, slots=True)
class _Line:
    place: str
    data: bytes


@dataclass(frozen=True, slots=True)
class _Trouble:
    why: str


def read(
    folder: Path, *, follow: bool = False, stop: threading.Event | None = None
) -> Iterator[Record]:
    """The records of the journal in `folder`, oldest first. Where some are missing there is a
    `Missing` in their place. With `follow` it waits for more until `stop` is set."""
    resolver = _Resolver()
    for item in _items(folder, follow, stop or threading.Event()):
        if isinstance(item, _Trouble):
            resolver.trouble(item.why)
        else:
            yield from resolver.records(item)
    yield from resolver.rest()


# --- files to lines ---------------------------------------------------------


def _items(folder: Path, follow: bool, stop: threading.Event) -> Iterator[_Line | _Trouble]:
    number, offset = -1, 0
    while True:
        stopping = stop.is_set()
        todo = [segment for segment in segments(folder) if segment.number >= number]
        for segment in todo:
            if segment.number != number:
                number, offset = segment.number, 0
            open_end = follow and segment is todo[-1]
            offset = yield from _lines(segment, offset, open_end)
        if not follow or stopping:
            return
        stop.wait(POLL_S)


def _lines(segment: Segment, offset: int, open_end: bool) -> Generator[_Line | _Trouble, None, int]:
    """Whole lines from `offset` on; answers the offset of the first that was not whole."""
    name = segment.path.name
    try:
        with open_segment(segment) as file:
            file.seek(offset)
            for data in file:
                if not data.endswith(b"\n"):
                    if open_end:
                        # The writer is at it; its next part comes later.
                        return offset
                    yield _Trouble(f"torn record of {len(data)} bytes at the end of {name}")
                else:
                    yield _Line(f"{name} at byte {offset}", data)
                offset += len(data)
    except FileNotFoundError:
        # Packed or deleted a moment ago: the next listing knows.
        if not open_end and not segment.packed:
            packed = segment.path.with_name(name + ".gz")
            if packed.exists():
                return (yield from _lines(Segment(segment.number, packed), offset, open_end))
    except (OSError, EOFError, zlib.error) as error:
        yield _Trouble(f"{name} cannot be read from byte {offset}: {error}")
    return offset


# --- lines to records -------------------------------------------------------


class _Resolver:
    """Undoes deltas and finds gaps."""

    def __init__(self) -> None:
        self._expected: int | None = None
        self._troubles: list[str] = []
        self._observation: Observation | None = None
        self._step_n = -1
        self._reasons: tuple[Reason, ...] = ()

    def trouble(self, why: str) -> None:
        self._troubles.append(why)

    def records(self, line: _Line) -> Iterator[Record]:
        tree = unframe(line.data)
        if tree is None:
            self.trouble(f"damaged record of {len(line.data)} bytes in {line.place}")
            return
        n = tree["n"]
        first = tree.get("first", n) if tree.get("kind") == "missing" else n
        expected = n if self._expected is None else self._expected
        if self._troubles or first > expected:
            why = "; ".join(self._troubles) or "not in the journal"
            count = first - expected if first > expected else None
            yield Missing(n=expected, at=None, count=count, why=why)
            self._troubles.clear()
        self._expected = max(expected, n + 1)
        try:
            yield self._record(n, tree)
        except (CodecError, KeyError, TypeError, ValueError, IndexError) as error:
            why = f"record {n} in {line.place} cannot be understood: {error}"
            yield Missing(n=n, at=_at(tree), count=1, why=why)

    def rest(self) -> Iterator[Record]:
        if self._troubles:
            n = 1 if self._expected is None else self._expected
            yield Missing(n=n, at=None, count=None, why="; ".join(self._troubles))

    def _record(self, n: int, tree: dict[str, Json]) -> Record:
        kind = tree["kind"]
        if kind == "step":
            return self._step(n, tree)
        if kind == "open":
            self._observation = None
            fields = {name: item for name, item in tree.items() if name != "kind"}
            return decode(Opened, fields)
        if kind == "system":
            return Specified(n=n, at=_instant(tree["at"]), system=_decode_system(tree["system"]))
        if kind == "state":
            return Remembered(n=n, state=tree["state"])
        if kind == "note":
            return decode(Noted, {name: item for name, item in tree.items() if name != "kind"})
        if kind == "missing":
            return Missing(n=tree["first"], at=None, count=tree["count"], why=str(tree["why"]))
        raise CodecError(f"unknown kind {kind!r:.40}; written by a newer Seakeep?")

    def _step(self, n: int, tree: dict[str, Json]) -> Stepped:
        before, reasons = self._observation, self._reasons
        self._observation = None
        if "full" in tree:
            observation = decode(Observation, tree["full"])
        elif before is None or tree["after"] != self._step_n:
            raise CodecError("it says what changed since a record that is missing")
        else:
            observation = patched(before, tree["delta"])
        if "reasons" in tree:
            reasons = tuple(
                reasons[one] if isinstance(one, int) else _decode_reason(one)
                for one in tree["reasons"]
            )
        record = Stepped(
            n=n,
            observation=observation,
            actions=_decode_actions(tree.get("actions", [])),
            reasons=reasons,
            wake_at=None if tree["wake_at"] is None else _instant(tree["wake_at"]),
            digest=str(tree["digest"]),
        )
        self._observation, self._step_n, self._reasons = observation, n, reasons
        return record


def _instant(tree: Json) -> Instant:
    return decode(int, tree)


def _at(tree: dict[str, Any]) -> Instant | None:
    place = tree.get("delta") or tree.get("full") or tree
    at = place.get("at") if isinstance(place, dict) else None
    return at if isinstance(at, int) else None
