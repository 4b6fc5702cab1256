"""Where clients find the system: names looked up as real clients do, while requests go out.

A traffic source is many clients, in `GROUPS` groups that each look the name up for themselves, at
times of their own. An answer is kept for its TTL, by most: real resolvers and applications overstay
it, so the last groups keep theirs `overstay` times as long. When a group's answer is too old its
next request waits for a new one; nobody else does.

A group asks the DNS server nearest to its source, the next one when that does not answer in time,
and tells its source's subnet (RFC 7871). A server that did not answer is asked last for a while,
as resolvers do. When none answers, the old answer serves on (RFC 8767).
"""

import asyncio
import contextlib
import ipaddress
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import cast

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from seakeep.model.ids import RegionName
from seakeep.model.observation import Address
from seakeep.model.time import MILLISECOND, SECOND, Duration, Instant, in_seconds

GROUPS = 20
TIMEOUT: Duration = 500 * MILLISECOND
"""For one server to answer."""
AVOID: Duration = 10 * SECOND
"""A server that did not answer is asked last for this long."""
OVERSTAY_SHARE = 0.05
OVERSTAY_FACTOR = 3.0
AGAIN: Duration = SECOND // 2
"""How soon a group tries again when nobody has answered."""
ANSWER_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Overstay:
    """Clients that keep an answer for longer than they may."""

    share: float = OVERSTAY_SHARE
    """Of all clients, from 0 to 1; in steps of a twentieth."""
    factor: float = OVERSTAY_FACTOR
    """Of the TTL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """What a traffic source's clients look up, and where."""

    name: str
    servers: tuple[Address, ...]
    """The nearest first."""
    prefix: str
    """The clients' subnet: `198.18.0.0/24`."""
    edges: Mapping[str, tuple[RegionName, Address]]
    """By the address that is answered: whose edge it is, and how to reach it."""
    overstay: Overstay = Overstay()


@dataclass(frozen=True, slots=True)
class Found:
    """An edge that DNS led to."""

    region: RegionName
    address: Address


class NotFound(Exception):
    """No address is known; the text says why."""


@dataclass(slots=True)
class _Group:
    """Clients that share an answer."""

    factor: float
    """Of the TTL, how long they keep it."""
    stagger: float
    """Of the first TTL, how much of it is left to them at the start."""
    found: Found | None = None
    until: Instant = 0
    asking: "asyncio.Task[None] | None" = None
    trouble: str = ""


class Resolver:
    """The look-ups of one traffic source. Lives in the loop that sends."""

    def __init__(self, lookup: Lookup, seed: str, timeout: Duration = TIMEOUT) -> None:
        self.lookup = lookup
        self.asked = 0
        """Questions sent."""
        self.unanswered = 0
        """Of them, those that brought nothing."""
        self._timeout = timeout
        self._avoid: dict[Address, Instant] = {}
        random = Random(f"{seed} dns {lookup.prefix}")  # noqa: S311 - reproducible on purpose
        late = round(GROUPS * lookup.overstay.share)
        self._groups = [
            _Group(
                factor=lookup.overstay.factor if index >= GROUPS - late else 1.0,
                stagger=random.random(),
            )
            for index in range(GROUPS)
        ]
        self._turns = itertools.cycle(self._groups)
        self._question = _question(lookup)

    async def find(self) -> Found:
        """Where the next client's request goes. Raises NotFound."""
        group = next(self._turns)
        if time.monotonic_ns() >= group.until:
            if group.asking is None:
                group.asking = asyncio.create_task(self._ask(group))
            # Whoever gives up waiting must not end the look-up of the others.
            await asyncio.shield(group.asking)
        if group.found is None:
            raise NotFound(group.trouble)
        return group.found

    async def close(self) -> None:
        """End the look-ups that are under way."""
        asking = [group.asking for group in self._groups if group.asking is not None]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _ask(self, group: _Group) -> None:
        try:
            for server in self._in_order():
                self.asked += 1
                try:
                    found, ttl = await self._ask_one(server)
                except (OSError, TimeoutError, dns.exception.DNSException, NotFound) as error:
                    self.unanswered += 1
                    group.trouble = f"{server.host}: {error or type(error).__name__}"
                    if not isinstance(error, NotFound):
                        self._avoid[server] = time.monotonic_ns() + AVOID
                    continue
                self._avoid.pop(server, None)
                kept = round(ttl * group.factor)
                if group.found is None:
                    kept = round(kept * group.stagger)
                group.found, group.until = found, time.monotonic_ns() + kept
                return
            group.until = time.monotonic_ns() + AGAIN
        finally:
            group.asking = None

    def _in_order(self) -> list[Address]:
        now = time.monotonic_ns()
        return sorted(self.lookup.servers, key=lambda server: self._avoid.get(server, 0) > now)

    async def _ask_one(self, server: Address) -> tuple[Found, Duration]:
        async with asyncio.timeout(in_seconds(self._timeout)):
            answer = dns.message.from_wire(await exchange(self._question, server))
        if answer.rcode() != dns.rcode.NOERROR:
            raise NotFound(dns.rcode.to_text(answer.rcode()))
        for rrset in answer.answer:
            if rrset.rdtype == dns.rdatatype.A:
                known = self.lookup.edges.get(rrset[0].address)
                if known is None:
                    raise NotFound(f"{rrset[0].address} is no edge of the system")
                return Found(*known), rrset.ttl * SECOND
        raise NotFound("no address in the answer")


def _question(lookup: Lookup) -> bytes:
    network = ipaddress.ip_network(lookup.prefix)
    subnet = dns.edns.ECSOption(str(network.network_address), network.prefixlen, 0)
    query = dns.message.make_query(lookup.name, "A", use_edns=0, payload=1232, options=[subnet])
    query.flags &= ~dns.flags.RD
    return query.to_wire()


class _Waiter(asyncio.DatagramProtocol):
    """For one answer with the right id."""

    def __init__(self, question: bytes) -> None:
        self._question = question
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods, but not the class.
        cast(asyncio.DatagramTransport, transport).sendto(self._question)

    def datagram_received(self, data: bytes, addr: object) -> None:
        if data[:2] == self._question[:2] and len(data) > 2 and not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.answer.cancel()


async def exchange(question: bytes, server: Address) -> bytes:
    """The answer over UDP; over TCP when that is truncated. Raises OSError; waits for as long as
    the caller lets it."""
    loop = asyncio.get_running_loop()
    transport, waiter = await loop.create_datagram_endpoint(
        lambda: _Waiter(question), remote_addr=(server.host, server.port)
    )
    try:
        answer = await waiter.answer
    finally:
        transport.close()
    return await _by_tcp(question, server) if answer[2] & 2 else answer


async def _by_tcp(question: bytes, server: Address) -> bytes:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(len(question).to_bytes(2, "big") + question)
        length = int.from_bytes(await reader.readexactly(2), "big")
        return await reader.readexactly(length)
    except EOFError as error:
        raise ConnectionError("it closed the connection") from error
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
