"""Real HTTP/1.1 servers on loopback, each behaving as a test needs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from seakeep.load.plan import Target
from seakeep.model.observation import Address

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Behave = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
"""Gets the head of each request, and answers as it likes."""


@asynccontextmanager
async def _serving(behave: Behave) -> AsyncIterator[Target]:
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            while not writer.is_closing():
                await behave(await reader.readuntil(b"\r\n\r\n"), writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    try:
        yield Target(address=Address(host="127.0.0.1", port=port), host="shop.example")
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def serving():
    """`async with serving(behave) as target`: a server on a free port."""
    return _serving


@pytest.fixture
def answering():
    """Makes a behaviour that writes `reply` and, if told so, hangs up after it."""

    def make(reply: bytes = OK, *, hang_up: bool = False) -> Behave:
        async def behave(head: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(reply)
            if hang_up:
                writer.close()

        return behave

    return make
