"""`seakeep status`: the system as it is now."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from seakeep.cli import output
from seakeep.engines.local import processes
from seakeep.engines.local.layout import Layout, layout_for
from seakeep.engines.local.state import load_state
from seakeep.runtime import control

REFRESH_S = 0.5
HEALTH_STYLE = {
    "ready": "green",
    "starting": "cyan",
    "unready": "yellow",
    "failed": "red",
    "unknown": "magenta",
    "lost": "red",
}


def status(
    spec: Annotated[Path, typer.Option("--spec", "-f", help="The spec.")] = Path("seakeep.yaml"),
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh until Ctrl-C.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the status document.")] = False,
) -> None:
    """Show regions, zones, nodes, instances and services.

    Exits with 1 when the system is not up, or not all of its services have their replicas.

    Examples:

      seakeep status

      seakeep status --watch

      seakeep status --json | jq '.services[] | select(.ready < .wanted)'
    """
    layout = layout_for(spec.resolve().parent)
    document = _document(layout)
    if json:
        output.print_json(document)
    elif watch:
        _watch(layout, document)
    else:
        output.console.print(picture(document))
    if any(service["ready"] < service["wanted"] for service in document["services"]):
        raise typer.Exit(1)


def _document(layout: Layout) -> dict[str, Any]:
    try:
        return control.call(layout.supervisor_socket, "status")
    except control.ControlError as error:
        alive = _alive_parts(layout)
        if alive:
            output.fail(
                "the supervisor is not running; the system goes on without it: " + ", ".join(alive),
                hint="`seakeep up` starts a supervisor that adopts it, `seakeep down` ends it",
                code=1,
            )
        output.fail(str(error), hint=error.hint or "`seakeep up` starts the system", code=1)


def _alive_parts(layout: Layout) -> list[str]:
    state = load_state(layout)
    parts = state.parts.values() if state else ()
    return [part.id for part in parts if part.identity and processes.is_alive(part.identity)]


def _watch(layout: Layout, document: dict[str, Any]) -> None:
    with Live(picture(document), console=output.console, refresh_per_second=4) as live:
        try:
            while True:
                time.sleep(REFRESH_S)
                live.update(picture(_document(layout)))
        except KeyboardInterrupt:
            return


def picture(document: dict[str, Any]) -> RenderableType:
    """The document as tables: services, then every instance in its place."""
    return Group(_services(document), Text(), _places(document))


def _services(document: dict[str, Any]) -> Table:
    regions = [region["name"] for region in document["regions"]]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("SERVICE", "READY", *regions, "REQ/S", "FAILED/S"):
        table.add_column(name, justify="left" if name == "SERVICE" else "right")
    for item in document["services"]:
        enough = item["ready"] >= item["wanted"]
        table.add_row(
            item["name"],
            Text(f"{item['ready']}/{item['wanted']}", style="green" if enough else "red"),
            *(str(item["regions"].get(name, 0)) for name in regions),
            f"{item['requests_per_s']:g}",
            f"{item['failures_per_s']:g}",
        )
    return table


def _places(document: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("PLACE", "INSTANCE", "HEALTH", "RESTARTS", "AGE", "ADDRESS", "DETAIL"):
        table.add_column(name, justify="right" if name in ("RESTARTS", "AGE") else "left")
    for region in document["regions"]:
        edge = region["edge"]
        table.add_row(
            Text(region["name"], style="bold"),
            "edge",
            _up(edge),
            str(edge.get("restarts", "")),
            _age(edge.get("since_s")),
            edge["address"] or "",
            edge["detail"],
        )
        for row in _nodes(region):
            table.add_row(*row)
    return table


def _nodes(region: dict[str, Any]) -> Iterator[tuple[str | Text, ...]]:
    for zone in region["zones"]:
        for node in zone["nodes"]:
            place = node["id"].partition(":")[2]
            if not node["running"]:
                yield f"  {place}", "node", _up(node), "", _age(node["since_s"]), "", node["detail"]
            for item in node["instances"]:
                health = "draining" if item["draining"] else item["health"]
                yield (
                    f"  {place}",
                    item["id"],
                    Text(health, style=HEALTH_STYLE.get(health, "")),
                    str(item["restarts"]),
                    _age(item["age_s"]),
                    item["address"],
                    item["detail"] if item["health"] != "ready" else "",
                )


def _up(part: dict[str, Any]) -> Text:
    return Text("up", style="green") if part["running"] else Text("down", style="red")


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 7200 else f"{seconds / 3600:.0f}h"
