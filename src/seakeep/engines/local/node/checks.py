"""One check of one instance, as a kubelet makes it: http, tcp, exec or gRPC health.

A check answers with the empty text when it passes, else with why it did not. Checks raise
nothing of the network's; the caller sets the time limit by cancelling.
"""

import asyncio
import contextlib
import errno
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from seakeep.model.observation import Address
from seakeep.model.system import Check, ExecCheck, GrpcCheck, HttpCheck, TcpCheck

Execute: TypeAlias = Callable[[Sequence[str]], Awaitable[str]]
"""Runs a command in the instance's environment: the detail of its failure, or nothing. Ends
the command when cancelled."""

_HEAD_BYTES_MAX = 1 << 16
_SERVING = 1
_HEALTH_STATUS = {0: "UNKNOWN", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


async def run_check(check: Check, address: Address, execute: Execute, timeout_s: float) -> str:
    """Why the check failed; empty when it passed. Cancelled when its time is up, by the
    caller; `timeout_s` is for libraries that keep time themselves."""
    try:
        match check:
            case HttpCheck(path=path):
                return await _http(address, path)
            case TcpCheck():
                return await _tcp(address)
            case ExecCheck(command=command):
                return await execute(command)
            case GrpcCheck(service=service):
                return await _grpc(address, service, timeout_s)
    except OSError as error:
        return _network(error)


def _network(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "connection reset"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many open files in the node agent"
    return os.strerror(error.errno).lower() if error.errno else str(error)


async def _tcp(address: Address) -> str:
    _, writer = await asyncio.open_connection(address.host, address.port)
    writer.transport.abort()
    return ""


async def _http(address: Address, path: str) -> str:
    reader, writer = await asyncio.open_connection(
        address.host, address.port, limit=_HEAD_BYTES_MAX
    )
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\n"
            "User-Agent: seakeep-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode()
        )
        while True:
            status = _status(await reader.readline())
            if status is None:
                return "not an HTTP answer"
            if status >= 200:
                return "" if status < 400 else f"HTTP {status}"
            # An interim answer (RFC 9110, 15.2): its header ends with an empty line.
            while (await reader.readline()).rstrip():
                pass
    except ValueError:  # a line beyond the limit
        return "not an HTTP answer"
    finally:
        writer.transport.abort()


def _status(line: bytes) -> int | None:
    parts = line.split(maxsplit=2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1."):
        return None
    code = parts[1]
    return int(code) if len(code) == 3 and code.isdigit() and code >= b"100" else None


async def _grpc(address: Address, service: str, timeout_s: float) -> str:
    # Imported by the first such check only: it is larger than the whole agent.
    import grpc  # type: ignore[import-untyped]

    loop = asyncio.get_running_loop()
    answered: asyncio.Future[str] = loop.create_future()
    channel = grpc.insecure_channel(
        f"{address.host}:{address.port}",
        options=[
            ("grpc.use_local_subchannel_pool", 1),  # a connection of its own, as a client's
            ("grpc.enable_http_proxy", 0),
            ("grpc.primary_user_agent", "seakeep-probe"),
        ],
    )
    # One field in, one field out: the generated classes would bring all of protobuf along.
    name = service.encode()
    request = b"\x0a" + _varint(len(name)) + name if name else b""
    call = channel.unary_unary("/grpc.health.v1.Health/Check").future(request, timeout=timeout_s)

    def done(future: Any) -> None:
        detail = _grpc_detail(grpc, future)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(_settle, answered, detail)

    call.add_done_callback(done)
    try:
        return await answered
    finally:
        call.cancel()
        channel.close()


def _settle(future: "asyncio.Future[str]", detail: str) -> None:
    if not future.done():
        future.set_result(detail)


def _grpc_detail(grpc: Any, future: Any) -> str:
    if future.cancelled():
        return "cancelled"
    error = future.exception()
    if error is None:
        status = _health_status(future.result())
        return "" if status == _SERVING else f"gRPC {_HEALTH_STATUS.get(status, status)}"
    code = error.code() if isinstance(error, grpc.Call) else None
    if code is grpc.StatusCode.UNAVAILABLE and "refused" in (error.details() or "").lower():
        return "connection refused"
    return f"gRPC {code.name if code is not None else error}"


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _health_status(message: bytes) -> int:
    """HealthCheckResponse.status, field 1, a varint; 0 when it is not there."""
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0
