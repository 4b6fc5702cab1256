"""Starting the supervisor in the background."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from seakeep.engines.local.layout import Layout
from seakeep.engines.local.process_table import TOKEN_VARIABLE
from seakeep.engines.local.state import bereft, load_state
from seakeep.runtime import control
from seakeep.runtime.lock import is_free

ANSWERS_WITHIN_S = 30.0
ASK_EVERY_S = 0.05
ROOM_BYTES = 256 << 10
"""For the state and the first minutes of logs and journal."""
OTHERS_END_WITHIN_S = 90.0
"""A `down` that gives services their grace takes its time."""
EXIT_ALREADY_RUNNING = 3


class SupervisorFailed(Exception):
    """The supervisor could not be started; `hint` says where to look."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def start_supervisor(layout: Layout, spec: Path) -> None:
    """Start it detached and return once it answers. What runs of the system is adopted. When
    somebody else is starting it in this moment, it is told of the spec; while a `down` runs, its
    end is waited for. Raises SupervisorFailed with the supervisor's own last words, StateError
    when the state cannot be used."""
    if load_state(layout) is None and bereft(layout):
        raise SupervisorFailed(
            f"{layout.state} was removed while the system ran, and with it what a supervisor needs",
            "`seakeep down` ends what still runs; then `seakeep up` starts it anew",
        )
    deadline = time.monotonic() + OTHERS_END_WITHIN_S
    while True:
        child, log, start = _spawn(layout, spec)
        code = _until_it_answers(layout, child)
        if code is None:
            return
        if code != EXIT_ALREADY_RUNNING:
            said = _last_line(log, start)
            raise SupervisorFailed(
                f"the supervisor ended with exit code {code}: {said}", f"its log is {log}"
            )
        if _joined(layout, spec, deadline):
            return


def _spawn(layout: Layout, spec: Path) -> tuple[subprocess.Popen[bytes], Path, int]:
    """(the supervisor's process, its log, where in the log its words begin)."""
    log = layout.log("supervisor")
    try:
        layout.create()
        _make_sure_of_room(layout)
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
                env={**os.environ, TOKEN_VARIABLE: supervisor_token(layout)},
            )
    except OSError as error:
        raise SupervisorFailed(
            f"cannot keep the state in {layout.state}: {error.strerror or error}",
            "the folder of the spec must be writable and its disk must not be full",
        ) from error
    return child, log, start


def _make_sure_of_room(layout: Layout) -> None:
    """Raises OSError on a full disk, where the supervisor could not even say so."""
    trial = layout.state / "trial.tmp"
    try:
        trial.write_bytes(bytes(ROOM_BYTES))
    finally:
        with contextlib.suppress(OSError):
            trial.unlink()


def _until_it_answers(layout: Layout, child: subprocess.Popen[bytes]) -> int | None:
    """None once a supervisor answers, or the exit code of the one that was started."""
    deadline = time.monotonic() + ANSWERS_WITHIN_S
    while time.monotonic() < deadline:
        code = child.poll()
        if code is not None:
            return code
        if _answers(layout):
            return None
        time.sleep(ASK_EVERY_S)
    raise SupervisorFailed(
        f"the supervisor did not answer within {ANSWERS_WITHIN_S:.0f} s",
        f"its log is {layout.log('supervisor')}; `seakeep down` clears up",
    )


def _joined(layout: Layout, spec: Path, deadline: float) -> bool:
    """Somebody else holds the system. True once that is a supervisor that has heard of our spec;
    False when nobody holds it any more. Raises SupervisorFailed."""
    while time.monotonic() < deadline:
        if _answers(layout):
            try:
                control.call(layout.supervisor_socket, "reload", spec=str(spec))
            except control.NotRunning:
                continue
            except control.ControlError as error:
                raise SupervisorFailed(str(error), error.hint) from error
            return True
        if is_free(layout):
            return False
        time.sleep(ASK_EVERY_S)
    raise SupervisorFailed(
        "another `seakeep up` or `seakeep down` of this system has been at it for "
        f"{OTHERS_END_WITHIN_S:.0f} s",
        "wait for it or end it, then run this again",
    )


def _answers(layout: Layout) -> bool:
    try:
        control.call(layout.supervisor_socket, "status", timeout_s=ANSWERS_WITHIN_S)
    except control.ControlError:
        return False
    return True


def supervisor_token(layout: Layout) -> str:
    """What a supervisor carries in its environment, so that it is found whatever it has written."""
    return f"supervisor:{layout.state}"


def _last_line(log: Path, start: int) -> str:
    try:
        with log.open("rb") as written:
            written.seek(start)
            lines = written.read().decode(errors="replace").strip().splitlines()
    except OSError as error:
        return f"its log cannot be read: {error.strerror}"
    return lines[-1] if lines else "it said nothing"
