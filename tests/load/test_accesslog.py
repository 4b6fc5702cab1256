import json
import time
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seakeep.load.accesslog import LINE_BYTES_MAX, LineError, parse_line
from seakeep.model.time import SECOND

AT = 971_211_336 * SECOND  # 10/Oct/2000:13:55:36 -0700
WHEN = "[10/Oct/2000:13:55:36 -0700]"
TAIL = '200 2326 "http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)"'

GOOD = {
    "common": (f'127.0.0.1 - frank {WHEN} "GET /a.gif HTTP/1.0" 200 2326', AT, "GET", "/a.gif"),
    "combined": (f'127.0.0.1 - - {WHEN} "GET /a?b=1&c HTTP/1.1" {TAIL}', AT, "GET", "/a?b=1&c"),
    "ipv6": (f'::1 - - {WHEN} "HEAD / HTTP/1.1" 200 -', AT, "HEAD", "/"),
    "virtual host first": (f'shop:80 10.0.0.1 - - {WHEN} "GET / HTTP/1.1" {TAIL}', AT, "GET", "/"),
    "user with spaces": (f'h - a b [c {WHEN} "GET / HTTP/1.1" 200 1', AT, "GET", "/"),
    "more fields": (f'h - - {WHEN} "GET / HTTP/1.1" 200 1 "-" "-" 0.003 up=x', AT, "GET", "/"),
    "HTTP/0.9": (f'h - - {WHEN} "GET /old" 200 1', AT, "GET", "/old"),
    "proxy request": (f'h - - {WHEN} "GET http://x:8/p?q HTTP/1.1" 200 1', AT, "GET", "/p?q"),
    "bare host": (f'h - - {WHEN} "GET http://x HTTP/1.1" 200 1', AT, "GET", "/"),
    "escaped quote": (f'h - - {WHEN} "GET /\\"a\\" HTTP/1.1" 200 1', AT, "GET", '/"a"'),
    "escaped bytes": (f'h - - {WHEN} "GET /\\xC3\\xA9 HTTP/1.1" 200 1', AT, "GET", "/%C3%A9"),
    "raw UTF-8": (f'h - - {WHEN} "GET /é HTTP/1.1" 200 1', AT, "GET", "/%C3%A9"),
    "leap second": (
        'h - - [31/Dec/2016:23:59:60 +0000] "GET / HTTP/1.1" 200 1',
        1_483_228_800 * SECOND, "GET", "/",
    ),
    "Envoy": (
        '{"time":"2024-05-01T10:00:00.123Z","method":"GET","path":"/x","status":200}',
        1_714_557_600_123_000_000, "GET", "/x",
    ),
    "Envoy defaults": (
        '{"start_time":"2024-05-01T10:00:00.5Z","method":"GET","path":"/x","response_code":200}',
        1_714_557_600_500_000_000, "GET", "/x",
    ),
    "NGINX": (
        '{"time_iso8601":"2024-05-01T12:00:00+02:00","request_method":"GET","request_uri":"/?a"}',
        1_714_557_600 * SECOND, "GET", "/?a",
    ),
    "NGINX msec": (
        '{"msec":"1714557600.250","request":"GET /m HTTP/1.1"}',
        1_714_557_600_250_000_000, "GET", "/m",
    ),
    "Caddy": (
        '{"ts":1714557600.5,"request":{"method":"GET","uri":"/c","host":"x"},"status":200}',
        1_714_557_600_500_000_000, "GET", "/c",
    ),
    "Traefik": (
        '{"StartUTC":"2024-05-01T10:00:00Z","RequestMethod":"GET","RequestPath":"/t"}',
        1_714_557_600 * SECOND, "GET", "/t",
    ),
    "Elastic": (
        '{"@timestamp":"2024-05-01T10:00:00Z","http":{"request":{"method":"GET"}},'
        '"url":{"original":"/e?x"}}',
        1_714_557_600 * SECOND, "GET", "/e?x",
    ),
    "Google Cloud": (
        '{"timestamp":"2024-05-01T10:00:00Z","httpRequest":'
        '{"requestMethod":"GET","requestUrl":"https://x.example/g?1"}}',
        1_714_557_600 * SECOND, "GET", "/g?1",
    ),
    "milliseconds": ('{"time":1714557600123,"method":"GET","url":"/"}', 1_714_557_600_123 * 10**6,
        "GET", "/"),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_understood(name):
    line, at, method, path = GOOD[name]
    entry = parse_line(line + "\n")
    assert (entry.at, entry.method, entry.path) == (at, method, path)


BAD = {
    "empty": ("", "empty"),
    "prose": ("server started", "neither"),
    "no request": (f'h - - {WHEN} "-" 408 0', "request line"),
    "binary": (f'h - - {WHEN} "\\x16\\x03\\x01" 400 0', "request line"),
    "bad month": ('h - - [10/Oxt/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 1', "month"),
    "bad day": ('h - - [32/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 1', "time"),
    "space in target": (f'h - - {WHEN} "GET /a b HTTP/1.1" 200 1', "request line"),
    "line break": (f'h - - {WHEN} "GET /a\\r\\nX-Evil:1 HTTP/1.1" 200 1', "control"),
    "escaped space": (f'h - - {WHEN} "GET /a\\x20b HTTP/1.1" 200 1', "request line"),
    "nul": (f'h - - {WHEN} "GET /\\x00 HTTP/1.1" 200 1', "control"),
    "fragment": (f'h - - {WHEN} "GET /a#b HTTP/1.1" 200 1', "fragment"),
    "no path": (f'h - - {WHEN} "OPTIONS * HTTP/1.1" 200 1', "not a path"),
    "lower case": (f'h - - {WHEN} "get / HTTP/1.1" 200 1', "method"),
    "unclosed": (f'h - - {WHEN} "GET / HTTP/1.1', "neither"),
    "not JSON": ('{"time":', "not JSON"),
    "no keys": ("{}", "no time"),
    "no method": ('{"time":"2024-05-01T10:00:00Z","path":"/"}', "no method"),
    "no path key": ('{"time":"2024-05-01T10:00:00Z","method":"GET"}', "no path"),
    "JSON line break": ('{"ts":1714557600,"method":"GET","path":"/\\r\\nx"}', "control"),
    "boolean time": ('{"ts":true,"method":"GET","path":"/"}', "not a time"),
    "tiny time": ('{"ts":12,"method":"GET","path":"/"}', "not a time"),
    "word time": ('{"ts":"yesterday","method":"GET","path":"/"}', "not a time"),
    "year one": ('{"ts":"0001-01-01T00:00:00+23:00","method":"GET","path":"/"}', "not a time"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused_with_the_reason(name):
    line, why = BAD[name]
    with pytest.raises(LineError, match=why) as caught:
        parse_line(line)
    assert str(caught.value).isprintable()


def is_on_the_wire(path):
    return path.startswith("/") and all(0x20 < ord(c) < 0x7F for c in path) and "#" not in path


def nginx_escaped(raw):
    target = "".join(rf"\x{byte:02X}" for byte in raw)
    return f'h - - {WHEN} "GET /{target} HTTP/1.1" 200 1'


ANYTHING = st.one_of(
    st.text(),
    st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    st.text().map(lambda request: f'h - - {WHEN} "{request}" 200 1'),
    st.text().map(lambda target: f'h - - {WHEN} "GET /{target} HTTP/1.1" 200 1'),
    st.binary().map(nginx_escaped),
    st.dictionaries(
        st.sampled_from(["time", "ts", "method", "path", "url", "request", "http", "msec"]),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
            lambda inner: st.dictionaries(
                st.sampled_from(["method", "uri", "request", "original"]), inner
            ),
        ),
    ).map(json.dumps),
    st.tuples(st.text(), st.text()).map(
        lambda pair: json.dumps({"ts": 1714557600, "method": pair[0], "path": "/" + pair[1]})
    ),
)


@settings(max_examples=500)
@given(ANYTHING)
@example("{" * 60_000)
@example('{"ts":' + "9" * 5_000 + "}")
@example('{"ts":1e999,"method":"GET","path":"/"}')
@example('{"ts":"' + "9" * 5_000 + '","method":"GET","path":"/"}')
@example('{"ts":1714557600,"method":"GET","path":"/\\ud800"}')
def test_any_line_is_a_safe_request_or_refused(line):
    try:
        entry = parse_line(line)
    except LineError:
        return
    assert is_on_the_wire(entry.path)
    assert entry.method.isascii()
    assert entry.method.isupper()
    assert isinstance(entry.at, int)


SAFE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='#"\\'))
MOMENTS = st.datetimes(
    min_value=datetime(1980, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)
)


