"""What is in the repository is fit to be cloned by anyone, anywhere."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GENERATED = {"docs/reference/cli.md", "docs/reference/spec.md", "docs/reference/reasons.md"}
"""Written by scripts/reference.py when the docs are built."""


def tracked() -> list[Path]:
    """The files of the repository; all files when this is not a git checkout."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode == 0:
        return [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    skipped = {".venv", ".git", "site", "build", "dist", "__pycache__"}
    return [
        path
        for path in sorted(ROOT.rglob("*"))
        if path.is_file() and skipped.isdisjoint(path.relative_to(ROOT).parts)
    ]


def texts() -> list[tuple[str, str]]:
    found = []
    for path in tracked():
        if path.is_file() and b"\0" not in (data := path.read_bytes()):
            found.append((path.relative_to(ROOT).as_posix(), data.decode("utf-8")))
    return found


def requirements(lock: str) -> list[tuple[str, list[str]]]:
    """(requirement, hashes) of every entry of a lock file."""
    entries = []
    for entry in lock.replace("\\\n", " ").splitlines():
        words = entry.split("--hash=")
        if words[0].strip() and not words[0].startswith("#"):
            entries.append((words[0].strip(), [word.strip() for word in words[1:]]))
    return entries


def test_every_requirement_is_pinned_by_hash() -> None:
    entries = requirements((ROOT / "requirements.lock").read_text())
    assert len(entries) > 40
    for requirement, hashes in entries:
        assert re.match(r"[a-z0-9-]+==[0-9][^ ]*( ;|$)", requirement), requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes), requirement


def test_the_lock_covers_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = {
        line.split("==")[0] for line, _ in requirements((ROOT / "requirements.lock").read_text())
    }
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[^A-Za-z0-9._-]", line)[0].lower().replace(".", "-") for line in wanted}
    assert names <= locked


def test_no_registry_is_named() -> None:
    registry = re.compile(r"(pypi\.org|pythonhosted\.org|index-url|trusted-host)")
    for name in ("requirements.lock", "pyproject.toml", "Makefile", ".ci/run"):
        text = (ROOT / name).read_text().replace("--no-emit-index-url", "")
        assert not registry.search(text), name
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_no_path_of_one_machine() -> None:
    home = re.compile(r"(?<![\w.-])/(root|home|Users|work)/\w")
    allowed = Path(__file__).relative_to(ROOT).as_posix()
    for name, text in texts():
        if name != allowed:
            assert not (match := home.search(text)), f"{name}: {match and match.group()}"


def test_scripts_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    for name, text in texts():
        assert "\r" not in text, name


LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


def pages() -> list[str]:
    return [name for name, _ in texts() if name.endswith(".md")]


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return {title.strip().replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    for match in LINK.finditer(text):
        target, _, anchor = (match[1] or match[2]).partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        path = (ROOT / page).parent / target if target else ROOT / page
        name = Path(os.path.normpath(path)).relative_to(ROOT).as_posix()
        if name in GENERATED:
            continue
        assert path.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(path.read_text()), f"{page}: #{anchor}"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in pages():
        if page.startswith("docs/"):
            assert page.removeprefix("docs/") in navigation, page


# --- make ----------------------------------------------------------------------------------


def make_venv(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(ROOT / "scripts" / "make_venv.sh"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_setup_makes_a_venv_in_a_path_with_spaces_and_keeps_it(tmp_path: Path) -> None:
    folder = tmp_path / "a folder with spaces"
    folder.mkdir()
    first = make_venv(folder, sys.executable)
    assert first.returncode == 0, first.stderr
    assert (folder / ".venv" / "bin" / "pip").exists()
    marker = folder / ".venv" / "marker"
    marker.touch()
    assert make_venv(folder, sys.executable).returncode == 0
    assert marker.exists()


def test_setup_replaces_a_venv_that_does_not_work(tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(tmp_path / "gone")
    assert make_venv(tmp_path, sys.executable).returncode == 0
    assert (tmp_path / ".venv" / "bin" / "pip").exists()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("exit 127", "no Python 3.11 or newer found"),
        ('case "$2" in *print*) echo 3.8;; *) exit 1;; esac', "is 3.8"),
        (
            'case "$2" in *print*) echo 3.12;; *ensurepip*) exit 1;; *) exit 0;; esac',
            "apt install python3.12-venv",
        ),
    ],
)
def test_setup_says_what_is_missing(tmp_path: Path, script: str, told: str) -> None:
    python = tmp_path / "python3"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    result = make_venv(tmp_path, str(python))
    assert result.returncode == 1
    assert told in result.stderr
    assert "hint: " in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_help_names_every_target() -> None:
    result = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0
    for target in ("setup", "demo", "test", "bench", "lint", "docs", "lock", "clean"):
        assert f"make {target} " in result.stdout
