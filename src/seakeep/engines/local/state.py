"""What the embedded engine must remember across its own death: `.seakeep/system.json`.

The token in it marks every process of the system, the address book says where everything
listens, and each part's identity lets a new supervisor adopt what runs. It is written, by
atomic rename, before what it describes is relied upon.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from seakeep.engines.local.addresses import AddressBook, book_from, has_whole_loopback
from seakeep.engines.local.layout import Layout
from seakeep.engines.local.processes import Identity
from seakeep.model.observation import Address, PartKind
from seakeep.model.time import Instant

FORMAT = 1
OCTET_FIRST = 10
OCTET_LAST = 250
OCTETS_PER_SYSTEM = 16


class ForeignStateError(Exception):
    """The state was copied or moved here: what it describes belongs to another folder."""

    def __init__(self, layout: Layout, home: str) -> None:
        super().__init__(f"{layout.state} belongs to the system of {Path(home).parent}")
        self.hint = (
            f"a copied folder: remove {layout.state} and go on; "
            "a moved one: move it back, run `seakeep down`, then move it"
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
    condemned: dict[str, str] = field(default_factory=dict)
    """Instances to be forgotten when their node is back, with their node: they were replaced
    while it was gone."""


def load_state(layout: Layout) -> EngineState | None:
    """The state on disk; None when the system has never run here (or is down). Raises
    ForeignStateError, so that a copy of a folder never takes over what the original runs."""
    try:
        tree = orjson.loads(layout.identity.read_bytes())
    except FileNotFoundError:
        return None
    if tree["home"] != str(layout.state):
        raise ForeignStateError(layout, tree["home"])
    return EngineState(
        token=tree["token"],
        book=book_from(tree["first_octet"], tree["whole_loopback"], tree["tables"]),
        epoch=tree["epoch"],
        parts={part["id"]: _part(part) for part in tree["parts"]},
        edges={name: Address(**address) for name, address in tree["edges"].items()},
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
        "condemned": state.condemned,
    }
    fresh = layout.identity.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(orjson.dumps(tree, option=orjson.OPT_INDENT_2))
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(layout.identity)


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
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "leases.json").open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        content = file.read()
        leases = {path: tuple(lease) for path, lease in orjson.loads(content or b"{}").items()}
        yield leases
        file.seek(0)
        file.truncate()
        file.write(orjson.dumps(leases))


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
