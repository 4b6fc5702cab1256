"""What versions answered, from Envoy's counters and its access log."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from seakeep.engines.local.envoy.versions import LOG_BYTES_MAX, HostCount, VersionMeter
from seakeep.model.histogram import percentile
from seakeep.model.time import MILLISECOND

VERSIONS = {"127.1.1.1:80": ("web", "w1"), "127.1.1.2:80": ("web", "w2")}


def line(upstream: str, ms: int) -> str:
    return json.dumps({"upstream": upstream, "duration_ms": ms, "status": 200}) + "\n"


def host(n: int, requests: int, failures: int = 0, cluster: str = "web") -> HostCount:
    return HostCount(cluster, f"127.1.1.{n}:80", requests, failures)


def test_it_counts_from_when_it_begins_and_over_all_clusters(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(line("127.1.1.1:80", 900))
    meter = VersionMeter("east", log)
    first = meter.take([host(1, 500, 9)], VERSIONS)
    assert [(one.revision, one.requests) for one in first] == [("w1", 0)]
    with log.open("a") as file:
        file.write(line("127.1.1.1:80", 10) * 10 + line("127.1.1.2:80", 50) * 10)
        file.write(line("127.9.9.9:80", 10) + "not json\n" + line("127.1.1.2:80", 50)[:20])
    second = meter.take([host(1, 510, 9), host(2, 7, 2), host(2, 3, 1, "web.local")], VERSIONS)
    assert [(one.revision, one.requests, one.failures) for one in second] == [
        ("w1", 10, 0),
        ("w2", 10, 3),
    ]
    assert [sum(one.latency) for one in second] == [10, 10]
    slow = percentile(second[1].latency, 0.5)
    assert slow is not None
    assert 30 * MILLISECOND < slow <= 50 * MILLISECOND


def test_an_address_that_another_instance_takes_over_counts_anew(tmp_path: Path) -> None:
    meter = VersionMeter("east", tmp_path / "none.log")
    meter.take([host(1, 100)], VERSIONS)
    meter.take([host(1, 150)], VERSIONS)
    third = meter.take([host(1, 4, 1)], VERSIONS)
    assert [(one.requests, one.failures) for one in third] == [(54, 1)]


def test_of_a_flood_the_latest_part_is_read(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text("")
    meter = VersionMeter("east", log)
    meter.take([host(1, 0)], VERSIONS)
    one = line("127.1.1.1:80", 10)
    log.write_text(one * (3 * LOG_BYTES_MAX // len(one)))
    found = meter.take([host(1, 9)], VERSIONS)
    assert abs(sum(found[0].latency) - LOG_BYTES_MAX // len(one)) <= 1


@given(st.lists(st.binary(max_size=80), max_size=6))
def test_no_log_however_damaged_breaks_it(lines: list[bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "access.log"
        log.write_bytes(b"")
        meter = VersionMeter("east", log)
        meter.take([], VERSIONS)
        log.write_bytes(b"\n".join(lines) + b"\n")
        assert meter.take([], VERSIONS) == ()
