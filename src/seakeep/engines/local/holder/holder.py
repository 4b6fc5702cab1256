"""The holder of a region: where requests wait while a service has no instance.

    python -m seakeep.engines.local.holder.holder --config <json> --control <socket>

A service that may scale to nothing has, behind its instances in every balancer's list, an address
at which this process listens. When there is nobody else, Envoy sends what comes here. A connection
is accepted and nothing of it is read until an instance answers its readiness check (or, without
one, accepts a connection); then both are joined, byte by byte, so that HTTP and TCP are held alike.
Where the instances are stands in the very file from which Envoy has its endpoints: nobody needs to
tell, and a supervisor that is down keeps nobody waiting once an instance is there.

What has waited too long, and what comes while enough wait already, is turned away: with a 503 and
Retry-After for HTTP, by closing the connection for TCP.

It is configured through a Unix socket that only its owner may open: JSON lines, one answer each.

    {"verb": "configure", "services": [{"name": "web", "listen": "127.1.252.1:8080",
        "endpoints": ".../eds/web/endpoints.json", "http": true, "path": "/ready",
        "time_ns": 10000000000, "connections_max": 100}]}
    {"verb": "report"}
"""

import argparse
import asyncio
import contextlib
import json
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seakeep.engines.local.control_socket import (
    LINE_BYTES_MAX,
    bind_control,
    raise_descriptor_limit,
    remove_control,
    told_to_end,
)

LOOK_EVERY_S = 0.03
"""How often it is looked whether there is somebody."""
CHECK_WITHIN_S = 1.0
BUFFER_BYTES = 1 << 16
LINGER_S = 1.0
TURNED_AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-type: text/plain\r\n"
    b"content-length: 31\r\nconnection: close\r\n\r\nno instance is ready, try again"
)


class BadRequest(Exception):
    """A control message or a configuration that makes no sense; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One service."""

    name: str
    listen: tuple[str, int]
    endpoints: Path
    """Envoy's file of the service's cluster."""
    http: bool
    path: str | None
    """Of the readiness check; None: accepting a connection is enough."""
    time_s: float
    connections_max: int


def parse(value: object) -> list[Held]:
    """The `services` of a configuration. Raises BadRequest."""
    if not isinstance(value, list):
        raise BadRequest("'services' must be a list")
    return [_held(entry, index) for index, entry in enumerate(value)]


def _held(entry: object, index: int) -> Held:
    try:
        assert isinstance(entry, dict)
        host, _, port = entry["listen"].rpartition(":")
        path = entry["path"]
        assert path is None or isinstance(path, str)
        return Held(
            name=str(entry["name"]),
            listen=(host, int(port)),
            endpoints=Path(entry["endpoints"]),
            http=bool(entry["http"]),
            path=path,
            time_s=int(entry["time_ns"]) / 1e9,
            connections_max=int(entry["connections_max"]),
        )
    except (AssertionError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise BadRequest(
            f"services[{index}] must have name, listen (host:port), endpoints, http, path, time_ns "
            f"and connections_max: {error!r}"
        ) from error


def serving(text: str, own: tuple[str, int]) -> list[tuple[str, int]]:
    """The healthy addresses of an endpoints file, those of the first priority first; `own` is
    left out. Raises ValueError for what is no such file."""
    try:
        assignment = json.loads(text)["resources"][0]
        found = []
        for locality in assignment["endpoints"]:
            for entry in locality["lb_endpoints"]:
                socket = entry["endpoint"]["address"]["socket_address"]
                address = (str(socket["address"]), int(socket["port_value"]))
                if entry.get("health_status", "HEALTHY") == "HEALTHY" and address != own:
                    found.append((int(locality.get("priority", 0)), address))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"no endpoints: {error!r}") from error
    first = min((priority for priority, _ in found), default=0)
    return [address for priority, address in found if priority == first]


class Service:
    """What waits for one service."""

    def __init__(self, held: Held) -> None:
        self.held = held
        self.waiting = 0
        self.passed_on = 0
        self.turned_away = 0
        self._server: asyncio.Server | None = None
        self._ready: asyncio.Future[tuple[str, int]] | None = None
        self._search: asyncio.Task[None] | None = None

    async def open(self) -> None:
        host, port = self.held.listen
        self._server = await asyncio.start_server(
            self._serve, host, port, backlog=1024, limit=BUFFER_BYTES
        )

    def close(self) -> None:
        """Takes nothing new; what is held or joined goes on."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await self._wait()
            if there is None:
                self.turned_away += 1
                if self.held.http:
                    await _turn_away(reader, writer)
                return
            self.passed_on += 1
            await _join(reader, writer, *there)
        except OSError:
            pass  # one of the two is gone, and so is the other
        finally:
            writer.close()

    async def _wait(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection to an instance; None when there was none in time."""
        if self.waiting >= self.held.connections_max:
            return None
        self.waiting += 1
        try:
            async with asyncio.timeout(self.held.time_s):
                while True:
                    host, port = await asyncio.shield(self._found())
                    with contextlib.suppress(OSError):
                        return await asyncio.open_connection(host, port, limit=BUFFER_BYTES)
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            return None
        finally:
            self.waiting -= 1

    def _found(self) -> asyncio.Future[tuple[str, int]]:
        """The address of an instance that is ready; one search for all that wait."""
        if self._ready is None or self._ready.done():
            self._ready = asyncio.get_running_loop().create_future()
            self._search = asyncio.create_task(self._look(self._ready))
        return self._ready

    async def _look(self, found: asyncio.Future[tuple[str, int]]) -> None:
        while self.waiting:
            with contextlib.suppress(OSError, ValueError):
                able = serving(self.held.endpoints.read_text(), self.held.listen)
                for address in random.sample(able, len(able)):
                    if await is_ready(address, self.held.path, self.held.name):
                        found.set_result(address)
                        return
            await asyncio.sleep(LOOK_EVERY_S)
        found.cancel()


