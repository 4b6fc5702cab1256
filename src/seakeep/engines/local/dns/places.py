"""Where clients are, by the subnet that they ask from, and how much of it that holds for.

Declared prefixes go first, the longest that fits; then a MaxMind DB file. Besides the place comes
the scope: the length of the prefix of the address within which every client is in the same place
(RFC 7871, section 7.2.1). It is longer than the prefix that was found when a longer one, of
another place, lies within that.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any

import maxminddb

from seakeep.model.system import Location

KNOWN_MAX = 20_000
"""Addresses whose places are remembered."""


class DatabaseError(Exception):
    """The MaxMind DB file cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """The place of a client; None when nobody knows it."""

    place: Location | None
    scope: int


@dataclass(slots=True)
class _Node:
    place: Location | None = None
    children: dict[int, "_Node"] = field(default_factory=dict)


class Prefixes:
    """Declared prefixes of one address family, as a binary trie."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._root = _Node()
        self._is_empty = True

    def add(self, network: IPv4Network | IPv6Network, place: Location) -> None:
        node, address = self._root, int(network.network_address)
        for depth in range(network.prefixlen):
            bit = address >> (self._width - 1 - depth) & 1
            node = node.children.setdefault(bit, _Node())
        node.place = place
        self._is_empty = False

    def find(self, packed: bytes) -> Found:
        """Of a whole address. The scope ends where the way leaves the trie: up to there another
        bit might have led to another place."""
        if self._is_empty:
            return Found(None, 0)
        node, address = self._root, int.from_bytes(packed, "big")
        place, depth = node.place, 0
        while node.children:
            bit = address >> (self._width - 1 - depth) & 1
            depth += 1
            child = node.children.get(bit)
            if child is None:
                break
            node = child
            place = node.place or place
        return Found(place, depth)


class Database:
    """A MaxMind DB file with locations: GeoLite2-City and what is like it."""

    def __init__(self, path: Path) -> None:
        """Raises DatabaseError."""
        try:
            # In memory: a file that is replaced under a mapping would end the process.
            self._reader = maxminddb.open_database(str(path), maxminddb.MODE_MEMORY)
        except FileNotFoundError:
            raise DatabaseError("there is no such file") from None
        except Exception as error:  # a damaged file makes the reader fail in every way there is
            raise DatabaseError(f"not a MaxMind DB file: {error}") from error

    def find(self, packed: bytes) -> Found:
        """Of a whole address. Damaged records know no place."""
        try:
            entry, bits = self._reader.get_with_prefix_len(ip_address(packed))
        except Exception:  # as above
            return Found(None, 0)
        return Found(_location(entry), min(bits, len(packed) * 8))


def _location(entry: Any) -> Location | None:
    where = entry.get("location") if isinstance(entry, Mapping) else None
    if not isinstance(where, Mapping):
        return None
    latitude, longitude = where.get("latitude"), where.get("longitude")
    if not isinstance(latitude, int | float) or not isinstance(longitude, int | float):
        return None
    return Location(latitude_deg=float(latitude), longitude_deg=float(longitude))


class Places:
    """Declared prefixes, then the database."""

    def __init__(self, places: Iterable[tuple[str, Location]], database: Database | None) -> None:
        self._declared = {4: Prefixes(32), 16: Prefixes(128)}
        for text, place in places:
            network = ip_network(text)
            self._declared[network.max_prefixlen // 8].add(network, place)
        self._database = database
        self._known: dict[bytes, Found] = {}

    def find(self, packed: bytes) -> Found:
        """The place of the client at a whole address, of 4 or 16 bytes."""
        known = self._known.get(packed)
        if known is None:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            known = self._known[packed] = self._look(packed)
        return known

    def _look(self, packed: bytes) -> Found:
        found = self._declared[len(packed)].find(packed)
        if found.place is not None or self._database is None:
            return found
        other = self._database.find(packed)
        return Found(other.place, max(found.scope, other.scope))
