"""The journal: what was seen, what was decided and why, kept through any crash.

Append-only and write-ahead: a step whose decision has actions is on the disk before `step`
returns, so before the engine may have them; other records reach the disk within `SYNC_EVERY_S`
of the next record (a killed process loses none of them, a power cut those of the last second).

The first step of a run and one in `FULL_EVERY` or more hold the whole observation, the others
what changed (`runtime.delta`). A segment is self-contained: at its head stand the run, the whole
spec, and the loop's state, so that a reader and a replay can start at any segment. The values of
environment variables, which may be secrets, are in none of it.

Nothing here may stop the loop. When a record cannot be written (disk full), that is reported,
the file is cut back to its last whole record, and the first record that can be written again is
preceded by one that says how many are missing. Read with `runtime.reading`.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import seakeep
from seakeep.engines.local.clock import BootClock
from seakeep.model.codec import CodecError, Json, encode, hiding
from seakeep.model.decision import Decision, Number, Reason
from seakeep.model.observation import Observation
from seakeep.model.system import System
from seakeep.model.time import Clock, Instant
from seakeep.runtime.atomic import sync_folder, write_all
from seakeep.runtime.delta import delta
from seakeep.runtime.segments import (
    Segment,
    create_segment,
    frame,
    last_number,
    pack,
    remove_leftovers,
    segments,
    tail_of,
)
from seakeep.runtime.step import decision_digest, encode_actions, encode_reason

FORMAT = 1
SYNC_EVERY_S = 1.0
FULL_EVERY = 128
"""Steps, at least, from one whole observation to the next, and so what a damaged record can
cost. The wait is longer while the changes written since then are smaller than the whole."""
STATE_INSTANCES_MAX = 2_000
"""Writing the state of more would hold up the loop; a replay then starts where a run did."""
RETRY_ROTATION_S = 1.0
LOCK = "lock"

sync_data = getattr(os, "fdatasync", os.fsync)


class JournalBusy(Exception):
    """Another process writes this journal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    segment_bytes: int = 16 << 20
    total_bytes: int = 256 << 20
    """Oldest segments are deleted beyond this; the one in use never is."""
    segments: int = 1000
    packed: bool = True
    """Whether finished segments are compressed."""


def _ignore(problem: str) -> None:
    pass


