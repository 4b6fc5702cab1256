"""The zone as one server knows it: a table, and from a question to its answer. No I/O.

    table = Table(tree, Places(...))
    table.answer(parse(packet), source=b"\\x7f\\x00\\x00\\x01", bytes_max=1232)

The zone holds the hosts of routes (`*.shop.example` for all names below it that are not there
themselves, RFC 4592), the names of its servers (`ns-us-east.shop.example`), and its own.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seakeep.engines.local.dns import wire
from seakeep.engines.local.dns.places import Places
from seakeep.engines.local.dns.wire import Query, Rcode, Type
from seakeep.engines.steer import Atlas, in_turn
from seakeep.model.system import Location, Steering

FORMAT = 1
APEX_TTL_S = 300
"""Of the zone's own records and of its servers', which change with the spec only."""
SOA_TIMES_S = (3600, 600, 86_400)
"""Refresh, retry, expire: for secondaries, which there are none of."""


class TableError(Exception):
    """A table cannot be used; the text says why."""


@dataclass(slots=True)
class Turn:
    """Whose turn it is among the regions of a weighted host: one for all who ask."""

    order: tuple[int, ...]
    """Indexes into the regions."""
    at: int = 0

    def next(self) -> int:
        at = self.at
        self.at = at + 1 if at + 1 < len(self.order) else 0
        return self.order[at]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question is answered with, without the id."""

    variants: tuple[bytes, ...]
    """One, or one for each region of a weighted host."""
    turn: Turn | None = None
    """Which of the variants; None when there is one."""
    by_source: bool = False
    """Holds for askers in the network of this one only (/24, /56)."""
    keep: bool = False
    """Worth keeping: the same question may come again."""

    def next(self) -> bytes:
        return self.variants[0] if self.turn is None else self.variants[self.turn.next()]


@dataclass(frozen=True, slots=True)
class _Host:
    by: Steering
    regions: tuple[str, ...]
    addresses: tuple[bytes, ...]
    """Of the regions' edges, packed."""
    turn: Turn | None = None


@dataclass(frozen=True, slots=True)
class _Node:
    """A name that exists. Without host and address: others exist below it."""

    host: _Host | None = None
    address: bytes | None = None


Labels = tuple[bytes, ...]


