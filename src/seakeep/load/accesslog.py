"""Reading access logs, one line at a time: what was asked for, and when. Pure.

Understood: the common and combined formats of Apache and NGINX (with or without a virtual host
in front, with anything after), and JSON lines with the keys that servers commonly use (Envoy,
NGINX, Caddy, Traefik, Elastic Common Schema, Google Cloud load balancers). A line that does not
say clearly what was asked for and when is refused with the reason, never guessed.
"""

import re
from calendar import timegm
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

import orjson

from seakeep.model.time import MICROSECOND, SECOND, Instant

LINE_BYTES_MAX = 64 * 1024
TARGET_CHARS_MAX = 16 * 1024


class Entry(NamedTuple):
    """One request of a log."""

    at: Instant
    """Nanoseconds since the epoch."""
    whole_second: bool
    """The log has no finer time than that."""
    method: str
    path: str
    """Origin form: path and query, printable ASCII."""


class LineError(ValueError):
    """The line cannot be replayed: says why."""


class InnerCall(Exception):
    """A call between services, as a Seakeep edge logs it beside what clients sent: it will be
    made again when the client's request is."""


METHOD = re.compile(r"[A-Z][A-Z-]{0,30}")

# Atomic groups: a hostile line costs time in proportion to its length, not to its square.
COMMON = re.compile(
    r"\S++ (?>.*?\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] )"
    r'"((?:[^"\\]|\\.)*+)" (?:\d{3}|-)(?: |$)',
)
ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|.)")
UNSAFE = re.compile(r"[\x00-\x20\x7f]")
MONTHS = {
    "Jan": 1, "Feb": 2, "Mar": 3, "Apr": 4, "May": 5, "Jun": 6,
    "Jul": 7, "Aug": 8, "Sep": 9, "Oct": 10, "Nov": 11, "Dec": 12,
}  # fmt: skip

TIME_KEYS = (
    "start_time", "time_iso8601", "@timestamp", "timestamp", "time", "time_local", "StartUTC",
    "ts", "msec", "date",
)  # fmt: skip
METHOD_KEYS = (
    "method", "request_method", "http_method", "RequestMethod", "requestMethod",
    "http.request.method", "verb",
)  # fmt: skip
PATH_KEYS = (
    "path", "request_uri", "uri", "url", "RequestPath", "requestUrl", "request_path",
    "url.original", "url.path", "target",
)  # fmt: skip
INNER_ROLES = ("internal", "gateway")
"""What an edge of Seakeep says of requests that did not come from clients."""
NESTED_KEYS = ("request", "httpRequest", "http", "req")


def parse_line(line: str) -> Entry:
    """The request that a line speaks of. Raises LineError and InnerCall."""
    stripped = line.strip("\r\n\ufeff ")
    if not stripped:
        raise LineError("empty line")
    if stripped.startswith("{"):
        return _parse_json(stripped)
    return _parse_common(stripped)


def _parse_common(line: str) -> Entry:
    match = COMMON.match(line)
    if match is None:
        raise LineError("neither a common or combined log line nor a JSON object")
    method, target = _request_line(_unescaped(match[2]))
    return Entry(_common_time(match[1]), True, method, origin_form(target))


def _request_line(text: str) -> tuple[str, str]:
    """Method and target of `GET /x HTTP/1.1` (HTTP/0.9 has no version)."""
    parts = text.split(" ")
    if len(parts) not in (2, 3) or (len(parts) == 3 and not parts[2].startswith("HTTP/")):
        raise LineError(f"not an HTTP request line: {_shown(text)}")
    return _method(parts[0]), parts[1]


def _method(text: str) -> str:
    if not METHOD.fullmatch(text):
        raise LineError(f"not an HTTP method: {_shown(text)}")
    return text


def _unescaped(text: str) -> str:
    """Undo the escapes of Apache and NGINX: `\\"`, `\\\\`, `\\t`, `\\xE2`."""
    if "\\" not in text:
        return text

    def byte(match: re.Match[str]) -> str:
        code = match[1]
        if len(code) == 3:
            return bytes([int(code[1:], 16)]).decode("utf-8", "surrogateescape")
        return {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "v": "\v"}.get(code, code)

    return ESCAPE.sub(byte, text)


def origin_form(target: str) -> str:
    """Path and query as they go on the wire. An absolute URL gives its path only. Raises
    LineError for what is neither, or holds control characters, spaces or a fragment."""
    if len(target) > TARGET_CHARS_MAX:
        raise LineError(f"request target longer than {TARGET_CHARS_MAX} characters")
    unsafe = UNSAFE.search(target)
    if unsafe:
        raise LineError(f"control character or space in the request target: {_shown(target)}")
    if "#" in target:
        raise LineError(f"fragment in the request target: {_shown(target)}")
    if target.lower().startswith(("http://", "https://")):
        target = _path_of_url(target)
    if not target.startswith("/"):
        raise LineError(f"the request target is not a path: {_shown(target)}")
    if target.isascii():
        return target
    raw = target.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in raw)


