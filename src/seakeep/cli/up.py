"""`seakeep up`: start the system of a spec, or apply a changed spec to it."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from seakeep.cli import output
from seakeep.cli.check import load_or_fail
from seakeep.engines.local.layout import Layout, layout_for
from seakeep.runtime import control
from seakeep.runtime.daemon import SupervisorFailed, start_supervisor
from seakeep.runtime.teardown import supervisor_identity

POLL_S = 0.2


def up(
    spec: Annotated[Path, typer.Option("--spec", "-f", help="The spec.")] = Path("seakeep.yaml"),
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait until every service is ready.")
    ] = 90.0,
    wait: Annotated[bool, typer.Option(help="Wait until every service is ready.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the status document.")] = False,
) -> None:
    """Start the system and keep it; run again, apply what changed in the spec.

    A supervisor stays in the background. When it was killed, `up` starts a new one, which
    adopts everything that runs and restarts nothing.

    Examples:

      seakeep up

      seakeep up -f staging/seakeep.yaml --timeout 120

      seakeep up --no-wait && seakeep status --watch
    """
    spec = spec.resolve()
    system = load_or_fail(spec)
    layout = layout_for(spec.parent)
    if supervisor_identity(layout) is None:
        _start(layout, spec)
    else:
        reply = _reload(layout, spec)
        what = "applying the changed spec" if reply["changed"] else "the spec is unchanged"
        output.note(f"{system.name} is up already; {what}")
    if wait:
        _wait_until_ready(layout, system.revision, timeout)
    document = control.call(layout.supervisor_socket, "status") if wait or json else {}
    if json:
        output.print_json(document)
    elif wait:
        for region in document["regions"]:
            output.data(f"{region['name']}: http://{region['edge']['address']}/")


def _start(layout: Layout, spec: Path) -> None:
    try:
        start_supervisor(layout, spec)
    except SupervisorFailed as error:
        output.fail(str(error), hint=error.hint, code=1)


def _reload(layout: Layout, spec: Path) -> dict[str, Any]:
    try:
        return control.call(layout.supervisor_socket, "reload", spec=str(spec))
    except control.ControlError as error:
        output.fail(str(error), hint=error.hint, code=1)


def _wait_until_ready(layout: Layout, revision: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    document: dict[str, Any] = {}
    with output.progress() as show:
        while time.monotonic() < deadline:
            try:
                document = control.call(layout.supervisor_socket, "status")
            except control.ControlError:
                time.sleep(POLL_S)
                continue
            show(_line(document))
            if document["revision"] == revision and all_ready(document):
                return
            time.sleep(POLL_S)
    output.fail(
        f"not everything is ready after {timeout_s:g} s: {_line(document)}",
        hint="`seakeep status` says what each instance lacks, `seakeep logs SERVICE` what it "
        "printed; the supervisor goes on trying",
        code=1,
    )


def all_ready(document: dict[str, Any]) -> bool:
    """Whether every service has its replicas and every edge of the spec runs."""
    return all(service["ready"] >= service["wanted"] for service in document["services"]) and all(
        region["edge"]["running"] for region in document["regions"] if region["in_spec"]
    )


def _line(document: dict[str, Any]) -> str:
    services = document.get("services", [])
    return "  ".join(f"{item['name']} {item['ready']}/{item['wanted']}" for item in services)
