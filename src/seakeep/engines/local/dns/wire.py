"""DNS messages as bytes: questions in, answers out. No I/O, no state, no policy.

Only what an authoritative server of a small zone needs (RFC 1035, EDNS by RFC 6891, client subnet
by RFC 7871). A question that is malformed raises `Malformed`, whose rcode says what to answer,
None for silence: an answer to an answer, or to what has no header, would be a loop or a reflection.

Answers are made without the two bytes of the id, so that one answer serves everybody who asks the
same.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

HEADER_BYTES = 12
UDP_BYTES_MIN = 512
UDP_BYTES_MAX = 1232
"""What fits every path without fragments (DNS flag day 2020)."""
EDNS_VERSION = 0
OPTION_SUBNET = 8
NAME_BYTES_MAX = 255

QR, AA, TC, RD = 0x8000, 0x0400, 0x0200, 0x0100
OPCODE_QUERY = 0
CLASS_IN = 1
QNAME = 0xC000 | HEADER_BYTES
"""A pointer to the question's name."""


class Rcode(IntEnum):
    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


class Type(IntEnum):
    A = 1
    NS = 2
    SOA = 6
    AAAA = 28
    OPT = 41
    IXFR = 251
    AXFR = 252
    ANY = 255


class Malformed(Exception):
    """Not a question that can be answered as it is. `rcode` is None for silence."""

    def __init__(self, rcode: Rcode | None, opcode: int = OPCODE_QUERY) -> None:
        super().__init__()
        self.rcode = rcode
        self.opcode = opcode


@dataclass(frozen=True, slots=True)
class Subnet:
    """The client subnet that a question tells."""

    family: int
    """1 for IPv4, 2 for IPv6."""
    bits: int
    """Length of the prefix."""
    address: bytes
    """Whole bytes that hold the prefix, as they came."""

    @property
    def packed(self) -> bytes:
        """The address in full."""
        return self.address.ljust(4 if self.family == 1 else 16, b"\0")


@dataclass(frozen=True, slots=True)
class Query:
    """A well-formed question."""

    flags: int
    name: tuple[bytes, ...]
    """Labels in lower case, without the root."""
    type: int
    klass: int
    question: bytes
    """The question's section as it came: its letters' case goes back as it was."""
    has_edns: bool = False
    udp_bytes: int = UDP_BYTES_MIN
    version: int = 0
    dnssec: bool = False
    subnet: Subnet | None = None

    @property
    def opcode(self) -> int:
        return self.flags >> 11 & 15


# --- reading ----------------------------------------------------------------

_HEADER = struct.Struct("!HHHHH")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")


def parse(packet: bytes) -> Query:
    """The question of a whole packet. Raises Malformed, and nothing else."""
    if len(packet) < HEADER_BYTES:
        raise Malformed(None)
    flags, questions, answers, authorities, additionals = _HEADER.unpack_from(packet, 2)
    if flags & QR:
        raise Malformed(None)
    opcode = flags >> 11 & 15
    if opcode != OPCODE_QUERY:  # NOTIFY, UPDATE, STATUS and what is yet to come
        raise Malformed(Rcode.NOTIMP, opcode)
    if questions != 1:
        raise Malformed(Rcode.FORMERR)
    try:
        labels, at = _plain_name(packet, HEADER_BYTES)
        kind, klass = _QUESTION.unpack_from(packet, at)
        at += 4
        question = packet[HEADER_BYTES:at]
        query = Query(flags, labels, kind, klass, question)
        if kind in (Type.IXFR, Type.AXFR):  # what else is in it does not matter
            return query
        if answers or authorities:
            raise Malformed(Rcode.FORMERR)
        return _with_edns(packet, at, additionals, query)
    except (IndexError, struct.error):
        raise Malformed(Rcode.FORMERR) from None


def _plain_name(packet: bytes, at: int) -> tuple[tuple[bytes, ...], int]:
    """(labels, where the name ends) of a name without pointers."""
    labels = []
    start = at
    while length := packet[at]:
        end = at + 1 + length
        if length > 63 or end - start >= NAME_BYTES_MAX or end >= len(packet):
            raise Malformed(Rcode.FORMERR)
        labels.append(packet[at + 1 : end].lower())
        at = end
    return tuple(labels), at + 1


