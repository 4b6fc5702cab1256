"""The reference pages name everything that they should."""

import subprocess
import sys
from pathlib import Path

import pytest

from seakeep.decide.reasons import REASONS
from seakeep.spec import json_schema

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("reference")
    subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "reference.py"), str(folder)],
        cwd=ROOT,
        check=True,
        timeout=120,
    )
    return {path.stem: path.read_text() for path in folder.iterdir()}


def test_every_command_is_there(pages: dict[str, str]) -> None:
    verbs = ["init", "check", "schema", "up", "down", "status", "logs", "load", "inject"]
    faults = ["kill", "freeze", "slow", "lose-zone", "lose-region", "partition", "delay"]
    for path in [*verbs, *(f"inject {fault}" for fault in faults)]:
        assert f"\n## seakeep {path}\n" in pages["cli"]


def test_every_reason_is_there(pages: dict[str, str]) -> None:
    assert REASONS
    for code in REASONS:
        assert f"| `{code}` |" in pages["reasons"]


def test_every_section_is_there(pages: dict[str, str]) -> None:
    for section in json_schema()["properties"]:
        assert f"| `{section}` |" in pages["spec"]
    for part in ("Region", "Service", "Probe", "Objective", "Scenario"):
        assert f"\n## {part}\n" in pages["spec"]
