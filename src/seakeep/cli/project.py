"""The folder that a verb works on, and the options that verbs share."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from seakeep.cli import output
from seakeep.engines.local.layout import Layout, layout_for
from seakeep.model.units import UnitError

T = TypeVar("T")

Spec = Annotated[Path, typer.Option("--spec", "-f", help="The spec.")]
DEFAULT_SPEC = Path("seakeep.yaml")


def layout_of(spec: Path) -> Layout:
    """Where the system of a spec keeps its files. Ends the command when there is neither the
    spec nor anything that `up` has left beside it: then it is the wrong folder."""
    layout = layout_for(spec.resolve().parent)
    if not spec.exists() and not layout.state.exists():
        output.fail(
            f"{spec} does not exist",
            hint="go to the folder of the spec, name it with --spec, or begin with `seakeep init`",
        )
    return layout


def parsed(parse: Callable[[str], T], text: str, option: str) -> T:
    """An amount of an option; what cannot be read ends the command."""
    try:
        return parse(text)
    except UnitError as error:
        output.fail(f"{option}: {error}", hint=error.hint)
