"""Killed at every write, the journal loses no acknowledged record and invents none."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seakeep.model.decision import Decision
from seakeep.model.observation import Observation
from seakeep.model.record import Missing, Noted, Opened, Stepped
from seakeep.runtime.journal import Journal, Limits
from seakeep.runtime.reading import read
from tests.runtime.crashing import main as crash_main

COUNT = 3


def crashing(folder: Path, count: int, point: int, *more: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "tests.runtime.crashing",
        str(folder),
        str(count),
        str(point),
        *more,
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


class ForkServer:
    """Runs the child's `main` in forks of this process: hundreds of crashes in seconds."""

    def run(self, folder: Path, count: int, point: int, *more: str) -> tuple[int, list[str]]:
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.dup2(write_end, 1)
                sys.argv = ["crashing", str(folder), str(count), str(point), *more]
                crash_main()
                os._exit(0)
            finally:
                os._exit(70)
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            lines = pipe.read().splitlines()
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status), lines


def noted(folder: Path) -> list[str]:
    return [record.text for record in read(folder) if isinstance(record, Noted)]


def check_recovery(folder: Path, acknowledged: list[str]) -> None:
    """Whatever was acknowledged is there, in order, nothing else is but what came just after,
    and the journal can be written on."""
    problems: list[str] = []
    journal = Journal.open(folder, "shop", epoch=2, report=problems.append)
    assert journal.note("after", 99)
    journal.close()
    found = noted(folder)
    assert found[-1] == "after"
    sequence = [f"note {number + 1}" for number in range(len(found) - 1)]
    assert found[:-1] == sequence
    assert len(sequence) in (len(acknowledged), len(acknowledged) + 1)
    records = list(read(folder))
    assert not [record for record in records if isinstance(record, Missing)]
    numbers = [record.n for record in records]
    assert numbers == list(range(1, len(numbers) + 1))
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("segment_bytes", [1 << 20, 500])
def test_killed_at_every_byte_and_call(tmp_path: Path, segment_bytes: int) -> None:
    """With 500-byte segments that includes every point of a rotation."""
    server = ForkServer()
    code, lines = server.run(tmp_path / "whole", COUNT, 10**9, str(segment_bytes))
    assert code == 0
    points = int(lines[-1].split()[1])
    assert points > 700
    # Every 3rd point, and every point of the last fifth, where the second rotation lies.
    for point in (*range(0, points, 3), *range(points * 4 // 5, points)):
        folder = tmp_path / "crash"
        code, lines = server.run(folder, COUNT, point, str(segment_bytes))
        assert code == -signal.SIGKILL, f"point {point} of {points}"
        check_recovery(folder, lines)
        shutil.rmtree(folder)


def test_a_real_kill_at_any_moment(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    for attempt in range(8):
        folder = tmp_path / str(attempt)
        with subprocess.Popen(
            crashing(folder, -1, -1, "3000"), stdout=subprocess.PIPE, env=environment(), text=True
        ) as child:
            assert child.stdout is not None
            first = child.stdout.readline().split()
            time.sleep(draw.random() * 0.1)
            child.kill()
            lines = first + child.stdout.read().splitlines()
        check_recovery(folder, lines)


def test_what_is_torn_is_reported_and_cut(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "shop", epoch=1)
    journal.note("whole", 1)
    journal.close()
    segment = tmp_path / "00000001.jsonl"
    size = segment.stat().st_size
    with segment.open("ab") as file:
        file.write(b'{"n":3,"kind":"no')
    torn = list(read(tmp_path))[-1]
    assert isinstance(torn, Missing)
    assert "torn record of 17 bytes" in torn.why
    problems: list[str] = []
    Journal.open(tmp_path, "shop", epoch=2, report=problems.append).close()
    assert problems == ["journal: cut a torn record of 17 bytes off 00000001.jsonl"]
    assert segment.read_bytes()[size:].startswith(b'{"n":3,"kind":"open"')
    assert [type(record) for record in read(tmp_path)] == [Opened, Noted, Opened]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[object]]:
    """A journal of one segment: its bytes and its records."""
    folder = tmp_path_factory.mktemp("small")
    journal = Journal.open(folder, "shop", epoch=1, limits=Limits(packed=False))
    for number in range(1, 4):
        journal.step(Observation(seq=number, at=number * 10), Decision(memory=None))
        journal.note(f"note {number}", number)
    journal.close()
    return (folder / "00000001.jsonl").read_bytes(), list(read(folder))


def check_damaged(folder: Path, data: bytes, records: list[object]) -> list[Missing]:
    (folder / "00000001.jsonl").write_bytes(data)
    found = list(read(folder))
    missing = [record for record in found if isinstance(record, Missing)]
    for record in found:
        assert record in records or isinstance(record, Missing)
    return missing


def test_truncated_at_every_byte(tmp_path: Path, small: tuple[bytes, list[object]]) -> None:
    data, records = small
    for size in range(len(data)):
        whole = data[:size].count(b"\n")
        missing = check_damaged(tmp_path, data[:size], records)
        assert len(missing) == (
            0 if size in (0, len(data)) or data[size - 1 : size] == b"\n" else 1
        )
        found = [record for record in read(tmp_path) if not isinstance(record, Missing)]
        assert found == records[:whole]


def test_a_bit_flipped_at_every_byte(tmp_path: Path, small: tuple[bytes, list[object]]) -> None:
    data, records = small
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        missing = check_damaged(tmp_path, bytes(flipped), records)
        assert missing, f"byte {place}"
        assert "00000001.jsonl" in missing[0].why


def test_junk_is_no_journal(tmp_path: Path) -> None:
    junk = random.Random(5).randbytes(100_000)
    (tmp_path / "00000001.jsonl").write_bytes(junk)
    (tmp_path / "00000002.jsonl.gz").write_bytes(junk)
    assert all(isinstance(record, Missing) for record in read(tmp_path))
    journal = Journal.open(tmp_path, "shop", epoch=1, limits=Limits(packed=False))
    assert journal.note("on", 1)
    journal.close()
    kinds = [type(record) for record in read(tmp_path)]
    assert kinds == [Missing, Opened, Noted]


def test_steps_after_a_damaged_one_come_back_with_the_next_whole_one(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "shop", epoch=1)
    for number in range(1, 301):
        journal.step(Observation(seq=number, at=number), Decision(memory=None))
    journal.close()
    segment = tmp_path / "00000001.jsonl"
    lines = segment.read_bytes().splitlines(keepends=True)
    lines[10] = lines[10].replace(b'"seq"', b'"sed"')
    segment.write_bytes(b"".join(lines))
    steps = [record.observation.seq for record in read(tmp_path) if isinstance(record, Stepped)]
    assert steps[:9] == list(range(1, 10))
    assert steps[9:] == list(range(steps[9], 301))
    assert steps[9] <= 130
