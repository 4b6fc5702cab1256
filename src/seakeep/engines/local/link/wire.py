"""The data path of a WAN link: bytes that take their time, or never arrive.

A `Wire` is one listening address at which one service of one other region can be reached. A
connection through it has two `Pipe`s, one per direction; each hands on what it is given after
the region's one-way latency, in order. Nothing here knows of control messages or files.

What a wire does to new connections:

    open        accepted at once, here; the bytes are what is delayed
    refusing    the target refused lately: nobody listens, and a connect fails at once
    blackhole   a partition: the accept queue is full, so the kernel drops connection requests
                and the caller waits in vain, as for packets that are lost (on Linux; elsewhere
                they are accepted and left without an answer)

A partition drops bytes. A connection that lost some is of no use any more: it is reset when the
partition ends. One that was idle meanwhile goes on.
"""

import asyncio
import contextlib
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

IN_FLIGHT_BYTES_MAX = 1 << 20
"""Per direction of a connection; beyond it the sender is not read, until half of it is left."""
BACKLOG = 1024
RETRY_S = 0.25
"""How often a target that refused is tried again."""
CONNECT_TIMEOUT_S = 5.0
REST_S = 0.1
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
EARLY_S = 0.0005
"""A timer that fires this much too early is on time: event loops round."""


class Mark(Enum):
    """What a pipe carries besides bytes."""

    EOF = "eof"
    RESET = "reset"


@dataclass(slots=True)
class Region:
    """The way to one other region: how long it takes, what is wrong with it, what went over."""

    name: str
    latency_ns: int = 0
    added_ns: list[int] = field(default_factory=list)
    cut_out: int = 0
    """How many partitions drop what goes there."""
    cut_in: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    connections: int = 0
    refused: int = 0

    @property
    def delay_s(self) -> float:
        return (self.latency_ns + sum(self.added_ns)) / 1e9

    @property
    def is_cut(self) -> bool:
        """A connection needs both directions to come about."""
        return self.cut_out > 0 or self.cut_in > 0


class Pipe:
    """One direction of a connection."""

    def __init__(self, delay_s: Callable[[], float], is_cut: Callable[[], bool]) -> None:
        self._loop = asyncio.get_running_loop()
        self._delay_s = delay_s
        self._is_cut = is_cut
        self._queue: deque[tuple[float, bytes | Mark]] = deque()
        self._size = 0
        self._last_due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self.source: asyncio.Transport | None = None
        self.sink: asyncio.Transport | None = None
        self.sink_full = False
        self.lost = False
        """Something was dropped: the stream has a hole."""
        self.ended = False
        """EOF or reset has been handed on."""
        self.on_end: Callable[[Mark], None] = lambda mark: None

    def push(self, item: bytes | Mark) -> None:
        if self._is_cut():
            self.lost = True
            return
        due = max(self._loop.time() + self._delay_s(), self._last_due)
        self._last_due = due
        self._queue.append((due, item))
        if not isinstance(item, Mark):
            self._size += len(item)
        self.regulate()
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._deliver)

    def cut(self) -> None:
        """What is under way is lost."""
        self.lost = self.lost or bool(self._queue)
        self.clear()
        self.regulate()

    def clear(self) -> None:
        self._queue.clear()
        self._size = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def attach_sink(self, sink: asyncio.Transport) -> None:
        self.sink = sink
        self._deliver()

    def regulate(self) -> None:
        """Read from the source only while there is room."""
        source = self.source
        if source is None or source.is_closing():
            return
        low = IN_FLIGHT_BYTES_MAX // 2 if self._paused else IN_FLIGHT_BYTES_MAX
        full = self.sink_full or self._size > low
        if full and not self._paused:
            source.pause_reading()
        elif self._paused and not full:
            source.resume_reading()
        self._paused = full

    def _deliver(self) -> None:
        self._timer = None
        sink = self.sink
        if sink is None:
            return
        now = self._loop.time() + EARLY_S
        while self._queue and self._queue[0][0] <= now:
            _, item = self._queue.popleft()
            if isinstance(item, Mark):
                self.ended = True
                self.on_end(item)
                return
            self._size -= len(item)
            if not sink.is_closing():
                sink.write(item)
        self.regulate()
        if self._queue and self._timer is None:
            self._timer = self._loop.call_at(self._queue[0][0], self._deliver)


