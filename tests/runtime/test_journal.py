"""The journal in fair weather and on a full disk."""

import gzip
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from seakeep.model.decision import Decision, Reason
from seakeep.model.observation import Observation
from seakeep.model.record import Missing, Noted, Opened, Record, Remembered, Specified, Stepped
from seakeep.runtime.atomic import write_atomic
from seakeep.runtime.journal import Journal, JournalBusy, Limits
from seakeep.runtime.reading import read
from tests.runtime.journals import two_regions

DEADLINE_S = 20.0
SMALL = Limits(segment_bytes=4_000, packed=False)


def fill(journal: Journal, steps: int, first: int = 1) -> None:
    for number in range(first, first + steps):
        reasons = (Reason(code="some.code", subject="web", numbers=(("number", number // 10),)),)
        observation = Observation(seq=number, at=number * 1000)
        journal.step(
            observation, Decision(memory=None, reasons=reasons), before=lambda: {"kept": "state"}
        )


def sequence(records: list[Record]) -> list[int]:
    return [record.observation.seq for record in records if isinstance(record, Stepped)]


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    system = two_regions()
    journal = Journal.open(tmp_path, "shop", epoch=7)
    assert journal.system(system, 3)
    fill(journal, 5)
    assert journal.note("kill web-1", 9, what="fault.kill", numbers=(("count", 2),))
    journal.close()
    opened, specified, *steps, noted = read(tmp_path)
    assert isinstance(opened, Opened)
    assert (opened.epoch, opened.system, opened.continued) == (7, "shop", False)
    assert abs(opened.at + opened.wall_offset - time.time_ns()) < 60 * 10**9
    assert isinstance(specified, Specified)
    assert specified.system == system
    assert sequence(steps) == [1, 2, 3, 4, 5]
    assert steps[4].reasons[0].numbers == (("number", 0),)  # type: ignore[union-attr]
    assert noted == Noted(n=8, at=9, what="fault.kill", text="kill web-1", numbers=(("count", 2),))


def test_every_segment_stands_for_itself(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "shop", epoch=1, limits=SMALL)
    journal.system(two_regions(), 3)
    fill(journal, 100)
    journal.close()
    segments = sorted(tmp_path.glob("*.jsonl"))
    assert len(segments) > 3
    whole = list(read(tmp_path))
    assert sequence(whole) == list(range(1, 101))
    assert [record.n for record in whole] == list(range(1, len(whole) + 1))
    for segment in segments[:2]:
        segment.unlink()
    head = list(read(tmp_path))
    assert [type(record) for record in head[:4]] == [Opened, Specified, Remembered, Stepped]
    assert isinstance(head[0], Opened)
    assert head[0].continued
    assert isinstance(head[2], Remembered)
    assert head[2].state == {"kept": "state"}
    assert not [record for record in head if isinstance(record, Missing)]
    assert sequence(head) == list(range(sequence(head)[0], 101))


def test_oldest_segments_go_when_there_are_too_many(tmp_path: Path) -> None:
    limits = Limits(segment_bytes=2_000, total_bytes=10_000, packed=False)
    journal = Journal.open(tmp_path, "shop", epoch=1, limits=limits)
    fill(journal, 300)
    total = sum(path.stat().st_size for path in tmp_path.glob("*.jsonl"))
    assert total < 14_000
    journal.close()
    kept = sequence(list(read(tmp_path)))
    assert kept == list(range(kept[0], 301))
    few = Limits(segment_bytes=2_000, segments=2, packed=False)
    Journal.open(tmp_path, "shop", epoch=2, limits=few).close()
    assert len(list(tmp_path.glob("*.jsonl"))) == 2


def test_finished_segments_are_compressed_and_read_all_the_same(tmp_path: Path) -> None:
    limits = Limits(segment_bytes=4_000)
    for epoch in (1, 2, 3):
        journal = Journal.open(tmp_path, "shop", epoch=epoch, limits=limits)
        fill(journal, 60, first=1 + 60 * (epoch - 1))
        journal.close()
    packed = sorted(tmp_path.glob("*.gz"))
    assert packed
    assert gzip.decompress(packed[0].read_bytes()).startswith(b'{"n":1,"kind":"open"')
    records = list(read(tmp_path))
    assert sequence(records) == list(range(1, 181))
    assert not [record for record in records if isinstance(record, Missing)]
    # A crash between the compressed file's appearance and the plain one's end leaves both.
    plain = tmp_path / packed[0].name.removesuffix(".gz")
    plain.write_bytes(gzip.decompress(packed[0].read_bytes()))
    assert list(read(tmp_path)) == records
    Journal.open(tmp_path, "shop", epoch=4, limits=SMALL).close()
    assert not packed[0].exists()


def test_a_damaged_compressed_segment_costs_itself_only(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "shop", epoch=1, limits=Limits(segment_bytes=4_000))
    fill(journal, 200)
    journal.close()
    victim = sorted(tmp_path.glob("*.gz"))[0]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 0x10
    victim.write_bytes(data)
    records = list(read(tmp_path))
    assert [record for record in records if isinstance(record, Missing)]
    assert sequence(records)[-1] == 200


def test_two_writers_are_refused(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "shop", epoch=1)
    with pytest.raises(JournalBusy):
        Journal.open(tmp_path, "shop", epoch=2)
    program = (
        "import sys; from pathlib import Path; from seakeep.runtime.journal import *\n"
        "try: Journal.open(Path(sys.argv[1]), 'shop', epoch=2)\n"
        "except JournalBusy as error: print('busy')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", program, str(tmp_path)]
    assert subprocess.check_output(command, env=environment) == b"busy\n"
    assert journal.note("still mine", 1)
    journal.close()
    Journal.open(tmp_path, "shop", epoch=3).close()


def test_a_closed_journal_takes_nothing_more(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "shop", epoch=1)
    journal.close()
    journal.close()
    assert not journal.note("late", 1)
    assert [type(record) for record in read(tmp_path)] == [Opened]


def full_disk(folder: Path, problems: list[str]) -> None:
    """No file of this process may grow beyond 6,000 bytes, for a while."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    journal = Journal.open(folder, "shop", epoch=1, report=problems.append)
    journal.system(two_regions(), 0)
    fill(journal, 5)
    size = (folder / "00000001.jsonl").stat().st_size
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 500, most))
    fill(journal, 20, first=6)
    assert not journal.note("unheard", 5)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    fill(journal, 5, first=26)
    assert journal.note("heard", 6)
    journal.close()


def in_fork(act: "object") -> None:
    """Run it in a fork, whose limits die with it."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act()  # type: ignore[operator]
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_full_disk_is_survived_and_told(tmp_path: Path) -> None:
    def act() -> None:
        problems: list[str] = []
        full_disk(tmp_path / "journal", problems)
        (tmp_path / "problems").write_text("\n".join(problems))

    in_fork(act)
    problems = (tmp_path / "problems").read_text().splitlines()
    assert len(problems) == 2
    assert problems[0].startswith("journal: a record cannot be written: File too large")
    records = list(read(tmp_path / "journal"))
    seen = sequence(records)
    lost = [number for number in range(1, 31) if number not in seen]
    gaps = [record for record in records if isinstance(record, Missing)]
    assert len(gaps) == 1
    assert gaps[0].count == len(lost) + 1
    assert "File too large" in gaps[0].why
    assert seen[-5:] == [26, 27, 28, 29, 30]
    after = records[records.index(gaps[0]) :]
    assert [type(record) for record in after[1:3]] == [Specified, Stepped]
    assert isinstance(records[-1], Noted)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
def test_a_really_full_file_system(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        journal = Journal.open(place / "journal", "shop", epoch=1, limits=SMALL)
        ballast = place / "ballast"
        fill(journal, 10)
        ballast.write_bytes(b"x" * 40_000)
        fill(journal, 200, first=11)
        ballast.unlink()
        fill(journal, 10, first=211)
        journal.close()
        # Nor can one be opened on a full disk and crash for it.
        with ballast.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096) == 4096:
                pass
    except OSError:
        pass
    try:
        records = list(read(place / "journal"))
        seen = sequence(records)
        assert seen[-10:] == list(range(211, 221))
        gaps = [record for record in records if isinstance(record, Missing)]
        assert sum(gap.count or 0 for gap in gaps) >= 220 - len(seen)
        assert all("No space left" in gap.why for gap in gaps)
        late = Journal.open(place / "journal", "shop", epoch=2, limits=SMALL)
        late.note("into the void", 1)
        (place / "ballast").unlink()
        time.sleep(1.1)
        assert late.note("and back", 2)
        late.close()
        *_, last = read(place / "journal")
        assert isinstance(last, Noted)
        assert last.text == "and back"
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_value_without_a_form_does_not_stop_the_loop(tmp_path: Path) -> None:
    problems: list[str] = []
    journal = Journal.open(tmp_path, "shop", epoch=1, report=problems.append)
    fill(journal, 2)
    assert not journal.step(Observation(seq="three", at=3), Decision(memory=None))  # type: ignore[arg-type]
    fill(journal, 2, first=4)
    journal.close()
    assert problems[0].startswith("journal: a record cannot be written: ")
    assert sequence(list(read(tmp_path))) == [1, 2, 4, 5]


def test_following_a_live_writer_through_rotation(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "shop", epoch=1, limits=Limits(segment_bytes=3_000))
    stop = threading.Event()
    seen: list[Record] = []

    def follow() -> None:
        seen.extend(read(tmp_path, follow=True, stop=stop))

    reader = threading.Thread(target=follow)
    reader.start()
    for first in range(1, 200, 20):
        fill(journal, 20, first=first)
        time.sleep(0.05)
    journal.close()
    stop.set()
    reader.join(DEADLINE_S)
    assert not reader.is_alive()
    assert sequence(seen) == list(range(1, 201))
    assert not [record for record in seen if isinstance(record, Missing)]


def test_notes_from_many_threads(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "shop", epoch=1, limits=SMALL)

    def write(name: str) -> None:
        for number in range(20):
            journal.note(f"{name} {number}", number)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    fill(journal, 100)
    for thread in threads:
        thread.join(DEADLINE_S)
    journal.close()
    records = list(read(tmp_path))
    assert len([record for record in records if isinstance(record, Noted)]) == 80
    assert sequence(records) == list(range(1, 101))


def test_no_journal_is_an_empty_one(tmp_path: Path) -> None:
    assert list(read(tmp_path / "nowhere")) == []


def test_a_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_atomic(path, b"old")
    write_atomic(path, b"new" * 10_000)
    assert path.read_bytes() == b"new" * 10_000
    assert path.stat().st_mode & 0o777 == 0o600

    def act() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        with pytest.raises(OSError, match="File too large"):
            write_atomic(path, b"x" * 50_000)

    in_fork(act)
    assert path.read_bytes() == b"new" * 10_000
    assert list(tmp_path.iterdir()) == [path]