def _path_of_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise LineError(f"not a URL: {_shown(url)}") from error
    path = parts.path or "/"
    return f"{path}?{parts.query}" if parts.query else path


def _parse_json(line: str) -> Entry:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise LineError(f"not JSON: {error}") from error
    if not isinstance(record, dict):
        raise LineError("not a JSON object")
    if record.get("role") in INNER_ROLES:
        raise InnerCall
    at, whole_second = _json_time(record)
    method, target = _json_request(record)
    return Entry(at, whole_second, method, origin_form(target))


def _json_request(record: Mapping[str, object]) -> tuple[str, str]:
    request_line = record.get("request")
    places = [record, *(_nested(record, key) for key in NESTED_KEYS)]
    # Elastic Common Schema: http.request.method and url.original, as objects.
    places.append(_nested(_nested(record, "http"), "request"))
    method = _first_text(places, METHOD_KEYS)
    target = _first_text([*places, {"url": _nested(record, "url").get("original")}], PATH_KEYS)
    if method is None and target is None and isinstance(request_line, str):
        return _request_line(request_line)
    if method is None:
        raise LineError(f"no method: none of the keys {', '.join(METHOD_KEYS[:3])}, ...")
    if target is None:
        raise LineError(f"no path: none of the keys {', '.join(PATH_KEYS[:4])}, ...")
    return _method(method), target


def _nested(record: Mapping[str, object], key: str) -> Mapping[str, object]:
    inner = record.get(key)
    return inner if isinstance(inner, dict) else {}


def _first_text(places: list[Mapping[str, object]], keys: tuple[str, ...]) -> str | None:
    for place in places:
        for key in keys:
            value = place.get(key)
            if isinstance(value, str) and value:
                return value
    return None


def _json_time(record: Mapping[str, object]) -> tuple[Instant, bool]:
    for key in TIME_KEYS:
        value = record.get(key)
        if value is not None and value != "":
            return _time_of(key, value)
    raise LineError(f"no time: none of the keys {', '.join(TIME_KEYS)}")


def _time_of(key: str, value: object) -> tuple[Instant, bool]:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise LineError(f"{key} is not a time: {_shown(repr(value))}")
    if isinstance(value, int | float):
        return _epoch_time(key, value)
    try:
        # NGINX's $msec comes as a string.
        return _epoch_time(key, float(value) if "." in value else int(value))
    except ValueError:
        return _text_time(key, value)


def _epoch_time(key: str, value: int | float) -> tuple[Instant, bool]:
    """Seconds, milliseconds, microseconds or nanoseconds since the epoch, told apart by their
    size: read as the unit that puts the time between 1973 and 5138."""
    for unit in (SECOND, SECOND // 1_000, SECOND // 1_000_000, 1):
        if 10**8 <= value * unit / SECOND < 10**11:
            if isinstance(value, int):
                return value * unit, unit == SECOND
            # A double holds a time of today to a quarter of a microsecond.
            return round(value * unit / MICROSECOND) * MICROSECOND, False
    raise LineError(f"{key} is not a time since the epoch: {value}")


def _text_time(key: str, text: str) -> tuple[Instant, bool]:
    if re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}", text):
        return _common_time(text), True
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise LineError(f"{key} is not a time: {_shown(text)}") from error
    if moment.tzinfo is None:
        # Only differences matter; a log without a zone has one all through.
        moment = moment.replace(tzinfo=UTC)
    try:
        whole = timegm(moment.utctimetuple())
    except (OverflowError, ValueError) as error:
        raise LineError(f"{key} is not a time: {_shown(text)}") from error
    has_fraction = re.search(r"\d[.,]\d", text) is not None
    return whole * SECOND + moment.microsecond * 1_000, not has_fraction


@lru_cache(maxsize=1024)
def _common_time(text: str) -> Instant:
    """`10/Oct/2000:13:55:36 -0700`. Cached: neighbours in a log share their second."""
    month = MONTHS.get(text[3:6])
    if month is None:
        raise LineError(f"not a month: {text[3:6]}")
    try:
        # datetime checks the ranges; a leap second (60) is the next second.
        second = int(text[18:20])
        moment = datetime(
            int(text[7:11]), month, int(text[:2]), int(text[12:14]), int(text[15:17]),
            min(second, 59), tzinfo=UTC,
        )  # fmt: skip
    except ValueError as error:
        raise LineError(f"not a time: {text}: {error}") from error
    if second > 60:
        raise LineError(f"not a time: {text}")
    zone = int(text[22:24]) * 3600 + int(text[24:26]) * 60
    shift = -zone if text[21] == "+" else zone
    leap = 1 if second == 60 else 0
    return (timegm(moment.utctimetuple()) + leap + shift) * SECOND


def _shown(text: str) -> str:
    """User data as it may be printed: escaped and short."""
    shown = text if len(text) <= 60 else text[:57] + "..."
    return ascii(shown)
