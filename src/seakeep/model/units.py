"""How amounts are written by people, and what they are worth: `300ms`, `99.9%`, `200/s`,
`64MiB`, `250m`. Parsing is exact: an amount that the model's whole numbers cannot hold is an
error, never rounded. Each `format_*` writes what its `parse_*` reads back unchanged.

Every parser takes the text and raises `UnitError`, whose text says what is wrong and whose
`hint` says what to write instead.
"""

import re
from decimal import Decimal
from fractions import Fraction

from seakeep.model.time import DAY, HOUR, MICROSECOND, MILLISECOND, MINUTE, SECOND, Duration

DURATION_UNITS: dict[str, Duration] = {
    "d": DAY,
    "h": HOUR,
    "m": MINUTE,
    "s": SECOND,
    "ms": MILLISECOND,
    "us": MICROSECOND,
    "ns": 1,
}
"""Largest first, which is the order in which they are written: `1h30m`."""

DURATION_MAX: Duration = 36_500 * DAY

RATE_UNITS: dict[str, int] = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}
"""Seconds in what a rate is per."""

RATE_MAX_PER_S = 1e12

BANDWIDTH_UNITS: dict[str, int] = {
    "Tbps": 10**12,
    "Gbps": 10**9,
    "Mbps": 10**6,
    "kbps": 10**3,
    "bps": 1,
}
BANDWIDTH_MAX_BPS = 10**15

BYTE_UNITS: dict[str, int] = {
    "TiB": 2**40,
    "GiB": 2**30,
    "MiB": 2**20,
    "KiB": 2**10,
    "TB": 10**12,
    "GB": 10**9,
    "MB": 10**6,
    "kB": 10**3,
    "B": 1,
}
BYTE_ALIASES: dict[str, str] = {
    "Ti": "TiB",
    "Gi": "GiB",
    "Mi": "MiB",
    "Ki": "KiB",
    "T": "TB",
    "G": "GB",
    "M": "MB",
    "k": "kB",
    "K": "kB",
    "KB": "kB",
}
"""As Kubernetes writes them."""

BYTES_MAX = 2**60
MILLICORES_MAX = 10**9

_NUMBER = r"[0-9]{1,24}(?:\.[0-9]{1,24})?"
_DURATION_PART = re.compile(rf"({_NUMBER})([a-zµμ]+)")
_AMOUNT = re.compile(rf"({_NUMBER})\s?([A-Za-z]*)")
_RATE = re.compile(rf"({_NUMBER})\s?/\s?([a-z]+)")
_PERCENT = re.compile(rf"({_NUMBER})\s?%")

# For JSON Schema: what the parsers accept, near enough for an editor.
DURATION_PATTERN = r"^0$|^([0-9]+(\.[0-9]+)?(d|h|ms|m|s|us|µs|ns))+$"
RATE_PATTERN = r"^[0-9]+(\.[0-9]+)?\s?/\s?(s|min|h|d)$"
PERCENT_PATTERN = r"^[0-9]+(\.[0-9]+)?\s?%$"
BYTES_PATTERN = r"^[0-9]+(\.[0-9]+)?\s?([KMGT]i?B?|kB?|B)$"
BANDWIDTH_PATTERN = r"^[0-9]+(\.[0-9]+)?\s?[TGMk]?bps$"
CPU_PATTERN = r"^[0-9]+(\.[0-9]+)?m?$"


