"""`seakeep explain`: the journal, read aloud."""

from dataclasses import asdict
from typing import Annotated

import typer

from seakeep.cli import output
from seakeep.cli.project import DEFAULT_SPEC, Spec, layout_of
from seakeep.decide.reasons import REASONS
from seakeep.explain import SAID_OF_ALL, Line, from_now_on, timeline
from seakeep.runtime.reading import read


def explain(
    subject: Annotated[
        str | None,
        typer.Argument(
            help="An instance (web-3), a service, a region, a zone (us-east/a), a node or a part "
            "(edge:us-east); everything when left out."
        ),
    ] = None,
    spec: Spec = DEFAULT_SPEC,
    tail: Annotated[int, typer.Option("--tail", "-n", min=1, help="Last lines.")] = 40,
    follow: Annotated[
        bool, typer.Option("--follow", "-F", help="Go on with what is decided from now on.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print a list; with --follow, a document a line.")
    ] = False,
) -> None:
    """Tell what was done to something and why, from the journal.

    Works without a supervisor, too.

    Examples:

      seakeep explain

      seakeep explain web-3

      seakeep explain us-east/a --tail 100

      seakeep explain --follow
    """
    layout = layout_of(spec)
    if not layout.journal.exists():
        output.fail(
            f"there is no journal in {layout.journal}",
            hint="`seakeep up` begins one; `seakeep down --keep-logs` leaves it in place",
            code=1,
        )
    records = list(read(layout.journal))
    lines = timeline(records, REASONS, subject)[-tail:]
    if json and not follow:
        output.print_json([asdict(line) for line in lines])
    else:
        for line in lines:
            _tell(line, json)
    if all(line.code in SAID_OF_ALL for line in lines):
        _nothing_of(subject, go_on=follow or subject is None)
    if follow:
        known = len(records)
        del records
        try:
            for line in from_now_on(
                read(layout.journal, follow=True), REASONS, subject, known=known
            ):
                _tell(line, json)
        except KeyboardInterrupt:
            return


def _nothing_of(subject: str | None, *, go_on: bool) -> None:
    message = f"the journal says nothing of {subject or 'anything'}"
    if go_on:
        output.note(message)
    else:
        output.fail(message, hint="`seakeep status` shows what there is, by name", code=1)


def _tell(line: Line, json: bool) -> None:
    if json:
        output.print_json_line(asdict(line))
    else:
        output.data(str(line))
