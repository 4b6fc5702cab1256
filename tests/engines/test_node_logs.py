"""Rotation of logs that somebody has open."""

import os
from pathlib import Path

from seakeep.engines.local.node.logs import rotate


def test_keeps_what_it_should_while_the_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "web-1.log"
    writer = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        for number in range(6):
            os.write(writer, f"{number}".encode() * 100)
            assert rotate(log, bytes_max=100, kept=3)
            assert log.stat().st_size == 0
    finally:
        os.close(writer)
    kept = {path.name: path.read_text()[0] for path in tmp_path.glob("web-1.log.*")}
    assert kept == {"web-1.log.1": "5", "web-1.log.2": "4", "web-1.log.3": "3"}


def test_short_and_missing_logs_are_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "web-1.log"
    assert not rotate(log)
    log.write_text("short")
    assert not rotate(log)
    assert log.read_text() == "short"
