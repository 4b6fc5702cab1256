"""`seakeep replay`: what it prints and how it exits."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from tests.runtime.journals import eventful
from typer.testing import CliRunner

from seakeep.cli.main import app
from seakeep.runtime.segments import frame, unframe

CHANGED = """\
system: toy
regions: {us-east: {zones: [a, b], nodes: {count: 2}}, eu-west: {zones: [a], nodes: {count: 2}}}
services:
  web: {run: serve, replicas: 9}
"""


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("journal")
    eventful(folder)
    return folder


def replayed(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["replay", *map(str, arguments)])


def forged(journal: Path, folder: Path) -> Path:
    shutil.copytree(journal, folder)
    segment = sorted(folder.glob("*.jsonl"))[0]
    lines = segment.read_bytes().splitlines(keepends=True)
    for index, line in enumerate(lines):
        tree = unframe(line)
        if tree is not None and tree["kind"] == "step" and tree["wake_at"]:
            tree["wake_at"] += 1
            lines[index] = frame(tree)
            break
    segment.write_bytes(b"".join(lines))
    return folder


def test_a_run_is_identical_under_every_hash_seed(journal: Path) -> None:
    done = replayed(journal, "--hash-seeds", 2)
    assert done.exit_code == 0, done.output
    first, *seeds = done.stdout.splitlines()
    assert first.startswith("identical: ")
    assert "in 2 runs" in first
    assert seeds == [
        "  under PYTHONHASHSEED=1: identical",
        "  under PYTHONHASHSEED=2: identical",
    ]


def test_the_document(journal: Path) -> None:
    tree = json.loads(replayed(journal, "--json").stdout)
    assert tree["identical"]
    assert tree["runs"] == 2
    assert tree["steps"] > 100
    assert (tree["skipped"], tree["gaps"], tree["difference"]) == (0, [], None)


def test_a_difference_is_shown(journal: Path, tmp_path: Path) -> None:
    folder = forged(journal, tmp_path / "forged")
    done = replayed(folder)
    assert done.exit_code == 1
    assert "wake_at" in done.stdout.splitlines()[0]
    assert len(done.stdout.splitlines()) == 3
    tree = json.loads(replayed(folder, "--json").stdout)
    assert not tree["identical"]
    assert tree["difference"]["place"] == "wake_at"


def test_a_changed_spec(journal: Path, tmp_path: Path) -> None:
    spec = tmp_path / "changed.yaml"
    spec.write_text(CHANGED)
    done = replayed(journal, "--spec", spec)
    assert done.exit_code == 1, done.output
    assert "changed.yaml decides otherwise in " in done.stdout
    assert "+ start: " in done.stdout
    assert "then: " in done.stdout
    assert "now: " in done.stdout
    assert "the world is the recorded one" in done.stderr
    tree = json.loads(replayed(journal, "--spec", spec, "--json").stdout)
    assert tree["different"]
    starts = [one for one in tree["changes"] if one["action"] == "start"]
    assert "added" in {one["change"] for one in starts}
    assert any(reason["text"] for one in starts for reason in one["changed"])


def test_bad_input(journal: Path, tmp_path: Path) -> None:
    nothing = replayed(tmp_path / "nowhere")
    assert nothing.exit_code == 2
    assert "does not exist" in nothing.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no journal" in replayed(empty).stderr
    (empty / "00000001.jsonl").write_bytes(b"no journal at all\n" * 20)
    done = replayed(empty)
    assert done.exit_code == 2
    assert "records are missing" in done.stderr
    assert "could be replayed" in done.stderr
    bad = tmp_path / "bad.yaml"
    bad.write_text("system: [\n")
    assert replayed(journal, "--spec", bad).exit_code == 2
    assert replayed(journal, "--spec", bad, "--hash-seeds", 1).exit_code == 2