class Journal:
    """One writer. Every method may be called from any thread; none raises once it is open."""

    def __init__(
        self,
        folder: Path,
        opened: dict[str, Json],
        limits: Limits,
        report: Callable[[str], None],
        lock: int,
    ) -> None:
        """Not for callers: see `open`."""
        self._folder = folder
        self._opened = opened
        self._limits = limits
        self._report = report
        self._lock = lock
        self._guard = threading.RLock()
        self._file = -1
        self._number = 0
        self._size = 0
        self._head_size = 0
        self._next = 1
        self._begun = False
        self._closed = False
        self._why = ""
        self._missed: tuple[int, int, str] | None = None
        """(first number, count, why) of records that could not be written."""
        self._system: Json = None
        self._system_due = False
        self._observation: Observation | None = None
        self._observation_n = 0
        self._reasons: tuple[Reason, ...] = ()
        self._steps_since_full = 0
        self._full_bytes = 0
        self._full_ends = 0
        self._unsynced_since: float | None = None
        self._rotation_failed_at = -RETRY_ROTATION_S
        self._packer: threading.Thread | None = None

    # --- opening and closing --------------------------------------------------

    @classmethod
    def open(
        cls,
        folder: Path,
        system: str,
        *,
        epoch: int,
        clock: Clock | None = None,
        limits: Limits | None = None,
        report: Callable[[str], None] = _ignore,
    ) -> "Journal":
        """Recover what is there and begin a run. `clock` is the engine's; `report` is told, in
        a sentence, of everything that was lost or is wrong, now or later. Raises JournalBusy, or
        OSError when the folder cannot be used at all."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _locked(folder)
        try:
            at = (clock or BootClock()).now()
            opened = {
                "at": at,
                "wall_offset": time.time_ns() - at,
                "epoch": epoch,
                "system": system,
                "format": FORMAT,
                "version": seakeep.__version__,
            }
            journal = cls(folder, opened, limits or Limits(), report, lock)
            journal._recover()
        except BaseException:
            os.close(lock)
            raise
        return journal

    def close(self) -> None:
        with self._guard:
            self._closed = True
            if self._file >= 0 and self._sync():
                self._give_up_file()
        if self._packer is not None:
            self._packer.join()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _recover(self) -> None:
        remove_leftovers(self._folder)
        found = segments(self._folder)
        self._next = last_number(found) + 1
        self._number = found[-1].number if found else 0
        if found and not found[-1].packed:
            self._cut_tail(found[-1])
        if self._file >= 0 and self._size < self._limits.segment_bytes:
            self._begun = self._write(frame({"n": self._next, "kind": "open", **self._opened}))
            self._next += self._begun
        if not self._begun:
            # In a new file then; when that fails, too, the next record tries again.
            self._give_up_file()
            if not self._begin_segment(remembered=None):
                self._report(f"journal: cannot be begun: {self._why}")
        self._tidy()

    def _cut_tail(self, segment: Segment) -> None:
        """Go on after the last whole record of the newest segment."""
        tail = tail_of(segment)
        if tail.last is None:
            self._report(f"journal: {segment.path.name} holds no whole record; it is left alone")
            return
        handle = os.open(segment.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        if tail.end < tail.size:
            torn = tail.size - tail.end
            self._report(f"journal: cut a torn record of {torn} bytes off {segment.path.name}")
            os.ftruncate(handle, tail.end)
        self._file, self._size = handle, tail.end

    # --- what callers write ---------------------------------------------------

    @hiding()
    def system(self, system: System, at: Instant) -> bool:
        """The spec from here on."""
        with self._guard:
            try:
                self._system = {"at": at, "system": encode(system)}
            except CodecError as error:
                return self._miss(error)
            self._system_due = True
            self._start()
            return not self._system_due

    @hiding()
    def step(
        self,
        observation: Observation,
        decision: Decision[object],
        *,
        before: Callable[[], Json] | None = None,
    ) -> bool:
        """One turn of the loop. `before` encodes the loop's state before this step; it is called
        only when a new segment begins. Whether the record was written."""
        with self._guard:
            large = len(observation.instances) > STATE_INSTANCES_MAX
            self._rotate_when_due(None if large else before)
            n = self._start()
            try:
                record = self._step_record(observation, decision)
            except (CodecError, AttributeError, TypeError) as error:
                return self._miss(error)
            size = self._size
            if not self._append(n, record, sync=bool(decision.actions)):
                return False
            if "full" in record:
                self._full_bytes = self._size - size
                self._steps_since_full, self._full_ends = 0, self._size
            self._steps_since_full += 1
            self._observation, self._observation_n = observation, n
            self._reasons = decision.reasons
            return True

    def note(
        self,
        text: str,
        at: Instant,
        *,
        what: str = "operator.note",
        numbers: Iterable[tuple[str, Number]] = (),
    ) -> bool:
        """Something that came from outside the loop."""
        record: dict[str, Json] = {"kind": "note", "at": at, "what": what, "text": text}
        pairs = [[name, number] for name, number in numbers]
        if pairs:
            record["numbers"] = pairs
        with self._guard:
            return self._put(record)

    def _step_record(self, observation: Observation, decision: Decision[object]) -> Json:
        record: dict[str, Json] = {"kind": "step"}
        if self._observation is None or self._full_is_due():
            record["full"] = encode(observation)
            record["reasons"] = [encode_reason(reason) for reason in decision.reasons]
        else:
            record["after"] = self._observation_n
            record["delta"] = delta(self._observation, observation)
            if decision.reasons != self._reasons:
                record["reasons"] = self._reasons_delta(decision.reasons)
        if decision.actions:
            record["actions"] = encode_actions(decision.actions)
        record["wake_at"] = decision.wake_at
        record["digest"] = decision_digest(decision)
        return record

    def _full_is_due(self) -> bool:
        written = self._size - self._full_ends
        return self._steps_since_full >= FULL_EVERY and written >= self._full_bytes

    def _reasons_delta(self, reasons: tuple[Reason, ...]) -> Json:
        """A reason that stood in the last step is written as its index there."""
        places = {reason: index for index, reason in reversed(list(enumerate(self._reasons)))}
        return [places[reason] if reason in places else encode_reason(reason) for reason in reasons]

    # --- records --------------------------------------------------------------

    def _start(self) -> int:
        """Write what is due before the next record; the number that this one gets."""
        if self._file < 0 and not self._closed and self._may_retry():
            self._rotated(self._begin_segment(remembered=None))
        self._put_due(sync=False)
        return self._next

    def _put_due(self, *, sync: bool) -> bool:
        if self._missed is not None:
            if not self._write(frame(self._gap())):
                return False
            self._gap_written()
        if self._system_due and self._system is not None:
            if not self._append(self._next, {"kind": "system", **self._system}, sync=sync):
                return False
            self._system_due = False
        return True

    def _gap(self) -> dict[str, Json]:
        first, count, why = self._missed or (self._next, 0, "")
        return {"n": self._next, "kind": "missing", "first": first, "count": count, "why": why}

    def _gap_written(self) -> None:
        if self._missed is not None:
            self._report(f"journal: writing again; {self._missed[1]} records are missing")
            self._next += 1
        self._missed = None

    def _put(self, record: dict[str, Json]) -> bool:
        return self._append(self._start(), record, sync=True)

    def _append(self, n: int, record: dict[str, Json], *, sync: bool) -> bool:
        try:
            line = frame({"n": n, **record})
        except CodecError as error:
            return self._miss(error)
        if not self._write(line, sync=sync):
            return self._miss(None)
        self._next = n + 1
        return True

    def _miss(self, error: Exception | None) -> bool:
        """Count a record that is not in the journal."""
        why = str(error) if error is not None else self._why
        first, count, before = self._missed or (self._next, 0, why)
        if count == 0:
            self._report(f"journal: a record cannot be written: {why}")
        self._missed = (first, count + 1, before)
        self._next += 1
        # What comes next may not build on what is not there.
        self._observation = None
        self._reasons = ()
        self._system_due = self._system is not None
        return False

    # --- bytes ----------------------------------------------------------------

    def _write(self, data: bytes, *, sync: bool = True) -> bool:
        """All of `data` or nothing; durable when `sync`."""
        if self._file < 0:
            return False
        try:
            write_all(self._file, data)
        except OSError as error:
            self._why = error.strerror or str(error)
            self._cut_back()
            return False
        self._size += len(data)
        now = time.monotonic()
        if self._unsynced_since is None:
            self._unsynced_since = now
        if sync or now - self._unsynced_since >= SYNC_EVERY_S:
            return self._sync()
        return True

    def _sync(self) -> bool:
        try:
            sync_data(self._file)
        except OSError as error:
            # What the kernel did with the data is not known after a failed sync, and a second
            # one may wrongly succeed: leave this file and go on in another.
            self._why = error.strerror or str(error)
            self._give_up_file()
            return False
        self._unsynced_since = None
        return True

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            self._give_up_file()

    def _give_up_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    # --- segments -------------------------------------------------------------

    def _rotate_when_due(self, before: Callable[[], Json] | None) -> None:
        if self._file < 0 or self._grown() < self._limits.segment_bytes or not self._may_retry():
            return
        self._sync()
        old = self._file
        # After a gap the state is not the one that the last record led to.
        remembered = None
        if before is not None and self._missed is None:
            try:
                remembered = before()
            except CodecError as error:
                # A replay will have to start at the beginning of a run.
                self._report(f"journal: the loop's state has no JSON form: {error}")
        if self._rotated(self._begin_segment(remembered=remembered)) and old >= 0:
            os.close(old)

    def _grown(self) -> int:
        """Bytes beyond the segment's head, which may be large."""
        return self._size - self._head_size

    def _may_retry(self) -> bool:
        return time.monotonic() - self._rotation_failed_at >= RETRY_ROTATION_S

    def _rotated(self, done: bool) -> bool:
        if done:
            self._tidy()
        else:
            self._rotation_failed_at = time.monotonic()
            self._report(f"journal: cannot begin a new segment: {self._why}")
        return done

    def _begin_segment(self, *, remembered: Json) -> bool:
        """A new file with its head. False, and nothing has changed, when that fails."""
        records: list[dict[str, Json]] = [self._gap()] if self._missed is not None else []
        records.append({"n": 0, "kind": "open", **self._opened})
        if self._begun:
            records[-1]["continued"] = True
        if self._system is not None:
            records.append({"n": 0, "kind": "system", **self._system})
        if remembered is not None:
            records.append({"n": 0, "kind": "state", "state": remembered})
        numbered = [{**record, "n": self._next + i} for i, record in enumerate(records)]
        try:
            head = b"".join(map(frame, numbered))
            path = create_segment(self._folder, self._number + 1, head)
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except (OSError, CodecError) as error:
            self._why = getattr(error, "strerror", None) or str(error)
            return False
        self._file = handle
        self._size = self._head_size = len(head)
        self._number += 1
        self._gap_written()
        self._next = numbered[-1]["n"] + 1
        self._begun = True
        self._system_due = False
        self._unsynced_since = None
        self._observation = None
        self._reasons = ()
        return True

    def _tidy(self) -> None:
        """Delete what is beyond the limits; pack finished segments beside the loop."""
        found = segments(self._folder)
        sizes = [_size(segment) for segment in found]
        total = sum(sizes)
        try:
            while len(found) > 1 and (
                total > self._limits.total_bytes or len(found) > self._limits.segments
            ):
                total -= sizes.pop(0)
                found.pop(0).path.unlink(missing_ok=True)
            sync_folder(self._folder)
        except OSError as error:
            self._report(f"journal: an old segment cannot be deleted: {error}")
        todo = [one for one in found if not one.packed and one.number != self._number]
        busy = self._packer is not None and self._packer.is_alive()
        if self._limits.packed and todo and not busy:
            self._packer = threading.Thread(
                target=self._pack_all, args=(todo,), name="journal-pack", daemon=True
            )
            self._packer.start()

    def _pack_all(self, todo: list[Segment]) -> None:
        for segment in todo:
            try:
                pack(segment)
            except OSError as error:
                self._report(f"journal: {segment.path.name} cannot be compressed: {error}")
                return


def _size(segment: Segment) -> int:
    try:
        return segment.path.stat().st_size
    except OSError:
        return 0


def _locked(folder: Path) -> int:
    """An open handle that holds the journal's lock. It goes with the process."""
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise JournalBusy(f"another process writes the journal in {folder}") from None
    return handle
