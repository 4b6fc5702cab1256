"""`seakeep inject`: real faults, undone on exit."""

import signal
import time
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from seakeep.cli import output
from seakeep.cli.project import DEFAULT_SPEC, Spec, layout_of, parsed
from seakeep.engines.local.power import PowerCutError
from seakeep.model import units
from seakeep.model.system import Fault, FaultKind
from seakeep.model.time import Duration, in_seconds
from seakeep.runtime import faults

app = typer.Typer(
    help="""Inject real faults: signals, cut links, lost power.

    Each ends with its duration, with Ctrl-C, or with the death of this command.

    Examples:

      seakeep inject kill web-3

      seakeep inject lose-zone us-east/a --for 1m

      seakeep inject partition us-east~eu-west --for 30s
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

CPU_MIN = 0.01
"""What the node agent can keep to."""

Lasts = Annotated[str, typer.Option("--for", help="How long, as 30s or 5m.")]
Json = Annotated[bool, typer.Option("--json", help="Print what was hit, when it begins.")]
Instance = Annotated[str, typer.Argument(help="An instance (web-3), or a service: its oldest.")]


@app.command()
def kill(
    target: Instance,
    spec: Spec = DEFAULT_SPEC,
    json: Json = False,
) -> None:
    """SIGKILL an instance; of a service, its oldest one.

    Example:  seakeep inject kill web-3
    """
    _inject(spec, Fault(kind=FaultKind.KILL, subject=target), None, json)


@app.command()
def freeze(
    target: Instance,
    lasts: Lasts = "30s",
    spec: Spec = DEFAULT_SPEC,
    json: Json = False,
) -> None:
    """SIGSTOP an instance: it answers nothing, but holds on.

    Its connections stay open, which is worse for callers than its death.

    Example:  seakeep inject freeze catalog --for 20s
    """
    _inject(spec, Fault(kind=FaultKind.FREEZE, subject=target), lasts, json)


@app.command()
def slow(
    target: Instance,
    cpu: Annotated[str, typer.Option(help="Share of its time that it may still run.")] = "20%",
    lasts: Lasts = "30s",
    spec: Spec = DEFAULT_SPEC,
    json: Json = False,
) -> None:
    """Leave an instance only a share of its CPU time.

    Example:  seakeep inject slow orders-2 --cpu 10% --for 1m
    """
    fraction = parsed(units.parse_percent, cpu, "--cpu")
    if not CPU_MIN <= fraction < 1:
        output.fail(f"--cpu: {cpu} is not a share that can be left", hint="write 1% to 99%")
    _inject(spec, Fault(kind=FaultKind.SLOW, subject=target, amount=fraction), lasts, json)


@app.command("lose-node")
def lose_node(
    node: Annotated[str, typer.Argument(help="REGION/ZONE/N")],
    lasts: Lasts = "30s",
    spec: Spec = DEFAULT_SPEC,
    json: Json = False,
) -> None:
    """Cut the power of a node: all on it dies, nothing starts.

    Example:  seakeep inject lose-node us-east/a/0 --for 30s
    """
    _refuse_other_place(node, "node")
    _inject(spec, Fault(kind=FaultKind.LOSE_NODE, subject=node), lasts, json)


@app.command("lose-zone")
def lose_zone(
    zone: Annotated[str, typer.Argument(help="REGION/ZONE")],
    lasts: Lasts = "30s",
    spec: Spec = DEFAULT_SPEC,
    json: Json = False,
) -> None:
    """Cut the power of a zone, with all of its nodes.

    Example:  seakeep inject lose-zone us-east/a --for 1m
    """
    _refuse_other_place(zone, "zone")
    _inject(spec, Fault(kind=FaultKind.LOSE_ZONE, subject=zone), lasts, json)


@app.command("lose-region")
def lose_region(
    region: Annotated[str, typer.Argument(help="REGION")],
    lasts: Lasts = "30s",
    spec: Spec = DEFAULT_SPEC,
    json: Json = False,
) -> None:
    """Cut the power of a region: zones, edge and link.

    Example:  seakeep inject lose-region us-east --for 2m
    """
    _refuse_other_place(region, "region")
    _inject(spec, Fault(kind=FaultKind.LOSE_REGION, subject=region), lasts, json)


@app.command()
def partition(
    link: Annotated[str, typer.Argument(help="REGION~REGION, or REGION>REGION for one way.")],
    lasts: Lasts = "30s",
    spec: Spec = DEFAULT_SPEC,
    json: Json = False,
) -> None:
    """Cut a link: packets are lost, connections hang.

    Example:  seakeep inject partition us-east~eu-west --for 1m
    """
    _inject(spec, Fault(kind=FaultKind.PARTITION, subject=link), lasts, json)


@app.command()
def delay(
    link: Annotated[str, typer.Argument(help="REGION~REGION, or REGION>REGION.")],
    by: Annotated[str, typer.Option(help="Added to each way, as 200ms.")] = "200ms",
    lasts: Lasts = "30s",
    spec: Spec = DEFAULT_SPEC,
    json: Json = False,
) -> None:
    """Slow a link.

    Example:  seakeep inject delay us-east~eu-west --by 300ms --for 1m
    """
    added = parsed(units.parse_duration, by, "--by")
    if added <= 0:
        output.fail(f"--by: {by} adds nothing", hint="write 200ms")
    _inject(spec, Fault(kind=FaultKind.DELAY, subject=link, amount=float(added)), lasts, json)


PLACES = {"region": "REGION", "zone": "REGION/ZONE", "node": "REGION/ZONE/N"}


def _refuse_other_place(place: str, wanted: str) -> None:
    """A zone where a region should stand, say. Whether it exists, the system itself knows."""
    found = list(PLACES)[min(place.count("/"), 2)]
    if found != wanted:
        output.fail(
            f"{place} names a {found}, not a {wanted}",
            hint=f"write {PLACES[wanted]}, or `seakeep inject lose-{found} {place}`",
        )


def _inject(spec: Path, fault: Fault, lasts: str | None, json: bool) -> None:
    duration = None if lasts is None else parsed(units.parse_duration, lasts, "--for")
    if duration is not None and duration <= 0:
        output.fail(f"--for: {lasts} is no time at all", hint="write 30s")
    layout = layout_of(spec)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with faults.hold(layout, fault) as hit:
            _tell(fault, hit, duration, json)
            if duration is not None:
                _wait(duration)
        if duration is not None:
            output.note(f"{fault.kind.value} {hit}: undone")
    except faults.FaultError as error:
        output.fail(str(error), hint=error.hint)
    except PowerCutError as error:
        output.fail(str(error), hint="end the other `seakeep inject` first", code=1)
    except (OSError, EOFError) as error:
        output.fail(f"the fault could not be held: {error}", hint="see `seakeep status`", code=1)


def _tell(fault: Fault, hit: str, duration: Duration | None, json: bool) -> None:
    if json:
        output.print_json_line(
            {
                "fault": fault.kind.value,
                "subject": fault.subject,
                "hit": hit,
                "lasts_s": None if duration is None else in_seconds(duration),
            }
        )
        return
    until = "" if duration is None else f" for {units.format_duration(duration)}"
    output.note(f"{fault.kind.value} {hit}{until}")


def _wait(duration: Duration) -> None:
    """Sleep out the duration with a countdown; Ctrl-C ends it early, not with an error."""
    deadline = time.monotonic() + in_seconds(duration)
    try:
        with output.progress() as show:
            while (remaining := deadline - time.monotonic()) > 0:
                show(f"{remaining:.0f}s left; Ctrl-C undoes it now")
                time.sleep(min(0.5, remaining))
    except KeyboardInterrupt:
        output.note("interrupted")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
