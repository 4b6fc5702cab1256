"""Where the `seakeep` command begins: Ctrl-C ends it without a traceback from the first moment.

Importing the verbs takes a tenth of a second, in which nothing has been begun yet.
"""

import signal


def main() -> None:
    """Entry point of the command."""
    deaf = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if not deaf:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from seakeep.cli.main import main as run

    if not deaf:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()