class UnitError(ValueError):
    """An amount that cannot be read. `hint` says what to write instead."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def _shown(text: str) -> str:
    """The text as an error quotes it: one line, not long."""
    plain = "".join(c if c.isprintable() else "?" for c in text)
    return f"'{plain[:40]}…'" if len(plain) > 40 else f"'{plain}'"


def _whole(amount: Fraction, text: str, smallest: str) -> int:
    if amount.denominator != 1:
        raise UnitError(f"{_shown(text)} is finer than {smallest}", "write a rounder amount")
    return int(amount)


# --- durations --------------------------------------------------------------


def parse_duration(text: str) -> Duration:
    """Nanoseconds of `300ms`, `1h30m`, `2.5s`, `30d` or `0`. Units go from large to small,
    each at most once. Raises UnitError."""
    stripped = text.strip()
    if stripped == "0":
        return 0
    hint = "write a number and a unit, such as 300ms, 15s, 1h30m or 30d"
    total, position, units = Fraction(0), 0, list(DURATION_UNITS)
    for match in _DURATION_PART.finditer(stripped):
        number, unit = match.groups()
        unit = unit.replace("µ", "u").replace("μ", "u")
        if match.start() != position:
            break
        if unit not in DURATION_UNITS:
            close = {"min": "m", "sec": "s", "hr": "h", "day": "d", "days": "d", "w": "d"}
            better = f"; for '{unit}' write '{close[unit]}'" if unit in close else ""
            raise UnitError(f"{_shown(text)} has an unknown unit '{unit}'", hint + better)
        if unit not in units:
            raise UnitError(
                f"{_shown(text)} repeats a unit or goes from small to large",
                "write the largest unit first and each once, as in 1h30m",
            )
        units = units[units.index(unit) + 1 :]
        total += Fraction(number) * DURATION_UNITS[unit]
        position = match.end()
    if not stripped or position != len(stripped):
        if re.fullmatch(_NUMBER, stripped):
            raise UnitError(f"{_shown(text)} has no unit", f"write {stripped}s or {stripped}ms")
        raise UnitError(f"{_shown(text)} is not a duration", hint)
    if total > DURATION_MAX:
        raise UnitError(f"{_shown(text)} is longer than 100 years", hint)
    return _whole(total, text, "a nanosecond")


def format_duration(duration: Duration) -> str:
    """`1h30m`, `300ms`, `0s`; negative durations get a leading minus sign."""
    if duration < 0:
        return "-" + format_duration(-duration)
    parts, rest = [], duration
    for unit, size in DURATION_UNITS.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


# --- rates and fractions ----------------------------------------------------


def parse_rate(text: str) -> float:
    """Events per second of `200/s`, `10/min`, `5/h` or `1/d`. Raises UnitError."""
    match = _RATE.fullmatch(text.strip())
    hint = "write a number per time, such as 200/s or 10/min"
    if match is None:
        stripped = text.strip()
        if re.fullmatch(_NUMBER, stripped):
            raise UnitError(f"{_shown(text)} does not say per what", f"write {stripped}/s")
        raise UnitError(f"{_shown(text)} is not a rate", hint)
    number, unit = match.groups()
    if unit not in RATE_UNITS:
        close = {"m": "min", "sec": "s", "minute": "min", "hour": "h", "day": "d"}
        better = f"{number}/{close[unit]}" if unit in close else f"{number}/s"
        raise UnitError(f"{_shown(text)} has an unknown unit '/{unit}'", f"write {better}")
    rate = float(Fraction(number) / RATE_UNITS[unit])
    if rate > RATE_MAX_PER_S:
        raise UnitError(f"{_shown(text)} is beyond any rate that makes sense", hint)
    return rate


def format_rate(rate_per_s: float) -> str:
    """`200/s`, `10/min`: the first unit that gives a whole number, else per second."""
    for unit, size in RATE_UNITS.items():
        count = round(rate_per_s * size)
        if count and float(Fraction(count, size)) == rate_per_s:
            return f"{count}/{unit}"
    return f"{_plain(Decimal(repr(rate_per_s)))}/s"


def parse_percent(text: str) -> float:
    """The fraction that `99.9%` is: 0.999. Not bounded above. Raises UnitError."""
    match = _PERCENT.fullmatch(text.strip())
    if match is None:
        stripped = text.strip()
        if re.fullmatch(_NUMBER, stripped):
            number = Decimal(stripped)
            percent = number * 100 if number < 1 else number
            hint = f"write {_plain(percent)}%"
            raise UnitError(f"{_shown(text)} has no percent sign", hint)
        raise UnitError(f"{_shown(text)} is not a percentage", "write it as 20% or 99.9%")
    return float(Fraction(match[1]) / 100)


def format_percent(fraction: float) -> str:
    """`99.9%` for 0.999."""
    return f"{_plain(Decimal(repr(fraction)) * 100)}%"


def _plain(number: Decimal) -> str:
    """Without exponent and without idle zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


