"""Amounts as people write them: what each text is worth, and that formats read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seakeep.model import units
from seakeep.model.time import DAY, HOUR, MILLISECOND, MINUTE, SECOND
from seakeep.model.units import UnitError


@pytest.mark.parametrize(
    ("text", "worth"),
    [
        ("300ms", 300 * MILLISECOND),
        ("1h30m", 90 * MINUTE),
        ("30d", 30 * DAY),
        ("2.5s", 2500 * MILLISECOND),
        ("0", 0),
        ("0s", 0),
        (" 15s ", 15 * SECOND),
        ("1d2h3m4s5ms6us7ns", DAY + 2 * HOUR + 3 * MINUTE + 4_005_006_007),
        ("250µs", 250_000),
        ("0.1s", 100 * MILLISECOND),
        ("1.000000001s", SECOND + 1),
        ("0.000000001000000000000000s", 1),
    ],
)
def test_durations(text: str, worth: int) -> None:
    assert units.parse_duration(text) == worth


@pytest.mark.parametrize(
    ("text", "worth"), [("200/s", 200.0), ("10/min", 10 / 60), ("36 / h", 0.01), ("0.5/s", 0.5)]
)
def test_rates(text: str, worth: float) -> None:
    assert units.parse_rate(text) == worth


@pytest.mark.parametrize(
    ("text", "worth"),
    [
        ("64MiB", 64 * 2**20),
        ("1GB", 10**9),
        ("128Mi", 128 * 2**20),
        ("1.5 KiB", 1536),
        ("0.1GB", 10**8),
        ("7B", 7),
        ("2k", 2000),
    ],
)
def test_bytes(text: str, worth: int) -> None:
    assert units.parse_bytes(text) == worth


@pytest.mark.parametrize(
    ("text", "worth"), [("1Gbps", 10**9), ("1.5 Mbps", 1_500_000), ("64kbps", 64_000), ("7bps", 7)]
)
def test_bandwidths(text: str, worth: int) -> None:
    assert units.parse_bandwidth(text) == worth


@pytest.mark.parametrize(
    ("text", "worth"), [("250m", 250), ("0.5", 500), ("2", 2000), ("0.001", 1), ("1.25", 1250)]
)
def test_cpu(text: str, worth: int) -> None:
    assert units.parse_cpu(text) == worth


@pytest.mark.parametrize(
    ("text", "worth"), [("99.9%", 0.999), ("20 %", 0.2), ("0%", 0.0), ("250%", 2.5)]
)
def test_percentages(text: str, worth: float) -> None:
    assert units.parse_percent(text) == worth


@pytest.mark.parametrize(
    ("parse", "text", "message", "hint"),
    [
        ("duration", "300", "has no unit", "write 300s or 300ms"),
        ("duration", "30m1h", "small to large", "1h30m"),
        ("duration", "1s1s", "repeats a unit", "each once"),
        ("duration", "5min", "unknown unit 'min'", "write 'm'"),
        ("duration", "1.000000000000000000001d", "finer", ""),
        ("duration", "0.1ns", "finer than a nanosecond", "rounder"),
        ("duration", "-5s", "is not a duration", "15s"),
        ("duration", "", "is not a duration", "15s"),
        ("duration", "1s x", "is not a duration", "15s"),
        ("duration", "999999d", "100 years", ""),
        ("duration", "٣s", "is not a duration", ""),
        ("rate", "200", "does not say per what", "write 200/s"),
        ("rate", "80/m", "unknown unit '/m'", "write 80/min"),
        ("rate", "fast", "is not a rate", "200/s"),
        ("percent", "0.5", "no percent sign", "write 50%"),
        ("percent", "50", "no percent sign", "write 50%"),
        ("percent", "half", "is not a percentage", "20%"),
        ("bytes", "128", "has no unit", "write 128MiB"),
        ("bytes", "64mib", "unknown unit", "write 64MiB"),
        ("bytes", "1.5B", "finer than a byte", ""),
        ("bytes", "99999999TiB", "more than any machine", ""),
        ("bandwidth", "100", "has no unit", "write 100Mbps"),
        ("bandwidth", "1Gb", "unknown unit 'Gb'", "write 1Gbps"),
        ("bandwidth", "1Gbit/s", "is not a bandwidth", "1Gbps"),
        ("bandwidth", "0.5bps", "finer than a bit per second", ""),
        ("cpu", "0.0005", "finer than 1m", ""),
        ("cpu", "2 cores", "is not an amount of CPU", "250m"),
        ("cpu", "1e3", "is not an amount of CPU", "250m"),
        ("cpu", "9999999999", "more than any machine", ""),
    ],
)
def test_errors_say_what_to_write(parse: str, text: str, message: str, hint: str) -> None:
    with pytest.raises(UnitError) as error:
        getattr(units, f"parse_{parse}")(text)
    assert message in str(error.value)
    assert hint in error.value.hint


@given(st.integers(min_value=0, max_value=units.DURATION_MAX))
def test_durations_read_back(duration: int) -> None:
    assert units.parse_duration(units.format_duration(duration)) == duration


@given(st.integers(min_value=0, max_value=units.BYTES_MAX))
def test_bytes_read_back(amount: int) -> None:
    assert units.parse_bytes(units.format_bytes(amount)) == amount


@given(st.integers(min_value=0, max_value=units.BANDWIDTH_MAX_BPS))
def test_bandwidths_read_back(bps: int) -> None:
    assert units.parse_bandwidth(units.format_bandwidth(bps)) == bps


@given(st.integers(min_value=0, max_value=units.MILLICORES_MAX))
def test_cpu_reads_back(millicores: int) -> None:
    assert units.parse_cpu(units.format_cpu(millicores)) == millicores


@given(st.floats(min_value=1e-6, max_value=units.RATE_MAX_PER_S))
def test_rates_read_back(rate: float) -> None:
    read = units.parse_rate(units.format_rate(rate))
    assert read == pytest.approx(rate, rel=1e-12)


@given(st.integers(min_value=1, max_value=10**9), st.sampled_from(sorted(units.RATE_UNITS)))
def test_whole_rates_read_back_exactly(count: int, unit: str) -> None:
    rate = units.parse_rate(f"{count}/{unit}")
    assert units.parse_rate(units.format_rate(rate)) == rate


@given(st.integers(min_value=0, max_value=10**6))
def test_percentages_read_back(thousandths: int) -> None:
    fraction = thousandths / 10**6
    assert units.parse_percent(units.format_percent(fraction)) == fraction


@given(st.text(max_size=30))
@pytest.mark.parametrize("name", ["duration", "rate", "percent", "bytes", "cpu"])
def test_any_text_is_an_amount_or_a_unit_error(name: str, text: str) -> None:
    try:
        value = getattr(units, f"parse_{name}")(text)
    except UnitError:
        return
    assert value >= 0


def test_errors_are_safe_to_print() -> None:
    with pytest.raises(UnitError) as error:
        units.parse_duration("\x1b[31m\n" + "9" * 1000)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 100
