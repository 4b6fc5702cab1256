"""What `drain` and `undrain` share: options, who is at it, and waiting with progress."""

import getpass
import os
import socket
import time
from typing import Annotated, Any

import typer

from seakeep.cli import output
from seakeep.cli.project import parsed
from seakeep.engines.local.layout import Layout
from seakeep.model import units
from seakeep.model.time import in_seconds
from seakeep.runtime import client, control

POLL_S = 0.25
LOST_S = 30.0
"""A supervisor that is away for this long while somebody waits is told of as lost."""

Region = Annotated[str, typer.Argument(help="REGION")]
Wait = Annotated[bool, typer.Option("--wait", "-w", help="Return when it is through.")]
Timeout = Annotated[str, typer.Option("--timeout", help="With --wait: how long at most.")]
Json = Annotated[bool, typer.Option("--json", help="Print the order; with --wait, how it ended.")]


def operator() -> str:
    """`ann@desk`; behind sudo, the one who called it."""
    name = os.environ.get("SUDO_USER", "")
    if not name:
        try:
            name = getpass.getuser()
        except (KeyError, OSError):  # a user id without a name
            name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def seconds_of(timeout: str) -> float:
    duration = parsed(units.parse_duration, timeout, "--timeout")
    if duration <= 0:
        output.fail(f"--timeout: {timeout} is no time at all", hint="write 10m")
    return in_seconds(duration)


def given(order: dict[str, Any]) -> str:
    """`the order of ann@desk, 12s ago`."""
    who = order["given_by"] or "somebody"
    if order["age_s"] is None:
        return f"the order of {who}"
    return f"the order of {who}, {order['age_s']:.0f}s ago,"


def tell_given(region: str, answer: dict[str, Any]) -> None:
    if answer["is_new"]:
        output.note(f"{region} is being drained; `seakeep undrain region {region}` takes it back")
    else:
        output.note(f"{region} is being drained already: {given(answer['order'])} stands")


def wait_for(layout: Layout, region: str, *, json: bool, limit_s: float, is_back: bool) -> None:
    """Until a region is drained or, with `is_back`, whole again. The order stands, whatever ends
    the wait."""
    started = time.monotonic()
    heard = started
    said = ""
    try:
        with output.progress() as show:
            while True:
                if time.monotonic() - started > limit_s:
                    output.fail(
                        f"{region} is not through yet: {said or 'nothing is known'}",
                        "the order stands; `seakeep status` shows how far it is",
                        code=1,
                    )
                try:
                    document = client.status(layout, timeout_s=5)
                    heard = time.monotonic()
                except control.ControlError:
                    if time.monotonic() - heard > LOST_S:
                        raise
                    time.sleep(POLL_S)
                    continue
                phase, said = _read(document, region, is_back)
                show(said)
                if phase in ("done", "back", "withdrawn", "drained again"):
                    break
                time.sleep(POLL_S)
    except KeyboardInterrupt:
        output.fail("interrupted: it goes on", "`seakeep status` shows how far it is", code=130)
    took_s = round(time.monotonic() - started, 1)
    if json:
        output.print_json({"region": region, "phase": phase, "took_s": took_s})
    if phase == "withdrawn":
        output.fail(f"{region} is not drained: the order was withdrawn meanwhile", code=1)
    if phase == "drained again":
        output.fail(f"{region} is not back: it has been ordered to be drained again", code=1)
    output.note(f"{region} is {'back' if is_back else 'drained'}, after {took_s:g}s")


def _read(document: dict[str, Any], region: str, is_back: bool) -> tuple[str, str]:
    """(phase, what is said of it) of a region in a status document."""
    drain = next((one.get("drain") for one in document["regions"] if one["name"] == region), None)
    stands = any(order["id"] == f"drain:{region}" for order in document["orders"])
    if is_back:
        if stands:
            return "drained again", f"{region} has been ordered to be drained again"
        if drain is None:
            return "back", ""
    elif not stands:
        return "withdrawn", ""
    if drain is None or (is_back and drain["phase"] != "returning"):
        return "ordered", f"{region}: the order is taken"
    return drain["phase"], "; ".join(drain["says"])
