"""A real Envoy that is reconfigured, or killed and started again, under load."""

import asyncio
import dataclasses
import http.client
import json
import os
import signal
import socket

import pytest

from seakeep.engines.local.envoy.admin import ConfigRejected
from seakeep.engines.local.envoy.config import push_again, write_config
from seakeep.model.system import Balance, BalancePolicy, Call, Retries, Route
from seakeep.model.time import MILLISECOND
from tests.live.envoy_rig import Rig, rig, service, system, until, zone
from tests.live.test_envoy_failover import load_and

pytestmark = pytest.mark.live


def test_a_changed_spec_fails_no_request() -> None:
    web = service("web")
    with rig(system(web)) as made:
        made.start_edge("us")
        servers = [made.start_upstream(f"web-{n}", "us", "a") for n in range(2)]
        made.push("us", "web", zone("a", *servers))
        changed = dataclasses.replace(
            web,
            balance=Balance(policy=BalancePolicy.RANDOM),
            timeout=3000 * MILLISECOND,
            routes=(Route(), Route(path="/more")),
        )

        def change() -> None:
            write_config(system(changed), "us", made.book, made.layout)

        ends = asyncio.run(load_and(made, change, "/sleep/0.02", 2.5))
        assert ends == {200: 250}
        versions = write_config(system(changed), "us", made.book, made.layout)
        taken = asyncio.run(made.admin("us").taken())
        assert (taken.listeners, taken.clusters) == (versions.listeners, versions.clusters)
        assert taken.routes == versions.routes
        assert taken.endpoints["web"] == "digest-1", "the endpoints are still there"


def test_routes_change_without_a_listener_being_touched() -> None:
    web = service("web", calls=(Call(service="api", per_request=1.0),))
    api = service("api", routes=(Route(path="/api"),))
    with rig(system(web, api)) as made:
        made.start_edge("us")
        for name in ("web", "api"):
            made.push("us", name, zone("a", made.start_upstream(f"{name}-0", "us", "a")))
        admin = made.admin("us")
        listeners = asyncio.run(admin.listeners_changed())
        assert listeners == 4, "the edge, the inner way to api, two gateways"
        connection = http.client.HTTPConnection(*_edge_of(made), timeout=20)
        connection.request("GET", "/more")
        assert json.loads(connection.getresponse().read())["name"] == "web-0"

        def change() -> None:
            """Another route, other retries and another timeout, twenty times over."""
            for n in range(20):
                changed = system(
                    dataclasses.replace(web, timeout=(3000 + n) * MILLISECOND),
                    dataclasses.replace(
                        api,
                        routes=(Route(path="/api"), Route(path="/more")),
                        retries=Retries(attempts=n % 3),
                    ),
                )
                versions = write_config(changed, "us", made.book, made.layout)
                asyncio.run(admin.await_taken(versions, timeout_s=20))

        def in_a_thread() -> None:
            asyncio.get_running_loop().run_in_executor(None, change)

        assert asyncio.run(load_and(made, in_a_thread, "/sleep/0.02", 3)) == {200: 300}
        until(lambda: made.get("/more").name == "api-0", "the new route is in effect")
        connection.request("GET", "/more")
        assert json.loads(connection.getresponse().read())["name"] == "api-0", (
            "on a connection that was open before"
        )
        connection.close()
        assert asyncio.run(admin.listeners_changed()) == listeners


def _edge_of(made: Rig) -> tuple[str, int]:
    address = made.book.edge("us", made.system.edge.port)
    return address.host, address.port


def test_pushes_under_load_fail_no_request() -> None:
    with rig(system(service("web"))) as made:
        made.start_edge("us")
        servers = [made.start_upstream(f"web-{n}", "us", "a") for n in range(3)]
        made.push("us", "web", zone("a", *servers))

        def push() -> None:
            for n in range(30):
                made.push("us", "web", zone("a", servers[n % 3], servers[(n + 1) % 3]))

        def in_a_thread() -> None:
            asyncio.get_running_loop().run_in_executor(None, push)

        assert asyncio.run(load_and(made, in_a_thread, "/sleep/0.02", 3)) == {200: 300}


def test_an_address_that_was_in_use_is_tried_again() -> None:
    with rig(system(service("web"))) as made:
        edge = made.book.edge("us", made.system.edge.port)
        taken = socket.create_server((edge.host, edge.port))
        with taken, pytest.raises(ConfigRejected, match="in use"):
            made.start_edge("us")
        push_again(made.layout, "us")
        versions = write_config(made.system, "us", made.book, made.layout)
        until(
            lambda: asyncio.run(made.admin("us").listeners_taken(versions.listeners)),
            "the listeners are taken",
        )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_edge_that_ended_comes_back_with_its_endpoints(how: int) -> None:
    with rig(system(service("web"))) as made:
        made.start_edge("us")
        made.push("us", "web", zone("a", made.start_upstream("web-0", "us", "a")))
        os.kill(made.edges["us"].pid, how)
        made.edges["us"].wait()
        assert not asyncio.run(made.admin("us").ready())
        made.start_edge("us")
        until(lambda: made.get().status == 200, "it serves at once, with nobody to push")
        assert made.taken("us", "web") == "digest-1"
        assert made.layout.edge_socket("us").stat().st_mode & 0o777 == 0o600
