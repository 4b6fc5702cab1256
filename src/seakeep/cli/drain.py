"""`seakeep drain`: take a region out of service without a failed request."""

from typing import Annotated

import typer

from seakeep.cli import drains, output
from seakeep.cli.drains import Json, Region, Timeout, Wait
from seakeep.cli.project import DEFAULT_SPEC, Spec, layout_of
from seakeep.decide.draining import FORCE
from seakeep.runtime import control

app = typer.Typer(
    help="Take a region out of service without a failed request.\n\n"
    "Example:  seakeep drain region us-east --wait",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback()
def root() -> None:
    """Take a region out of service without a failed request.

    Example:  seakeep drain region us-east --wait
    """


@app.command()
def region(
    region: Region,
    spec: Spec = DEFAULT_SPEC,
    wait: Wait = False,
    timeout: Timeout = "10m",
    force: Annotated[
        bool, typer.Option("--force", help="Even if nobody can take over: stop serving then.")
    ] = False,
    json: Json = False,
) -> None:
    """Drain a region: its work moves to the others first.

    Capacity comes up elsewhere, DNS and other regions stop sending callers, and when those that
    know its address have gone, its instances drain and stop. Edge, link and nodes stay up. The
    order stands, across restarts, until `seakeep undrain region`.

    Exits with 1 when --wait is over before the region is drained.

    Examples:

      seakeep drain region us-east

      seakeep drain region us-east --wait

      seakeep drain region us-east --wait --timeout 5m --json
    """
    limit = drains.seconds_of(timeout)
    layout = layout_of(spec)
    try:
        answer = control.call(
            layout.supervisor_socket,
            "give",
            kind="drain",
            subject=region,
            argument=FORCE if force else "",
            by=drains.operator(),
        )
    except control.NotRunning:
        raise
    except control.ControlError as error:
        output.fail(error.message, error.hint)
    for warning in answer["warnings"]:
        output.warn(warning)
    drains.tell_given(region, answer)
    if wait:
        drains.wait_for(layout, region, json=json, limit_s=limit, is_back=False)
    elif json:
        output.print_json(answer)
