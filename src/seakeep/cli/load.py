"""`seakeep load`: open-loop traffic to the running system, or to any URL on this machine."""

import asyncio
import json as json_module
import signal
import sys
from collections.abc import Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO, TypeVar

from seakeep.cli import load_options as options
from seakeep.cli import load_table, output
from seakeep.cli.check import load_or_fail
from seakeep.cli.load_options import Wish
from seakeep.cli.project import DEFAULT_SPEC, Spec
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
from seakeep.model.system import Location, Shape, TrafficSource
from seakeep.model.time import Duration
from seakeep.runtime import client

T = TypeVar("T")

URL_RATE_PER_S = 50.0
PROGRESS_S = 1.0
METHODS_DEFAULT = ",".join(METHODS)
NOWHERE = Location(latitude_deg=0.0, longitude_deg=0.0)


def load(
    spec: Spec = DEFAULT_SPEC,
    duration: options.DurationText = None,
    rate: options.RateText = None,
    source: options.Sources = None,
    url: options.Urls = None,
    replay: options.Replay = None,
    speed: options.SpeedText = "1x",
    methods: options.MethodsText = METHODS_DEFAULT,
    factor: options.FactorText = "1",
    seed: options.Seed = None,
    timeout: options.TimeoutText = "5s",
    json: options.JsonPath = None,
    hdr: options.HdrPath = None,
    fail_above: options.FailAbove = None,
    allow_remote: options.AllowRemote = False,
    no_dns: options.NoDns = False,
    overstay: options.OverstayText = "5%",
    overstay_factor: options.OverstayFactor = "3x",
) -> None:
    """Send the spec's traffic, each source where DNS leads it.

    Without a zone in the spec, and with --no-dns, that is the nearest edge. Requests leave when
    they are due, whatever came back, and latency counts from then on.
    Ctrl-C ends it early and still prints the table.

    Examples:

      seakeep load --duration 1m --factor 3

      seakeep load --url http://127.0.0.1:8080/ --rate 200/s --fail-above 0.1%

      seakeep load --replay access.log.gz --speed 2x --json report.json
    """
    wish = Wish(
        spec=spec,
        duration=options.duration_of(duration, replay),
        rate_per_s=options.rate_of(rate),
        sources=tuple(source or ()),
        urls=tuple(url or ()),
        replay=replay,
        speed=options.factor_of(speed, "--speed"),
        factor=options.factor_of(factor, "--factor"),
        methods=options.methods_of(methods),
        seed=options.seed_of(seed),
        timeout=options.positive(timeout, "--timeout"),
        fail_above=options.share_of(fail_above),
        allow_remote=allow_remote,
        no_dns=no_dns,
        overstay=options.overstay_of(overstay, overstay_factor),
    )
    options.refuse_nonsense(wish)
    _run_and_tell(wish, *_plan_or_fail(wish), json, hdr)


# --- what to send -----------------------------------------------------------


def _plan_or_fail(wish: Wish) -> tuple[LoadPlan, ReplayReport | None]:
    try:
        plan, report = _plan(wish)
        if not wish.allow_remote:
            require_loopback(plan.lanes)
    except PlanError as error:
        output.fail(str(error), hint=error.hint)
    return plan, report


def _plan(wish: Wish) -> tuple[LoadPlan, ReplayReport | None]:
    if wish.urls:
        return _plan_for_urls(wish)
    system = load_or_fail(wish.spec)
    edges = _edges(wish.spec)
    servers = {} if wish.no_dns else client.servers(wish.spec.resolve().parent)
    if wish.replay is not None:
        lanes, weights = lanes_for_system(system, edges, wish.sources, servers, wish.overstay)
        return plan_for_replay(wish.replay, lanes, weights, speed=wish.speed, methods=wish.methods)
    plan = plan_for_system(
        system, edges, seed=wish.seed, sources=wish.sources,
        rate_per_s=wish.rate_per_s, factor=wish.factor, servers=servers, overstay=wish.overstay,
    )  # fmt: skip
    return plan, None


def _plan_for_urls(wish: Wish) -> tuple[LoadPlan, ReplayReport | None]:
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


def _edges(spec: Path) -> dict[str, Address]:
    try:
        return client.edges(spec.resolve().parent)
    except client.NotUp as error:
        output.fail(str(error), hint="start it with `seakeep up`, or load a URL with --url", code=1)


# --- the run ----------------------------------------------------------------


def _run_and_tell(
    wish: Wish, plan: LoadPlan, report: ReplayReport | None, json: str | None, hdr: Path | None
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
            if json_file is None:
                output.print_json(told)
            else:
                json_file.write(json_module.dumps(told, indent=2, ensure_ascii=False) + "\n")
    _tell(final, report, wish, to_stderr=json == "-")


def _tell(final: Snapshot, report: ReplayReport | None, wish: Wish, to_stderr: bool) -> None:
    load_table.show(final, sys.stderr if to_stderr else sys.stdout)
    for line in load_table.notes(final, report, None if wish.replay else wish.seed):
        output.note(line)
    if final.client.warning:
        output.warn(
            final.client.warning, "the machine was busy: lower the rate, or give the client a core"
        )
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
            hint="the table says how they failed, `seakeep status` what the system lacks",
            code=1,
        )


def _writable(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        output.fail(f"cannot write {path}: {error.strerror or error}", hint="give another path")


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
