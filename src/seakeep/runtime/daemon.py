"""Starting the supervisor in the background."""

import os
import subprocess
import sys
import time
from pathlib import Path

from seakeep.engines.local.layout import Layout
from seakeep.runtime import control

ANSWERS_WITHIN_S = 30.0
ASK_EVERY_S = 0.05


class SupervisorFailed(Exception):
    """The supervisor could not be started; `hint` says where to look."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def start_supervisor(layout: Layout, spec: Path) -> None:
    """Start it detached and return once it answers. What runs of the system is adopted. Raises
    SupervisorFailed with the supervisor's own last words."""
    layout.create()
    log = layout.log("supervisor")
    with log.open("ab") as out:
        start = log.stat().st_size
        child = subprocess.Popen(
            [sys.executable, "-m", "seakeep.runtime.supervisor", "--spec", str(spec)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=spec.parent,
            start_new_session=True,
            close_fds=True,
            env=dict(os.environ),
        )
    deadline = time.monotonic() + ANSWERS_WITHIN_S
    while time.monotonic() < deadline:
        try:
            control.call(layout.supervisor_socket, "status")
            return
        except control.ControlError:
            pass
        code = child.poll()
        if code is not None:
            raise SupervisorFailed(
                f"the supervisor ended with exit code {code}: {_last_line(log, start)}",
                f"its log is {log}",
            )
        time.sleep(ASK_EVERY_S)
    raise SupervisorFailed(
        f"the supervisor did not answer within {ANSWERS_WITHIN_S:.0f} s",
        f"its log is {log}; `seakeep down` clears up",
    )


def _last_line(log: Path, start: int) -> str:
    with log.open("rb") as written:
        written.seek(start)
        lines = written.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
