"""Questions over UDP: a blocking loop in a thread of its own.

Where the kernel offers it (Linux) up to 64 datagrams are taken by one system call and answered by
another, without copying an answer: the kernel gathers each from the id, which lies where it came
in, and from the answer, which lies in the cache. What is left for Python is to find it there.
Elsewhere the loop takes one at a time.
"""

import ctypes
import errno
import socket
import sys
import time
from collections.abc import Callable
from functools import partial

from seakeep.engines.local.dns.cache import Cache, Fixed, network_of
from seakeep.engines.local.dns.limit import Limit
from seakeep.engines.local.dns.zone import Table

BATCH = 64
SLOT_BYTES = 2048
"""No question that makes sense is longer."""
RECEIVE_BUFFER_BYTES = 4 << 20
_WAIT_FOR_ONE = 0x10000
"""MSG_WAITFORONE: block for the first datagram only."""

# Sizes of Linux's structures on 64-bit machines: sockaddr_in, iovec, mmsghdr.
_NAME, _IOVEC, _HEADER = 16, 16, 64
_QUAD, _LONG = 8, 4
_LENGTH_AT = 56
"""Of msg_len in mmsghdr."""


def has_batches() -> bool:
    """Whether this kernel takes and sends many datagrams at once, in the shapes known here."""
    libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    return (
        libc is not None
        and hasattr(libc, "recvmmsg")
        and hasattr(libc, "sendmmsg")
        and ctypes.sizeof(ctypes.c_void_p) == _QUAD
    )


def open_socket(host: str, port: int) -> socket.socket:
    """Bound, and with room for a burst. Raises OSError."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        opened.bind((host, port))
    except OSError:
        opened.close()
        raise
    return opened


class UdpServer:
    """Answers at one socket from the latest table; `run` never returns."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._cache: Cache | None = None
        self._limit = Limit(0)
        self.answered = 0
        self.dropped = 0
        """Beyond a client network's limit, truncated answers included."""

    def use(self, table: Table) -> None:
        """From now on answer from this table. For any thread."""
        if table.answers_per_s != self._limit.per_s:
            self._limit = Limit(table.answers_per_s)
        self._cache = Cache(table)

    @property
    def cached(self) -> int:
        return 0 if self._cache is None else len(self._cache.entries)

    def run(self) -> None:
        if has_batches():
            _Batches(self._socket).run(self)
        self._run_one_by_one()

    def answer(self, cache: Cache, question: bytes, source: Callable[[], bytes]) -> Fixed | None:
        """What a question gets when nobody is counted; silence for what makes trouble."""
        try:
            return cache.answer(question, source)
        except Exception as error:  # a fault of ours: one question unanswered, not all
            print(f"dns: cannot answer {question.hex()}: {error!r}", file=sys.stderr, flush=True)
            return None

    def _count(self, cache: Cache, question: bytes, source: bytes) -> Fixed | None:
        """What a question gets while answers are counted."""
        limit = self._limit
        if limit.admits(network_of(source)):
            return self.answer(cache, question, lambda: source)
        self.dropped += 1
        return cache.truncation(question) if limit.slips() else None

    def _run_one_by_one(self) -> None:
        receive, send = self._socket.recvfrom, self._socket.sendto
        while True:
            try:
                packet, peer = receive(SLOT_BYTES)
                cache = self._cache
                if cache is None:
                    continue
                source = partial(socket.inet_aton, peer[0])
                if self._limit.begin(time.monotonic(), 1):
                    found = self._count(cache, packet[2:], source())
                else:
                    found = self.answer(cache, packet[2:], source)
                if found is not None:
                    send(packet[:2] + found[2], peer)
                    self.answered += 1
            except OSError as error:
                _note(error)


