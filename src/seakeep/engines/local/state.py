"""What the embedded engine must remember across its own death: `.seakeep/system.json`.

The token in it marks every process of the system, the address book says where everything
listens, and each part's identity lets a new supervisor adopt what runs. It is written, by
atomic rename, before what it describes is relied upon.
"""

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from seakeep.engines.local import processes
from seakeep.engines.local.addresses import AddressBook, book_from, has_whole_loopback
from seakeep.engines.local.layout import Layout
from seakeep.engines.local.processes import Identity
from seakeep.model.observation import Address, PartKind
from seakeep.model.time import Instant

FORMAT = 1
OCTET_FIRST = 10
OCTET_LAST = 250
OCTETS_PER_SYSTEM = 16
TOKEN = re.compile(r"^[0-9a-f]{16}$")


class StateError(Exception):
    """The state cannot be used; `hint` says what can be done."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class ForeignStateError(StateError):
    """The state was copied or moved here: what it describes belongs to another folder."""

    def __init__(self, layout: Layout, home: str) -> None:
        project = Path(home).parent
        if Path(home).exists():
            hint = f"this folder is a copy: remove {layout.state} and go on"
        else:
            hint = (
                f"this folder was moved: move it back to {project}, run `seakeep down` there, then "
                f"move it; or, when nothing of it runs any more, remove {layout.state}"
            )
        super().__init__(f"{layout.state} belongs to the system of {project}", hint)


class BrokenStateError(StateError):
    """The state was damaged by something other than Seakeep, which replaces it as a whole."""

    def __init__(self, layout: Layout, why: str) -> None:
        super().__init__(
            f"{layout.identity} is damaged: {why}",
            "`seakeep down` ends what it finds by the marks on its processes and clears up; "
            "then `seakeep up` begins anew",
        )


@dataclass(slots=True, kw_only=True)
class PartRecord:
    """A part as it was last started."""

    id: str
    kind: PartKind
    region: str
    zone: str | None
    identity: Identity | None = None
    restarts: int = 0
    """Starts after the first one."""
    changed_at: Instant = 0


@dataclass(slots=True, kw_only=True)
class EngineState:
    token: str
    book: AddressBook
    epoch: int = 0
    """Grows with every supervisor, so that actions of an older one are refused."""
    parts: dict[str, PartRecord] = field(default_factory=dict)
    edges: dict[str, Address] = field(default_factory=dict)
    """Where clients reach each region."""
    ordinals: dict[str, int] = field(default_factory=dict)
    """By service: the highest that an instance was started with."""
    homes: dict[str, str] = field(default_factory=dict)
    """The node of every instance that has an address."""
    condemned: dict[str, str] = field(default_factory=dict)
    """Instances to be forgotten when their node is back, with their node: they were replaced
    while it was gone."""


def load_state(layout: Layout) -> EngineState | None:
    """The state on disk; None when the system has never run here (or is down). Raises
    ForeignStateError, so that a copy of a folder never takes over what the original runs, and
    BrokenStateError."""
    try:
        tree = orjson.loads(layout.identity.read_bytes())
        home, format_ = str(tree["home"]), tree["format"]
        if home != str(layout.state):
            raise ForeignStateError(layout, home)
        if format_ != FORMAT:
            raise BrokenStateError(layout, f"its format is {format_!r}, not {FORMAT}")
        return _state(tree)
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokenStateError(layout, f"{type(error).__name__}: {error}") from error


def _state(tree: dict[str, Any]) -> EngineState:
    token = tree["token"]
    if not isinstance(token, str) or not TOKEN.match(token):
        raise ValueError("its token is none")
    return EngineState(
        token=token,
        book=book_from(tree["first_octet"], tree["whole_loopback"], tree["tables"]),
        epoch=tree["epoch"],
        parts={part["id"]: _part(part) for part in tree["parts"]},
        edges={name: Address(**address) for name, address in tree["edges"].items()},
        ordinals=tree["ordinals"],
        homes=tree["homes"],
        condemned=tree["condemned"],
    )


def save_state(layout: Layout, state: EngineState) -> None:
    """Replace the state on disk."""
    tree = {
        "format": FORMAT,
        "home": str(layout.state),
        "token": state.token,
        "first_octet": state.book.first_octet,
        "whole_loopback": state.book.whole_loopback,
        "tables": state.book.tables,
        "epoch": state.epoch,
        "parts": list(state.parts.values()),
        "edges": state.edges,
        "ordinals": state.ordinals,
        "homes": state.homes,
        "condemned": state.condemned,
    }
    _replace(layout.identity, orjson.dumps(tree, option=orjson.OPT_INDENT_2))


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".new")
    try:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    fresh.rename(path)


def systems_at(layout: Layout) -> list[str]:
    """Tokens of the systems whose machinery works in the state folder or has left its names
    there, sorted: how what runs is found when the state is gone or damaged."""
    folders = {str(layout.state), f"{layout.state} (deleted)"}
    found = {one.token for one, folder in processes.with_folders() if folder in folders}
    for path in layout.state.glob("nodes/*/agent.json"):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            found.add(str(orjson.loads(path.read_bytes())["token"]))
    systems = {token.partition("/")[0] for token in found}
    return sorted(system for system in systems if TOKEN.match(system))


def new_state(layout: Layout, regions: int) -> EngineState:
    """A fresh state with addresses that no other system on this machine uses."""
    octet = _lease_octets(layout, max(OCTETS_PER_SYSTEM, regions + 8))
    return EngineState(token=secrets.token_hex(8), book=AddressBook(first_octet=octet))


def release_octets(layout: Layout) -> None:
    """Give the addresses back, at the end of the system."""
    with _leases(layout.sockets.parent) as leases:
        leases.pop(str(layout.state), None)


def _lease_octets(layout: Layout, span: int) -> int:
    """The first of `span` second octets that are nobody's. Leases of systems whose state is
    gone are void; other users' systems are seen by what listens."""
    with _leases(layout.sockets.parent) as leases:
        for path in [path for path in leases if not Path(path).exists()]:
            del leases[path]
        taken = listening_octets()
        for first, length in leases.values():
            taken.update(range(first, first + length))
        for first in range(OCTET_FIRST, OCTET_LAST - span + 2, OCTETS_PER_SYSTEM):
            if taken.isdisjoint(range(first, first + span)):
                leases[str(layout.state)] = (first, span)
                return first
    raise OSError("no free block of loopback addresses: too many systems run on this machine")