# --- resources --------------------------------------------------------------


def parse_bytes(text: str) -> int:
    """Bytes of `64MiB`, `1GB`, `512kB` or `128Mi`. Raises UnitError."""
    match = _AMOUNT.fullmatch(text.strip())
    hint = "write a number and a unit, such as 64MiB or 1GB"
    if match is None:
        raise UnitError(f"{_shown(text)} is not an amount of memory", hint)
    number, unit = match.groups()
    if not unit:
        raise UnitError(f"{_shown(text)} has no unit", f"write {number}MiB, or {number}B for bytes")
    unit = BYTE_ALIASES.get(unit, unit)
    if unit not in BYTE_UNITS:
        known = {name.lower(): name for name in BYTE_UNITS}
        better = known.get(unit.lower())
        if better is not None and len(unit) > 1:
            hint = f"write {number}{better}"
        raise UnitError(f"{_shown(text)} has an unknown unit '{match[2]}'", hint)
    amount = _whole(Fraction(number) * BYTE_UNITS[unit], text, "a byte")
    if amount > BYTES_MAX:
        raise UnitError(f"{_shown(text)} is more than any machine has", hint)
    return amount


def format_bytes(amount: int) -> str:
    """`64MiB`, `1GB`, `1500B`: the largest unit that divides it, binary ones first."""
    for unit, size in BYTE_UNITS.items():
        if amount and amount % size == 0:
            return f"{amount // size}{unit}"
    return f"{amount}B"


def parse_bandwidth(text: str) -> int:
    """Bits per second of `1Gbps`, `100Mbps` or `64kbps`. Raises UnitError."""
    match = _AMOUNT.fullmatch(text.strip())
    hint = "write bits per second, such as 100Mbps or 1Gbps"
    if match is None:
        raise UnitError(f"{_shown(text)} is not a bandwidth", hint)
    number, unit = match.groups()
    if unit not in BANDWIDTH_UNITS:
        better = {"t": "Tbps", "g": "Gbps", "k": "kbps"}.get(unit[:1].lower(), "Mbps")
        what = f"an unknown unit '{unit}'" if unit else "no unit"
        raise UnitError(f"{_shown(text)} has {what}", f"write {number}{better}")
    amount = _whole(Fraction(number) * BANDWIDTH_UNITS[unit], text, "a bit per second")
    if amount > BANDWIDTH_MAX_BPS:
        raise UnitError(f"{_shown(text)} is more than any link has", hint)
    return amount


def format_bandwidth(bps: int) -> str:
    """`1Gbps`, `1500kbps`: the largest unit that divides it."""
    for unit, size in BANDWIDTH_UNITS.items():
        if bps and bps % size == 0:
            return f"{bps // size}{unit}"
    return f"{bps}bps"


def parse_cpu(text: str) -> int:
    """Millicores of `250m`, `0.5` or `2`. Raises UnitError."""
    match = _AMOUNT.fullmatch(text.strip())
    hint = "write cores, such as 2 or 0.5, or thousandths of a core, such as 250m"
    if match is None or match[2] not in ("", "m"):
        raise UnitError(f"{_shown(text)} is not an amount of CPU", hint)
    number = Fraction(match[1])
    amount = _whole(number if match[2] else number * 1000, text, "1m, a thousandth of a core")
    if amount > MILLICORES_MAX:
        raise UnitError(f"{_shown(text)} is more than any machine has", hint)
    return amount


def format_cpu(millicores: int) -> str:
    """`2` for whole cores, else `250m`."""
    return f"{millicores // 1000}" if millicores % 1000 == 0 else f"{millicores}m"