class _Batches:
    """The memory that the kernel fills and reads, and the loop over it."""

    def __init__(self, opened: socket.socket) -> None:
        self._fd = opened.fileno()
        self._data = bytearray(BATCH * SLOT_BYTES)
        self._names = bytearray(BATCH * _NAME)
        blocks = [bytearray(BATCH * size) for size in (_IOVEC, 2 * _IOVEC, _HEADER, _HEADER)]
        self._blocks = blocks  # freed memory would be written to
        data, names, into, outof, taken, sent = (
            ctypes.addressof((ctypes.c_char * len(block)).from_buffer(block))
            for block in (self._data, self._names, *blocks)
        )
        self._taken_at, self._sent_at = taken, sent
        reading, self._writing, taking, sending = (memoryview(block).cast("Q") for block in blocks)
        self._lengths = memoryview(blocks[2]).cast("I")
        for i in range(BATCH):
            slot, name = data + i * SLOT_BYTES, names + i * _NAME
            reading[2 * i], reading[2 * i + 1] = slot, SLOT_BYTES
            self._writing[4 * i], self._writing[4 * i + 1] = slot, 2  # the id
            for header, vectors, count in (
                (taking, into + i * _IOVEC, 1),
                (sending, outof + i * 2 * _IOVEC, 2),
            ):
                at = i * _HEADER // _QUAD
                header[at], header[at + 1] = name, _NAME
                header[at + 2], header[at + 3] = vectors, count
        libc = ctypes.CDLL(None, use_errno=True)
        self._receive, self._send = libc.recvmmsg, libc.sendmmsg
        self._receive.argtypes = (
            ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p,
        )  # fmt: skip
        self._send.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)

    def run(self, server: UdpServer) -> None:
        # Everything that the loop touches is a local: this is where the time goes.
        receive, fd, taken_at, lengths = self._receive, self._fd, self._taken_at, self._lengths
        data, writing = memoryview(self._data).toreadonly(), self._writing
        slots = [
            (
                i,
                i * SLOT_BYTES,
                i * SLOT_BYTES + 2,
                (i * _HEADER + _LENGTH_AT) // _LONG,
                4 * i + 2,
                4 * i + 3,
            )
            for i in range(BATCH)
        ]
        now = time.monotonic
        while True:
            count = receive(fd, taken_at, BATCH, _WAIT_FOR_ONE, None)
            cache = server._cache
            if count <= 0 or cache is None:
                if count < 0:
                    _note(OSError(ctypes.get_errno(), "recvmmsg"))
                continue
            silent: list[int] = []
            if server._limit.begin(now(), count):
                held = self._answer_counted(server, cache, count, silent)
            else:
                held = []
                find = cache.entries.get
                for i, base, start, length, at, size in slots[:count]:
                    question = bytes(data[start : base + lengths[length]])
                    found = find(question)
                    if found.__class__ is not tuple:
                        source = self._source(i)
                        found = server.answer(cache, question, source)
                        if found is None:
                            silent.append(i)
                            continue
                        held.append(found)
                    writing[at] = found[0]
                    writing[size] = found[1]
            self._send_all(count, silent)
            server.answered += count - len(silent)
            # Until here `cache` and `held` have kept what the kernel read.
            del held

    def _answer_counted(
        self, server: UdpServer, cache: Cache, count: int, silent: list[int]
    ) -> list[Fixed]:
        held: list[Fixed] = []
        for i in range(count):
            base = i * SLOT_BYTES
            end = base + self._lengths[(i * _HEADER + _LENGTH_AT) // _LONG]
            question = bytes(self._data[base + 2 : end])
            found = server._count(cache, question, self._source(i)())
            if found is None:
                silent.append(i)
                continue
            held.append(found)
            self._writing[4 * i + 2], self._writing[4 * i + 3] = found[0], found[1]
        return held

    def _source(self, i: int) -> Callable[[], bytes]:
        at = i * _NAME + 4
        return lambda: bytes(self._names[at : at + 4])

    def _send_all(self, count: int, silent: list[int]) -> None:
        """In runs between those that get no answer."""
        start = 0
        for end in (*silent, count):
            while start < end:
                sent = self._send(self._fd, self._sent_at + start * _HEADER, end - start, 0)
                if sent < 0:
                    number = ctypes.get_errno()
                    if number == errno.EINTR:
                        continue
                    sent = 1  # that one cannot be sent (a forged sender, say); the others can
                start += sent
            start = end + 1


def _note(error: OSError) -> None:
    """A datagram that could not be taken or sent is lost, as datagrams are. What would never
    end is not repeated as fast as it goes."""
    if error.errno not in (errno.EINTR, errno.EAGAIN, errno.ECONNREFUSED):
        print(f"dns: {error}", file=sys.stderr, flush=True)
        time.sleep(0.1)
