"""Help for tests of the spec: files on disk, and problems as short lines."""

from pathlib import Path

from seakeep.spec import Problem, SpecError, load

MINIMAL = """\
system: hello
regions:
  home: {zones: [a, b]}
services:
  web: {run: python app.py, routes: [{path: /}]}
"""


def written(folder: Path, text: str, name: str = "seakeep.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(path: Path) -> tuple[Problem, ...]:
    """Errors and warnings of a spec, whether it loads or not."""
    try:
        return load(path).warnings
    except SpecError as error:
        return error.problems


def transcript(problems: tuple[Problem, ...], folder: Path) -> str:
    """The problems as `check` tells them, without source lines; paths below `folder`."""
    lines = []
    for problem in problems:
        lines.append(str(problem))
        if problem.hint:
            lines.append(f"  hint: {problem.hint}")
    return "\n".join(lines).replace(f"{folder}/", "") + "\n"
