"""Talking to a region's link process: configuring it, asking it, disturbing it."""

import asyncio
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seakeep.engines.local.addresses import AddressBook
from seakeep.engines.local.control_socket import LINE_BYTES_MAX
from seakeep.engines.local.envoy.config import replace_if_changed
from seakeep.engines.local.layout import Layout
from seakeep.model.ids import RegionName
from seakeep.model.observation import Address
from seakeep.model.system import System, link_between

Wires = list[dict[str, Any]]
"""The `wires` of a link's configuration: listen, target, region, latency_ns."""


class LinkError(OSError):
    """The link could not be talked to, or refused what it was told."""


def link_config(layout: Layout, region: RegionName) -> Path:
    return layout.link(region) / "link.json"


def link_argv(layout: Layout, region: RegionName) -> list[str]:
    """The command of a region's link."""
    return [
        sys.executable,
        *("-m", "seakeep.engines.local.link.relay"),
        *("--config", str(link_config(layout, region))),
        *("--control", str(layout.link_socket(region))),
    ]


def render_wires(system: System, region: RegionName, book: AddressBook) -> Wires:
    """A wire for every service of every other region, in the order of the file."""
    wires = []
    for other in system.regions:
        link = link_between(system, region, other)
        if link is not None:
            for service in system.services.values():
                port = service.workload.port
                wires.append(
                    {
                        "listen": _written(book.link(region, other, service.name, port)),
                        "target": _written(book.gateway(other, service.name, port)),
                        "region": other,
                        "latency_ns": link.latency,
                    }
                )
    return wires


def write_link_config(
    system: System, region: RegionName, book: AddressBook, layout: Layout
) -> Wires:
    """Write what the link process reads at its start; returns what a running one must be told."""
    wires = render_wires(system, region, book)
    replace_if_changed(link_config(layout, region), {"wires": wires})
    return wires


class LinkClient:
    """A control connection of the engine. Not for faults: those end with their connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()

    @classmethod
    async def connect(cls, layout: Layout, region: RegionName) -> "LinkClient":
        """Raises OSError while the link does not listen."""
        path = str(layout.link_socket(region))
        reader, writer = await asyncio.open_unix_connection(path, limit=LINE_BYTES_MAX)
        return cls(reader, writer)

    async def configure(self, wires: Wires) -> None:
        """Make the link's wires these. Raises LinkError."""
        await self._ask({"verb": "configure", "wires": wires})

    async def report(self) -> dict[str, Any]:
        """`connections`, and per target region: connections, bytes_out, bytes_in, refused,
        latency_ns, added_ns, cut_out, cut_in. Bytes since the link's start."""
        return await self._ask({"verb": "report"})

    async def close(self) -> None:
        self._writer.close()

    async def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        async with self._turn:
            self._writer.write(json.dumps(message).encode() + b"\n")
            await self._writer.drain()
            return _answer(await self._reader.readline())


@contextmanager
def hold_fault(control: Path, verb: str, timeout_s: float = 5.0, **fields: Any) -> Iterator[None]:
    """Have a fault (`partition` with target and direction, `delay` with target and added_ns)
    for as long as the block runs. It is undone when the block is left, and when this process
    dies. Raises LinkError when the link cannot be reached or does not know the target."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(control))
            connection.sendall(json.dumps({"verb": verb, **fields}).encode() + b"\n")
            _answer(_line(connection))
        except LinkError:
            raise
        except OSError as error:
            raise LinkError(f"no link listens at {control}: {error}") from error
        try:
            yield
        finally:
            # The link undoes the fault, then closes: once this returns, it is over.
            try:
                connection.shutdown(socket.SHUT_WR)
                _line(connection)
            except OSError:
                pass  # The link is gone, and the fault with it.


def _line(connection: socket.socket) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n") and (read := connection.recv(65_536)):
        data += read
    return bytes(data)


def _answer(line: bytes) -> dict[str, Any]:
    if not line:
        raise LinkError("the link closed the connection")
    answer = json.loads(line)
    if not isinstance(answer, dict) or not answer.get("ok"):
        reason = answer.get("error") if isinstance(answer, dict) else answer
        raise LinkError(f"the link refused: {reason}")
    return {key: value for key, value in answer.items() if key != "ok"}


def _written(address: Address) -> str:
    return f"{address.host}:{address.port}"
