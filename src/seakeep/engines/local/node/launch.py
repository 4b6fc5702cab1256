"""What a process of a node is given when it starts, and commands run as probes."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from seakeep.engines.local.node.records import Record
from seakeep.engines.local.processes import (
    Handle,
    Identity,
    SpawnError,
    describe_exit,
    is_alive,
    spawn,
)
from seakeep.model.ids import NodeId, RegionName, ZoneName

_OUTPUT_BYTES_MAX = 4096
_DETAIL_CHARACTERS_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The node that an agent serves."""

    system: str
    region: RegionName
    zone: ZoneName
    node: NodeId
    token: str
    """`<system token>/<node>`: what the tokens of its processes start with."""


def token_of(place: Place, record: Record) -> str:
    """Of an instance's present process; it follows from the record alone."""
    return f"{place.token}/{record.id}/{record.restarts}"


def environment_of(place: Place, record: Record) -> dict[str, str]:
    """The agent's own without Seakeep's variables, what Seakeep says, the workload's, the
    start request's: the later one wins."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("SEAKEEP_")
    }
    environment |= {
        "HOST": record.address.host,
        "PORT": str(record.address.port),
        "SEAKEEP_SYSTEM": place.system,
        "SEAKEEP_SERVICE": record.service,
        "SEAKEEP_REGION": place.region,
        "SEAKEEP_ZONE": place.zone,
        "SEAKEEP_NODE": place.node,
        "SEAKEEP_INSTANCE": record.id,
    }
    environment |= dict(record.workload.env) | dict(record.env)
    # `python` is the one that runs Seakeep, whether its environment is activated or not.
    own = os.path.dirname(sys.executable)
    environment["PATH"] = os.pathsep.join([own, environment.get("PATH", os.defpath)])
    return environment


def expand(command: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """`${NAME}` in the arguments, filled from the environment; unknown names stay."""
    return [Template(argument).safe_substitute(environment) for argument in command]


def launch(place: Place, record: Record, log: Path) -> Identity:
    """Start an instance's process. Raises SpawnError."""
    environment = environment_of(place, record)
    return spawn(
        expand(record.workload.command, environment),
        env=environment,
        cwd=Path(record.cwd),
        log=log,
        token=token_of(place, record),
    )


async def execute(
    place: Place, record: Record, command: Sequence[str], started: Callable[[int], None]
) -> str:
    """Run a command in an instance's environment. The empty text when it exits 0, else why
    not and the first line that it wrote. When cancelled, its whole group is ended. `started`
    hears its pid."""
    environment = environment_of(place, record)
    with tempfile.TemporaryFile() as output:
        try:
            identity = spawn(
                expand(command, environment),
                env=environment,
                cwd=Path(record.cwd),
                log=output.fileno(),
                token=token_of(place, record) + "/probe",
            )
        except SpawnError as error:
            return str(error)
        started(identity.pid)
        status = await _outcome(identity)
        if status == 0:
            return ""
        output.seek(0)
        said = output.read(_OUTPUT_BYTES_MAX).decode(errors="replace").strip()
    first = said.splitlines()[0][:_DETAIL_CHARACTERS_MAX] if said else ""
    return describe_exit(status) + (f": {first}" if first else "")


async def _outcome(identity: Identity) -> int | None:
    """Wait for a child's end and reap it; whatever happens, end its whole group."""
    handle = Handle.open(identity)
    if handle is None:
        return None
    try:
        await handle.ended()
        return handle.exit_status()
    finally:
        handle.signal_group(signal.SIGKILL)
        _reap_soon(handle)


def _reap_soon(handle: Handle, tries: int = 50) -> None:
    """A process that was just killed takes a moment to end."""
    if handle.exit_status() is None and is_alive(handle.identity) and tries:
        asyncio.get_running_loop().call_later(0.02, _reap_soon, handle, tries - 1)
        return
    handle.exit_status()
    handle.close()
