"""Words for the log of a process of ours, which is its stderr."""

import contextlib
import sys


def complain(problem: str) -> None:
    """Write a line to the log. With no room for it the line is lost, and nothing else: a full
    disk must not end whoever says that the disk is full."""
    with contextlib.suppress(OSError, ValueError):
        print(problem, file=sys.stderr, flush=True)
