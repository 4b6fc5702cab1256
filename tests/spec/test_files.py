"""Files and the limits on them: includes, size, depth, aliases, what is no text."""

import os
import time
from pathlib import Path

import pytest

from seakeep.spec import Severity, SpecError, load
from seakeep.spec.files import BYTES_MAX
from tests.spec.writing import MINIMAL, problems_of, transcript, written

DEADLINE_S = 30.0
"""Generous: each of these takes milliseconds, or minutes when a limit does not hold."""


def failing(path: Path) -> str:
    """What a bad file is told, within the deadline."""
    began = time.monotonic()
    with pytest.raises(SpecError) as error:
        load(path)
    assert time.monotonic() - began < DEADLINE_S
    assert error.value.problems
    return error.value.problems[0].message


# --- includes ---------------------------------------------------------------


def test_includes_join_sections_by_name(tmp_path: Path) -> None:
    root = written(
        tmp_path,
        "system: s\ninclude: [services/*.yaml, places.yaml]\n"
        "objectives: [{service: web, availability: 99%}]\n",
    )
    written(tmp_path, "services: {web: {run: x, calls: {api: 1}}}\n", "services/web.yaml")
    written(
        tmp_path,
        "services: {api: {run: y}}\nobjectives: [{service: api, availability: 98%}]\n",
        "services/api.yaml",
    )
    written(tmp_path, "include: more/network.yaml\nregions: {a: {zones: [x]}}\n", "places.yaml")
    written(tmp_path, "network: {a~b: 3ms}\nregions: {b: {zones: [x]}}\n", "more/network.yaml")
    loaded = load(root)
    assert [str(file.relative_to(tmp_path)) for file in loaded.files] == [
        "seakeep.yaml",
        "services/api.yaml",
        "services/web.yaml",
        "places.yaml",
        "more/network.yaml",
    ]
    assert list(loaded.system.services) == ["api", "web"]
    assert list(loaded.system.regions) == ["a", "b"]
    assert [objective.target for objective in loaded.system.objectives] == [0.99, 0.98]


def test_a_file_that_two_include_is_read_once(tmp_path: Path) -> None:
    root = written(tmp_path, MINIMAL + "include: [a.yaml, b.yaml]\n")
    written(tmp_path, "include: c.yaml\n", "a.yaml")
    written(tmp_path, "include: ./c.yaml\n", "b.yaml")
    written(tmp_path, "services: {c: {run: x}}\n", "c.yaml")
    assert list(load(root).system.services) == ["web", "c"]


def test_problems_name_the_file_and_both_places(tmp_path: Path) -> None:
    root = written(tmp_path, MINIMAL + "include: [more.yaml, gone.yaml, none/*.yaml, 3]\n")
    written(
        tmp_path,
        "system: other\nservices:\n  web: {run: y}\n  api: {run: z, calls: {wob: 1}, typo: 1}\n",
        "more.yaml",
    )
    told = transcript(problems_of(root), tmp_path)
    assert told == (
        "more.yaml:1:1: error: 'system' is already defined at seakeep.yaml:1\n"
        "  hint: remove one of the two, or give it another name\n"
        "more.yaml:3:3: error: 'web' is already defined at seakeep.yaml:5\n"
        "  hint: remove one of the two, or give it another name\n"
        "more.yaml:4:25: error: services.api.calls.wob: there is no service 'wob'\n"
        "  hint: did you mean web?\n"
        "more.yaml:4:34: error: services.api: unknown key 'typo'\n"
        "  hint: known here: run, image, port, protocol, env, resources, replicas, spread, scale, "
        "probes, routes, balance, timeout, retries, limit, shed, breaker, calls, work, rollout, "
        "drain, stop_grace, proxy_protocol\n"
        "seakeep.yaml:6:22: error: gone.yaml does not exist\n"
        "  hint: paths are relative to the file that includes; mend the path\n"
        "seakeep.yaml:6:33: warning: 'none/*.yaml' matches no file\n"
        "  hint: patterns are relative to this file; mend it, or remove it\n"
        "seakeep.yaml:6:46: error: 3 does not exist\n"
        "  hint: paths are relative to the file that includes; mend the path\n"
    )


def test_files_that_include_each_other(tmp_path: Path) -> None:
    root = written(tmp_path, MINIMAL + "include: a.yaml\n")
    written(tmp_path, "include: sub/b.yaml\n", "a.yaml")
    written(tmp_path, "include: ../seakeep.yaml\n", "sub/b.yaml")
    (problem,) = problems_of(root)
    assert problem.message == (
        "files include each other: seakeep.yaml → a.yaml → b.yaml → seakeep.yaml"
    )
    assert problem.file.name == "b.yaml"


def test_a_pattern_may_match_the_file_itself(tmp_path: Path) -> None:
    root = written(tmp_path, MINIMAL + "include: '*.yaml'\n")
    written(tmp_path, "services: {api: {run: x}}\n", "api.yaml")
    assert list(load(root).system.services) == ["web", "api"]


def test_anchors_stay_in_their_file(tmp_path: Path) -> None:
    root = written(tmp_path, "x-a: &a {run: x}\ninclude: more.yaml\n" + MINIMAL)
    written(tmp_path, "services: {api: *a}\n", "more.yaml")
    (problem,) = problems_of(root)
    assert (problem.file.name, problem.line) == ("more.yaml", 1)
    assert "alias *a has no anchor" in problem.message


