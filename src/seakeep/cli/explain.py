"""`seakeep explain`: the journal, read aloud."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from seakeep.cli import output
from seakeep.decide.reasons import REASONS
from seakeep.engines.local.layout import layout_for
from seakeep.explain import timeline
from seakeep.runtime import client, control
from seakeep.runtime.reading import read


def explain(
    subject: Annotated[
        str | None,
        typer.Argument(
            help="An instance (web-3), a service, a region, a zone (us-east/a), a node or a part "
            "(edge:us-east); everything when left out."
        ),
    ] = None,
    spec: Annotated[Path, typer.Option("--spec", "-f", help="The spec.")] = Path("seakeep.yaml"),
    tail: Annotated[int, typer.Option("--tail", "-n", min=1, help="Last lines.")] = 40,
    follow: Annotated[
        bool, typer.Option("--follow", "-F", help="Go on with what is decided from now on.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the lines as a list.")] = False,
) -> None:
    """Tell what was done to something and why, from the journal. Works without a supervisor.

    Examples:

      seakeep explain

      seakeep explain web-3

      seakeep explain us-east/a --tail 100

      seakeep explain --follow
    """
    layout = layout_for(spec.resolve().parent)
    if not layout.journal.exists():
        output.fail(
            f"there is no journal in {layout.journal}",
            hint="`seakeep up` begins one; `seakeep down --keep-logs` leaves it in place",
        )
    lines = timeline(read(layout.journal), REASONS, subject)[-tail:]
    if json:
        output.print_json([asdict(line) for line in lines])
    else:
        for line in lines:
            output.data(str(line))
        if not lines:
            output.note(f"the journal says nothing of {subject}")
    if follow:
        _follow(spec.resolve(), subject)


def _follow(spec: Path, subject: str | None) -> None:
    """New reasons as they come, until Ctrl-C."""
    layout = client.layout_of(spec)
    try:
        after = max((event["number"] for event in client.events(layout, follow=False)), default=0)
        for event in client.events(layout, after=after):
            if "text" in event and subject in (None, event["reason"]["subject"]):
                output.data(event["text"])
    except KeyboardInterrupt:
        return
    except control.ControlError as error:
        output.fail(str(error), hint=error.hint, code=1)
