"""Ending a system: every process, then every file, after whatever crash came before.

Each stage may find its work done already, so `down` can be interrupted and run again. What was
started but never recorded is found by the token in its environment.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from seakeep.engines.local import cgroups, processes
from seakeep.engines.local.layout import Layout
from seakeep.engines.local.node.client import NodeError, ask_once
from seakeep.engines.local.octets import release_octets
from seakeep.engines.local.processes import Identity
from seakeep.engines.local.state import (
    BrokenStateError,
    EngineState,
    PartRecord,
    load_state,
    systems_at,
)
from seakeep.model.observation import PartKind
from seakeep.model.time import in_seconds
from seakeep.runtime import control
from seakeep.runtime.daemon import supervisor_token
from seakeep.runtime.lock import locked, try_lock

SUPERVISOR_GRACE_S = 10.0
STOP_ANSWER_S = 3.0
KILLED_WITHIN_S = 5.0
ALONE_WITHIN_S = 90.0
NODE_GRACE_S = 10.0
"""For an agent to end, beyond the grace of the services on it."""
PART_GRACE_S = 3.0

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DownReport:
    was_up: bool
    strays: int
    """Processes that no record named; more than 0 only after a crash."""


def supervisor_file(layout: Layout) -> Path:
    """Where a supervisor leaves its identity."""
    return layout.state / "supervisor.json"


def supervisor_identity(layout: Layout) -> Identity | None:
    """The supervisor of the system, if one is alive and answers, or did. Raises
    ForeignStateError in a copied folder: the supervisor named there is another system's."""
    _state_now(layout)
    try:
        identity = Identity(**orjson.loads(supervisor_file(layout).read_bytes()))
    except (OSError, orjson.JSONDecodeError, TypeError):
        return None
    return identity if processes.is_alive(identity) else None


def down(layout: Layout, *, keep_logs: bool, progress: Progress) -> DownReport:
    """End everything of the system. Nothing of it is left when this returns, but the journal
    and the logs when `keep_logs`. May be interrupted and run again. Raises ForeignStateError in
    a copied folder, ControlError when somebody else keeps hold of the system."""
    _state_now(layout)  # of another folder: nothing is touched
    if not layout.state.exists():
        return _down_without_state(layout, progress)
    with _alone(layout, progress) as mine:
        if not mine:  # another `down` has just ended
            return DownReport(was_up=True, strays=0)
        state = _state_now(layout)
        tokens = systems_at(layout) if state is None else [state.token]
        if state is not None:
            _stop_parts(layout, state, progress)
        strays = _kill_strays(tokens)
        for token in tokens:
            cgroups.remove_all(token)
        release_octets(layout)
        _remove_files(layout, keep_logs)
    return DownReport(was_up=True, strays=strays)


def _down_without_state(layout: Layout, progress: Progress) -> DownReport:
    """Nothing is up, unless somebody has removed the folder of what runs."""
    stop_supervisor(layout, progress)
    tokens = systems_at(layout)
    strays = _kill_strays(tokens)
    for token in tokens:
        cgroups.remove_all(token)
    _remove_leftovers(layout)
    if layout.state.exists():
        # What was killed has made it anew, or an `up` has come meanwhile: that one is left alone.
        with suppress(FileNotFoundError), locked(layout) as mine:
            if mine:
                release_octets(layout)
                _remove_files(layout, keep_logs=False)
    elif layout.sockets.exists():
        release_octets(layout)
        shutil.rmtree(layout.sockets, ignore_errors=True)
    return DownReport(was_up=bool(strays), strays=strays)


def _state_now(layout: Layout) -> EngineState | None:
    """None, too, when the state is damaged: then the marks on the processes must do."""
    try:
        return load_state(layout)
    except BrokenStateError:
        return None


