import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given
from hypothesis import strategies as st

from seakeep.load.hdrlog import HdrLogWriter
from seakeep.load.histogram import Histogram, decode_histogram, exact_percentiles, merge
from seakeep.load.plan import Lane, Target
from seakeep.model.observation import Address
from seakeep.model.time import HOUR, MICROSECOND, MILLISECOND, SECOND

WANTED = (0.1, 50, 90, 99, 99.9, 100)
DURATIONS = st.lists(st.integers(0, 2 * HOUR), min_size=1, max_size=200)


def filled(durations):
    histogram = Histogram()
    for duration in durations:
        histogram.record(duration)
    return histogram


@given(DURATIONS)
def test_percentiles_are_the_librarys(durations):
    histogram = filled(durations)
    expected = tuple(histogram._hdr.get_value_at_percentile(p) for p in WANTED)
    assert histogram.percentiles(WANTED) == expected


@given(DURATIONS)
def test_the_largest_value_keeps_three_digits(durations):
    most = min(max(*durations, MICROSECOND), HOUR)
    assert filled(durations).max == pytest.approx(most, rel=0.001, abs=MICROSECOND)


@given(DURATIONS, DURATIONS)
def test_merging_is_recording_everything_in_one(a, b):
    merged = merge([filled(a), filled(b)])
    assert merged.count == len(a) + len(b)
    assert merged.percentiles(WANTED) == filled(a + b).percentiles(WANTED)


@given(DURATIONS)
def test_an_encoded_histogram_reads_back(durations):
    histogram = filled(durations)
    again = decode_histogram(histogram.encode())
    assert again.percentiles(WANTED) == histogram.percentiles(WANTED)


def test_garbage_is_not_a_histogram():
    with pytest.raises(ValueError, match="not an HdrHistogram"):
        decode_histogram("HISTgarbage")


def test_an_empty_histogram_has_no_percentiles():
    assert Histogram().percentiles((50, 99)) == (None, None)
    assert exact_percentiles([], (50,)) == (None,)


@given(DURATIONS)
def test_exact_percentiles_are_nearest_rank(values):
    p50, p100 = exact_percentiles(values, (50, 100))
    assert p100 == max(values)
    assert sum(v <= p50 for v in values) * 2 >= len(values)
    assert sum(v < p50 for v in values) * 2 < len(values)


def test_the_log_is_read_by_the_librarys_reader(tmp_path):
    path = tmp_path / "out.hlog"
    target = Target(address=Address(host="127.0.0.1", port=1), host="x")
    lane = Lane(source="browsers, na", service="web", target=target)
    with path.open("w") as file:
        writer = HdrLogWriter(file)
        writer.header(1_700_000_000 * SECOND)
        for second in range(3):
            one = filled([(second + 1) * MILLISECOND] * 5)
            writer.interval(second * SECOND, (second + 1) * SECOND, [(lane, one)])
        writer.interval(3 * SECOND, 4 * SECOND, [(lane, Histogram())])
    reader = HistogramLogReader(str(path), HdrHistogram(MICROSECOND, HOUR, 3))
    read = list(iter(reader.get_next_interval_histogram, None))
    reader.input_file.close()
    assert [h.get_tag() for h in read] == ["browsers__na"] * 3
    assert [h.get_total_count() for h in read] == [5, 5, 5]
    assert [h.get_max_value() / MILLISECOND for h in read] == pytest.approx([1, 2, 3], rel=1e-3)
    starts = [h.get_start_time_stamp() / 1000 for h in read]
    assert starts == pytest.approx([1_700_000_000, 1_700_000_001, 1_700_000_002])


def test_the_log_needs_its_header_first(tmp_path):
    with (tmp_path / "x").open("w") as file, pytest.raises(ValueError, match="header"):
        HdrLogWriter(file).interval(0, SECOND, [])