class End(asyncio.Protocol):
    """The client's or the target's side of a connection: feeds `into`, is fed by `outof`."""

    def __init__(self, into: Pipe, outof: Pipe, count: Callable[[int], None]) -> None:
        self.into = into
        self.outof = outof
        self.transport: asyncio.Transport | None = None
        self.on_lost: Callable[[], None] = lambda: None
        self._count = count
        self._over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.into.source = transport
        self.outof.attach_sink(transport)

    def data_received(self, data: bytes) -> None:
        self._count(len(data))
        self.into.push(data)

    def eof_received(self) -> bool:
        self._over = True
        self.into.push(Mark.EOF)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._over or exc is not None:
            self._over = True
            self.into.push(Mark.EOF if exc is None else Mark.RESET)
        self.on_lost()

    def pause_writing(self) -> None:
        self.outof.sink_full = True
        self.outof.regulate()

    def resume_writing(self) -> None:
        self.outof.sink_full = False
        self.outof.regulate()

    def reset(self) -> None:
        """End it with a TCP reset."""
        transport = self.transport
        if transport is None:
            return
        end = transport.get_extra_info("socket")
        if end is not None:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        transport.abort()


class Connection:
    """A client's connection through a wire, and the one to the target that goes with it."""

    def __init__(self, region: Region, gone: Callable[["Connection"], None]) -> None:
        self.region = region
        self.out = Pipe(lambda: region.delay_s, lambda: region.cut_out > 0)
        self.back = Pipe(lambda: region.delay_s, lambda: region.cut_in > 0)
        self.client = End(self.out, self.back, self._sent)
        self.target = End(self.back, self.out, self._received)
        self.out.on_end = lambda mark: self._end(self.target, self.back, mark)
        self.back.on_end = lambda mark: self._end(self.client, self.out, mark)
        self.client.on_lost = self.target.on_lost = self._maybe_gone
        self._gone = gone
        self._is_gone = False

    def abort(self) -> None:
        """Reset both sides now."""
        self.out.clear()
        self.back.clear()
        self.client.reset()
        self.target.reset()
        self._leave()

    @property
    def has_hole(self) -> bool:
        return self.out.lost or self.back.lost

    def _end(self, side: End, opposite: Pipe, mark: Mark) -> None:
        transport = side.transport
        if mark is Mark.RESET:
            self.abort()
        elif transport is not None and not transport.is_closing():
            if opposite.ended:
                self.out.clear()
                self.back.clear()
                for end in (self.client, self.target):
                    if end.transport is not None:
                        end.transport.close()
                self._leave()
            else:
                transport.write_eof()

    def _maybe_gone(self) -> None:
        ends = (self.client.transport, self.target.transport)
        if all(end is not None and end.is_closing() for end in ends):
            self._leave()

    def _leave(self) -> None:
        if not self._is_gone:
            self._is_gone = True
            self._gone(self)

    def _sent(self, size: int) -> None:
        self.region.bytes_out += size

    def _received(self, size: int) -> None:
        self.region.bytes_in += size


