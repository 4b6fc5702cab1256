"""`seakeep up`: start the system of a spec, or apply a changed spec to it."""

import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NoReturn

import typer

from seakeep.cli import output, rollout
from seakeep.cli.check import load_or_fail
from seakeep.cli.project import DEFAULT_SPEC, Spec
from seakeep.engines.local.layout import Layout, layout_for
from seakeep.model.system import Route, System
from seakeep.runtime import client, control
from seakeep.runtime.daemon import SupervisorFailed, start_supervisor
from seakeep.runtime.teardown import supervisor_identity

POLL_S = 0.2
NAMED_MAX = 6
"""Services that the line of progress names."""


def up(
    spec: Spec = DEFAULT_SPEC,
    timeout: Annotated[
        float, typer.Option(min=0, help="Seconds to wait until every service is ready.")
    ] = 90.0,
    wait: Annotated[bool, typer.Option(help="Wait until every service is ready.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the status document.")] = False,
) -> None:
    """Start the system and keep it, or apply a changed spec.

    Where a service's version changes, it is rolled out, and `up` waits for the end of that: it
    exits with 1 when a rollout was stopped or went back.

    A supervisor stays in the background. When it was killed, `up` starts a new one, which
    adopts everything that runs and restarts nothing.

    Examples:

      seakeep up

      seakeep up -f staging/seakeep.yaml --timeout 120

      seakeep up --no-wait && seakeep status --watch
    """
    spec = spec.resolve()
    system = load_or_fail(spec, to_run=True)
    layout = layout_for(spec.parent)
    is_new = supervisor_identity(layout) is None
    try:
        with output.progress() as show:
            if is_new:
                show("starting the supervisor")
                start_supervisor(layout, spec)
            else:
                reply = control.call(layout.supervisor_socket, "reload", spec=str(spec))
            if wait:
                document = _wait_until_ready(layout, system.revision, timeout, show)
    except SupervisorFailed as error:
        output.fail(str(error), hint=error.hint, code=1)
    except KeyboardInterrupt:
        output.fail(
            "interrupted; the supervisor goes on without you",
            hint="`seakeep status` shows how far it is, `seakeep down` ends it",
            code=130,
        )
    if not is_new:
        what = "applied the changed spec" if reply["changed"] else "the spec is unchanged"
        output.note(f"{system.name} was up already; {what}")
    if json:
        output.print_json(document if wait else _asked(layout))
    elif wait:
        _tell(system, document, is_new)


def _wait_until_ready(
    layout: Layout, revision: str, timeout_s: float, show: Callable[[str], None]
) -> dict[str, Any]:
    """The status document once everything is ready; ends the command when the time is over."""
    deadline = time.monotonic() + timeout_s
    document: dict[str, Any] = {}
    line = ""
    while True:
        try:
            document = control.call(layout.supervisor_socket, "status")
            line = _line(document)
            if document["revision"] == revision:
                _fail_if_held_up(document)
                if under_way(document):
                    # A rollout has a deadline of its own, and steps that take their time.
                    deadline = time.monotonic() + timeout_s
                elif all_ready(document):
                    return document
        except control.ControlError as error:
            line = str(error)
        show(line)
        if time.monotonic() >= deadline:
            _fail_not_ready(layout, document, timeout_s, line)
        time.sleep(POLL_S)


