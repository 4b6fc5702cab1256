"""`make demo`: start the shop, hurt it, and show what that cost.

python -m demo [--full] [--json FILE] [--svg FILE] [--keep]
"""

import argparse
import io
import json
import os
import platform
import re
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.live import Live

from demo import figures
from demo.acts import FULL, SHORT, acts
from demo.screen import Screen, results_table
from demo.stage import Result, Stage
from demo.traffic import Load
from demo.watch import Watch, all_well
from seakeep import __version__
from seakeep.engines.local.layout import Layout, layout_for
from seakeep.runtime.daemon import start_supervisor
from seakeep.runtime.teardown import down
from seakeep.spec import load

SPEC = Path(__file__).resolve().parent.parent / "seakeep.yaml"
START_S_MAX = 60.0
WARM_UP_S = 4.0


def main() -> int:
    options = _options()
    console = Console(record=options.svg is not None, width=None if sys.stdout.isatty() else 150)
    layout = layout_for(SPEC.parent)
    if layout.state.exists():
        console.print(f"the shop is up already, or was left after a crash: {layout.state}")
        console.print("hint: `seakeep down -f examples/shop/seakeep.yaml` ends it")
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        results = _play(options, console, layout)
    except KeyboardInterrupt:
        console.print("interrupted")
        return 130
    finally:
        if not options.keep:
            down(layout, keep_logs=False, progress=lambda stage: None)
    _report(console, results, options)
    return 0 if results and all(item.over for item in results) else 1


def _play(options: argparse.Namespace, console: Console, layout: Layout) -> list[Result]:
    """Start everything, run the acts; the results of those that ran."""
    system = load(SPEC).system
    console.print(f"Seakeep {__version__}: starting {system.name} in {', '.join(system.regions)}")
    start_supervisor(layout, SPEC)
    with ExitStack() as stack:
        watch = stack.enter_context(Watch(layout, list(system.regions)))
        if watch.until(all_well, START_S_MAX) is None:
            console.print(f"not everything became ready within {START_S_MAX:.0f} s:")
            console.print_json(data=watch.now.status)
            raise SystemExit(1)
        traffic = stack.enter_context(Load(SPEC))
        screen = Screen(watch, traffic)
        say: Callable[[str], None] = _teller(console, screen)
        stage = Stage(
            layout=layout, spec=SPEC, watch=watch, load=traffic, say=say,
            photograph=lambda: _picture(screen, options.svg),
        )  # fmt: skip
        if console.is_terminal:
            stack.enter_context(Live(screen, console=console, refresh_per_second=5, transient=True))
        say("traffic from two continents")
        time.sleep(WARM_UP_S)
        for result in acts(stage, FULL if options.full else SHORT):
            screen.results.append(result)
        if traffic.traffic.warning:
            console.print(traffic.traffic.warning)
        return screen.results


def _teller(console: Console, screen: Screen) -> Callable[[str], None]:
    began = time.monotonic()

    def say(text: str) -> None:
        screen.act = text
        if not console.is_terminal:
            console.print(f"{time.monotonic() - began:6.1f} s  {text}")

    return say


def _report(console: Console, results: list[Result], options: argparse.Namespace) -> None:
    with console.status("measuring what a decision and a request cost"):
        costs = figures.measure()
    console.print(results_table(results))
    console.print(figures.figures_table(costs))
    console.print(figures.line_of(costs))
    console.print(f"{_machine()}; a request has failed when its client saw it fail, after retries")
    if options.json:
        document = {
            "machine": _machine(),
            "results": [{**asdict(item), "failures": item.failures} for item in results],
            "costs": costs,
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n")


def _picture(screen: Screen, path: Path | None) -> None:
    """The screen as it is now as an SVG, for the README."""
    if path is None:
        return
    canvas = Console(record=True, width=132, file=io.StringIO(), force_terminal=True)
    canvas.print(screen)
    drawn = canvas.export_svg(title="make demo")
    # Its fonts would be fetched from the network; any fixed-width one will do.
    path.write_text(re.sub(r"@font-face\s*\{.*?\}", "", drawn, flags=re.DOTALL))


def _machine() -> str:
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, Seakeep {__version__}"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true", help="a full minute for each event")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument(
        "--svg", type=Path, help="write a picture of the screen, a region being lost, to this file"
    )
    parser.add_argument("--keep", action="store_true", help="leave the system running")
    return parser.parse_args()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
