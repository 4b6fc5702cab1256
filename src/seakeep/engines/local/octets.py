"""Which second octets of 127.0.0.0/8 are a system's: leases that last, and claims that bind.

A lease stands in a file of the user's, from the system's first start to its end. What other users
lease cannot be read, so a claim says it to everybody: a listening socket on the octets, held by
the supervisor. Once parts listen there, they show by themselves whose the octets are.
"""

import contextlib
import fcntl
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from seakeep.engines.local.addresses import has_whole_loopback
from seakeep.engines.local.files import replace_file
from seakeep.engines.local.layout import Layout

OCTET_FIRST = 10
OCTET_LAST = 250
OCTETS_PER_SYSTEM = 16
"""Leases begin at multiples of this from OCTET_FIRST on, so two that overlap share the place
where the later one begins."""
CLAIM_TAIL = "255.254"
CLAIM_PORT = 20_999


@dataclass(frozen=True, slots=True)
class Claim:
    """Sockets that keep others away from octets while they are open."""

    sockets: tuple[socket.socket, ...] = ()

    def close(self) -> None:
        for one in self.sockets:
            one.close()


def span_for(regions: int) -> int:
    """How many octets a system of so many regions gets, with room for a few more."""
    return max(OCTETS_PER_SYSTEM, regions + 8)


def claim(first: int, span: int) -> Claim:
    """Keep others away from the octets from `first` on. Raises OSError when one of them is
    somebody's already."""
    if not has_whole_loopback():
        return Claim()
    held: list[socket.socket] = []
    try:
        for octet in range(first, first + span, OCTETS_PER_SYSTEM):
            held.append(socket.create_server((f"127.{octet}.{CLAIM_TAIL}", CLAIM_PORT)))
    except OSError:
        Claim(tuple(held)).close()
        raise
    return Claim(tuple(held))


def lease_octets(layout: Layout, span: int) -> tuple[int, Claim]:
    """The first of `span` octets that are nobody's. Leases of systems whose state is gone are
    void. Raises OSError when none are left."""
    with _leases(layout.sockets.parent) as leases:
        for path in [path for path in leases if not Path(path).exists()]:
            del leases[path]
        taken = listening_octets()
        for first, length in leases.values():
            taken.update(range(first, first + length))
        for first in range(OCTET_FIRST, OCTET_LAST - span + 2, OCTETS_PER_SYSTEM):
            if not taken.isdisjoint(range(first, first + span)):
                continue
            with contextlib.suppress(OSError):  # another user has been faster
                claimed = claim(first, span)
                leases[str(layout.state)] = (first, span)
                return first, claimed
    raise OSError("no free block of loopback addresses: too many systems run on this machine")


def release_octets(layout: Layout) -> None:
    """Give the addresses back, at the end of the system."""
    with _leases(layout.sockets.parent) as leases:
        leases.pop(str(layout.state), None)


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
            replace_file(path, after)


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