class Wire:
    """One listening address, the target behind it, and the connections between them."""

    def __init__(self, listen: tuple[str, int], target: tuple[str, int], region: Region) -> None:
        self.listen = listen
        self.target = target
        self.region = region
        self.connections: dict[Connection, None] = {}
        """In the order of their beginning."""
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._filler: list[socket.socket] = []
        self._held: list[socket.socket] = []
        self._carrying: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._target_down = False
        self._dark = False

    def open(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        self._listen()
        self.cut_changed()

    def close(self) -> None:
        """Take no new connections; those that are open go on."""
        self._unlisten()
        if self._watching is not None:
            self._watching.cancel()

    def cut_changed(self) -> None:
        """The region's partitions have changed: drop what must be dropped, or heal."""
        if self.region.cut_out > 0:
            for connection in self.connections:
                connection.out.cut()
        if self.region.cut_in > 0:
            for connection in self.connections:
                connection.back.cut()
        if self.region.is_cut and not self._dark:
            self._darken()
        elif not self.region.is_cut and self._dark:
            self._lighten()
        if not self.region.is_cut:
            for connection in [each for each in self.connections if each.has_hole]:
                connection.abort()

    # --- listening ---

    def _listen(self) -> None:
        family = socket.AF_INET6 if ":" in self.listen[0] else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setblocking(False)
            listener.bind(self.listen)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
        self._socket = listener
        self._loop.add_reader(listener.fileno(), self._accept)

    def _unlisten(self) -> None:
        self._drop_held()
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _accept(self) -> None:
        while self._socket is not None:
            try:
                taken, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                self._rest(self._socket)
                return
            taken.setblocking(False)
            if self._dark:
                self._held.append(taken)
            else:
                task = self._loop.create_task(self._carry(taken))
                self._carrying.add(task)
                task.add_done_callback(self._carrying.discard)

    def _rest(self, listener: socket.socket) -> None:
        """Out of descriptors: let callers wait a little, instead of asking again at once."""
        self._loop.remove_reader(listener.fileno())

        def go_on() -> None:
            if self._socket is listener and not self._dark:
                self._loop.add_reader(listener.fileno(), self._accept)

        self._loop.call_later(REST_S, go_on)

    def _darken(self) -> None:
        self._dark = True
        if self._socket is None:
            with contextlib.suppress(OSError):
                self._listen()
        if self._socket is not None and sys.platform.startswith("linux"):
            # With a backlog of 0 the queue takes one connection; from then on the kernel drops
            # requests. A caller that is in the queue already is as lost as the others.
            self._loop.remove_reader(self._socket.fileno())
            self._socket.listen(0)
            filler = socket.socket(self._socket.family, socket.SOCK_STREAM)
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(self.listen)
            self._filler.append(filler)

    def _lighten(self) -> None:
        if self._socket is not None and self._filler:
            # Whoever got into the queue meanwhile is held first, then dropped.
            self._accept()
            self._socket.listen(BACKLOG)
            self._loop.add_reader(self._socket.fileno(), self._accept)
        self._drop_held()
        self._dark = False
        if self._target_down:
            self._unlisten()

    def _drop_held(self) -> None:
        for end in (*self._held, *self._filler):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            end.close()
        self._held.clear()
        self._filler.clear()

    # --- carrying ---

    async def _carry(self, taken: socket.socket) -> None:
        connection = Connection(self.region, self._gone)
        self.connections[connection] = None
        self.region.connections += 1
        try:
            await self._loop.connect_accepted_socket(lambda: connection.client, taken)
        except OSError:
            taken.close()
            connection.abort()
            return
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._loop.create_connection(lambda: connection.target, *self.target)
        except (OSError, TimeoutError):
            self.region.refused += 1
            await self._refuse(connection)

    async def _refuse(self, connection: Connection) -> None:
        """What a refusal over the WAN looks like: word of it takes a round trip."""
        self._watch_target()
        await asyncio.sleep(2 * self.region.delay_s)
        if not self.region.is_cut:
            connection.abort()
        else:
            connection.out.lost = True

    def _gone(self, connection: Connection) -> None:
        if connection in self.connections:
            del self.connections[connection]
            self.region.connections -= 1

    def _watch_target(self) -> None:
        """Refuse at once until the target takes connections again."""
        if not self._target_down:
            self._target_down = True
            if not self._dark:
                self._unlisten()
            self._watching = self._loop.create_task(self._until_target_is_back())

    async def _until_target_is_back(self) -> None:
        while True:
            await asyncio.sleep(RETRY_S)
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    _, writer = await asyncio.open_connection(*self.target)
                writer.close()
                self._target_down = False
                if self._socket is None:
                    self._listen()
            except (OSError, TimeoutError):
                self._target_down = True
                continue
            return
