"""`seakeep status`: the system as it is now."""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Annotated, Any

import typer
from rich.console import Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from seakeep.cli import output
from seakeep.cli.project import DEFAULT_SPEC, Spec, layout_of
from seakeep.engines.local import processes
from seakeep.engines.local.layout import Layout
from seakeep.engines.local.state import load_state
from seakeep.model.observation import PartKind
from seakeep.runtime import client, control

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
    spec: Spec = DEFAULT_SPEC,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh until Ctrl-C.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the document; with --watch, one a line.")
    ] = False,
) -> None:
    """Show regions, zones, nodes, instances and services.

    Exits with 1 when the system is not up, or not all of its services have their replicas.

    Examples:

      seakeep status

      seakeep status --watch

      seakeep status --json | jq '.services[] | select(.ready < .wanted)'
    """
    layout = layout_of(spec)
    try:
        document = client.status(layout)
    except control.ControlError as error:
        message, hint = _without_supervisor(layout, error)
        output.fail(message, hint, code=1)
    if watch:
        _watch(layout, document, json)
        return
    if json:
        output.print_json(document)
    else:
        output.table(picture(document))
    if any(service["ready"] < service["wanted"] for service in document["services"]):
        raise typer.Exit(1)


def _without_supervisor(layout: Layout, error: control.ControlError) -> tuple[str, str]:
    """(message, hint): what there is to say when the supervisor does not answer."""
    state = load_state(layout)
    parts = state.parts.values() if state else ()
    alive = [part.kind for part in parts if part.identity and processes.is_alive(part.identity)]
    if not alive:
        return "nothing is up here", "`seakeep up` starts the system"
    if isinstance(error, control.NotRunning):
        return (
            f"the supervisor is not running; the system goes on without it: {_counted(alive)}",
            "`seakeep up` starts a supervisor that adopts it, `seakeep down` ends it",
        )
    return str(error), error.hint or f"its log is {layout.log('supervisor')}"


def _counted(kinds: list[PartKind]) -> str:
    """`2 edges, 2 links, 5 nodes`."""
    counts = [(kinds.count(kind), kind.value) for kind in PartKind]
    return ", ".join(output.counted(number, word) for number, word in counts if number)


def _watch(layout: Layout, document: dict[str, Any], json: bool) -> None:
    """Until Ctrl-C, whatever becomes of the supervisor meanwhile."""
    is_live = output.console.is_terminal and not output.console.is_dumb_terminal and not json
    shown = Live(console=output.console, auto_refresh=False) if is_live else nullcontext()
    trouble: tuple[str, str] | None = None
    try:
        with shown as live:
            while True:
                if live is not None:
                    live.update(Group(_header(document, trouble), picture(document)), refresh=True)
                elif trouble is None:
                    output.print_json_line(document) if json else _print_block(document)
                time.sleep(REFRESH_S)
                before = trouble
                try:
                    document = client.status(layout, timeout_s=5)
                    trouble = None
                except control.ControlError as error:
                    trouble = _without_supervisor(layout, error)
                    if live is None and before is None:
                        output.warn(f"{trouble[0]}; trying again", trouble[1])
    except KeyboardInterrupt:
        return


def _print_block(document: dict[str, Any]) -> None:
    output.table(picture(document))
    output.data("")


def _header(document: dict[str, Any], trouble: tuple[str, str] | None) -> Text:
    """At the top, where a low terminal does not cut it off."""
    head = Text.assemble(
        (document["system"], "bold"), (f"  {time.strftime('%H:%M:%S')}  Ctrl-C ends\n", "dim")
    )
    if trouble is not None:
        message, hint = trouble
        head.append("as it was last; now ", "bold red").append(f"{message}\n")
        head.append("  hint: ", "bold").append(f"{hint}\n")
    return head


