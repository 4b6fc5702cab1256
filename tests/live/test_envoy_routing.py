"""A real Envoy as edge: routing, header hygiene, policies, logs, counters, rejections."""

import asyncio
import dataclasses
import json
import re
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from seakeep.engines.local.envoy.admin import ConfigRejected
from seakeep.engines.local.envoy.config import (
    envoy_argv,
    replace_if_changed,
    write_bootstrap,
    write_config,
)
from seakeep.engines.local.envoy.listeners import render_listeners
from seakeep.engines.local.envoy.paths import ConfigVersions, access_log, listeners_path
from seakeep.model.system import (
    Balance,
    BalancePolicy,
    Breaker,
    Call,
    Prefer,
    Protocol,
    Retries,
    Route,
)
from seakeep.model.time import MILLISECOND, SECOND
from tests.live.envoy_rig import ask, gateway, rig, service, system, until, zone

pytestmark = pytest.mark.live


def test_requests_are_routed_by_host_path_and_header() -> None:
    what = system(
        service("web"),
        service("api", routes=(Route(path="/api"),)),
        service("beta", routes=(Route(path="/api", headers=(("x-beta", "yes"),)),)),
        service("deep", routes=(Route(path="/api/v2/"),)),
        service("shop", routes=(Route(host="shop.example"), Route(host="*.shop.example"))),
    )
    with rig(what) as made:
        made.start_edge("us")
        for name in what.services:
            made.push("us", name, zone("a", made.start_upstream(name, "us", "a")))
        cases = [
            ("/", {}, "web"),
            ("/api", {}, "api"),
            ("/api/x?y=1", {}, "api"),
            ("/apix", {}, "web"),
            ("/api", {"x-beta": "yes"}, "beta"),
            ("/api", {"x-beta": "no"}, "api"),
            ("/api/v2/x", {}, "deep"),
            ("/api/v2/x", {"x-beta": "yes"}, "deep"),
            ("/api", {"host": "shop.example"}, "shop"),
            ("/api", {"host": "shop.example:8080"}, "shop"),
            ("/api", {"host": "eu.shop.example"}, "shop"),
            ("/api", {"host": "other.example"}, "api"),
            ("//api/../api/./x", {}, "api"),
        ]
        assert [made.get(path, headers=headers).name for path, headers, _ in cases] == [
            name for _, _, name in cases
        ]


def test_the_edge_believes_no_client() -> None:
    with rig(system(service("web"))) as made:
        made.start_edge("us")
        made.push("us", "web", zone("a", made.start_upstream("web-0", "us", "a")))
        sent = {
            "x-forwarded-for": "203.0.113.9",
            "x-envoy-retry-on": "5xx",
            "x-envoy-upstream-rq-timeout-ms": "1",
            "x-request-id": "mine",
        }
        for source in ("127.0.0.1", "127.9.9.9"):
            answer = made.get("/sleep/0.05", headers=sent, source=source)
            seen = answer.body["headers"]
            assert answer.status == 200
            assert seen["x-forwarded-for"].replace(" ", "").split(",")[-1] == source
            own = {name: seen[name] for name in seen if name.startswith("x-envoy")}
            assert own == {"x-envoy-external-address": source}, "written by the edge"
            assert seen["x-request-id"] != "mine"
            assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", seen["traceparent"])


