"""`seakeep down`: end the system."""

from pathlib import Path
from typing import Annotated

import typer

from seakeep.cli import output
from seakeep.engines.local.layout import layout_for
from seakeep.runtime.teardown import down as tear_down


def down(
    spec: Annotated[Path, typer.Option("--spec", "-f", help="The spec.")] = Path("seakeep.yaml"),
    keep_logs: Annotated[
        bool, typer.Option("--keep-logs", help="Leave the journal and the logs in .seakeep/.")
    ] = False,
) -> None:
    """End every process of the system and remove its files, whatever crashed before.

    Services get SIGTERM and their grace; what does not go is killed.

    Examples:

      seakeep down

      seakeep down --keep-logs
    """
    layout = layout_for(spec.resolve().parent)
    with output.progress() as show:
        report = tear_down(layout, keep_logs=keep_logs, progress=lambda stage: show(stage))
    if not report.was_up:
        output.note("nothing was up")
    elif report.strays:
        output.note(f"ended {report.strays} processes that a crash had left behind")
