"""What every verb says without a system: help, wrong words, wrong folders, readers that leave."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seakeep.cli.main import VERBS, app

MAIN = [sys.executable, "-m", "seakeep.cli.main"]
FAULTS = ("kill", "freeze", "slow", "lose-node", "lose-zone", "lose-region", "partition", "delay")
ROLLOUT = ("status", "pause", "resume", "undo")
GROUPS = {"inject": FAULTS, "rollout": ROLLOUT}
DEADLINE_S = 60


def seakeep(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MAIN, *arguments], cwd=folder, env={**os.environ, **variables},
        capture_output=True, text=True, timeout=DEADLINE_S,
    )  # fmt: skip


def helped(*arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("arguments", [(), ("inject",), ("rollout",)])
def test_summaries_are_not_cut_off_at_80_columns(arguments: tuple[str, ...]) -> None:
    commands = helped(*arguments).partition("Commands:\n")[2].splitlines()
    assert len(commands) == len(GROUPS[arguments[0]] if arguments else VERBS)
    for line in commands:
        assert line.endswith("."), line
        assert not line.endswith("..."), line
        assert len(line) <= 80, line


@pytest.mark.parametrize(
    "arguments", [*((verb,) for verb in VERBS if verb != "rollout"),
                  *((group, verb) for group, verbs in GROUPS.items() for verb in verbs)],
)  # fmt: skip
def test_every_verb_shows_an_example(arguments: tuple[str, ...]) -> None:
    assert f"seakeep {' '.join(arguments)}" in helped(*arguments).partition("Example")[2]


def test_a_verb_imports_only_what_it_needs() -> None:
    code = (
        "import sys; from seakeep.cli.main import app; from typer.testing import CliRunner; "
        "CliRunner().invoke(app, ['status', '--help']); "
        "print(sorted({'aiohttp', 'ruamel', 'seakeep.spec', 'seakeep.load'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr


def test_a_verb_that_is_not_there_gets_one_that_is_like_it(tmp_path: Path) -> None:
    done = seakeep(tmp_path, "statu")
    assert done.returncode == 2
    assert "Did you mean 'status'?" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("verb", ["status", "down", "logs", "explain", "load", "up", "check",
                                  "inject kill web"])  # fmt: skip
def test_a_folder_without_a_spec_is_a_wrong_folder(tmp_path: Path, verb: str) -> None:
    done = seakeep(tmp_path, *verb.split())
    assert done.returncode == 2
    assert done.stdout == ""
    assert "seakeep.yaml does not exist" in done.stderr
    assert "seakeep init" in done.stderr
    assert os.listdir(tmp_path) == []


SPEC = "system: s\nregions: {r: {zones: [a]}}\nservices: {w: {run: x, replicas: 1}}\n"


@pytest.mark.parametrize(
    ("verb", "code", "words"),
    [
        ("status", 1, "nothing is up here"),
        ("down", 0, "nothing was up"),
        ("logs", 1, "there are no logs yet"),
        ("explain", 1, "there is no journal"),
        ("load", 1, "no system is up"),
        ("inject kill w", 2, "no system is up here"),
    ],
)
def test_a_system_that_is_not_up(tmp_path: Path, verb: str, code: int, words: str) -> None:
    (tmp_path / "seakeep.yaml").write_text(SPEC)
    done = seakeep(tmp_path, *verb.split())
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert code == 0 or "hint: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        ("freeze w --for 30", "--for: '30' has no unit", "write 30s or 30ms"),
        ("freeze w --for 0", "--for: 0 is no time at all", "write 30s"),
        ("slow w --cpu 200%", "--cpu: 200% is not a share", "write 1% to 99%"),
        ("slow w --cpu 0%", "--cpu: 0% is not a share", "write 1% to 99%"),
        ("slow w --cpu x", "--cpu: 'x' is not a percentage", "write it as 20%"),
        ("slow w --cpu 0.2", "--cpu: '0.2' has no percent sign", "write 20%"),
        ("delay r~q --by x", "--by: 'x' is not a duration", "such as 300ms"),
        ("delay r~q --by 0", "--by: 0 adds nothing", "write 200ms"),
        ("lose-zone r", "r names a region, not a zone", "seakeep inject lose-region r"),
        ("lose-node r/a", "r/a names a zone, not a node", "seakeep inject lose-zone r/a"),
        ("lose-region r/a/0", "r/a/0 names a node, not a region", "inject lose-node r/a/0"),
    ],
)
def test_inject_says_what_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, error: str, hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("seakeep.yaml").write_text(SPEC)
    done = CliRunner().invoke(app, ["inject", *arguments.split()])
    assert done.exit_code == 2, done.output
    said, _, advice = done.stderr.partition("hint: ")
    assert error in said
    assert hint in advice


def test_warnings_are_told_once(tmp_path: Path) -> None:
    (tmp_path / "seakeep.yaml").write_text(SPEC.replace("run: x", "run: x, calls: {w: 1}"))
    for verb in ("check", "load"):
        assert seakeep(tmp_path, verb).stderr.count("call each other in a circle") == 1


def test_a_reader_that_leaves_gets_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*MAIN, "schema"], cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE,
            text=True, timeout=DEADLINE_S,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_state_that_cannot_be_kept_is_said_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "seakeep.yaml").write_text(SPEC)
    (tmp_path / ".seakeep").write_text("")
    for verb in ("up", "status", "down", "logs", "explain", "inject kill w"):
        done = seakeep(tmp_path, *verb.split())
        assert done.returncode in (1, 2), verb
        assert "error: " in done.stderr, verb
        assert "Traceback" not in done.stderr
        assert "a fault in Seakeep itself" not in done.stderr, verb