def under_way(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Rollouts that go on, of services of which anything is wanted at all."""
    return [
        one for one in document["rollouts"]
        if one["wanted"] and (one["stage"] == "rolling" or (one["stage"] == "settled"
                                                            and one["old_live"]))
    ]  # fmt: skip


def _fail_if_held_up(document: dict[str, Any]) -> None:
    """End the command when a rollout was stopped, undone or paused: nobody need wait for it."""
    held = [one for one in document["rollouts"] if one["stage"] in ("stopped", "undone", "paused")]
    if not held:
        return
    for one in held:
        for line in rollout.remarks(one)[:-1]:
            output.note(line)
    words = [f"{one['service']} is {one['stage']}, at {rollout.progress(one)}" for one in held]
    output.fail("; ".join(words), hint=rollout.hint(held[0]), code=1)


def _fail_not_ready(
    layout: Layout, document: dict[str, Any], timeout_s: float, line: str
) -> NoReturn:
    for missing in _lacking(layout, document):
        output.note(missing)
    output.fail(
        f"not everything is ready after {timeout_s:g} s: {line}",
        hint="`seakeep logs SERVICE` shows what it printed, `seakeep status` the rest; the "
        "supervisor goes on trying",
        code=1,
    )


def _asked(layout: Layout) -> dict[str, Any]:
    """The status document, of a supervisor that may not have looked around yet."""
    while True:
        try:
            return client.status(layout)
        except (control.NotRunning, client.OtherVersion):
            raise
        except control.ControlError:
            time.sleep(POLL_S)


def all_ready(document: dict[str, Any]) -> bool:
    """Whether every service has its replicas and every edge and DNS server of the spec runs."""
    return all(service["ready"] >= service["wanted"] for service in document["services"]) and all(
        region["edge"]["running"] and (document["dns"] is None or region["dns"]["running"])
        for region in document["regions"]
        if region["in_spec"]
    )


def _line(document: dict[str, Any]) -> str:
    """`2 of 3 services ready: web 4/6`, those that are not."""
    rolls = [f"{one['service']}: {rollout.progress(one)}" for one in under_way(document)]
    if rolls:
        return f"rolling out {', '.join(rolls)}"
    services = document["services"]
    short = [item for item in services if item["ready"] < item["wanted"]]
    names = [f"{item['name']} {item['ready']}/{item['wanted']}" for item in short[:NAMED_MAX]]
    if len(short) > NAMED_MAX:
        names.append("...")
    down = [region["name"] for region in document["regions"]
            if region["in_spec"] and not region["edge"]["running"]]  # fmt: skip
    names += [f"edge:{name}" for name in down]
    if document["dns"] is not None:
        names += [region["dns"].get("id", f"dns:{region['name']}") for region in document["regions"]
                  if region["in_spec"] and not region["dns"]["running"]]  # fmt: skip
    done = f"{len(services) - len(short)} of {len(services)} services ready"
    return f"{done}; waiting for {', '.join(names)}" if names else done


def _lacking(layout: Layout, document: dict[str, Any]) -> Iterator[str]:
    """A line for everything that is missing, with what is known of why."""
    for region in document.get("regions", []):
        for name, part in _parts(region):
            if region["in_spec"] and not part["running"]:
                yield f"{name} does not run: {part['detail']}"
    instances = [
        item
        for region in document.get("regions", [])
        for zone in region["zones"]
        for node in zone["nodes"]
        for item in node["instances"]
    ]
    for item in instances:
        if item["health"] != "ready":
            detail = f": {item['detail']}" if item["detail"] else ""
            yield f"{item['id']} on {item['node']} is {item['health']}{detail}"
    words = _last_words(layout)
    for service in document.get("services", []):
        if service["total"] < service["wanted"]:
            why = f": {words[service['name']]}" if service["name"] in words else ""
            yield f"{service['name']} has {service['total']} of {service['wanted']} instances{why}"


def _parts(region: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield f"edge:{region['name']}", region["edge"]
    for kind in ("link", "holder", "dns"):
        part = region[kind] or {}
        if "id" in part:  # a region that is alone needs no link
            yield part["id"], part
    for zone in region["zones"]:
        for node in zone["nodes"]:
            yield node["id"], node


def _last_words(layout: Layout) -> dict[str, str]:
    """The latest reason for where replicas went, or did not, by subject."""
    words: dict[str, str] = {}
    try:
        for event in client.events(layout, follow=False):
            if "text" in event and event["reason"]["code"].startswith("placement."):
                words[event["reason"]["subject"]] = event["text"]
    except control.ControlError:
        pass  # it has just gone; then there is nothing more to say
    return words


# --- what is up -------------------------------------------------------------


def _tell(system: System, document: dict[str, Any], is_new: bool) -> None:
    """Where clients reach it on stdout; what they find there and how to go on as messages."""
    regions = [region for region in document["regions"] if region["in_spec"]]
    width = max(len(region["name"]) for region in regions)
    for region in regions:
        output.data(f"{region['name']:<{width}}  http://{region['edge']['address']}/")
    routes = [
        f"{_route(route)} → {service.name}"
        for service in system.services.values()
        for route in service.routes
    ]
    leaving = [region["name"] for region in document["regions"] if not region["in_spec"]]
    if leaving:
        output.note(f"not in the spec any more, and leaving: {', '.join(leaving)}")
    if routes:
        output.note(f"routes: {', '.join(routes)}")
    if question := _question(document):
        output.note(f"names: {question}")
    if is_new:
        output.note("next: seakeep status | seakeep load | seakeep explain | seakeep down")


def _question(document: dict[str, Any]) -> str:
    """How to ask the first DNS server for the first host; empty when there is none to ask."""
    hosts = document["dns"]["hosts"] if document["dns"] else []
    address, _, port = (document["regions"][0]["dns"]["address"] or "").rpartition(":")
    if not hosts or not address:
        return ""
    return f"dig @{address} -p {port} {hosts[0]['host'].replace('*.', 'any.')}"


def _route(route: Route) -> str:
    if route.port is not None:
        return f"TCP port {route.port}"
    host = "" if route.host == "*" else route.host
    headers = "".join(f" [{name}: {value}]" for name, value in route.headers)
    return f"{host}{route.path}{headers}"
