"""`seakeep down`: end the system."""

from typing import Annotated

import typer

from seakeep.cli import output
from seakeep.cli.project import DEFAULT_SPEC, Spec, layout_of
from seakeep.runtime.teardown import down as tear_down


def down(
    spec: Spec = DEFAULT_SPEC,
    keep_logs: Annotated[
        bool, typer.Option("--keep-logs", help="Leave the journal and the logs in .seakeep/.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what was ended.")] = False,
) -> None:
    """End every process of the system and remove its files.

    Whatever crashed before. Services get SIGTERM and their grace; what does not go is killed.

    Examples:

      seakeep down

      seakeep down --keep-logs
    """
    layout = layout_of(spec)
    try:
        with output.progress() as show:
            report = tear_down(
                layout, keep_logs=keep_logs, progress=lambda stage: show(f"ending {stage}")
            )
    except KeyboardInterrupt:
        output.fail("interrupted: some of it still runs", "`seakeep down` goes on", code=130)
    if json:
        output.print_json({"was_up": report.was_up, "strays": report.strays})
        return
    if not report.was_up:
        output.note("nothing was up")
    elif report.strays:
        strays = output.counted(report.strays, "process", "processes")
        output.note(f"ended {strays} that a crash had left behind")
    if keep_logs and layout.state.exists():
        output.note(f"kept: {layout.journal}, {layout.logs}")
