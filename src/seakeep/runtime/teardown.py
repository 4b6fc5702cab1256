"""Ending a system: every process, then every file, after whatever crash came before.

Each stage may find its work done already, so `down` can be interrupted and run again. What was
started but never recorded is found by the token in its environment.
"""

import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import orjson

from seakeep.engines.local import cgroups, processes
from seakeep.engines.local.layout import Layout
from seakeep.engines.local.node_client import NodeError, ask_once
from seakeep.engines.local.processes import Identity
from seakeep.engines.local.state import EngineState, PartRecord, load_state, release_octets
from seakeep.model.observation import PartKind
from seakeep.runtime import control

SUPERVISOR_GRACE_S = 10.0
NODE_GRACE_S = 15.0
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
    """The supervisor of the system, if one is alive."""
    try:
        identity = Identity(**orjson.loads(supervisor_file(layout).read_bytes()))
    except (FileNotFoundError, orjson.JSONDecodeError, TypeError):
        return None
    return identity if processes.is_alive(identity) else None


def down(layout: Layout, *, keep_logs: bool, progress: Progress) -> DownReport:
    """End everything of the system. Nothing of it is left when this returns, but the journal
    and the logs when `keep_logs`. Raises ForeignStateError in a copied folder."""
    was_up = layout.state.exists()
    state = load_state(layout)
    stop_supervisor(layout, progress)
    strays = 0
    if state is not None:
        _stop_parts(layout, state, progress)
        strays = _kill_strays(state.token)
        cgroups.remove_all(state.token)
    if was_up:
        release_octets(layout)
    _remove_files(layout, keep_logs)
    return DownReport(was_up=was_up, strays=strays)


def stop_supervisor(layout: Layout, progress: Progress) -> None:
    """End the supervisor alone; the system goes on."""
    identity = supervisor_identity(layout)
    if identity is None:
        return
    progress("supervisor")
    try:
        control.call(layout.supervisor_socket, "stop")
    except (OSError, control.ControlError):
        processes.send(identity, signal.SIGTERM)
    if processes.wait_gone([identity], SUPERVISOR_GRACE_S):
        processes.send(identity, signal.SIGKILL)
        processes.wait_gone([identity], SUPERVISOR_GRACE_S)


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
    try:
        ask_once(layout.node_socket(part.id.partition(":")[2]), "shutdown")
    except NodeError:
        processes.send(part.identity, signal.SIGTERM)
    if processes.wait_gone([part.identity], NODE_GRACE_S):
        processes.send(part.identity, signal.SIGKILL)


def _stop_part(layout: Layout, part: PartRecord) -> None:
    if part.identity is None or not processes.is_alive(part.identity):
        return
    processes.send(part.identity, signal.SIGTERM)
    if processes.wait_gone([part.identity], PART_GRACE_S):
        processes.send(part.identity, signal.SIGKILL)
        processes.wait_gone([part.identity], PART_GRACE_S)


def _kill_strays(token: str) -> int:
    """Kill whatever carries the token; how many there were."""
    found = processes.strays(token)
    processes.kill_strays(token)
    return len(found)


def _remove_files(layout: Layout, keep_logs: bool) -> None:
    shutil.rmtree(layout.sockets, ignore_errors=True)
    if not keep_logs:
        shutil.rmtree(layout.state, ignore_errors=True)
        return
    kept = {layout.journal, layout.logs}
    for path in layout.state.iterdir() if layout.state.exists() else ():
        if path in kept:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
