"""`seakeep inject`: real faults, undone on exit."""

import signal
import time
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from seakeep.cli import output
from seakeep.engines.local.layout import layout_for
from seakeep.engines.local.power import PowerCutError
from seakeep.model import units
from seakeep.model.system import Fault, FaultKind
from seakeep.model.time import SECOND, Duration
from seakeep.runtime import faults

app = typer.Typer(
    help="Inject real faults: signals, cut links, lost power. Each ends with its duration, with "
    "Ctrl-C, or with the death of this command.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Spec = Annotated[Path, typer.Option("--spec", "-f", help="The spec.")]
Lasts = Annotated[str, typer.Option("--for", help="How long, as 30s or 5m.")]
DEFAULT_SPEC = Path("seakeep.yaml")


@app.command()
def kill(
    target: Annotated[str, typer.Argument(help="An instance (web-3), or a service.")],
    spec: Spec = DEFAULT_SPEC,
) -> None:
    """SIGKILL an instance; of a service, its oldest one.

    Example:  seakeep inject kill web-3
    """
    _inject(spec, Fault(kind=FaultKind.KILL, subject=target), None)


@app.command()
def freeze(
    target: Annotated[str, typer.Argument(help="An instance (web-3), or a service.")],
    lasts: Lasts = "30s",
    spec: Spec = DEFAULT_SPEC,
) -> None:
    """SIGSTOP an instance: it holds its connections and answers nothing.

    Example:  seakeep inject freeze catalog --for 20s
    """
    _inject(spec, Fault(kind=FaultKind.FREEZE, subject=target), lasts)


@app.command()
def slow(
    target: Annotated[str, typer.Argument(help="An instance (web-3), or a service.")],
    cpu: Annotated[str, typer.Option(help="Share of its time that it may still run.")] = "20%",
    lasts: Lasts = "30s",
    spec: Spec = DEFAULT_SPEC,
) -> None:
    """Leave an instance only a share of its CPU time (a gray failure).

    Example:  seakeep inject slow orders-2 --cpu 10% --for 1m
    """
    fraction = _parsed(units.parse_percent, cpu, "--cpu")
    _inject(spec, Fault(kind=FaultKind.SLOW, subject=target, amount=fraction), lasts)


@app.command("lose-node")
def lose_node(
    node: Annotated[str, typer.Argument(help="REGION/ZONE/N")],
    lasts: Lasts = "30s",
    spec: Spec = DEFAULT_SPEC,
) -> None:
    """Cut the power of a node: its agent and its instances are killed and cannot start.

    Example:  seakeep inject lose-node us-east/a/0 --for 30s
    """
    _inject(spec, Fault(kind=FaultKind.LOSE_NODE, subject=node), lasts)


@app.command("lose-zone")
def lose_zone(
    zone: Annotated[str, typer.Argument(help="REGION/ZONE")],
    lasts: Lasts = "30s",
    spec: Spec = DEFAULT_SPEC,
) -> None:
    """Cut the power of a zone.

    Example:  seakeep inject lose-zone us-east/a --for 1m
    """
    _inject(spec, Fault(kind=FaultKind.LOSE_ZONE, subject=zone), lasts)


@app.command("lose-region")
def lose_region(
    region: Annotated[str, typer.Argument(help="REGION")],
    lasts: Lasts = "30s",
    spec: Spec = DEFAULT_SPEC,
) -> None:
    """Cut the power of a region: zones, edge and link.

    Example:  seakeep inject lose-region us-east --for 2m
    """
    _inject(spec, Fault(kind=FaultKind.LOSE_REGION, subject=region), lasts)


@app.command()
def partition(
    link: Annotated[str, typer.Argument(help="REGION~REGION, or REGION>REGION for one way.")],
    lasts: Lasts = "30s",
    spec: Spec = DEFAULT_SPEC,
) -> None:
    """Cut a link: packets are lost, connections hang.

    Example:  seakeep inject partition us-east~eu-west --for 1m
    """
    _inject(spec, Fault(kind=FaultKind.PARTITION, subject=link), lasts)


@app.command()
def delay(
    link: Annotated[str, typer.Argument(help="REGION~REGION, or REGION>REGION.")],
    by: Annotated[str, typer.Option(help="Added to each way, as 200ms.")] = "200ms",
    lasts: Lasts = "30s",
    spec: Spec = DEFAULT_SPEC,
) -> None:
    """Slow a link.

    Example:  seakeep inject delay us-east~eu-west --by 300ms --for 1m
    """
    added = _parsed(units.parse_duration, by, "--by")
    _inject(spec, Fault(kind=FaultKind.DELAY, subject=link, amount=float(added)), lasts)


def _inject(spec: Path, fault: Fault, lasts: str | None) -> None:
    duration = None if lasts is None else _parsed(units.parse_duration, lasts, "--for")
    signal.signal(signal.SIGTERM, _interrupt)
    layout = layout_for(spec.resolve().parent)
    try:
        with faults.hold(layout, fault) as hit:
            output.note(f"{fault.kind.value}: {hit}")
            if duration is not None:
                _wait(duration)
        if duration is not None:
            output.note(f"{fault.kind.value} of {hit} undone")
    except faults.FaultError as error:
        output.fail(str(error), hint=error.hint, code=2)
    except PowerCutError as error:
        output.fail(str(error), hint="end the other `seakeep inject` first", code=1)
    except (OSError, EOFError) as error:
        output.fail(f"the fault could not be held: {error}", hint="see `seakeep status`", code=1)


def _wait(duration: Duration) -> None:
    """Sleep out the duration with a countdown; Ctrl-C ends it early, not with an error."""
    deadline = time.monotonic() + duration / SECOND
    try:
        with output.progress() as show:
            while (remaining := deadline - time.monotonic()) > 0:
                show(f"{remaining:.0f}s left; Ctrl-C undoes it now")
                time.sleep(min(0.5, remaining))
    except KeyboardInterrupt:
        output.note("interrupted")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parsed(parse: Any, text: str, option: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        output.fail(f"{option}: {error}", hint="", code=2)
