"""Breaking whole systems, and telling whether one is whole again.

Whole: every service has its replicas, every part runs, every process that carries the system's
token is in somebody's records, and no instance and no part has two processes.
"""

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Iterable

from seakeep.engines.local import processes
from seakeep.engines.local.processes import Identity
from seakeep.engines.local.state import load_state
from seakeep.runtime.daemon import supervisor_token
from tests.live.systems import Running, eventually


def dice() -> random.Random:
    """A source of instants; the seed is printed, and may be given to see a failure again."""
    seed = int(os.environ.get("SEAKEEP_SEED") or random.randrange(1 << 32))
    print(f"SEAKEEP_SEED={seed}")
    return random.Random(seed)


def supervisors(system: Running) -> list[Identity]:
    """Those that run. A child that it has just forked still carries its token: not counted."""
    found = processes.with_token(supervisor_token(system.layout))
    return [one for one in found if os.getsid(one.pid) == one.pid][:1]


def crash_supervisor(system: Running) -> bool:
    """SIGKILL it at whatever it is doing. Whether there was one."""
    found = supervisors(system)
    kill(found)
    return bool(found)


def kill(identities: Iterable[Identity]) -> None:
    """SIGKILL them all at once, and wait until they are gone."""
    gone = list(identities)
    for identity in gone:
        processes.send(identity, signal.SIGKILL)
    assert processes.wait_gone(gone, 10) == []


def part_processes(system: Running, *names: str) -> list[Identity]:
    """The processes of parts such as `edge:east`."""
    state = load_state(system.layout)
    assert state is not None
    found = [state.parts[name].identity for name in names]
    assert all(identity is not None for identity in found)
    return [identity for identity in found if identity is not None]


def tokens(system: Running) -> dict[int, str]:
    """What runs of the system: tokens by pid."""
    return {one.pid: one.token for one in processes.strays(system.token())}


def faults(system: Running) -> list[str]:
    """What is not as it should be with the system's processes; empty when all is well."""
    state = load_state(system.layout)
    assert state is not None
    known = {part.identity.pid for part in state.parts.values() if part.identity}
    for path in system.layout.state.glob("nodes/*/instances/*.json"):
        identity = json.loads(path.read_bytes())["identity"]
        known |= {identity["pid"]} if identity else set()
    given = {
        name
        for table, slots in state.book.tables.items()
        if table.startswith("slots ")
        for name in slots
    }
    there = {path.stem for path in system.layout.state.glob("nodes/*/instances/*.json")}
    running = {pid: token for pid, token in tokens(system).items() if not token.endswith("/probe")}
    twice = [token for token, count in Counter(map(_owner, running.values())).items() if count > 1]
    return (
        [f"two processes of {token}" for token in twice]
        + [f"nobody knows {pid} {token}" for pid, token in running.items() if pid not in known]
        + [f"{name} has an address or is there, not both" for name in sorted(given ^ there)]
    )


def _owner(token: str) -> str:
    """An instance or a part: a token without the number of restarts."""
    head, _, tail = token.rpartition("/")
    return head if tail.isdecimal() else token


def unwhole(system: Running) -> list[str]:
    """Why the system is not whole; empty when it is."""
    document = system.status()
    found = [
        f"{service['name']} {service['ready']}/{service['wanted']} of {service['total']}"
        for service in document["services"]
        if not service["ready"] == service["total"] == service["wanted"]
    ]
    for region in document["regions"]:
        parts = [region["edge"], region["link"]]
        parts += [node for zone in region["zones"] for node in zone["nodes"]]
        found += [f"{part['id']} {part['detail']}" for part in parts if not part["running"]]
        if not region["in_spec"]:
            found.append(f"{region['name']} is still there")
    return found + faults(system)


def whole(system: Running, timeout_s: float = 45) -> None:
    """Wait until the system is whole, and has been for two looks."""
    last: list[list[str]] = [["never looked"]]

    def looks_well() -> bool:
        last.append(unwhole(system))
        return not last[-1] and not last[-2]

    try:
        eventually(looks_well, timeout_s, every_s=0.4)
    except AssertionError:
        states = [
            f"{item['id']} on {item['node']}: {item['health']} {item['phase']} {item['detail']}"
            for item in system.instances().values()
        ]
        told = system.seakeep("explain", "--tail", "30").out
        said = system.log("supervisor")[-2000:]
        raise AssertionError("\n".join([*last[-1], *states, told, said])) from None
