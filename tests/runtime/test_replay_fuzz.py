"""Journals that were damaged in any way: a replay never fails, never takes damage for a decision,
and says what is missing."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from seakeep.runtime.journal import Limits
from seakeep.runtime.replay import replay
from tests.runtime.journals import eventful

relaxed = settings(
    max_examples=25,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    eventful(folder, Limits(segment_bytes=40_000))
    return folder


damages = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), st.integers(0, 1 << 30), st.integers(1, 255)),
        st.tuples(st.just("cut"), st.integers(0, 1 << 30), st.integers(1, 5_000)),
        st.tuples(st.just("add"), st.integers(0, 1 << 30), st.integers(1, 300)),
        st.tuples(st.just("swap"), st.integers(0, 1 << 30), st.integers(1, 40)),
        st.tuples(st.just("remove"), st.integers(0, 1 << 30), st.just(0)),
    ),
    min_size=1,
    max_size=4,
)


def damage(path: Path, what: str, at: int, amount: int) -> None:
    data = bytearray(path.read_bytes())
    if not data:
        return
    at %= len(data)
    match what:
        case "flip":
            data[at : at + 1] = bytes([data[at] ^ amount])
        case "cut":
            del data[at : at + amount]
        case "add":
            data[at:at] = bytes(range(256)) * (amount // 256) + b"\n{}\t00000000\n"[: amount % 256]
        case "swap":
            lines = bytes(data).splitlines(keepends=True)
            first = at % len(lines)
            second = (first + amount) % len(lines)
            lines[first], lines[second] = lines[second], lines[first]
            data = bytearray(b"".join(lines))
        case _:
            path.unlink()
            return
    path.write_bytes(bytes(data))


@given(done=damages)
@relaxed
def test_damage_is_told_and_is_no_decision(whole: Path, done: list[tuple[str, int, int]]) -> None:
    steps = replay(whole).steps
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "journal"
        shutil.copytree(whole, folder)
        for what, at, amount in done:
            paths = sorted(folder.glob("*.jsonl*"))
            if paths:
                damage(paths[at % len(paths)], what, at, amount)
        report = replay(folder)
        assert report.difference is None
        assert report.steps <= steps
        ends = sorted(path.name for path in folder.glob("*.jsonl*"))
        whole_ends = sorted(path.name for path in whole.glob("*.jsonl*"))
        if (
            report.steps < steps
            and ends
            and ends[-1] == whole_ends[-1]
            and ends[0] == whole_ends[0]
        ):
            tail = (folder / ends[-1]).read_bytes() == (whole / ends[-1]).read_bytes()
            assert report.gaps or report.skipped or not tail


def test_one_flipped_bit_is_a_gap(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    shutil.copytree(whole, folder)
    path = next(path for path in sorted(folder.iterdir()) if path.suffix == ".jsonl")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    report = replay(folder)
    assert report.difference is None
    assert report.gaps
