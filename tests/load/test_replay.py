import asyncio
import gzip
import itertools
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seakeep.load.accesslog import LINE_BYTES_MAX, Entry
from seakeep.load.plan import Lane, PlanError, Target
from seakeep.load.replay import ReplayReport, dealt, in_order, plan_for_replay, spread
from seakeep.load.run import LoadRun
from seakeep.model.observation import Address
from seakeep.model.time import MILLISECOND, SECOND

TARGET = Target(address=Address(host="127.0.0.1", port=1), host="x")
LANE = Lane(source="a", service="web", target=TARGET)


def line(second, path="/", method="GET"):
    minute, second = divmod(second, 60)
    return f'h - - [10/Oct/2000:13:{minute:02}:{second:02} +0000] "{method} {path} HTTP/1.1" 200 1'


def replayed(path, lanes=(LANE,), weights=(1.0,), **options):
    plan, report = plan_for_replay(path, lanes, weights, **options)
    return [request for request in plan.requests() if request], report


def written(tmp_path, lines):
    path = tmp_path / "access.log"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_own_timing_faster_and_slower(tmp_path):
    path = written(tmp_path, [line(0, "/a"), line(10, "/b"), line(25, "/c")])
    assert [(r.due, r.path) for r in replayed(path)[0]] == [
        (0, "/a"), (10 * SECOND, "/b"), (25 * SECOND, "/c"),
    ]  # fmt: skip
    assert [r.due for r in replayed(path, speed=2)[0]] == [0, 5 * SECOND, 12.5 * SECOND]
    assert [r.due for r in replayed(path, speed=0.5)[0]] == [0, 20 * SECOND, 50 * SECOND]


def test_requests_of_one_whole_second_are_spread_over_it(tmp_path):
    path = written(tmp_path, [line(0), line(0), line(0), line(0), line(1)])
    assert [r.due for r in replayed(path)[0]] == [0, SECOND // 4, SECOND // 2, SECOND * 3 // 4,
                                                  SECOND]  # fmt: skip


def test_finer_times_stay_as_they_are(tmp_path):
    stamps = ["10:00:00.100", "10:00:00.100", "10:00:00.350"]
    path = written(
        tmp_path,
        [json.dumps({"time": f"2024-05-01T{t}Z", "method": "GET", "path": "/"}) for t in stamps],
    )
    assert [r.due for r in replayed(path)[0]] == [0, 0, 250 * MILLISECOND]


def test_lines_out_of_order_are_sorted(tmp_path):
    path = written(tmp_path, [line(5, "/c"), line(1, "/b"), line(0, "/a"), line(9, "/d")])
    requests, report = replayed(path)
    assert [r.path for r in requests] == ["/a", "/b", "/c", "/d"]
    assert report.disordered == 0


