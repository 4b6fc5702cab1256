"""A real Envoy as L4 proxy: the client's address reaches the instance, also across regions."""

import asyncio
import contextlib
import json
import socket

import pytest

from seakeep.engines.local.envoy.paths import access_log
from seakeep.model.observation import Address
from seakeep.model.system import Protocol, Route
from seakeep.model.time import MILLISECOND
from tests.live.envoy_rig import DEADLINE_S, Rig, gateway, rig, service, system, until, zone

pytestmark = pytest.mark.live

DB = service("db", Protocol.TCP, routes=(Route(port=5432),), proxy_protocol=True)


def who(address: Address, source: str) -> tuple[dict[str, object], str]:
    """What the instance read from the PROXY header, and the client's real address."""
    with socket.create_connection(
        (address.host, address.port), timeout=DEADLINE_S, source_address=(source, 0)
    ) as connection:
        mine = "{}:{}".format(*connection.getsockname())
        connection.sendall(b"x")
        data = bytearray()
        with contextlib.suppress(ConnectionResetError):  # it may not have read our byte
            while read := connection.recv(65_536):
                data += read
    return json.loads(data or b"{}"), mine


def edge(made: Rig) -> Address:
    return made.book.edge("us", 5432)


def test_the_instance_sees_the_clients_address() -> None:
    with rig(system(DB)) as made:
        made.start_edge("us")
        made.push("us", "db", zone("a", made.start_upstream("db-0", "us", "a", "proxy")))
        seen, mine = who(edge(made), "127.77.66.55")
        assert seen["name"] == "db-0"
        assert seen["version"] == 2
        assert seen["command"] == 1
        assert seen["source"] == mine
        assert seen["target"] == f"{edge(made).host}:5432"
        log = access_log(made.layout, "us")
        until(lambda: log.read_text().splitlines(), "the connection is logged")
        record = json.loads(log.read_text().splitlines()[0])
        assert record["client"] == mine
        assert record["cluster"] == "db"
        assert record["method"] is None
        until(lambda: _counts(made) == (1, 0, 0), "it is counted, health checks are not")


def test_the_clients_address_is_kept_across_regions() -> None:
    what = system(DB, regions={"us": "a", "eu": "a"}, latency=5 * MILLISECOND)
    with rig(what) as made:
        made.start_all()
        near = made.start_upstream("us-db", "us", "a", "proxy")
        far = made.start_upstream("eu-db", "eu", "a", "proxy")
        made.push("eu", "db.local", zone("a", far, region="eu"))
        made.push("us", "db", zone("a", near), gateway("eu"))
        assert who(edge(made), "127.77.66.55")[0]["name"] == "us-db"
        made.upstreams["us-db"].kill()
        made.upstreams["us-db"].wait()
        seen, mine = who(edge(made), "127.77.66.55")
        assert seen["name"] == "eu-db", "a refused connect is tried elsewhere at once"
        assert seen["source"] == mine


def test_a_region_without_endpoints_closes_and_counts_a_failure() -> None:
    with rig(system(DB)) as made:
        made.start_edge("us")
        seen, _ = who(edge(made), "127.77.66.55")
        assert seen == {}
        until(lambda: _counts(made) == (1, 1, 0), "it is counted as a failure")


def _counts(made: Rig) -> tuple[int, int, int]:
    readings = asyncio.run(made.admin("us").traffic())
    return next(((each.requests, each.failures, each.in_flight) for each in readings), (0, 0, 0))
