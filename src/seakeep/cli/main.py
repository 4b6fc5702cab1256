"""The `seakeep` command: verbs, one file each."""

import os
import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from seakeep import __version__
from seakeep.cli import output
from seakeep.engines.local.state import ForeignStateError, StateError
from seakeep.runtime.control import ControlError

VERBS = (
    "init", "check", "schema", "simulate", "up", "down", "status", "rollout", "logs", "explain",
    "load", "inject", "drain", "undrain", "replay",
)  # fmt: skip
"""In the order of `seakeep --help`; the module and its function, or its `app`, are called so."""


class Verbs(TyperGroup):
    """Imports the module of a verb when that verb is asked for: `seakeep status` has no need
    of the HTTP client of `seakeep load`, and answers in half the time without it."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS:
            for name in VERBS:  # so that the error can name a verb that is like it
                self.get_command(ctx, name)
            return None
        if cmd_name not in self.commands:
            self.commands[cmd_name] = _verb(cmd_name)
        return self.commands[cmd_name]


def _verb(name: str) -> Any:
    module = import_module(f"seakeep.cli.{name}")
    group = getattr(module, "app", None)
    if group is None:
        group = typer.Typer(add_completion=False, rich_markup_mode=None)
        group.command(name)(getattr(module, name))
    return typer.main.get_command(group)


app = typer.Typer(
    name="seakeep",
    cls=Verbs,
    help="Keeps a system that runs in several zones and regions reliable while it scales.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"seakeep {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Keeps a system that runs in several zones and regions reliable while it scales."""


def main() -> None:
    """Entry point of the command."""
    try:
        app()
    except (ControlError, StateError) as error:
        output.error(str(error), error.hint)
        sys.exit(2 if isinstance(error, ForeignStateError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        output.reader_left()
    except OSError as error:
        if os.environ.get(output.DEBUG):
            raise
        where = f": {error.filename}" if error.filename else ""
        output.error(
            f"{error.strerror or error}{where}", "may this user do that, and is there room?"
        )
        sys.exit(1)
    except Exception as error:
        if os.environ.get(output.DEBUG):
            raise
        output.error(
            f"a fault in Seakeep itself: {type(error).__name__}: {error}",
            f"please report it, with what `{output.DEBUG}=1` in the environment shows",
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
