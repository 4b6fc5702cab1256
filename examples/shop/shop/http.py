"""A small HTTP/1.1 server and client for the shop's services, on asyncio and h11.

What a service needs in order to be kept alive by Seakeep is all here: liveness and readiness,
a drain on SIGTERM that fails no request, the trace id passed on, one JSON log line a request.
A web framework would do as well; this starts in about half the time and two thirds of the
memory of one (figures in README.md), which counts when a lost region is replaced at once.
"""

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import h11

BODY_BYTES_MAX = 64 * 1024
READ_BYTES = 64 * 1024
REQUEST_TIMEOUT_S = 10.0
"""From the first byte of a request to its last."""
LINGER_S = 0.5
"""After SIGTERM new connections are still taken for this long: whoever sends us requests may
not know yet that we are leaving."""
DRAIN_S = 4.0
"""Running requests may take this long after the lingering."""
BURN_MS_MAX = 10_000
PASSED_ON = ("traceparent", "tracestate", "x-request-id")
TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(slots=True, kw_only=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def trace_id(self) -> str:
        match = TRACEPARENT.fullmatch(self.headers.get("traceparent", ""))
        return match[1] if match else ""


@dataclass(slots=True, kw_only=True)
class Response:
    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        return json.loads(self.body)


class HttpError(Exception):
    """Ends a handler with this answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.response = as_json({"error": message}, status)


Handler: TypeAlias = Callable[..., Awaitable[Response]]
"""Takes the request, then the groups of the route's pattern."""


def as_json(value: object, status: int = 200) -> Response:
    return Response(status=status, body=json.dumps(value).encode() + b"\n")


def as_html(text: str, status: int = 200) -> Response:
    return Response(status=status, body=text.encode(), content_type="text/html; charset=utf-8")


# --- the server -----------------------------------------------------------------------------


class Service:
    """One service: routes, health, and a life from `run` to SIGTERM."""

    def __init__(self, name: str, default_port: int) -> None:
        self.name = name
        self.host = os.environ.get("HOST", "127.0.0.1")
        self.port = int(os.environ.get("PORT", default_port))
        self.instance = os.environ.get("SEAKEEP_INSTANCE", f"{name}-0")
        self.region = os.environ.get("SEAKEEP_REGION", "local")
        self.zone = os.environ.get("SEAKEEP_ZONE", "a")
        self.started = False
        self.draining = False
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = []
        self._connections: dict[asyncio.StreamWriter, bool] = {}
        """Open connections, and whether a request runs on them."""
        self.route("GET", "/healthz")(self._healthz)
        self.route("GET", "/ready")(self._ready)
        self.route("GET", "/burn")(self._burn)

    def route(self, method: str, pattern: str) -> Callable[[Handler], Handler]:
        """Register a handler for a method and a pattern of the whole path."""

        def register(handler: Handler) -> Handler:
            self._routes.append((method, re.compile(pattern), handler))
            return handler

        return register

    def run(self, start: Callable[[], None] | None = None) -> None:
        """Serve until SIGTERM or SIGINT, then drain. `start` prepares what requests need; until
        it is through, /ready says 503."""
        asyncio.run(self._live(start))

    async def _live(self, start: Callable[[], None] | None) -> None:
        leave = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, leave.set)
        try:
            server = await asyncio.start_server(self._serve, self.host, self.port, backlog=512)
        except OSError as error:
            self.log("cannot listen", level="error", error=str(error))
            sys.exit(1)
        if start is not None:
            await asyncio.to_thread(start)
        self.started = True
        self.log("ready", address=f"{self.host}:{self.port}")
        await leave.wait()
        self.draining = True
        self.log("draining", connections=len(self._connections))
        await asyncio.sleep(LINGER_S)
        server.close()
        await self._drain()
        self.log("stopped", cut=len(self._connections))

    async def _drain(self) -> None:
        """Close idle connections at once and the others as their requests end."""
        deadline = time.monotonic() + DRAIN_S
        while self._connections and time.monotonic() < deadline:
            for writer, busy in list(self._connections.items()):
                if not busy:
                    writer.close()
            await asyncio.sleep(0.02)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        self._connections[writer] = False
        try:
            while request := await self._next_request(connection, reader, writer):
                response = await self._answer(request)
                await self._respond(connection, writer, response, request.method == "HEAD")
                if connection.our_state is not h11.DONE:
                    break
                connection.start_next_cycle()
                self._connections[writer] = False
        except h11.RemoteProtocolError as error:
            await self._reject(connection, writer, error)
        except (OSError, TimeoutError):
            pass  # the peer went away or dawdled; there is nobody to answer
        finally:
            del self._connections[writer]
            writer.close()

    async def _next_request(
        self, connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Request | None:
        """The next request; None when the peer has no more."""
        # No timeout before the first byte: a server that closes idle connections races with
        # the next request. The side that sends requests closes (Envoy: after an hour).
        while (event := connection.next_event()) is h11.NEED_DATA:
            async with asyncio.timeout(REQUEST_TIMEOUT_S if self._connections[writer] else None):
                connection.receive_data(await reader.read(READ_BYTES))
            self._connections[writer] = True
        self._connections[writer] = True
        if not isinstance(event, h11.Request):
            return None
        if connection.they_are_waiting_for_100_continue:
            proceed = h11.InformationalResponse(status_code=100, headers=[])
            writer.write(connection.send(proceed) or b"")
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            body = await read_body(connection, reader)
        try:
            url = urlsplit(event.target.decode("ascii"))
        except ValueError as error:
            raise h11.RemoteProtocolError(f"bad target: {error}") from error
        headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
        if not TRACEPARENT.fullmatch(headers.get("traceparent", "")):
            headers["traceparent"] = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
        return Request(
            method=event.method.decode("ascii"),
            path=url.path,
            query=dict(parse_qsl(url.query)),
            headers=headers,
            body=body,
        )

    async def _answer(self, request: Request) -> Response:
        """Run the handler; log everything but probes."""
        began = time.perf_counter()
        try:
            response = await self._dispatch(request)
        except HttpError as error:
            response = error.response
        except Exception:
            self.log("handler failed", request, level="error", error=traceback.format_exc())
            response = as_json({"error": "internal error"}, 500)
        if request.path not in ("/healthz", "/ready"):
            took_ms = round((time.perf_counter() - began) * 1000, 2)
            message = f"{request.method} {request.path}"
            self.log(message, request, status=response.status, duration_ms=took_ms)
        return response

    async def _dispatch(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        found = False
        for allowed, pattern, handler in self._routes:
            if match := pattern.fullmatch(request.path):
                if allowed == method:
                    return await handler(request, *match.groups())
                found = True
        raise HttpError(405, "method not allowed") if found else HttpError(404, "no such page")

    async def _respond(
        self,
        connection: h11.Connection,
        writer: asyncio.StreamWriter,
        response: Response,
        head_only: bool = False,
    ) -> None:
        headers = {
            "content-type": response.content_type,
            "content-length": str(len(response.body)),
            "x-served-by": f"{self.instance}@{self.region}/{self.zone}",
            **response.headers,
        }
        if self.draining:
            headers["connection"] = "close"
        start = h11.Response(status_code=response.status, headers=list(headers.items()))
        body = b"" if head_only else response.body
        events = (start, h11.Data(data=body), h11.EndOfMessage())
        writer.write(b"".join(connection.send(event) or b"" for event in events))
        await writer.drain()

    async def _reject(
        self, connection: h11.Connection, writer: asyncio.StreamWriter, error: Exception
    ) -> None:
        if connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            status = getattr(error, "error_status_hint", 400)
            with contextlib.suppress(OSError):
                await self._respond(connection, writer, as_json({"error": str(error)}, status))

    async def _healthz(self, _: Request) -> Response:
        return as_json({"status": "ok"})

    async def _ready(self, _: Request) -> Response:
        if self.draining:
            raise HttpError(503, "draining")
        if not self.started:
            raise HttpError(503, "starting")
        return as_json({"status": "ready"})

    async def _burn(self, request: Request) -> Response:
        """Use `ms` milliseconds of CPU, in a thread, so that probes are still answered."""
        ms = whole_number(request.query.get("ms", "100"), "ms", least=1, most=BURN_MS_MAX)
        return as_json({"rounds": await asyncio.to_thread(burn, ms / 1000)})

    def log(self, message: str, request: Request | None = None, **fields: object) -> None:
        """One JSON line on stdout. A full disk or a reader gone must not stop the service."""
        record = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
            + f".{time.time_ns() // 1_000_000 % 1000:03d}Z",
            "level": "info",
            "message": message,
            "service": self.name,
            "instance": self.instance,
            "region": self.region,
            "zone": self.zone,
            **({"trace_id": request.trace_id} if request else {}),
            **fields,
        }
        with contextlib.suppress(OSError):
            sys.stdout.write(json.dumps(record) + "\n")
            sys.stdout.flush()


async def read_body(connection: h11.Connection, reader: asyncio.StreamReader) -> bytes:
    """The body of the message whose head has just been read."""
    chunks = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(READ_BYTES))
        elif isinstance(event, h11.Data):
            chunks += event.data
            if len(chunks) > BODY_BYTES_MAX:
                raise h11.RemoteProtocolError("body too large", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage):
            return bytes(chunks)
        else:
            raise ConnectionResetError("connection closed inside a body")


