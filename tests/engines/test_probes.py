"""Probes against real little servers."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from seakeep.engines.local.clock import boot_clock
from seakeep.engines.local.node.checks import run_check
from seakeep.engines.local.node.probes import Prober
from seakeep.model.observation import Address, ProbeReading
from seakeep.model.system import (
    Check,
    ExecCheck,
    GrpcCheck,
    HttpCheck,
    Probe,
    ProbeKind,
    TcpCheck,
)
from seakeep.model.time import MILLISECOND, SECOND

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def no_command(command: Sequence[str]) -> str:
    raise AssertionError(f"nothing should run {command}")


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[Address]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield Address(host=host, port=port)


@asynccontextmanager
async def answering(answer: bytes, heard: list[bytes] | None = None) -> AsyncIterator[Address]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if heard is not None:
            heard.append(head)
        writer.write(answer)
        writer.close()

    async with listening(handle) as address:
        yield address


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.0 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\n\r\n", ""),
        (b"HTTP/1.1 399 Odd\r\n\r\n", ""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 500 No\r\n\r\n", "HTTP 500"),
        (b"HTTP/1.1 400 Bad\r\n\r\n", "HTTP 400"),
        (b"HTTP/1.1 503 Busy\r\n\r\n", "HTTP 503"),
        (b"SSH-2.0-x\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "not an HTTP answer"),
        (b"HTTP/1.1\r\n\r\n", "not an HTTP answer"),
        (b"", "not an HTTP answer"),
        (b"HTTP/1.1 " + b"2" * 200_000, "not an HTTP answer"),
        (b"\xff" * 100, "not an HTTP answer"),
    ],
)
def test_http_answers(answer: bytes, detail: str) -> None:
    async def run() -> None:
        heard: list[bytes] = []
        async with answering(answer, heard) as address:
            assert await run_check(HttpCheck(path="/ok?x=1"), address, no_command, 5) == detail
        (head,) = heard
        assert head.startswith(b"GET /ok?x=1 HTTP/1.1\r\n")
        assert b"User-Agent: seakeep-probe\r\n" in head
        assert b"Connection: close\r\n" in head
        assert f"Host: {address.host}:{address.port}\r\n".encode() in head

    asyncio.run(run())


def test_tcp_and_refusal() -> None:
    async def run() -> None:
        async with answering(b"") as address:
            assert await run_check(TcpCheck(), address, no_command, 5) == ""
        for check in (TcpCheck(), HttpCheck(path="/")):
            assert await run_check(check, address, no_command, 5) == "connection refused"

    asyncio.run(run())


def test_grpc_health() -> None:
    async def run() -> None:
        server = grpc.aio.server()
        servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        address = Address(host="127.0.0.1", port=port)
        states = health_pb2.HealthCheckResponse
        await servicer.set("shop.Catalog", states.NOT_SERVING)
        for name, state in (("", states.SERVING), ("x" * 300, states.SERVING)):
            await servicer.set(name, state)
            assert await run_check(GrpcCheck(service=name), address, no_command, 5) == ""
        catalog = GrpcCheck(service="shop.Catalog")
        assert await run_check(catalog, address, no_command, 5) == "gRPC NOT_SERVING"
        await servicer.set("shop.Catalog", states.SERVING)
        assert await run_check(catalog, address, no_command, 5) == ""
        nobody = GrpcCheck(service="nobody")
        assert await run_check(nobody, address, no_command, 5) == "gRPC NOT_FOUND"
        await server.stop(0)
        gone = await run_check(catalog, address, no_command, 5)
        assert gone == "connection refused"

    asyncio.run(run())


class Probed:
    """A prober and everything it has said."""

    def __init__(
        self, *probes: Probe, address: Address, execute: Any = no_command, readings: Any = ()
    ) -> None:
        self.history: list[dict[ProbeKind, ProbeReading]] = []
        self.prober = Prober(
            name="web-1",
            probes=probes,
            address=address,
            execute=execute,
            started_at=boot_clock(),
            readings=readings,
            changed=self._changed,
        )
        self.prober.start()

    def _changed(self, urgent: bool) -> None:
        self.history.append({reading.kind: reading for reading in self.prober.readings})

    def get(self, kind: ProbeKind) -> ProbeReading | None:
        return next((r for r in self.prober.readings if r.kind is kind), None)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():  # noqa: ASYNC110
                await asyncio.sleep(0.005)


def probe(kind: ProbeKind, check: Check, **other: int) -> Probe:
    fields: dict[str, Any] = {"period": 50 * MILLISECOND, "timeout": SECOND, "failures": 3}
    return Probe(kind=kind, check=check, **(fields | other))


NOWHERE = Address(host="127.0.0.1", port=1)


def test_early_checks_only_count_when_they_pass() -> None:
    async def run() -> None:
        calls = 0

        async def execute(command: Sequence[str]) -> str:
            nonlocal calls
            calls += 1
            return "" if calls == 8 else "not yet"

        slow = probe(ProbeKind.READINESS, ExecCheck(command=("x",)), period=600 * SECOND)
        probed = Probed(slow, address=NOWHERE, execute=execute)
        begin = time.monotonic()
        await probed.until(lambda: probed.get(ProbeKind.READINESS) is not None)
        reading = probed.get(ProbeKind.READINESS)
        assert reading is not None
        assert (reading.ok, reading.count, reading.passed) == (True, 1, True)
        assert time.monotonic() - begin < 30  # and not the ten minutes of its period
        probed.prober.stop()

    asyncio.run(run())


def test_runs_are_counted_and_thresholds_kept() -> None:
    async def run() -> None:
        results = iter(["no", "no", "", "", "", "no", ""])

        async def execute(command: Sequence[str]) -> str:
            return next(results, "done")

        three = probe(ProbeKind.LIVENESS, ExecCheck(command=("x",)), successes=3)
        probed = Probed(three, address=NOWHERE, execute=execute)
        await probed.until(lambda: len(probed.history) >= 7)
        probed.prober.stop()
        seen = [entry[ProbeKind.LIVENESS] for entry in probed.history[:7]]
        assert [(r.ok, r.count, r.passed) for r in seen] == [
            (False, 1, False), (False, 2, False), (True, 1, False), (True, 2, False),
            (True, 3, True), (False, 1, True), (True, 1, True),
        ]  # fmt: skip
        assert seen[0].detail == "no"
        assert seen[2].detail == ""

    asyncio.run(run())


def test_a_slow_probe_delays_no_other_and_never_overlaps_itself() -> None:
    async def run() -> None:
        at_once = most = 0

        async def execute(command: Sequence[str]) -> str:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            try:
                await asyncio.sleep(600)
            finally:
                at_once -= 1
            return ""

        stuck = probe(ProbeKind.LIVENESS, ExecCheck(command=("x",)), timeout=300 * MILLISECOND)
        async with answering(b"HTTP/1.1 200 OK\r\n\r\n") as address:
            quick = probe(ProbeKind.READINESS, HttpCheck(path="/"))
            probed = Probed(stuck, quick, address=address, execute=execute)
            await probed.until(
                lambda: (r := probed.get(ProbeKind.LIVENESS)) is not None and r.count >= 2
            )
            readiness, liveness = (
                probed.get(ProbeKind.READINESS), probed.get(ProbeKind.LIVENESS)
            )  # fmt: skip
            probed.prober.stop()
        assert readiness is not None
        assert liveness is not None
        assert readiness.count > liveness.count
        assert liveness.detail == "timed out after 300ms"
        assert most == 1

    asyncio.run(run())


def test_a_server_that_does_not_answer_times_out() -> None:
    async def run() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()

        async with listening(silent) as address:
            short = probe(ProbeKind.LIVENESS, HttpCheck(path="/"), timeout=100 * MILLISECOND)
            probed = Probed(short, address=address)
            await probed.until(lambda: probed.get(ProbeKind.LIVENESS) is not None)
            reading = probed.get(ProbeKind.LIVENESS)
            probed.prober.stop()
            assert reading is not None
            assert (reading.ok, reading.detail) == (False, "timed out after 100ms")

    asyncio.run(run())


def test_delay_is_waited_for() -> None:
    async def run() -> None:
        async def execute(command: Sequence[str]) -> str:
            return ""

        late = probe(ProbeKind.READINESS, ExecCheck(command=("x",)), delay=400 * MILLISECOND)
        begin = boot_clock()
        probed = Probed(late, address=NOWHERE, execute=execute)
        await probed.until(lambda: bool(probed.history))
        probed.prober.stop()
        reading = probed.get(ProbeKind.READINESS)
        assert reading is not None
        assert reading.checked_at - begin >= 400 * MILLISECOND

    asyncio.run(run())


def test_startup_gates_and_is_over_once_it_has_passed() -> None:
    async def run() -> None:
        calls: list[str] = []

        async def execute(command: Sequence[str]) -> str:
            calls.append(command[0])
            return "" if command[0] != "startup" or calls.count("startup") >= 3 else "no"

        probes = [
            probe(kind, ExecCheck(command=(kind.value,)))
            for kind in (ProbeKind.STARTUP, ProbeKind.READINESS, ProbeKind.LIVENESS)
        ]
        probed = Probed(*probes, address=NOWHERE, execute=execute)
        await probed.until(lambda: calls.count("liveness") >= 2)
        probed.prober.stop()
        assert calls[:3] == ["startup"] * 3
        assert calls.count("startup") == 3
        # The next agent does not ask again.
        again = Probed(*probes, address=NOWHERE, execute=execute, readings=probed.prober.readings)
        await again.until(lambda: calls.count("liveness") >= 4)
        again.prober.stop()
        assert calls.count("startup") == 3

    asyncio.run(run())
