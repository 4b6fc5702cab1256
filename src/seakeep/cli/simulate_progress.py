"""How far a simulation is: a bar on a terminal; elsewhere a line now and then."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from seakeep.cli import output

STARTS_WITHIN_S = 5.0
"""Unless the simulator has to be compiled."""
COMPILING = "compiling the simulator, once"


class Bar(Protocol):
    def begun(self) -> None:
        """Everything is loaded, and the first runs have begun."""

    def ended(self, run: str) -> None:
        """One more run has."""


@contextmanager
def runs_progress(total: int) -> Iterator[Bar]:
    """Of `total` runs."""
    if not output.messages.is_terminal or output.messages.is_dumb_terminal:
        with output.progress() as say:
            lines = _Lines(total, say)
            try:
                yield lines
            finally:
                lines.begun()
        return
    columns = (_Doing(), BarColumn(), MofNCompleteColumn(), TextColumn("runs"), TimeElapsedColumn())
    with Progress(*columns, console=output.messages, transient=True) as shown:
        yield _Drawn(shown, total)


class _Drawn:
    def __init__(self, shown: Progress, total: int) -> None:
        self._shown = shown
        self._task = shown.add_task("", total=total)

    def begun(self) -> None:
        self._shown.update(self._task, description="simulating")

    def ended(self, run: str) -> None:
        self._shown.advance(self._task)


class _Doing(ProgressColumn):
    """What is being done; before the first run there is no telling, but by the time it takes."""

    def render(self, task: Task) -> Text:
        if task.description:
            return Text(task.description)
        is_long = (task.elapsed or 0) > STARTS_WITHIN_S
        return Text(COMPILING if is_long else "starting")


class _Lines:
    def __init__(self, total: int, say: Callable[[str], None]) -> None:
        self._total, self._say = total, say
        self._done = 0
        self._patience = threading.Timer(STARTS_WITHIN_S, output.note, [COMPILING])
        self._patience.daemon = True
        self._patience.start()

    def begun(self) -> None:
        self._patience.cancel()

    def ended(self, run: str) -> None:
        self._done += 1
        self._say(f"{self._done} of {self._total} runs: {run}")
