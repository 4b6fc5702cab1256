"""The holder: what it reads, and what it does with those who wait."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seakeep.engines.local.holder.holder import BadRequest, Held, Holder, parse, serving

OWN = ("127.1.252.1", 8080)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=12,
)


def endpoints(*entries) -> str:
    """(host, priority, status) of each endpoint, as Envoy reads them."""
    return json.dumps(
        {
            "resources": [
                {
                    "endpoints": [
                        {
                            "priority": priority,
                            "lb_endpoints": [
                                {
                                    "endpoint": {
                                        "address": {
                                            "socket_address": {"address": host, "port_value": 8080}
                                        }
                                    },
                                    "health_status": status,
                                }
                            ],
                        }
                        for host, priority, status in entries
                    ]
                }
            ]
        }
    )


def test_the_healthy_of_the_first_priority_serve_and_never_itself() -> None:
    text = endpoints(
        ("127.1.1.1", 0, "UNHEALTHY"),
        ("127.1.1.2", 1, "HEALTHY"),
        ("127.1.1.3", 1, "HEALTHY"),
        ("127.1.102.1", 2, "HEALTHY"),
        (OWN[0], 0, "HEALTHY"),
    )
    assert serving(text, OWN) == [("127.1.1.2", 8080), ("127.1.1.3", 8080)]
    assert serving(endpoints((OWN[0], 0, "HEALTHY")), OWN) == []


@given(JSON)
def test_any_file_is_read_or_refused(value) -> None:
    with suppress(ValueError):
        serving(json.dumps(value), OWN)


@given(JSON)
def test_any_configuration_is_taken_or_refused(value) -> None:
    with suppress(BadRequest):
        parse(value)


@given(JSON)
def test_any_message_is_answered(value) -> None:
    answer = asyncio.run(Holder()._answer(json.dumps(value).encode()))
    assert isinstance(answer["ok"], bool)


class Upstream:
    """Somebody who answers, by the port it was given."""

    def __init__(self, file: Path) -> None:
        self.file = file

    async def come(self) -> asyncio.Server:
        async def serve(reader, writer):
            head = await reader.readuntil(b"\r\n\r\n")
            ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
            writer.write(ok if b"/ready" in head else ok.replace(b"ok", b"hi"))
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        text = endpoints(("127.0.0.1", 0, "HEALTHY")).replace("8080", str(port))
        self.file.write_text(text)
        return server


def held(file: Path, **fields) -> Held:
    return Held(
        **(
            {
                "name": "web",
                "listen": ("127.0.0.1", 0),
                "endpoints": file,
                "http": True,
                "path": "/ready",
                "time_s": 20.0,
                "connections_max": 2,
            }
            | fields
        )
    )


async def ask(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()


def port_of(holder: Holder) -> int:
    server = holder.services["web"]._server
    assert server is not None
    return int(server.sockets[0].getsockname()[1])


def test_those_who_wait_are_passed_on_and_one_too_many_is_not(tmp_path: Path) -> None:
    async def story() -> None:
        holder, file = Holder(), tmp_path / "endpoints.json"
        await holder.configure([held(file)])
        port = port_of(holder)
        first = [asyncio.create_task(ask(port)) for _ in range(2)]
        while holder.report()["services"]["web"]["waiting"] < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert b"503" in await ask(port)
        server = await Upstream(file).come()
        answers = await asyncio.gather(*first)
        assert all(answer.endswith(b"hi") for answer in answers)
        assert holder.report()["services"]["web"] == {
            "waiting": 0,
            "passed_on": 2,
            "turned_away": 1,
        }
        server.close()
        await holder.configure([])
        assert holder.services == {}

    asyncio.run(asyncio.wait_for(story(), 30))


@pytest.mark.parametrize(("http", "answer"), [(True, b"HTTP/1.1 503"), (False, b"")])
def test_nobody_waits_for_ever(tmp_path: Path, http: bool, answer: bytes) -> None:
    async def story() -> None:
        holder = Holder()
        await holder.configure([held(tmp_path / "none", time_s=0.2, http=http, path=None)])
        got = await ask(port_of(holder))
        assert got.startswith(answer)
        assert (got == b"") == (not http)
        await holder.configure([])

    asyncio.run(asyncio.wait_for(story(), 30))