def _with_edns(packet: bytes, at: int, records: int, query: Query) -> Query:
    """The query with what its OPT record says. Other records (TSIG, say) are passed over."""
    for _ in range(records):
        is_root = packet[at] == 0
        at = _past_name(packet, at)
        kind, klass, ttl, length = _RECORD.unpack_from(packet, at)
        at += _RECORD.size
        end = at + length
        if end > len(packet):
            raise Malformed(Rcode.FORMERR)
        if kind == Type.OPT:
            if query.has_edns or not is_root:
                raise Malformed(Rcode.FORMERR)
            query = Query(
                query.flags, query.name, query.type, query.klass, query.question,
                has_edns=True,
                udp_bytes=min(max(klass, UDP_BYTES_MIN), UDP_BYTES_MAX),
                version=ttl >> 16 & 255,
                dnssec=bool(ttl & 0x8000),
                subnet=_subnet(packet, at, end),
            )  # fmt: skip
        at = end
    if at != len(packet):
        raise Malformed(Rcode.FORMERR)
    return query


def _past_name(packet: bytes, at: int) -> int:
    while length := packet[at]:
        if length >= 0xC0:
            return at + 2
        if length > 63:
            raise Malformed(Rcode.FORMERR)
        at += 1 + length
    return at + 1


def _subnet(packet: bytes, at: int, end: int) -> Subnet | None:
    """The client subnet among the options of an OPT record."""
    found: Subnet | None = None
    while at < end:
        code, length = _QUESTION.unpack_from(packet, at)
        at += 4
        if at + length > end:
            raise Malformed(Rcode.FORMERR)
        if code == OPTION_SUBNET:
            if found is not None:
                raise Malformed(Rcode.FORMERR)
            found = _read_subnet(packet[at : at + length])
        at += length
    return found


def _read_subnet(data: bytes) -> Subnet:
    """RFC 7871, section 6: the scope of a question is 0, the address has the bytes that the
    prefix needs and no more, and no bit beyond it is set."""
    if len(data) < 4:
        raise Malformed(Rcode.FORMERR)
    family, bits, scope = int.from_bytes(data[:2], "big"), data[2], data[3]
    address = data[4:]
    widest = {1: 32, 2: 128}.get(family, -1)
    if scope or bits > widest or len(address) != (bits + 7) // 8:
        raise Malformed(Rcode.FORMERR)
    spare = -bits % 8
    if spare and address[-1] & ((1 << spare) - 1):
        raise Malformed(Rcode.FORMERR)
    return Subnet(family, bits, address)


# --- writing ----------------------------------------------------------------


def encode_name(name: str) -> bytes:
    """A name without pointers: `shop.example`, with or without a last dot."""
    labels = [label for label in name.rstrip(".").encode("ascii").split(b".") if label]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def record(owner: bytes, kind: int, ttl_s: int, data: bytes) -> bytes:
    """A record of class IN."""
    return owner + struct.pack("!HHIH", kind, CLASS_IN, ttl_s, len(data)) + data


def pointer(offset: int) -> bytes:
    """A name that stands elsewhere in the message already."""
    return struct.pack("!H", 0xC000 | offset)


def reply(
    query: Query,
    rcode: Rcode,
    *,
    authoritative: bool = False,
    answers: tuple[bytes, ...] = (),
    authorities: tuple[bytes, ...] = (),
    additionals: tuple[bytes, ...] = (),
    scope: int = 0,
    bytes_max: int = UDP_BYTES_MIN,
) -> bytes:
    """An answer without its id. One that would be longer than `bytes_max` is truncated to its
    question, with TC set. `scope`: of the client subnet, when the question tells one."""
    opt = _opt(query, rcode, scope) if query.has_edns else b""
    flags = QR | (query.flags & (0x7800 | RD)) | (AA if authoritative else 0) | (rcode & 15)
    body = b"".join((*answers, *authorities, *additionals))
    counts = (len(answers), len(authorities), len(additionals) + bool(opt))
    if HEADER_BYTES + len(query.question) + len(body) + len(opt) > bytes_max:
        flags, body, counts = flags | TC, b"", (0, 0, int(bool(opt)))
    return _HEADER.pack(flags, 1, *counts) + query.question + body + opt


def truncated(query: Query) -> bytes:
    """An answer without its id that says: ask by TCP."""
    return reply(query, Rcode.NOERROR, authoritative=True, bytes_max=0)


def bare(rcode: Rcode, opcode: int, rd: bool) -> bytes:
    """An answer without its id to what could not be read: a header alone."""
    return _HEADER.pack(QR | opcode << 11 | (RD if rd else 0) | (rcode & 15), 0, 0, 0, 0)


def _opt(query: Query, rcode: Rcode, scope: int) -> bytes:
    options = b""
    subnet = query.subnet
    if subnet is not None:
        data = struct.pack("!HBB", subnet.family, subnet.bits, scope) + subnet.address
        options = struct.pack("!HH", OPTION_SUBNET, len(data)) + data
    ttl = (rcode >> 4) << 24 | EDNS_VERSION << 16 | (0x8000 if query.dnssec else 0)
    return b"\0" + struct.pack("!HHIH", Type.OPT, UDP_BYTES_MAX, ttl, len(options)) + options