def picture(document: dict[str, Any]) -> RenderableType:
    """The document as tables: services, then every instance in its place."""
    orders = [_order(order) for order in document.get("orders", ())]
    names: list[RenderableType] = [_names(document), Text()] if document.get("dns") else []
    return Group(*orders, _services(document), Text(), *names, _places(document))


def _order(order: dict[str, Any]) -> Text:
    """`drain us-east, ordered by root@host 12s ago`."""
    since = "before the last start of this machine"
    if order["age_s"] is not None:
        since = f"{_age(order['age_s'])} ago"
    what = " ".join(filter(None, (order["kind"], order["subject"], order["argument"])))
    return Text.assemble(
        (what, "bold yellow"), f", ordered by {order['given_by'] or 'somebody'} {since}\n"
    )


def _names(document: dict[str, Any]) -> Table:
    """What DNS answers: for every host who is in and who is out."""
    dns = document["dns"]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("HOST", "STEER", "ANSWERED", "OUT"):
        table.add_column(name, no_wrap=name in ("HOST", "STEER"))
    for item in dns["hosts"]:
        inside = [name for name, is_in in item["regions"].items() if is_in]
        out = [name for name, is_in in item["regions"].items() if not is_in]
        table.add_row(
            item["host"], item["steer"], ", ".join(inside), Text(", ".join(out), style="red")
        )
    return table


def _services(document: dict[str, Any]) -> Table:
    regions = [region["name"] for region in document["regions"]]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    scaled = any(item["scale"] for item in document["services"])
    scale = ("MIN-MAX", "SCALED ON") if scaled else ()
    guarded = any(item["guarded"] for item in document["services"])
    refused = ("LIMITED/S", "SHED/S") if guarded else ()
    for name in ("SERVICE", "READY", *regions, "REQ/S", "FAILED/S", *refused, *scale):
        table.add_column(name, justify="left" if name in ("SERVICE", "SCALED ON") else "right")
    for item in document["services"]:
        enough = item["ready"] >= item["wanted"]
        table.add_row(
            item["name"],
            Text(f"{item['ready']}/{item['wanted']}", style="green" if enough else "red"),
            *(str(item["regions"].get(name, 0)) for name in regions),
            f"{item['requests_per_s']:g}",
            f"{item['failures_per_s']:g}",
            *((f"{item['limited_per_s']:g}", f"{item['shed_per_s']:g}") if guarded else ()),
            *(_scale(item["scale"]) if scaled else ()),
        )
    return table


def _scale(scale: dict[str, Any] | None) -> tuple[str, str]:
    """`2-40`, `concurrency 6.2 of 8, cpu 31 of 70`."""
    if scale is None:
        return "", ""
    values = [
        f"{one['metric']} "
        + ("unknown" if one["value"] is None else f"{one['value']:.4g} of {one['target']:g}")
        for one in scale["metrics"]
    ]
    return f"{scale['min']}-{scale['max']}", ", ".join(values)


def _places(document: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("PLACE", "INSTANCE", "HEALTH", "RESTARTS", "AGE", "ADDRESS", "DETAIL"):
        justify: JustifyMethod = "right" if name in ("RESTARTS", "AGE") else "left"
        table.add_column(name, justify=justify, no_wrap=name != "DETAIL")
    for region in document["regions"]:
        edge, drain = region["edge"], region.get("drain")
        table.add_row(
            Text(region["name"], style="bold"),
            "edge",
            _up(edge),
            str(edge.get("restarts", "")),
            _age(edge.get("since_s")),
            edge["address"] or "",
            edge["detail"] or (f"drain: {drain['phase']}" if drain else ""),
        )
        for kind in ("link", "holder"):
            part = region[kind] or {}
            if "id" in part and not part["running"]:
                since = _age(part.get("since_s"))
                table.add_row("", kind, _up(part), "", since, "", part["detail"])
        server = region["dns"]
        if "id" in server:
            table.add_row(
                "", "dns", _up(server), str(server.get("restarts", "")),
                _age(server.get("since_s")), server["address"] or "", server["detail"],
            )  # fmt: skip
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