def test_lines_beyond_the_window_leave_at_once_and_are_counted(tmp_path):
    path = written(tmp_path, [line(0, "/a"), line(100, "/b"), line(200, "/c"), line(10, "/late")])
    requests, report = replayed(path)
    assert [(r.due // SECOND, r.path) for r in requests] == [
        (0, "/a"), (100, "/b"), (100, "/late"), (200, "/c"),
    ]  # fmt: skip
    assert report.disordered == 1


def test_what_does_not_parse_is_counted_and_shown_never_guessed(tmp_path):
    path = written(tmp_path, [line(0), "garbage", "", line(1), *["more"] * 10])
    requests, report = replayed(path)
    assert len(requests) == 2
    assert report.lines == 14
    assert report.unparsed == 12
    assert [number for number, _ in report.first_unparsed] == [2, 3, 5, 6, 7]


def test_other_methods_are_counted_unless_asked_for(tmp_path):
    path = written(tmp_path, [line(0), line(1, "/p", "POST"), line(2, "/d", "DELETE")])
    requests, report = replayed(path)
    assert [r.method for r in requests] == ["GET"]
    assert report.skipped == {"POST": 1, "DELETE": 1}
    requests, report = replayed(path, methods=("GET", "POST"))
    assert [r.method for r in requests] == ["GET", "POST"]
    assert report.skipped == {"DELETE": 1}


def test_an_edges_log_replays_what_clients_sent(tmp_path):
    """One line per hop: the calls between services come back by themselves."""
    at = "2024-05-01T10:00:00.100Z"
    lines = [
        json.dumps({"time": at, "method": "GET", "path": f"/{role}", "role": role})
        for role in ("internal", "edge", "gateway", "internal")
    ]
    requests, report = replayed(written(tmp_path, lines))
    assert [request.path for request in requests] == ["/edge"]
    assert report.inner_calls == 3
    assert report.unparsed == 0


def test_gzip_is_known_by_its_content(tmp_path):
    path = tmp_path / "access.log"
    path.write_bytes(gzip.compress((line(0) + "\n" + line(1) + "\n").encode()))
    assert len(replayed(path)[0]) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_gzip_gives_what_it_has_and_says_so(tmp_path, damage):
    raw = bytearray(gzip.compress("\n".join(line(s, f"/{s}") for s in range(600)).encode()))
    if damage == "cut":
        raw = raw[: len(raw) // 2]
    else:
        raw[-6] ^= 0xFF
    path = tmp_path / "access.log.gz"
    path.write_bytes(raw)
    requests, report = replayed(path)
    assert report.broken_off
    assert len(requests) >= report.lines - report.unparsed > 0


def test_a_line_without_end_is_refused_without_being_held(tmp_path):
    path = tmp_path / "access.log"
    with path.open("w") as file:
        file.write(line(0) + "\n" + "x" * (20 * LINE_BYTES_MAX) + "\n" + line(1) + "\n")
    tracemalloc.start()
    requests, report = replayed(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(requests) == 2
    assert (report.lines, report.unparsed) == (3, 1)
    assert report.first_unparsed[0][0] == 2
    assert peak < 10 * LINE_BYTES_MAX


def test_memory_does_not_grow_with_the_log(tmp_path):
    def peak(lines):
        path = tmp_path / f"{lines}.log"
        with path.open("w") as file:
            for index in range(lines):
                record = {"ts": 1714557600 + index, "method": "GET", "path": f"/{index}"}
                file.write(json.dumps(record) + "\n")
        plan, _ = plan_for_replay(path, [LANE], [1])
        tracemalloc.start()
        assert sum(1 for request in plan.requests() if request) == lines
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(4_000)  # the interpreter keeps a few thousand freed tuples for itself
    assert peak(20_000) < 1.5 * peak(4_000) + 100_000


def test_a_log_that_is_not_there(tmp_path):
    with pytest.raises(PlanError, match="cannot read"):
        plan_for_replay(tmp_path / "none.log", [LANE], [1])
    with pytest.raises(PlanError, match="cannot read"):
        plan_for_replay(tmp_path, [LANE], [1])


def test_binary_junk_is_all_refused(tmp_path):
    path = tmp_path / "junk"
    path.write_bytes(bytes(range(256)) * 1_000)
    requests, report = replayed(path)
    assert requests == []
    assert report.unparsed == report.lines > 0


def test_long_stretches_without_a_request_let_others_run(tmp_path):
    path = written(tmp_path, ["junk"] * 5_000 + [line(0)])
    plan, _ = plan_for_replay(path, [LANE], [1])
    answers = list(plan.requests())
    assert answers[-1].path == "/"
    assert answers.count(None) >= 20


@given(st.lists(st.integers(0, 200), max_size=200), st.integers(1, 50), st.integers(1, 20))
def test_any_log_comes_out_whole_and_in_order(times, window, entries_max):
    entries = [Entry(at, False, "GET", f"/{index}") for index, at in enumerate(times)]
    report = ReplayReport()
    out = [entry for entry in in_order(entries, report, window, entries_max) if entry]
    assert sorted(entry.path for entry in out) == sorted(entry.path for entry in entries)
    assert all(a.at <= b.at for a, b in itertools.pairwise(out))
    if report.disordered == 0:
        assert out == sorted(entries, key=lambda entry: entry.at)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=100))
def test_spreading_keeps_every_request_within_its_second(times):
    entries = [Entry(at * SECOND, whole, "GET", "/") for at, whole in sorted(times)]
    out = list(spread(entries))
    assert [entry.at // SECOND for entry in out] == [entry.at // SECOND for entry in entries]
    due = [request.due for request in dealt(out, [1], 1.0)]
    assert due == sorted(due)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=5))
def test_requests_are_dealt_in_proportion(weights):
    count = sum(weights)
    entries = [Entry(at, False, "GET", "/") for at in range(count)]
    lanes = [request.lane for request in dealt(entries, weights, 1.0)]
    for lane, weight in enumerate(weights):
        assert abs(lanes.count(lane) - weight) <= 1


def test_a_replay_drives_a_real_server(tmp_path, serving):
    seen = []

    async def main():
        async def remember(head, writer):
            seen.append(head.split(b" ")[1].decode())
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        lines = [line(second, f"/{second}?x=%20") for second in range(20)]
        path = written(tmp_path, ["junk", *lines])
        async with serving(remember) as target:
            lane = Lane(source="a", service="web", target=target)
            plan, report = plan_for_replay(path, [lane], [1], speed=20)
            return await LoadRun(plan).run(), report

    final, report = asyncio.run(main())
    assert seen == [f"/{second}?x=%20" for second in range(20)]
    assert final.total.ok == 20
    assert report.unparsed == 1
