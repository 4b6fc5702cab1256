"""`seakeep init`: a system to begin with."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from seakeep.cli import output
from seakeep.spec import json_schema

SCHEMA_FILE = "seakeep.schema.json"
STARTER_FILES = ("seakeep.yaml", "app.py")


def init(
    folder: Annotated[Path, typer.Argument(help="Where; made when it is not there.")] = Path("."),
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Write a starter: a commented spec and a small service.

    It runs as it is. Writes seakeep.yaml, app.py and seakeep.schema.json, which editors read
    for completion.

    Examples:

      seakeep init

      seakeep init my-system

      seakeep init --force
    """
    contents = starter()
    present = [name for name in contents if (folder / name).exists()]
    if present and not force:
        output.fail(
            f"{', '.join(present)} already in {folder}",
            hint="name another folder, or overwrite with --force",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        output.fail(
            f"cannot write to {folder}: {error.strerror}", hint="name another folder", code=1
        )
    for name in contents:
        output.data(str(folder / name))
    output.note(_next_steps(folder))


def starter() -> dict[str, str]:
    """The files of the starter by name."""
    source = files("seakeep.cli") / "starter"
    texts = {name: (source / name).read_text(encoding="utf-8") for name in STARTER_FILES}
    schema = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    return {**texts, SCHEMA_FILE: schema}


def _next_steps(folder: Path) -> str:
    enter = "" if folder == Path(".") else f"  cd {folder}\n"
    return (
        f"\nNext:\n{enter}"
        "  seakeep up        start the system and keep it\n"
        "  seakeep status    see what runs where\n"
        "  seakeep load      send it traffic\n"
        "  seakeep down      end it"
    )
