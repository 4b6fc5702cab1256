"""The process's side of a part's control socket, and one question asked of it.

Links, holders and DNS servers are talked to alike: JSON, one object a line, over a Unix socket
that only its owner may open and that appears once the process does its work.
"""

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
from pathlib import Path
from typing import Any

LINE_BYTES_MAX = 16 << 20


def bind_control(path: Path) -> socket.socket:
    """A listening Unix socket that only its owner may open. It appears at `path` only once it
    listens: whoever finds it there can connect. Raises OSError when somebody listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        if other.connect_ex(str(path)) == 0:
            raise OSError(f"somebody listens at {path} already")
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(fresh))
    finally:
        os.umask(before)
    listener.listen()
    fresh.rename(path)
    return listener


def remove_control(path: Path) -> None:
    path.unlink(missing_ok=True)


def told_to_end() -> asyncio.Event:
    """Set by SIGTERM and SIGINT, from now on."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    return stopped


def raise_descriptor_limit() -> None:
    """A connection takes two descriptors, and the usual soft limit is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def ask(path: Path, message: dict[str, Any]) -> dict[str, Any]:
    """The answer to one question, on a connection of its own. Raises OSError."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=LINE_BYTES_MAX)
    try:
        writer.write(json.dumps(message).encode() + b"\n")
        await writer.drain()
        line = await reader.readline()
    finally:
        writer.close()
    if not line:
        raise ConnectionError("it closed the connection")
    answer: dict[str, Any] = json.loads(line)
    return answer