@contextmanager
def _alone(layout: Layout, progress: Progress) -> Iterator[bool]:
    """End the supervisor, and keep another one from coming up while the context is open. False
    when there is nothing left to keep."""
    deadline = time.monotonic() + ALONE_WITHIN_S
    handle = None
    while handle is None:
        stop_supervisor(layout, progress)
        try:
            handle = try_lock(layout)
        except FileNotFoundError:
            break
        if handle is None and time.monotonic() > deadline:
            raise control.ControlError(
                f"somebody else has kept hold of the system for {ALONE_WITHIN_S:.0f} s",
                "another `seakeep down` may be at it: wait for it or end it, then run this again",
            )
        if handle is None:
            time.sleep(0.05)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)


def stop_supervisor(layout: Layout, progress: Progress) -> None:
    """End the supervisor alone; the system goes on."""
    identity = supervisor_identity(layout)
    if identity is None:
        # One that does not answer yet, or whose note of itself is damaged.
        found = processes.with_token(supervisor_token(layout))
        if not found:
            return
        for starting in found:
            processes.send(starting, signal.SIGCONT)
            processes.send(starting, signal.SIGTERM)
        _end(found, SUPERVISOR_GRACE_S)
        return
    progress("supervisor")
    processes.send(identity, signal.SIGCONT)
    try:
        control.call(layout.supervisor_socket, "stop", timeout_s=STOP_ANSWER_S)
    except (OSError, control.ControlError):
        processes.send(identity, signal.SIGTERM)
    _end([identity], SUPERVISOR_GRACE_S)


def _end(identities: Sequence[Identity], grace_s: float) -> None:
    """Wait for processes that were told to end, and kill those that do not."""
    for identity in processes.wait_gone(identities, grace_s):
        processes.send(identity, signal.SIGKILL)
    processes.wait_gone(identities, KILLED_WITHIN_S)


def _stop_parts(layout: Layout, state: EngineState, progress: Progress) -> None:
    """Nodes first: their services finish what they are doing behind a balancer that still runs."""
    nodes = [part for part in state.parts.values() if part.kind == PartKind.NODE]
    others = [part for part in state.parts.values() if part.kind != PartKind.NODE]
    for stage, stop in ((nodes, _stop_node), (others, _stop_part)):
        if stage:
            progress(", ".join(part.id for part in stage))
            with ThreadPoolExecutor(len(stage)) as pool:
                list(pool.map(lambda part, stop=stop: stop(layout, part), stage))


def _stop_node(layout: Layout, part: PartRecord) -> None:
    if part.identity is None or not processes.is_alive(part.identity):
        return
    node = part.id.partition(":")[2]
    # One that was stopped by a signal would neither answer nor end.
    processes.send(part.identity, signal.SIGCONT)
    grace_s = NODE_GRACE_S
    try:
        grace_s += in_seconds(ask_once(layout.node_socket(node), "shutdown")["within_ns"])
    except NodeError:
        processes.send(part.identity, signal.SIGTERM)
    _end([part.identity], grace_s)


def _stop_part(layout: Layout, part: PartRecord) -> None:
    if part.identity is None or not processes.is_alive(part.identity):
        return
    processes.send(part.identity, signal.SIGCONT)
    processes.send(part.identity, signal.SIGTERM)
    _end([part.identity], PART_GRACE_S)


def _kill_strays(tokens: Sequence[str]) -> int:
    """Kill whatever carries one of these; how many there were."""
    found = [stray for token in tokens for stray in processes.strays(token)]
    for token in tokens:
        processes.kill_strays(token)
    return len(found)


def _remove_files(layout: Layout, keep_logs: bool) -> None:
    shutil.rmtree(layout.sockets, ignore_errors=True)
    if not keep_logs:
        # In one step, so that whoever comes next finds all of it or nothing.
        _remove_leftovers(layout)
        layout.state.rename(_doomed(layout))
        _remove_leftovers(layout)
        return
    kept = {layout.journal, layout.logs}
    # The state first: without it a `down` that is interrupted here has nothing left to end.
    paths = sorted(layout.state.iterdir(), key=lambda path: path != layout.identity)
    for path in paths:
        if path in kept:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _doomed(layout: Layout) -> Path:
    """Where the state goes to be removed; something is there only when a `down` was killed."""
    return layout.state.with_name(f"{layout.state.name}.removed")


def _remove_leftovers(layout: Layout) -> None:
    shutil.rmtree(_doomed(layout), ignore_errors=True)
