"""`seakeep undrain`: bring a drained region back into service."""

import typer

from seakeep.cli import drains, output
from seakeep.cli.drains import Json, Region, Timeout, Wait
from seakeep.cli.project import DEFAULT_SPEC, Spec, layout_of
from seakeep.runtime import client, control

app = typer.Typer(
    help="Bring a drained region back without a failed request.\n\n"
    "Example:  seakeep undrain region us-east --wait",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback()
def root() -> None:
    """Bring a drained region back without a failed request.

    Example:  seakeep undrain region us-east --wait
    """


@app.command()
def region(
    region: Region,
    spec: Spec = DEFAULT_SPEC,
    wait: Wait = False,
    timeout: Timeout = "10m",
    json: Json = False,
) -> None:
    """Undrain a region: its own instances first, then callers.

    What is its own starts there; when that is ready, DNS and other regions send callers again,
    and what stood in elsewhere leaves.

    Exits with 1 when --wait is over before the region is whole.

    Examples:

      seakeep undrain region us-east

      seakeep undrain region us-east --wait
    """
    limit = drains.seconds_of(timeout)
    layout = layout_of(spec)
    known = [one["name"] for one in client.status(layout)["regions"]]
    order = f"drain:{region}"
    standing = control.call(layout.supervisor_socket, "orders")["orders"]
    if region not in known and all(one["id"] != order for one in standing):
        output.fail(f"there is no region {region}", f"there are: {', '.join(known)}")
    answer = control.call(layout.supervisor_socket, "withdraw", order=order, by=drains.operator())
    if answer["withdrawn"] is None:
        output.note(f"{region} is not drained: there is no such order")
    else:
        output.note(f"{region} comes back: {drains.given(answer['withdrawn'])} is withdrawn")
    if wait:
        drains.wait_for(layout, region, json=json, limit_s=limit, is_back=True)
    elif json:
        output.print_json(answer)
