"""`seakeep rollout`: how far a change has got; pausing, resuming and undoing it."""

import getpass
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from seakeep.cli import output
from seakeep.cli.project import DEFAULT_SPEC, Spec, layout_of
from seakeep.engines.local.layout import Layout
from seakeep.model.order import rollout_argument
from seakeep.runtime import client, control

app = typer.Typer(
    help="See, pause, resume and undo the change of a service's version. A change begins with "
    "`seakeep up`.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

Document = dict[str, Any]
One = Annotated[str, typer.Argument(metavar="SERVICE", help="The service.")]
Some = Annotated[
    str, typer.Argument(metavar="[SERVICE]", help="A service; all, without.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print the document.")]

TAKEN_WITHIN_S = 10.0
POLL_S = 0.1
STYLE = {"settled": "green", "rolling": "cyan", "paused": "yellow", "stopped": "red",
         "undone": "magenta"}  # fmt: skip


@app.command()
def status(service: Some = "", spec: Spec = DEFAULT_SPEC, json: Json = False) -> None:
    """Show how far every service is on its way to a new version.

    Old and new version, how many there are of each, and why it stands.

    Exits with 1 when a rollout is stopped or undone.

    Examples:

      seakeep rollout status

      seakeep rollout status web --json | jq .compared
    """
    found = _documents(layout_of(spec), service)
    if json:
        output.print_json(found[0] if service else found)
    else:
        output.table(picture(found))
        for one in found:
            for line in remarks(one):
                output.note(line)
    if any(one["stage"] in ("stopped", "undone") for one in found):
        raise typer.Exit(1)


@app.command()
def pause(service: One, spec: Spec = DEFAULT_SPEC, json: Json = False) -> None:
    """Keep a service between its versions as it is, until `resume`.

    A change that comes later waits, too. What fails is replaced by its own version.

    Example:  seakeep rollout pause web
    """
    layout = layout_of(spec)
    _one(layout, service)
    reply = control.call(
        layout.supervisor_socket, "give", kind="pause", subject=service, by=_myself()
    )
    if not reply["is_new"]:
        output.note(f"{service} was paused already, by {reply['order']['given_by'] or 'somebody'}")
    _tell(_until(layout, service, lambda one: one["paused_by"] is not None), json)


@app.command()
def resume(service: One, spec: Spec = DEFAULT_SPEC, json: Json = False) -> None:
    """Go on with a paused change, or try one again that was stopped.

    Example:  seakeep rollout resume web
    """
    layout = layout_of(spec)
    one = _one(layout, service)
    withdrawn = control.call(
        layout.supervisor_socket, "withdraw", order=f"pause:{service}", by=_myself()
    )["withdrawn"]
    if one["stage"] in ("stopped", "undone"):
        _order(layout, "resume", one)
        attempt = one["attempt"]
        _tell(_until(layout, service, lambda now: now["attempt"] > attempt), json)
    elif withdrawn is None:
        output.note(f"{service} is not held up: {_told(one)}")
        _tell(one, json, quiet=True)
    else:
        _tell(_until(layout, service, lambda now: now["paused_by"] is None), json)


@app.command()
def undo(service: One, spec: Spec = DEFAULT_SPEC, json: Json = False) -> None:
    """Go back to the version before, and stay there.

    Until the spec changes again.
    In the middle of a change: to the last one that was rolled out fully. After it: to the one
    before.

    Example:  seakeep rollout undo web
    """
    layout = layout_of(spec)
    one = _one(layout, service)
    if one["stage"] == "undone":
        output.note(f"{service} is undone already: {one['why']}")
        _tell(one, json, quiet=True)
        return
    if one["old"] is None and one["previous"] is None:
        output.fail(
            f"{service} has no version to go back to: none before this was ever rolled out here",
            hint="change the spec back, then `seakeep up`",
            code=1,
        )
    _order(layout, "undo", one)
    control.call(layout.supervisor_socket, "withdraw", order=f"pause:{service}", by=_myself())
    _tell(_until(layout, service, lambda now: now["stage"] == "undone"), json)


# --- asking -----------------------------------------------------------------


def _documents(layout: Layout, service: str) -> list[Document]:
    """The entries of the status document, for one service or all."""
    document = client.status(layout)
    found = [one for one in document["rollouts"] if service in ("", one["service"])]
    if service and not found:
        names = ", ".join(one["service"] for one in document["rollouts"])
        output.fail(f"there is no service {service}", hint=f"there are: {names}")
    return found


def _one(layout: Layout, service: str) -> Document:
    return _documents(layout, service)[0]


def _order(layout: Layout, kind: str, one: Document) -> None:
    """Give an order about this very attempt. One that is about another means nothing any more,
    whoever gave it, and is replaced."""
    argument = rollout_argument(one["new"], one["attempt"])
    standing = control.call(layout.supervisor_socket, "orders")["orders"]
    stale = [
        order["given_at_ns"]
        for order in standing
        if order["id"] == f"{kind}:{one['service']}" and order["argument"] != argument
    ]
    control.call(
        layout.supervisor_socket,
        "give",
        kind=kind,
        subject=one["service"],
        argument=argument,
        by=_myself(),
        replaces=stale[0] if stale else None,
    )


def _until(layout: Layout, service: str, is_so: Callable[[Document], bool]) -> Document:
    """The entry once the supervisor has acted upon an order."""
    deadline = time.monotonic() + TAKEN_WITHIN_S
    while True:
        one = _one(layout, service)
        if is_so(one):
            return one
        if time.monotonic() >= deadline:
            output.fail(
                f"the order was given, and {service} does not show it: {_told(one)}",
                hint=f"`seakeep rollout status {service}` shows what becomes of it",
                code=1,
            )
        time.sleep(POLL_S)


def _myself() -> str:
    """`root@host`, for other operators."""
    user = "somebody"
    with suppress(OSError, KeyError):
        user = getpass.getuser()
    return f"{user}@{socket.gethostname()}"


# --- telling ----------------------------------------------------------------


def _tell(one: Document, json: bool, *, quiet: bool = False) -> None:
    if json:
        output.print_json(one)
    elif not quiet:
        output.note(f"{one['service']}: {_told(one)}")


def _told(one: Document) -> str:
    """`rolling from 1a2b to 3c4d, 2 of 6 ready`."""
    if one["stage"] in ("settled", "first"):
        return f"{one['stage']} at {short(one['new'])}"
    versions = f"{short(one['old'])} and {short(one['new'])}"
    return f"{one['stage']} between {versions}, {one['new_ready']} of {one['wanted']} new and ready"


def progress(one: Document) -> str:
    """`2 of 6 new and ready (1 of 2, 5.00% of requests)`."""
    at = step(one)
    count = f"{one['new_ready']} of {one['wanted']} new and ready"
    return f"{count} ({at})" if at else count


def picture(found: list[Document]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("SERVICE", "STAGE", "STRATEGY", "OLD", "NEW", "OLD LIVE", "NEW LIVE", "NEW READY",
                 "STEP"):  # fmt: skip
        is_count = name.endswith(("LIVE", "READY"))
        table.add_column(name, justify="right" if is_count else "left", no_wrap=True)
    for one in found:
        table.add_row(
            one["service"],
            Text(one["stage"], style=STYLE.get(one["stage"], "")),
            one["strategy"],
            short(one["old"]),
            short(one["new"]),
            str(one["old_live"]),
            str(one["new_live"]),
            f"{one['new_ready']}/{one['wanted']}",
            step(one),
        )
    return table


def step(one: Document) -> str:
    """`1 of 2, 5 % of the requests`; empty when there are no steps."""
    if one["stage"] in ("settled", "first"):
        return ""
    if one["strategy"] == "blue-green":
        return ("beside the old", "switched", "old one leaves")[min(one["step"], 2)]
    if not one["steps"]:
        return ""
    if one["step"] >= one["steps"]:
        return "the rest"
    share = "" if one["weight"] is None else f", {one['weight']:.2%} of requests"
    return f"{one['step'] + 1} of {one['steps']}{share}"


def remarks(one: Document) -> list[str]:
    """What there is to say beside the table: why it stands, and what the versions answered."""
    lines = []
    if one["why"]:
        lines.append(one["why"])
    if one["paused_by"]:
        lines.append(f"{one['service']} is paused by {one['paused_by']}")
    compared = one["compared"]
    if compared:
        lines += [
            f"{one['service']} {version} {short(one[version])}: {side['requests']} requests, "
            f"{side['error_rate']:.2%} failed, p50 {_ms(side['p50_ms'])}, "
            f"p95 {_ms(side['p95_ms'])}"
            for version, side in compared.items()
        ]
    if one["stage"] in ("stopped", "undone", "paused"):
        lines.append(hint(one))
    return lines


def hint(one: Document) -> str:
    name = one["service"]
    if one["stage"] == "paused":
        return f"`seakeep rollout resume {name}` goes on, `seakeep rollout undo {name}` goes back"
    back = "" if one["stage"] == "undone" else f"`seakeep rollout undo {name}` goes back, "
    return (
        f"{back}`seakeep rollout resume {name}` tries it again; `seakeep logs {name}` shows what "
        "it printed"
    )


def short(revision: str | None) -> str:
    """A revision as people see it."""
    return "-" if revision is None else revision[:8]


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
