"""`seakeep load`: open-loop traffic to the running system, or to any URL on this machine."""

import asyncio
import json as json_module
import secrets
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TextIO, TypeVar

import typer

from seakeep.cli import load_table, output
from seakeep.load.hdrlog import HdrLogWriter
from seakeep.load.plan import (
    Lane,
    LoadPlan,
    PlanError,
    lanes_for_system,
    plan_for_system,
    plan_for_targets,
)
from seakeep.load.replay import METHODS, ReplayReport, plan_for_replay
from seakeep.load.report import document
from seakeep.load.run import LoadRun, calm_collector
from seakeep.load.snapshot import Snapshot
from seakeep.load.targets import require_loopback, target_of_url
from seakeep.model import units
from seakeep.model.observation import Address
from seakeep.model.system import Location, Shape, System, TrafficSource
from seakeep.model.time import SECOND, Duration

T = TypeVar("T")

DURATION_DEFAULT = 30 * SECOND
URL_RATE_PER_S = 50.0
RATE_MAX_PER_S = 1e6
PROGRESS_S = 1.0
NOWHERE = Location(latitude_deg=0.0, longitude_deg=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """The options, parsed."""

    spec: Path
    duration: Duration | None
    rate_per_s: float | None
    sources: tuple[str, ...]
    urls: tuple[str, ...]
    replay: Path | None
    speed: float
    factor: float
    methods: tuple[str, ...]
    seed: int
    timeout: Duration
    fail_above: float | None
    allow_remote: bool


def load(
    spec: Annotated[Path, typer.Option("--spec", "-f", help="The spec.")] = Path("seakeep.yaml"),
    duration: Annotated[
        str | None, typer.Option(help="How long, as 30s; a replay runs to the end of its log.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="Requests of each source (or URL), as 200/s.")
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option(help="Only this traffic source; repeatable.")
    ] = None,
    url: Annotated[
        list[str] | None,
        typer.Option(help="Load this URL, without a running system; repeatable."),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(help="Replay an access log: Apache, NGINX or JSON lines; may be gzip."),
    ] = None,
    speed: Annotated[str, typer.Option(help="Of the replay: 2x is twice as fast.")] = "1x",
    methods: Annotated[
        str, typer.Option(help="Methods to replay, without bodies; others are counted.")
    ] = ",".join(METHODS),
    factor: Annotated[str, typer.Option(help="Multiply every rate by this.")] = "1",
    seed: Annotated[
        int | None, typer.Option(help="Of the arrivals; the same seed, the same arrivals.")
    ] = None,
    timeout: Annotated[str, typer.Option(help="Of one request.")] = "5s",
    json: Annotated[
        str | None, typer.Option("--json", help="Write the JSON document here; - is stdout.")
    ] = None,
    hdr: Annotated[
        Path | None, typer.Option(help="Write an HdrHistogram log, one line per second and source.")
    ] = None,
    fail_above: Annotated[
        str | None, typer.Option(help="Exit with 1 when more of the requests failed, as 0.1%.")
    ] = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Allow targets beyond this machine.")
    ] = False,
) -> None:
    """Send the traffic that the spec declares, to the edge nearest to each source.

    Requests leave when they are due, whatever came back, and latency counts from then on.
    Ctrl-C ends it early and still prints the table.

    Examples:

      seakeep load --duration 1m --factor 3

      seakeep load --url http://127.0.0.1:8080/ --rate 200/s --fail-above 0.1%

      seakeep load --replay access.log.gz --speed 2x --json report.json
    """
    wish = _Wish(
        spec=spec,
        duration=_duration(duration, replay),
        rate_per_s=None if rate is None else _parsed(units.parse_rate, rate, "--rate"),
        sources=tuple(source or ()),
        urls=tuple(url or ()),
        replay=replay,
        speed=_factor(speed, "--speed"),
        factor=_factor(factor, "--factor"),
        methods=_methods(methods),
        seed=secrets.randbelow(1_000_000) if seed is None else seed,
        timeout=_positive(units.parse_duration, timeout, "--timeout"),
        fail_above=None
        if fail_above is None
        else _parsed(units.parse_percent, fail_above, "--fail-above"),
        allow_remote=allow_remote,
    )
    _refuse_nonsense(wish)
    try:
        plan, report = _plan(wish)
        if not allow_remote:
            require_loopback(plan.lanes)
    except PlanError as error:
        output.fail(str(error), hint=error.hint, code=2)
    _run_and_tell(wish, plan, report, json, hdr)


# --- options ----------------------------------------------------------------


def _parsed(parse: Callable[[str], T], text: str, option: str) -> T:
    try:
        return parse(text)
    except units.UnitError as error:
        output.fail(f"{option}: {error}", hint=error.hint, code=2)


def _positive(parse: Callable[[str], int], text: str, option: str) -> int:
    amount = _parsed(parse, text, option)
    if amount <= 0:
        output.fail(f"{option}: {text} is not above zero", hint="write 30s", code=2)
    return amount


def _duration(text: str | None, replay: Path | None) -> Duration | None:
    if text is not None:
        return _positive(units.parse_duration, text, "--duration")
    return DURATION_DEFAULT if replay is None else None


def _factor(text: str, option: str) -> float:
    """`2x`, `0.5x` or plain `2`."""
    try:
        factor = float(text.strip().removesuffix("x"))
    except ValueError:
        factor = 0.0
    if not 1e-6 <= factor <= 1e6:
        output.fail(f"{option}: {text!r} is not a factor", hint="write 2x or 0.5x", code=2)
    return factor


def _methods(text: str) -> tuple[str, ...]:
    methods = tuple(part.strip().upper() for part in text.split(",") if part.strip())
    odd = [method for method in methods if not method.isalpha() or method == "CONNECT"]
    if odd or not methods:
        output.fail(
            f"--methods: {text!r} is not a list of methods that can be replayed",
            hint="write GET,HEAD,POST",
            code=2,
        )
    return methods


def _refuse_nonsense(wish: _Wish) -> None:
    """Options that would silently do nothing together."""
    if wish.replay is not None and (wish.rate_per_s is not None or wish.factor != 1):
        output.fail(
            "a replay has its own timing: --rate and --factor do not go with --replay",
            hint="make it faster or slower with --speed 2x",
            code=2,
        )
    if wish.replay is None and wish.speed != 1:
        output.fail("--speed goes with --replay", hint="use --factor to raise rates", code=2)
    if wish.urls and wish.sources:
        output.fail(
            "--source chooses from the spec, --url does without it", hint="give one of them", code=2
        )
    if wish.rate_per_s is not None and not 0 < wish.rate_per_s * wish.factor <= RATE_MAX_PER_S:
        output.fail("--rate is zero or beyond any machine", hint="write 200/s", code=2)


# --- what to send -----------------------------------------------------------


def _plan(wish: _Wish) -> tuple[LoadPlan, ReplayReport | None]:
    if wish.urls:
        return _plan_for_urls(wish)
    system = _system(wish.spec)
    edges = _edges(wish.spec)
    if wish.replay is not None:
        lanes, weights = lanes_for_system(system, edges, wish.sources)
        return plan_for_replay(wish.replay, lanes, weights, speed=wish.speed, methods=wish.methods)
    plan = plan_for_system(
        system, edges, seed=wish.seed, sources=wish.sources,
        rate_per_s=wish.rate_per_s, factor=wish.factor,
    )  # fmt: skip
    return plan, None


def _plan_for_urls(wish: _Wish) -> tuple[LoadPlan, ReplayReport | None]:
    pairs = []
    for name in dict.fromkeys(wish.urls):
        target, path = target_of_url(name)
        shown = name.removeprefix("http://")
        source = TrafficSource(
            name=shown, location=NOWHERE, service="", path=path, shape=Shape.POISSON,
            rate_per_s=URL_RATE_PER_S if wish.rate_per_s is None else wish.rate_per_s,
        )  # fmt: skip
        pairs.append((source, target))
    if wish.replay is None:
        return plan_for_targets(pairs, seed=wish.seed, factor=wish.factor), None
    lanes = [Lane(source=source.name, service="", target=target) for source, target in pairs]
    return plan_for_replay(
        wish.replay, lanes, [1.0] * len(lanes), speed=wish.speed, methods=wish.methods
    )


def _system(spec: Path) -> System:
    from seakeep.cli.check import load_or_fail

    return load_or_fail(spec)


def _edges(spec: Path) -> dict[str, Address]:
    from seakeep.runtime.client import NotUp, edges

    try:
        return edges(spec.resolve().parent)
    except NotUp as error:
        output.fail(str(error), hint="start it with `seakeep up`, or load a URL with --url", code=2)


# --- the run ----------------------------------------------------------------


def _run_and_tell(
    wish: _Wish, plan: LoadPlan, report: ReplayReport | None, json: str | None, hdr: Path | None
) -> None:
    with ExitStack() as files:
        # Opened before the run: a path that cannot be written must not cost a run's results.
        json_file = (
            None if json in (None, "-") else files.enter_context(_writable(Path(json or "")))
        )
        log = None if hdr is None else HdrLogWriter(files.enter_context(_writable(hdr)))
        run = LoadRun(plan, timeout=wish.timeout, on_interval=None if log is None else log.interval)
        try:
            final = _in_fast_loop(_drive(run, wish.duration, log))
        except OSError as error:
            output.fail(f"the load ended: {error}", hint="is the disk full?", code=1)
        if json is not None:
            told = document(run, final, seed=wish.seed, replay=report)
            text = json_module.dumps(told, indent=2, ensure_ascii=False) + "\n"
            (json_file or sys.stdout).write(text)
    _tell(final, report, wish, to_stderr=json == "-")


def _tell(final: Snapshot, report: ReplayReport | None, wish: _Wish, to_stderr: bool) -> None:
    load_table.show(final, sys.stderr if to_stderr else sys.stdout)
    for line in load_table.notes(final, report, None if wish.replay else wish.seed):
        output.note(line)
    if final.client.warning:
        output.warn(final.client.warning, "lower the rate, or give the client a core of its own")
    if report is not None and not final.total.due:
        output.fail(
            f"nothing in {wish.replay} could be replayed",
            hint="give an access log in common or combined format, or as JSON lines",
            code=2,
        )
    failures = final.total.failures
    if wish.fail_above is not None and failures > wish.fail_above * final.total.due:
        share = failures / final.total.due
        output.fail(
            f"{share:.4%} of the requests failed, "
            f"more than {units.format_percent(wish.fail_above)}",
            hint="`seakeep status` shows the system's state",
            code=1,
        )


def _writable(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        output.fail(
            f"cannot write {path}: {error.strerror or error}", hint="give another path", code=2
        )


def _in_fast_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop where it exists: a request costs less there."""
    calm_collector()
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


async def _drive(run: LoadRun, duration: Duration | None, log: HdrLogWriter | None) -> Snapshot:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    on_start = None if log is None else log.header
    showing = asyncio.create_task(_show_progress(run, duration))
    try:
        return await run.run(duration, stop, on_start=on_start)
    finally:
        showing.cancel()
        load_table.clear_progress(sys.stderr)


async def _show_progress(run: LoadRun, duration: Duration | None) -> None:
    """One line, once a second, on a terminal only. Not a redrawn table: drawing takes
    milliseconds in which no request could leave."""
    if not sys.stderr.isatty():
        return
    while True:
        await asyncio.sleep(PROGRESS_S)
        load_table.show_progress(run.snapshot(), duration, sys.stderr)