def burn(cpu_s: float) -> int:
    """Hash until this thread has used `cpu_s` of CPU; returns the number of rounds."""
    block, rounds = b"\0" * 65_536, 0
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        block = sha256(block).digest() * 2048
        rounds += 1
    return rounds


def whole_number(text: str, name: str, *, least: int, most: int) -> int:
    """`text` as a number of that range. Raises HttpError 400 otherwise."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise HttpError(400, f"{name} must be a whole number from {least} to {most}")
    return int(text)


# --- the client -----------------------------------------------------------------------------


class Unavailable(Exception):
    """A service gave no usable answer in time."""


class Client:
    """Calls one other service over kept-alive connections.

    Retries live in the balancer that Seakeep puts between services, where a budget bounds
    them. The one exception: a kept connection that the peer closed just as it was reused is
    replaced by a new one, once. That may send a request twice, so use it for requests that
    are safe to repeat.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 80
        self.timeout_s = timeout_s
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter, h11.Connection]] = []

    async def get(self, target: str, cause: Request, **headers: str) -> Response:
        return await self.send("GET", target, cause, b"", headers)

    async def send(
        self, method: str, target: str, cause: Request, body: bytes, headers: dict[str, str]
    ) -> Response:
        """Send a request on behalf of `cause`. Raises Unavailable when there is no answer
        within the timeout, or a 5xx."""
        head = {"host": f"{self.host}:{self.port}", "content-length": str(len(body)), **headers}
        passed = {name: cause.headers.get(name, "") for name in PASSED_ON}
        head |= {name: value for name, value in passed.items() if value and value.isascii()}
        request = h11.Request(method=method, target=target, headers=list(head.items()))
        try:
            async with asyncio.timeout(self.timeout_s):
                response = await self._exchange(request, body)
        except (OSError, TimeoutError, h11.ProtocolError) as error:
            reason = "timed out" if isinstance(error, TimeoutError) else str(error)
            raise Unavailable(f"{self.host}:{self.port}: {reason}") from error
        if response.status >= 500:
            raise Unavailable(f"{self.host}:{self.port}: HTTP {response.status}")
        return response

    async def _exchange(self, request: h11.Request, body: bytes) -> Response:
        while self._idle:
            with contextlib.suppress(ConnectionError, h11.RemoteProtocolError):
                async with self._connection(self._idle.pop()) as connection:
                    return await exchange(*connection, request, body)
            self._drop_idle()
        streams = await asyncio.open_connection(self.host, self.port)
        async with self._connection((*streams, h11.Connection(h11.CLIENT))) as connection:
            return await exchange(*connection, request, body)

    @contextlib.asynccontextmanager
    async def _connection(
        self, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter, h11.Connection]
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, h11.Connection]]:
        """Keep the connection afterwards if both sides are done with it; close it otherwise."""
        _, writer, state = connection
        kept = False
        try:
            yield connection
            if state.our_state is h11.DONE and state.their_state is h11.DONE:
                state.start_next_cycle()
                self._idle.append(connection)
                kept = True
        finally:
            if not kept:
                writer.close()

    def _drop_idle(self) -> None:
        """One kept connection was stale; its contemporaries most likely are too."""
        while self._idle:
            self._idle.pop()[1].close()


async def exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    connection: h11.Connection,
    request: h11.Request,
    body: bytes,
) -> Response:
    """One request and its answer on one connection."""
    events = (request, h11.Data(data=body), h11.EndOfMessage())
    writer.write(b"".join(connection.send(event) or b"" for event in events))
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(READ_BYTES))
        elif isinstance(event, h11.Response):
            headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
            return Response(
                status=event.status_code,
                body=await read_body(connection, reader),
                content_type=headers.get("content-type", ""),
                headers=headers,
            )
        elif not isinstance(event, h11.InformationalResponse):
            raise ConnectionResetError("connection closed before the answer")