async def is_ready(address: tuple[str, int], path: str | None, host: str) -> bool:
    """Whether who listens there takes requests. A gateway answers for its region."""
    try:
        async with asyncio.timeout(CHECK_WITHIN_S):
            reader, writer = await asyncio.open_connection(*address)
            try:
                if path is None:
                    return True
                writer.write(
                    f"GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: Envoy/HC\r\n"
                    "connection: close\r\n\r\n".encode()
                )
                status = (await reader.readline()).split()
                return len(status) > 1 and status[1][:1] in (b"2", b"3")
            finally:
                writer.close()
    except (OSError, ValueError, TimeoutError):
        return False


async def _turn_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer, and read what was sent: closed over unread bytes, a connection is reset, and the
    answer may be lost with it."""
    writer.write(TURNED_AWAY)
    writer.write_eof()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while await reader.read(BUFFER_BYTES):
                pass


async def _join(
    one: asyncio.StreamReader,
    one_out: asyncio.StreamWriter,
    other: asyncio.StreamReader,
    other_out: asyncio.StreamWriter,
) -> None:
    """Carry bytes both ways until both are at their end, or one breaks."""
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_carry(one, other_out))
            both.create_task(_carry(other, one_out))
    except* OSError:
        pass
    finally:
        other_out.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(BUFFER_BYTES):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


class Holder:
    """All services that are held in one region."""

    def __init__(self) -> None:
        self.services: dict[str, Service] = {}

    async def configure(self, wanted: Sequence[Held]) -> None:
        """Open what is new, close what is gone. Raises OSError, having done all it could, when an
        address cannot be had."""
        kept = {one.name: one for one in wanted}
        for name in [name for name, one in self.services.items() if name not in kept]:
            self.services.pop(name).close()
        failed: list[str] = []
        for name, held in kept.items():
            before = self.services.get(name)
            if before is not None and before.held.listen == held.listen:
                before.held = held
                continue
            if before is not None:
                before.close()
            service = self.services[name] = Service(held)
            try:
                await service.open()
            except OSError as error:
                del self.services[name]
                host, port = held.listen
                failed.append(f"cannot listen at {host}:{port}: {error.strerror or error}")
        if failed:
            raise OSError("; ".join(failed))

    def report(self) -> dict[str, Any]:
        return {
            "services": {
                name: {
                    "waiting": one.waiting,
                    "passed_on": one.passed_on,
                    "turned_away": one.turned_away,
                }
                for name, one in sorted(self.services.items())
            }
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One control connection."""
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            pass  # gone, or a line without end
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            message = json.loads(line)
            if not isinstance(message, Mapping):
                raise BadRequest("a message is a JSON object")
            match message.get("verb"):
                case "configure":
                    await self.configure(parse(message.get("services")))
                    return {"ok": True}
                case "report":
                    return {"ok": True, **self.report()}
                case verb:
                    raise BadRequest(f"verb {verb!r} is not configure or report")
        except json.JSONDecodeError as error:
            return {"ok": False, "error": f"not JSON: {error}"}
        except (BadRequest, OSError) as error:
            return {"ok": False, "error": str(error)}


async def run(wanted: Sequence[Held], control: Path) -> None:
    """Hold until SIGTERM or SIGINT. Raises OSError when an address cannot be had.

    The control socket comes last: once it is there, the holder holds."""
    holder = Holder()
    await holder.configure(wanted)
    server = await asyncio.start_unix_server(
        holder.serve, sock=bind_control(control), limit=LINE_BYTES_MAX
    )
    await told_to_end().wait()
    server.close()
    remove_control(control)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="seakeep-holder", description="Holds requests while a service has no instance."
    )
    parser.add_argument("--config", type=Path, required=True, help="JSON file with its services")
    parser.add_argument("--control", type=Path, required=True, help="Unix socket to listen at")
    arguments = parser.parse_args(argv)
    raise_descriptor_limit()
    try:
        wanted = parse(json.loads(arguments.config.read_text()).get("services"))
        asyncio.run(run(wanted, arguments.control))
    except (OSError, ValueError, AttributeError, BadRequest) as error:
        print(f"holder: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
