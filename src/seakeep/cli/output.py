"""How every verb speaks: data on stdout, messages on stderr, errors with a hint.

Colour and movement only on a terminal; NO_COLOR and TERM=dumb are honoured. Text that comes
from files is never read as markup.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

console = Console(markup=False, highlight=False, soft_wrap=True)
"""Data, for tables and trees that adapt to a terminal."""

messages = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
"""Everything that is said about the data."""


def data(text: str) -> None:
    """One line of data."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def print_json(document: Any) -> None:
    """A document on stdout, indented; keys stay in their order. NaN is an error."""
    data(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


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
    """A line that says what is going on and is gone afterwards; silent where stderr is not a
    terminal. Yields the function that changes its text."""
    if not messages.is_terminal or messages.is_dumb_terminal:
        yield lambda text: None
        return
    with messages.status("") as status:
        yield lambda text: status.update(Text(text))