@dataclass(slots=True)
class Table:
    """Everything that a server answers from. Raises TableError for a tree that is none."""

    tree: Mapping[str, Any]
    places: Places
    digest: str = ""
    out: tuple[str, ...] = ()
    answers_per_s: int = 0
    _nodes: dict[Labels, _Node] = field(default_factory=dict)
    _zone: Labels = ()
    _zone_bytes: int = 0
    _soa: bytes = b""
    _servers: tuple[tuple[bytes, bytes], ...] = ()
    """(first label with its length, packed address) of every server."""
    _ttl_s: int = 0
    _negative_ttl_s: int = 0
    _atlas: Atlas = field(default_factory=lambda: Atlas("", {}, ()))

    def __post_init__(self) -> None:
        try:
            self._read(self.tree)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TableError(f"{type(error).__name__}: {error}") from error

    def _read(self, tree: Mapping[str, Any]) -> None:
        if tree["format"] != FORMAT:
            raise ValueError(f"its format is {tree['format']!r}, not {FORMAT}")
        self.digest = str(tree["digest"])
        self.out = tuple(sorted(f"{one['host']} {name}" for one in tree["hosts"]
                                for name in one["out"]))  # fmt: skip
        self.answers_per_s = int(tree["answers_per_s"])
        self._ttl_s, self._negative_ttl_s = int(tree["ttl_s"]), int(tree["negative_ttl_s"])
        self._zone = labels_of(tree["zone"])
        self._zone_bytes = len(wire.encode_name(tree["zone"]))
        locations = {name: None if at is None else Location(latitude_deg=at[0], longitude_deg=at[1])
                     for name, at in tree["locations"].items()}  # fmt: skip
        self._atlas = Atlas(
            tree["region"], locations, [(a, b, int(ns)) for a, b, ns in tree["links"]]
        )
        self._nodes = {self._zone: _Node()}
        edges = {name: _packed(address) for name, address in tree["edges"].items()}
        for one in tree["hosts"]:
            self._add(labels_of(one["host"]), _Node(host=_host(one, edges)))
        servers = []
        for region, address in tree["servers"].items():
            label = f"ns-{region}".encode("ascii")
            self._add((label, *self._zone), _Node(address=_packed(address)))
            servers.append((bytes((len(label),)) + label, _packed(address)))
        self._servers = tuple(servers)
        self._soa = _soa(tree, self._negative_ttl_s)

    def _add(self, name: Labels, node: _Node) -> None:
        """And every name between it and the zone's, which then exist, too (RFC 4592)."""
        before = self._nodes.get(name, _Node())
        self._nodes[name] = _Node(node.host or before.host, node.address or before.address)
        for start in range(1, len(name) - len(self._zone)):
            self._nodes.setdefault(name[start:], _Node())

    # --- answering ---

    def answer(self, query: Query, source: bytes, bytes_max: int) -> Answer:
        """`source`: the asker's address, of 4 or 16 bytes."""
        if query.version > wire.EDNS_VERSION:
            return self._plain(query, Rcode.BADVERS, bytes_max)
        if query.type in (Type.AXFR, Type.IXFR) or query.klass != wire.CLASS_IN:
            return self._plain(query, Rcode.REFUSED, bytes_max)
        above = len(query.name) - len(self._zone)
        if above < 0 or query.name[above:] != self._zone:
            return self._plain(query, Rcode.REFUSED, bytes_max)
        node = self._nodes.get(query.name) or self._wildcard(query.name)
        if node is None:
            return self._negative(query, Rcode.NXDOMAIN, bytes_max)
        if query.type in (Type.A, Type.ANY):
            if node.host is not None:
                return self._steered(query, node.host, source, bytes_max)
            if node.address is not None:
                found = wire.record(_QNAME, Type.A, APEX_TTL_S, node.address)
                return self._positive(query, (found,), (), bytes_max)
        if query.name == self._zone:
            return self._of_apex(query, bytes_max)
        return self._negative(query, Rcode.NOERROR, bytes_max)

    def _wildcard(self, name: Labels) -> _Node | None:
        """Of a name that does not exist: the wildcard below the closest one that does."""
        for start in range(1, len(name) - len(self._zone) + 1):
            if name[start:] in self._nodes:
                return self._nodes.get((b"*", *name[start:]))
        return None

    def _steered(self, query: Query, host: _Host, source: bytes, bytes_max: int) -> Answer:
        scope, by_source = 0, False
        chosen: tuple[bytes, ...] = host.addresses
        if host.by in (Steering.LATENCY, Steering.GEO) and len(host.regions) > 1:
            subnet = query.subnet if query.subnet is not None and query.subnet.bits else None
            found = self.places.find(source if subnet is None else subnet.packed)
            scope, by_source = (0, True) if subnet is None else (found.scope, False)
            region = self._atlas.choose(host.by, found.place, host.regions)
            chosen = (host.addresses[host.regions.index(region)],)
        elif host.turn is None:
            chosen = host.addresses[:1]
        variants = [
            wire.reply(
                query, Rcode.NOERROR, authoritative=True, bytes_max=bytes_max, scope=scope,
                answers=(wire.record(_QNAME, Type.A, self._ttl_s, address),),
            )
            for address in chosen
        ]  # fmt: skip
        turn = host.turn if len(variants) > 1 else None
        return Answer(tuple(variants), turn, by_source, keep=True)

    def _of_apex(self, query: Query, bytes_max: int) -> Answer:
        """SOA and NS; ANY gets the SOA alone, which is allowed (RFC 8482)."""
        zone = wire.pointer(wire.HEADER_BYTES)
        if query.type in (Type.SOA, Type.ANY):
            soa = wire.record(_QNAME, Type.SOA, APEX_TTL_S, self._soa_data(zone))
            return self._positive(query, (soa,), (), bytes_max)
        if query.type == Type.NS:
            names = [label + zone for label, _ in self._servers]
            records = [wire.record(_QNAME, Type.NS, APEX_TTL_S, name) for name in names]
            glue = [
                wire.record(name, Type.A, APEX_TTL_S, address)
                for name, (_, address) in zip(names, self._servers, strict=True)
            ]
            return self._positive(query, tuple(records), tuple(glue), bytes_max)
        return self._negative(query, Rcode.NOERROR, bytes_max)

    def _positive(
        self, query: Query, answers: tuple[bytes, ...], glue: tuple[bytes, ...], bytes_max: int
    ) -> Answer:
        data = wire.reply(
            query, Rcode.NOERROR, authoritative=True, answers=answers, additionals=glue,
            bytes_max=bytes_max,
        )  # fmt: skip
        return Answer((data,), keep=True)

    def _negative(self, query: Query, rcode: Rcode, bytes_max: int) -> Answer:
        """No such name, or none of its records are of the type: with the SOA (RFC 2308)."""
        offset = len(query.question) - 4 - self._zone_bytes + wire.HEADER_BYTES
        zone = wire.pointer(offset)
        soa = wire.record(zone, Type.SOA, self._negative_ttl_s, self._soa_data(zone))
        data = wire.reply(query, rcode, authoritative=True, authorities=(soa,), bytes_max=bytes_max)
        # Names that do not exist are without number, and whoever asks for one makes up more.
        return Answer((data,), keep=rcode is Rcode.NOERROR)

    def _plain(self, query: Query, rcode: Rcode, bytes_max: int) -> Answer:
        return Answer((wire.reply(query, rcode, bytes_max=bytes_max),))

    def _soa_data(self, zone: bytes) -> bytes:
        primary = self._servers[0][0] if self._servers else b"\2ns"
        return primary + zone + b"\x0ahostmaster" + zone + self._soa


_QNAME = wire.pointer(wire.HEADER_BYTES)


def labels_of(name: str) -> Labels:
    """`shop.example` as (b"shop", b"example")."""
    return tuple(name.encode("ascii").lower().split(b"."))


def _packed(address: str) -> bytes:
    return ipaddress.IPv4Address(address).packed


def _host(one: Mapping[str, Any], edges: Mapping[str, bytes]) -> _Host:
    regions = tuple(str(name) for name in one["regions"])
    if not regions:
        raise ValueError(f"{one['host']} has no region")
    by = Steering(one["by"])
    turn = None
    if by is Steering.WEIGHTED and len(regions) > 1:
        turn = Turn(in_turn([int(weight) for weight in one["weights"]]))
        if len(one["weights"]) != len(regions):
            raise ValueError(f"{one['host']} has {len(one['weights'])} weights")
    return _Host(by, regions, tuple(edges[name] for name in regions), turn)


def _soa(tree: Mapping[str, Any], negative_ttl_s: int) -> bytes:
    """The numbers of the SOA. Its serial says which table this is, not which is newer: nothing
    is transferred."""
    serial = int(str(tree["digest"])[:8] or "0", 16)
    numbers = (serial, *SOA_TIMES_S, negative_ttl_s)
    return b"".join(number.to_bytes(4, "big") for number in numbers)