def test_includes_share_the_limit_on_size(tmp_path: Path) -> None:
    root = written(tmp_path, MINIMAL + "include: big/*.yaml\n")
    for index in range(3):
        written(tmp_path, "# " + "x" * (BYTES_MAX // 3), f"big/{index}.yaml")
    assert "5 MiB in all" in failing(root)


# --- what is no spec --------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"# nothing\n", "the file is empty"),
        (b"[a, b]", "must be a mapping of sections"),
        (b"just text", "must be a mapping of sections"),
        (b"\x00\x01\x02", "character U+0000 is not allowed"),
        (b"a: \x1b[31m", "character U+001B is not allowed"),
        ("system: é".encode("latin-1"), "byte 0xE9 is not UTF-8"),
        ("system: x".encode("utf-16"), "is not UTF-8"),
        (b"\x7fELF\x02\x01\x01\x00" + bytes(range(256)) * 400, "is not"),
        (b"a: 1\n---\nb: 2\n", "a second document begins here"),
        (b"a: &a [*a]\n", "alias *a has no anchor before it"),
        (b"[" * 100_000, "nested deeper than"),
        (b"{a: " * 100_000, "nested deeper than"),
        (b"- " * 100_000, "nested deeper than"),
        (b"\n".join(b" " * i + b"a:" for i in range(1500)), "nested deeper than"),
        (b"a: [" + b"x," * 1_000_000 + b"]", "grows beyond 200,000 values"),
        (b"%TAG !a! tag:x,2002:\n" * 100_000 + b"---\na: 1", "begin with %"),
        (b"a: '" + b"x\n" * 100_000, "unexpected end of stream"),
    ],
)
def test_junk_is_refused_at_once(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "seakeep.yaml"
    path.write_bytes(content)
    assert message in failing(path)


def test_aliases_that_multiply(tmp_path: Path) -> None:
    lines = ["a0: &a0 [lol, lol, lol]"]
    for level in range(1, 30):
        again = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{again}]")
    assert "grows beyond" in failing(written(tmp_path, "\n".join(lines)))


def test_merge_keys_that_multiply(tmp_path: Path) -> None:
    lines = ["x-0: &a0 {k: 1}"]
    for level in range(1, 30):
        again = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"x-{level}: &a{level} {{k{level}: 1, <<: [{again}]}}")
    assert "grows beyond" in failing(written(tmp_path, "\n".join(lines)))


def test_aliases_count_in_all_files_together(tmp_path: Path) -> None:
    lines = ["x-0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    for level in range(1, 4):
        again = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"x-{level}: &a{level} [{again}]")
    root = written(tmp_path, MINIMAL + "include: many/*.yaml\n")
    for index in range(30):
        written(tmp_path, "\n".join(lines), f"many/{index}.yaml")
    assert "grows beyond" in failing(root)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "seakeep.yaml"
    with path.open("wb") as file:
        file.truncate(100 * 2**20)
    assert "has 104,857,600 bytes; a spec may have 5 MiB in all" in failing(path)


def test_thousands_of_errors_end_soon(tmp_path: Path) -> None:
    path = written(tmp_path, "".join(f"key{i}: 1\n" for i in range(20_000)))
    began = time.monotonic()
    problems = problems_of(path)
    assert time.monotonic() - began < DEADLINE_S
    assert 1000 <= len(problems) <= 1001
    assert any("more errors in this file" in problem.message for problem in problems)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    assert "is a folder" in failing(tmp_path)
    assert "gone.yaml does not exist" in failing(tmp_path / "gone.yaml")
    assert "not a regular file" in failing(Path(os.devnull))
    assert "cannot be read" in failing(Path("a\0b"))
    os.mkfifo(tmp_path / "fifo")
    assert "not a regular file" in failing(tmp_path / "fifo")
    folder = written(tmp_path, MINIMAL + "include: ..\n")
    assert "is a folder" in failing(folder)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "cannot be read" in failing(tmp_path / "loop")


def test_a_byte_order_mark_and_other_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "seakeep.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert load(path).system.name == "hello"
    path.write_bytes(MINIMAL.replace("\n", "\r").encode() + b"typo: 1\r")
    (problem,) = problems_of(path)
    assert (problem.line, problem.column, problem.severity) == (6, 1, Severity.ERROR)


def test_columns_count_characters_not_bytes(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL + 'x-ü: {ä: "ö"}\nedge: {"port": "ü", 端口: 1}\n')
    columns = [(p.line, p.column) for p in problems_of(path)]
    assert columns == [(7, 16), (7, 21)]


def test_a_spec_of_5000_lines_loads_soon(tmp_path: Path) -> None:
    services = "".join(
        f"  s{i}:\n    run: python -m shop.s{i}\n    port: 8080\n"
        "    replicas: {min: 4, max: 40}\n"
        "    resources: {cpu: 250m, memory: 128Mi}\n    probes:\n"
        "      readiness: {http: /ready, every: 1s}\n      liveness: {http: /healthz}\n"
        f"    routes: [{{host: s{i}.example}}]\n    timeout: 1s\n"
        for i in range(500)
    )
    path = written(tmp_path, "system: big\nregions: {r: {zones: [a]}}\nservices:\n" + services)
    began = time.monotonic()
    system = load(path).system
    assert time.monotonic() - began < 10.0
    assert len(system.services) == 500
