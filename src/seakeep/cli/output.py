"""How every verb speaks: data on stdout, messages on stderr, errors with a hint.

Colour and movement only on a terminal; NO_COLOR and TERM=dumb are honoured. Text that comes
from files is never read as markup.
"""

import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from rich.console import Console, RenderableType
from rich.text import Text

BEAT_S = 10.0
"""Between lines of progress where they cannot be drawn over each other."""
DEBUG = "SEAKEEP_DEBUG"
"""Set it in the environment to see the traceback of a fault in Seakeep itself."""
EXIT_READER_LEFT = 141
"""As the shell shows a program that SIGPIPE ended."""


class QuietConsole(Console):
    """Ends the command without a word when its reader has left."""

    def on_broken_pipe(self) -> None:
        reader_left()


console = QuietConsole(markup=False, highlight=False, soft_wrap=True)
"""Data, for tables and trees that adapt to a terminal."""

messages = QuietConsole(stderr=True, markup=False, highlight=False, soft_wrap=True)
"""Everything that is said about the data."""


def data(text: str | Text) -> None:
    """One line of data."""
    if isinstance(text, Text) and console.is_terminal:
        console.print(text)
        return
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        reader_left()


def table(content: RenderableType) -> None:
    """A table on stdout. Nothing is cut off where there is no terminal that it has to fit."""
    if console.is_terminal:
        console.print(content)
        return
    plain = Console(file=io.StringIO(), width=1000, markup=False, highlight=False)
    with plain.capture() as captured:
        plain.print(content)
    for line in captured.get().splitlines():
        data(line.rstrip())


def print_json(document: Any) -> None:
    """A document on stdout, indented; keys stay in their order. NaN is an error."""
    data(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def print_json_line(document: Any) -> None:
    """A document on one line of stdout, for streams of them."""
    data(json.dumps(document, ensure_ascii=False, allow_nan=False))


def counted(number: int, word: str, words: str = "") -> str:
    """`1 zone`, `2 zones`."""
    return f"{number} {word}" if number == 1 else f"{number} {words or word + 's'}"


def reader_left() -> NoReturn:
    """End quietly: whoever read our output (`| head`) has enough of it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())  # what is still buffered must not fail at exit
    sys.exit(EXIT_READER_LEFT)


def note(text: str) -> None:
    """One line for the person at the terminal."""
    messages.print(Text(text))


def warn(message: str, hint: str = "") -> None:
    _say("warning", "yellow", message, hint)


def error(message: str, hint: str = "") -> None:
    """Say what went wrong and what to do about it."""
    _say("error", "red", message, hint)


def fail(message: str, hint: str = "", code: int = 2) -> NoReturn:
    """Say what went wrong and what to do about it, and end with `code`: 2 for what the user
    wrote, 1 for what the world did."""
    error(message, hint)
    raise typer.Exit(code)


def _say(word: str, colour: str, message: str, hint: str) -> None:
    messages.print(Text.assemble((f"{word}: ", f"bold {colour}"), message))
    if hint:
        messages.print(Text.assemble(("  hint: ", "bold"), hint))


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A line that says what is going on and is gone afterwards. Where stderr is not a terminal,
    what takes long gets a line now and then. Yields the function that changes the text."""
    if not messages.is_terminal or messages.is_dumb_terminal:
        yield _beats()
        return
    with messages.status("") as status:
        yield lambda text: status.update(Text(text, no_wrap=True, overflow="ellipsis"))


def _beats() -> Callable[[str], None]:
    last = time.monotonic()

    def show(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= BEAT_S:
            last = time.monotonic()
            note(text)

    return show
