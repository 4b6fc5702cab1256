"""Answers that were given already, by the question as it came.

A question is everything of a packet but its id, so what finds an answer here has been parsed and
validated before, letter by letter. Bounded: when it is full it is emptied, which costs each
question one slow answer. What a table answers changes with the table only, so a new table comes
with a new cache.
"""

import ctypes
from collections.abc import Callable
from typing import TypeAlias

from seakeep.engines.local.dns import wire
from seakeep.engines.local.dns.wire import Malformed
from seakeep.engines.local.dns.zone import Answer, Table, Turn

ENTRIES_MAX = 20_000
"""About 10 MB."""

Fixed: TypeAlias = tuple[int, int, bytes]
"""(address of the bytes, how many, the bytes): the first two are what the kernel is given, the
third keeps them where they are."""
BySource: TypeAlias = dict[bytes, Fixed]
"""By the network that asks, as its packed prefix."""


class InTurn:
    """The answers of a weighted host, one after the other."""

    __slots__ = ("turn", "variants")

    def __init__(self, variants: list[Fixed], turn: Turn) -> None:
        self.variants = variants
        self.turn = turn


Entry: TypeAlias = Fixed | BySource | InTurn


def fixed(data: bytes) -> Fixed:
    address = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value
    assert address is not None
    return address, len(data), data


def network_of(source: bytes) -> bytes:
    """Of an asker's packed address: its /24, or /56."""
    return source[:3] if len(source) == 4 else source[:7]


class Cache:
    """Of one table; for one thread."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.entries: dict[bytes, Entry] = {}
        self.truncations: dict[bytes, Fixed] = {}
        self._room = ENTRIES_MAX

    def answer(self, question: bytes, source: Callable[[], bytes]) -> Fixed | None:
        """To a packet without its id; None is silence. `source`: the packed address."""
        entry = self.entries.get(question)
        if isinstance(entry, tuple):
            return entry
        if isinstance(entry, InTurn):
            return entry.variants[entry.turn.next()]
        packed = source()
        network = network_of(packed)
        if entry is not None and network in entry:
            return entry[network]
        return self._make(question, packed, network)

    def _make(self, question: bytes, packed: bytes, network: bytes) -> Fixed | None:
        try:
            query = wire.parse(b"\0\0" + question)
        except Malformed as error:
            return complaint(error, question)
        answer = self.table.answer(query, packed, query.udp_bytes)
        if not answer.keep:
            return fixed(answer.next())
        return self._keep(question, network, answer)

    def _keep(self, question: bytes, network: bytes, answer: Answer) -> Fixed:
        if self._room <= 0:
            # A new one: whoever is sending from the old one goes on doing so.
            self.entries = {}
            self._room = ENTRIES_MAX
        self._room -= 1
        variants = [fixed(data) for data in answer.variants]
        if answer.turn is not None:
            self.entries[question] = InTurn(variants, answer.turn)
            return variants[answer.turn.next()]
        if answer.by_source:
            known = self.entries.setdefault(question, {})
            assert isinstance(known, dict)
            known[network] = variants[0]
        else:
            self.entries[question] = variants[0]
        return variants[0]

    def truncation(self, question: bytes) -> Fixed | None:
        """What asks to come by TCP; None when the packet is no question."""
        found = self.truncations.get(question)
        if found is not None:
            return found
        try:
            query = wire.parse(b"\0\0" + question)
        except Malformed:
            return None
        if len(self.truncations) >= ENTRIES_MAX:
            self.truncations = {}
        found = self.truncations[question] = fixed(wire.truncated(query))
        return found


def complaint(error: Malformed, question: bytes) -> Fixed | None:
    """The answer to what is no question; None for silence."""
    if error.rcode is None:
        return None
    rd = bool(question[0] & 1)
    return fixed(wire.bare(error.rcode, error.opcode, rd))