@given(MOMENTS, st.sampled_from(["GET", "HEAD", "POST", "PATCH"]), SAFE)
def test_what_was_written_is_what_is_read(moment, method, rest):
    at = round(moment.timestamp()) if moment.microsecond == 0 else int(moment.timestamp())
    line = f'h - - [{moment:%d/%b/%Y:%H:%M:%S +0000}] "{method} /{rest} HTTP/1.1" 200 1 "-" "-"'
    entry = parse_line(line)
    assert entry == (at * SECOND, True, method, "/" + rest)
    record = {"time": moment.isoformat(), "method": method, "path": "/" + rest}
    entry = parse_line(json.dumps(record))
    assert (entry.method, entry.path) == (method, "/" + rest)
    assert entry.at == at * SECOND + moment.microsecond * 1_000


@pytest.mark.parametrize(
    "unit",
    ["[10/Oct/2000:13:55:36 -0700] ", '"GET /', "\\", '\\"', "[[", " ", f'{WHEN} "', "a", '"'],
)
def test_hostile_lines_cost_time_in_proportion_to_their_length(unit):
    line = "h - - " + unit * (LINE_BYTES_MAX // len(unit))
    began = time.process_time()
    with pytest.raises(LineError):
        parse_line(line)
    assert time.process_time() - began < 2
