"""The rules about who may import what are enforced: each kind of breach is found."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"
CORE = ("model", "observe", "decide", "act")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package and its contracts, apart from the repository."""
    folder = tmp_path_factory.mktemp("contracts")
    shutil.copytree(
        ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )
    shutil.copy(ROOT / ".importlinter", folder)
    return folder


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "src"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_contracts_hold(copy: Path) -> None:
    result = lint_imports(copy)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(
    ("module", "code", "told"),
    [
        ("decide/breach.py", "import time", "seakeep.decide.breach -> time"),
        ("observe/breach.py", "def f():\n    import random", "seakeep.observe.breach -> random"),
        ("act/breach.py", "from datetime import datetime", "seakeep.act.breach -> datetime"),
        ("model/breach.py", "from pathlib import Path", "seakeep.model.breach -> pathlib"),
        ("decide/breach.py", "import logging", "seakeep.decide.breach -> logging"),
        ("decide/breach.py", "import seakeep.observe", "decide is not allowed to import"),
        ("spec/breach.py", "import seakeep.load", "spec is not allowed to import"),
        ("act/breach.py", "import seakeep.engines.local", "act is not allowed to import"),
        ("model/breach.py", "import seakeep.decide", "model is not allowed to import"),
        ("runtime/breach.py", "import seakeep.cli", "runtime is not allowed to import"),
        ("unplaced/__init__.py", "", "unplaced"),
    ],
)
def test_a_breach_is_found(copy: Path, module: str, code: str, told: str) -> None:
    path = copy / "src" / "seakeep" / module
    fresh_folder = not path.parent.exists()
    path.parent.mkdir(exist_ok=True)
    path.write_text(code + "\n")
    try:
        result = lint_imports(copy)
    finally:
        path.unlink()
        if fresh_folder:
            path.parent.rmdir()
    assert result.returncode == 1, result.stdout + result.stderr
    assert told in result.stdout


@pytest.mark.parametrize(
    ("path", "code", "banned"),
    [
        ("src/seakeep/decide/x.py", "import time\n\nNOW = time.time()\n", True),
        ("src/seakeep/spec/x.py", "from random import random\n\nDRAWN = random()\n", True),
        ("src/seakeep/explain/x.py", "from uuid import uuid4\n\nID = uuid4()\n", True),
        (
            "src/seakeep/explain/x.py",
            "from datetime import datetime\n\nNOW = datetime.now()\n",
            True,
        ),
        ("src/seakeep/engines/local/x.py", "import time\n\nNOW = time.time()\n", False),
        ("src/seakeep/runtime/x.py", "import time\n\nNOW = time.time()\n", False),
    ],
)
def test_clocks_and_dice_are_banned_away_from_the_edges(path: str, code: str, banned: bool) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--stdin-filename", path, "-"],
        cwd=ROOT,
        input=code,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ("TID251" in result.stdout) == banned, result.stdout + result.stderr


IMPURE = {"open", "print", "input", "hash", "id", "exec", "eval", "breakpoint", "__import__"}
"""Built-ins that do I/O, or whose answer differs from one process to the next."""


def impure_calls(code: str) -> list[str]:
    return [
        f"{node.func.id}() in line {node.lineno}"
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE
    ]


@pytest.mark.parametrize("package", CORE)
def test_the_core_calls_no_impure_builtin(package: str) -> None:
    for path in sorted((ROOT / "src" / "seakeep" / package).rglob("*.py")):
        assert impure_calls(path.read_text()) == [], path


def test_an_impure_builtin_would_be_found() -> None:
    assert impure_calls("def f(x):\n    return hash(x) % 7\n") == ["hash() in line 2"]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def f():\n" + "    x = 1\n" * 70, "function f of 71 lines"),
        ("x = 1\n" * 501, "file of 501 lines"),
        ("def f():\n" + "    x = 1\n" * 69, ""),
    ],
)
def test_sizes_are_limited(tmp_path: Path, code: str, told: str) -> None:
    (tmp_path / "long.py").write_text(code)
    result = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "check_sizes.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == (1 if told else 0)
    assert told in result.stdout
