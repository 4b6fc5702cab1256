"""The `seakeep` command: verbs, one file each."""

import sys

import typer

from seakeep import __version__
from seakeep.cli import check, down, explain, init, inject, load, logs, output, schema, status, up
from seakeep.engines.local.state import StateError
from seakeep.runtime.teardown import DownError

app = typer.Typer(
    name="seakeep",
    help="Keeps a system that runs in several zones and regions reliable while it scales.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("init")(init.init)
app.command("check")(check.check)
app.command("schema")(schema.schema)
app.command("up")(up.up)
app.command("down")(down.down)
app.command("status")(status.status)
app.command("logs")(logs.logs)
app.command("explain")(explain.explain)
app.command("load")(load.load)
app.add_typer(inject.app, name="inject")


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
    except StateError as error:
        output.error(str(error), error.hint)
        sys.exit(2)
    except DownError as error:
        output.error(str(error), error.hint)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


if __name__ == "__main__":
    main()