def test_access_log_lines_carry_the_trace_that_the_instance_saw() -> None:
    with rig(system(service("web"))) as made:
        made.start_edge("us")
        made.push("us", "web", zone("a", made.start_upstream("web-0", "us", "a")))
        log = access_log(made.layout, "us")
        seen = made.get("/x?y=1", headers={"user-agent": 'a "quoted"\\ one'}).body["headers"]
        made.get("/", headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"})
        until(lambda: len(log.read_text().splitlines()) == 2, "both lines are written")
        first, second = (json.loads(line) for line in log.read_text().splitlines())
        assert first["trace_id"] == seen["traceparent"].split("-")[1]
        assert first["span_id"] == seen["traceparent"].split("-")[2]
        assert second["trace_id"] == "ab" * 16
        assert first["method"] == "GET"
        assert first["path"] == "/x?y=1"
        assert first["status"] == 200
        assert first["cluster"] == "web"
        assert first["attempts"] == 1
        assert first["role"] == "edge"
        assert first["upstream"] == f"{made.addresses['web-0'].host}:9000"
        assert first["client"].startswith("127.")
        assert first["request_id"] == seen["x-request-id"]
        renamed = log.with_suffix(".1")
        log.rename(renamed)
        asyncio.run(made.admin("us").reopen_logs())
        made.get("/after")
        until(lambda: log.exists() and "/after" in log.read_text(), "the new log is written")
        assert "/after" not in renamed.read_text()


@pytest.mark.parametrize("policy", list(BalancePolicy))
def test_every_policy_is_accepted_and_serves(policy: BalancePolicy) -> None:
    balance = Balance(
        policy=policy,
        slow_start=SECOND,
        hash_header="x-key",
        panic_fraction=0.0,
        prefer=Prefer.ZONE,
    )
    web = service("web", balance=balance, calls=(Call(service="web", per_request=1.0),))
    with rig(system(web)) as made:
        write_bootstrap(made.system.name, "us", made.layout)
        write_config(made.system, "us", made.book, made.layout)
        command = [*envoy_argv(made.layout, "us"), "--mode", "validate"]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        made.start_edge("us")
        servers = [made.start_upstream(f"web-{n}", "us", "a") for n in range(2)]
        made.push("us", "web", zone("a", *servers))
        made.push("us", "web@b", zone("b", servers[1]))
        names = Counter(made.get(headers={"x-key": "k" if n % 2 else "m"}).name for n in range(40))
        assert sum(names.values()) == names["web-0"] + names["web-1"] == 40
        if policy in (BalancePolicy.RING_HASH, BalancePolicy.MAGLEV):
            again = {made.get(headers={"x-key": "k"}).name for _ in range(10)}
            assert len(again) == 1
        else:
            assert len(names) == 2
        near = made.book.internal("us", "web", "b", 9000)
        assert {ask(near).name for _ in range(5)} == {"web-1"}


def test_a_slow_try_goes_on_while_the_next_is_sent_beside_it() -> None:
    hedged = Retries(attempts=1, per_try_timeout=200 * MILLISECOND, hedge=True)
    with rig(system(service("web", retries=hedged, timeout=0))) as made:
        made.start_edge("us")
        servers = [made.start_upstream(f"web-{n}", "us", "a") for n in range(2)]
        made.push("us", "web", zone("a", *servers))
        # A try that was given up after 200 ms would never be answered by either.
        answers = [made.get("/sleep-by-name/0.5/3") for _ in range(4)]
        assert {answer.name for answer in answers} == {"web-0"}


def test_a_breaker_refuses_what_is_beyond_it() -> None:
    web = service("web", breaker=Breaker(requests=2), retries=Retries(attempts=0))
    with rig(system(web)) as made, ThreadPoolExecutor(5) as pool:
        made.start_edge("us")
        made.push("us", "web", zone("a", made.start_upstream("web-0", "us", "a")))
        statuses = Counter(pool.map(lambda _: made.get("/sleep/1").status, range(5)))
        assert statuses == {200: 2, 503: 3}


def test_weights_are_followed() -> None:
    web = service("web", balance=Balance(policy=BalancePolicy.LOAD_AWARE))
    with rig(system(web)) as made:
        made.start_edge("us")
        light, heavy = (made.start_upstream(f"web-{n}", "us", "a") for n in range(2))
        made.push("us", "web", zone("a", light, dataclasses.replace(heavy, weight=4)))
        names = Counter(made.get().name for _ in range(100))
        assert 70 <= names["web-1"] <= 90


def test_calls_are_counted_as_their_caller_saw_them() -> None:
    with rig(system(service("web"))) as made:
        made.start_edge("us")
        servers = [made.start_upstream(f"web-{n}", "us", "a") for n in range(2)]
        made.push("us", "web", zone("a", *servers))
        assert made.get().status == 200
        assert made.get("/flaky", headers={"x-key": "1"}).status == 200
        assert made.get("/status/500").status == 500
        assert made.get("/status/404").status == 404
        (reading,) = asyncio.run(made.admin("us").traffic())
        assert (reading.region, reading.service) == ("us", "web")
        assert reading.requests == 4
        assert reading.failures == 1
        assert 1 <= reading.retries <= 2
        assert reading.in_flight == 0


def test_a_rejected_configuration_is_reported_in_envoys_words() -> None:
    with rig(system(service("web"))) as made:
        made.start_edge("us")
        made.push("us", "web", zone("a", made.start_upstream("web-0", "us", "a")))
        admin = made.admin("us")
        path = listeners_path(made.layout, "us")
        content = json.loads(path.read_text())
        content["version_info"] = "typo"
        content["resources"][0]["nonsense"] = 1
        start = admin.log_size()
        replace_if_changed(path, content)
        with pytest.raises(ConfigRejected, match="nonsense"):
            asyncio.run(admin.await_taken(ConfigVersions(listeners="typo"), log_from=start))
        del content["resources"][0]["nonsense"]
        content["resources"][0]["address"]["socket_address"]["address"] = "192.0.2.1"
        start = admin.log_size()
        replace_if_changed(path, content)
        with pytest.raises(ConfigRejected, match=r"192\.0\.2\.1"):
            asyncio.run(admin.await_taken(ConfigVersions(listeners="typo"), log_from=start))
        assert made.get().status == 200, "the last good configuration goes on"


def test_an_address_in_use_is_reported_not_shared() -> None:
    with rig(system(service("web"))) as made:
        made.start_edge("us")
        second = dataclasses.replace(made.layout, state=made.layout.state / "second")
        second.create()
        write_bootstrap("rig", "us", second)
        versions = write_config(made.system, "us", made.book, second)
        made.spawn(envoy_argv(second, "us"), "second")
        admin = type(made.admin("us"))(second, "us")
        with pytest.raises(ConfigRejected, match="in use"):
            asyncio.run(admin.await_taken(versions, timeout_s=20))
        for path in second.sockets.glob("*"):
            path.unlink()
        second.sockets.rmdir()


def test_only_files_that_change_are_rewritten() -> None:
    what = system(service("web"), service("db", Protocol.TCP), regions={"us": "a", "eu": "a"})
    with rig(what) as made:
        first = write_config(what, "us", made.book, made.layout)
        path = listeners_path(made.layout, "us")
        before = path.stat().st_mtime_ns, path.stat().st_ino
        assert write_config(what, "us", made.book, made.layout) == first
        assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
        route = Route(path="/moved")
        moved = dataclasses.replace(what.services["web"], routes=(route,))
        changed = dataclasses.replace(what, services={**what.services, "web": moved})
        second = write_config(changed, "us", made.book, made.layout)
        assert second.clusters == first.clusters
        assert second.listeners == first.listeners
        assert second.routes["edge"] != first.routes["edge"]
        assert second.routes["gateway.web"] == first.routes["gateway.web"]
        made.start_edge("us")
        made.push("us", "web", zone("a"), gateway("eu"), wait_healthy=False)
        assert made.taken("us", "web") == "digest-1"


def test_every_listener_is_on_an_ipv4_loopback_address_of_its_region() -> None:
    db = service("db", Protocol.TCP, routes=(Route(port=5432),))
    calls = (Call(service="web", per_request=1.0),)
    web = service("web", balance=Balance(prefer=Prefer.ZONE), calls=calls)
    what = system(web, db, regions={"us": "ab", "eu": "a"})
    with rig(what) as made:
        listeners = render_listeners(what, "us", made.book, made.layout)
        hosts = [each["address"]["socket_address"]["address"] for each in listeners]
        assert all(host.startswith(f"127.{made.book.octet('us')}.") for host in hosts)
        assert [each["name"] for each in listeners] == [
            "edge",
            "edge db 5432",
            "internal web",
            "internal web@a",
            "internal web@b",
            "gateway web",
            "gateway db",
        ]
