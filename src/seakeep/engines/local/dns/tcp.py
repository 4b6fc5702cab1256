"""Questions over TCP (RFC 7766): for answers that do not fit a datagram, and for networks that get
no more of those. Several questions may be under way on one connection; they are answered in order.

A connection that says nothing for a while is closed, as is one that does not take its answers;
there are only so many at a time, and only so many from one address.
"""

import asyncio
import contextlib
import ipaddress
from collections import Counter
from collections.abc import Callable

from seakeep.engines.local.dns import wire
from seakeep.engines.local.dns.cache import complaint
from seakeep.engines.local.dns.wire import Malformed
from seakeep.engines.local.dns.zone import Table

IDLE_S = 10.0
"""For a whole question to come, and for an answer to be taken."""
CONNECTIONS_MAX = 500
PER_ADDRESS_MAX = 100
ANSWER_BYTES_MAX = 65_535
UNSENT_BYTES_MAX = 256 << 10


class TcpServer:
    def __init__(
        self,
        table: Callable[[], Table | None],
        *,
        idle_s: float = IDLE_S,
        connections_max: int = CONNECTIONS_MAX,
        per_address_max: int = PER_ADDRESS_MAX,
    ) -> None:
        self._table = table
        self._idle_s = idle_s
        self._connections_max = connections_max
        self._per_address_max = per_address_max
        self._open: Counter[str] = Counter()
        self.answered = 0
        self.refused = 0
        """Connections that were one too many."""

    async def serve(self, host: str, port: int) -> asyncio.Server:
        """Raises OSError when the address cannot be had."""
        return await asyncio.start_server(self._talk, host, port, limit=ANSWER_BYTES_MAX + 2)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        host = str(peer[0]) if peer else ""
        full = self._open.total() >= self._connections_max
        if not peer or full or self._open[host] >= self._per_address_max:
            self.refused += 1
            writer.transport.abort()
            return
        self._open[host] += 1
        writer.transport.set_write_buffer_limits(high=UNSENT_BYTES_MAX)
        try:
            await self._answer_all(reader, writer, ipaddress.ip_address(host).packed)
        except (OSError, EOFError, TimeoutError, ValueError):
            pass  # gone, silent, or nobody that speaks DNS
        finally:
            self._open[host] -= 1
            if not self._open[host]:
                del self._open[host]
            with contextlib.suppress(OSError):
                writer.close()

    async def _answer_all(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: bytes
    ) -> None:
        while True:
            async with asyncio.timeout(self._idle_s):
                length = int.from_bytes(await reader.readexactly(2), "big")
                packet = await reader.readexactly(length)
            answer = self._answer(packet, source)
            if answer is None:
                return
            writer.write(len(answer).to_bytes(2, "big") + answer)
            self.answered += 1
            async with asyncio.timeout(self._idle_s):
                await writer.drain()

    def _answer(self, packet: bytes, source: bytes) -> bytes | None:
        """None: not worth a connection."""
        table = self._table()
        if table is None:
            return None
        try:
            query = wire.parse(packet)
        except Malformed as error:
            found = complaint(error, packet[2:])
            return None if found is None else packet[:2] + found[2]
        return packet[:2] + table.answer(query, source, ANSWER_BYTES_MAX).next()