@contextmanager
def _leases(folder: Path) -> Iterator[dict[str, tuple[int, int]]]:
    """The leases of this user, to be read and changed. A damaged file counts as empty: systems
    that run are seen by what listens."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "leases.json"
    with (folder / "leases.lock").open("a+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = path.read_bytes() if path.exists() else b""
        leases = _read_leases(before)
        yield leases
        after = orjson.dumps(leases)
        if after != before:
            _replace(path, after)


def _read_leases(content: bytes) -> dict[str, tuple[int, int]]:
    try:
        return {
            str(path): (int(first), int(length))
            for path, (first, length) in orjson.loads(content or b"{}").items()
        }
    except (ValueError, TypeError, AttributeError):
        return {}


def listening_octets() -> set[int]:
    """Second octets X of the addresses 127.X.*.* on which something listens (Linux)."""
    if not has_whole_loopback():
        return set()
    octets = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        raw = bytes.fromhex(fields[1].partition(":")[0])[::-1]
        if fields[3] == "0A" and raw[0] == 127 and raw[1:] != b"\0\0\1":
            octets.add(raw[1])
    return octets


def _part(tree: dict[str, object]) -> PartRecord:
    identity = tree.pop("identity")
    kind = PartKind(str(tree.pop("kind")))
    record = PartRecord(kind=kind, **tree)  # type: ignore[arg-type]
    record.identity = Identity(**identity) if isinstance(identity, dict) else None
    return record
