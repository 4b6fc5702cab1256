"""A real Envoy that lets through what the limits of the spec allow, and says so of the rest."""

import asyncio
import dataclasses
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from seakeep.engines.local.envoy.config import write_config
from seakeep.engines.local.envoy.paths import access_log
from seakeep.model.limits import LimitPer, LimitScope, Priority, RateLimit, Shed
from seakeep.model.system import Balance, Call, Edge, Prefer, Route
from seakeep.model.time import MILLISECOND, SECOND
from tests.live.envoy_rig import Rig, ask, rig, service, system, until, zone

pytestmark = pytest.mark.live

SLOW = 0.01
"""Requests/s of buckets that must not fill up again during a test."""


def bucket(burst: int, **other: object) -> RateLimit:
    return RateLimit(rate_per_s=SLOW, burst=burst, **other)  # type: ignore[arg-type]


def start(made: Rig) -> None:
    made.start_edge("us")
    for name in made.system.services:
        made.push("us", name, zone("a", made.start_upstream(f"{name}-0", "us", "a")))


def statuses(made: Rig, count: int, path: str = "/", **other: object) -> Counter[int]:
    return Counter(made.get(path, **other).status for _ in range(count))


def test_a_limit_is_shared_by_all_routes_and_methods_of_a_service() -> None:
    routes = (Route(), Route(host="shop.example"), Route(path="/more"))
    web = service("web", limit=(bucket(6),), routes=routes)
    with rig(system(web, service("api", routes=(Route(path="/api"),)))) as made:
        start(made)
        answers = [
            made.get(),
            made.get("/more"),
            made.get(method="POST"),
            made.get(headers={"host": "shop.example"}),
            made.get("/more", source="127.9.9.9"),
            made.get(),
        ]
        assert [answer.status for answer in answers] == [200] * 6
        refused = made.get("/more", method="POST")
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["x-ratelimit-limit"] == "6"
        assert refused.headers["x-ratelimit-remaining"] == "0"
        assert made.get("/api").status == 200, "another service is not concerned"
        readings = {each.service: each for each in asyncio.run(made.admin("us").traffic())}
        assert (readings["web"].requests, readings["web"].limited) == (6, 1)
        assert (readings["web"].failures, readings["api"].limited) == (0, 0)
        log = access_log(made.layout, "us")
        until(lambda: '"status":429' in log.read_text(), "the refusal is written")
        line = next(each for each in log.read_text().splitlines() if '"status":429' in each)
        assert json.loads(line)["flags"] == "RL"


def test_every_client_has_a_bucket_of_its_own_and_no_header_gets_it_another() -> None:
    web = service("web", limit=(bucket(3, per=LimitPer.CLIENT), bucket(8)))
    with rig(system(web)) as made:
        start(made)
        assert statuses(made, 20, source="127.9.9.1") == {200: 3, 429: 17}
        assert statuses(made, 4, source="127.9.9.2") == {200: 3, 429: 1}
        for forged in ("x-forwarded-for", "x-real-ip", "forwarded", "x-envoy-external-address"):
            headers = {forged: "203.0.113.7"}
            assert made.get(source="127.9.9.1", headers=headers).status == 429
        # What the flood was refused has used nothing of the bucket for all: 2 of its 8 are left.
        assert statuses(made, 4, source="127.9.9.3") == {200: 2, 429: 2}


def test_a_proxy_of_ones_own_is_believed_and_the_client_before_it_is_not() -> None:
    what = system(service("web", limit=(bucket(2, per=LimitPer.CLIENT),)))
    with rig(dataclasses.replace(what, edge=Edge(trusted_hops=1))) as made:
        start(made)

        def get(forwarded: str) -> int:
            return made.get(source="127.9.9.1", headers={"x-forwarded-for": forwarded}).status

        assert [get("203.0.113.7") for _ in range(3)] == [200, 200, 429]
        assert [get("203.0.113.8") for _ in range(3)] == [200, 200, 429]
        assert get("198.51.100.1, 203.0.113.8") == 429, "what the client wrote stands further left"
        near = [get(f"2001:db8:1:2::{n}") for n in range(3)]
        assert near == [200, 200, 429], "one holder of 2^64 addresses is one client"


def test_a_header_has_a_bucket_for_each_value_and_no_value_has_one_by_address() -> None:
    web = service("web", limit=(bucket(2, per=LimitPer.HEADER, header="x-api-key"),))
    with rig(system(web)) as made:
        start(made)
        for key in ("a", "b"):
            assert statuses(made, 3, headers={"x-api-key": key}) == {200: 2, 429: 1}
        assert statuses(made, 3) == {200: 2, 429: 1}
        assert statuses(made, 3, source="127.9.9.2") == {200: 2, 429: 1}


def test_a_route_may_have_a_limit_beside_the_services() -> None:
    slower = RateLimit(rate_per_s=SLOW / 2, burst=2)
    routes = (Route(), Route(path="/login", limit=(slower,)))
    with rig(system(service("web", limit=(bucket(5),), routes=routes))) as made:
        start(made)
        assert statuses(made, 4, "/login") == {200: 2, 429: 2}
        assert statuses(made, 5) == {200: 3, 429: 2}


def test_a_service_without_routes_is_limited_where_callers_reach_it() -> None:
    balance = Balance(prefer=Prefer.ZONE)
    limit = (bucket(4), bucket(3, per=LimitPer.CLIENT))
    inner = service("inner", routes=(), limit=limit, balance=balance)
    web = service("web", calls=(Call(service="inner", per_request=1.0),))
    with rig(system(web, inner)) as made:
        start(made)
        made.push("us", "inner@a", zone("a"), wait_healthy=False)
        whole = made.book.internal("us", "inner", None, 9000)
        in_zone = made.book.internal("us", "inner", "a", 9000)
        found = Counter(ask(whole, source=f"127.9.9.{n}").status for n in range(6))
        assert found == {200: 4, 429: 2}
        assert Counter(ask(whole).status for _ in range(2)) == {429: 2}
        assert Counter(ask(in_zone, source=f"127.9.9.{n}").status for n in range(4)) == {
            503: 2,
            429: 2,
        }, "each of the two zones has half (and no instance here)"


def test_a_shared_limit_is_divided_and_moved_without_refilling_the_others() -> None:
    limit = (bucket(4, per=LimitPer.CLIENT), bucket(20, scope=LimitScope.SYSTEM))
    what = system(service("web", limit=limit), regions={"us": "ab", "eu": "a"})
    with rig(what) as made:
        start(made)
        admin = made.admin("us")
        assert statuses(made, 6, source="127.9.9.1") == {200: 4, 429: 2}
        found = Counter(made.get(source=f"127.9.8.{n}").status for n in range(8))
        assert found == {200: 6, 429: 2}, "10 of 20 is this region's even part"
        before = asyncio.run(admin.taken())
        shares = {"web:1": SLOW * 0.8}
        versions = write_config(what, "us", made.book, made.layout, shares)
        asyncio.run(admin.await_taken(versions))
        after = asyncio.run(admin.taken())
        assert after.filters["shares.edge"] != before.filters["shares.edge"]
        assert after.filters["limits.edge"] == before.filters["limits.edge"]
        assert (after.listeners, after.routes) == (before.listeners, before.routes)
        assert made.get(source="127.9.9.1").status == 429, "its own bucket is still empty"
        found = Counter(made.get(source=f"127.9.7.{n}").status for n in range(18))
        assert found == {200: 16, 429: 2}


def test_a_changed_limit_touches_no_listener_and_a_changed_route_no_bucket() -> None:
    web = service("web", limit=(bucket(3),))
    with rig(system(web)) as made:
        start(made)
        admin = made.admin("us")
        listeners = asyncio.run(admin.listeners_changed())
        assert statuses(made, 4) == {200: 3, 429: 1}
        changed = dataclasses.replace(web, timeout=SECOND, routes=(Route(), Route(path="/x")))
        versions = write_config(system(changed), "us", made.book, made.layout)
        asyncio.run(admin.await_taken(versions))
        assert made.get("/x").status == 429
        more = dataclasses.replace(changed, limit=(bucket(5),))
        versions = write_config(system(more), "us", made.book, made.layout)
        asyncio.run(admin.await_taken(versions))
        assert statuses(made, 6) == {200: 5, 429: 1}
        none = dataclasses.replace(changed, limit=())
        asyncio.run(admin.await_taken(write_config(system(none), "us", made.book, made.layout)))
        assert statuses(made, 10) == {200: 10}
        assert asyncio.run(admin.listeners_changed()) == listeners


def test_a_saturated_service_sheds_by_priority_and_says_when_to_come_again() -> None:
    """Its one slot takes 20 ms a request. 44 clients that ask again at once are too many."""
    shed = Shed(latency=100 * MILLISECOND, header="x-priority", at_least=2)
    route = Route(path="/busy", priority=Priority.SHEDDABLE)
    web = service("web", shed=shed, timeout=10 * SECOND, routes=(Route(), route))
    with rig(system(web)) as made:
        start(made)
        well = asyncio.run(crowd(made, {"critical": 1, "normal": 1}, 2.0, "/busy/0.005"))
        assert not well["normal"][503]
        found = asyncio.run(crowd(made, {"critical": 4, "normal": 4, "": 36}, 4.0, "/busy/0.02"))
        assert found["critical"][200] > 0
        assert found["critical"][503] == 0
        assert found[""][503] > 0, "by the route they are sheddable"

        def refused(name: str) -> float:
            return found[name][503] / found[name].total()

        assert refused("") > 2 * refused("normal")
        (reading,) = asyncio.run(made.admin("us").traffic())
        assert reading.shed == sum(each[503] for each in found.values())
        assert reading.failures == 0
        assert reading.requests == sum(each[200] for each in (*well.values(), *found.values()))
        answers = [made.get("/status/503"), made.get("/")]
        assert [answer.status for answer in answers] == [503, 200]
        assert "retry-after" not in answers[0].headers, "that one is the service's own"


async def crowd(
    made: Rig, clients: dict[str, int], lasts_s: float, path: str
) -> dict[str, Counter[int]]:
    """Statuses by priority of so many clients each. A refused client waits as long as work takes
    before it asks again."""
    found: dict[str, Counter[int]] = {name: Counter() for name in clients}
    loop = asyncio.get_running_loop()
    end = loop.time() + lasts_s

    async def client(priority: str) -> None:
        headers = {"x-priority": priority} if priority else {}
        while loop.time() < end:
            answer = await asyncio.to_thread(made.get, path, headers=headers)
            found[priority][answer.status] += 1
            if answer.status != 200:
                assert answer.headers["retry-after"] == "1"
                await asyncio.sleep(0.02)

    loop.set_default_executor(ThreadPoolExecutor(max_workers=64))
    await asyncio.gather(*(client(name) for name, count in clients.items() for _ in range(count)))
    return found


def test_the_priority_of_a_route_holds_whatever_a_client_says() -> None:
    shed = Shed(latency=MILLISECOND, at_least=1)
    routes = (Route(path="/a", priority=Priority.CRITICAL), Route(priority=Priority.SHEDDABLE))
    with rig(system(service("web", shed=shed, routes=routes))) as made:
        start(made)
        found = asyncio.run(crowd(made, {"critical": 8}, 2.0, "/busy/0.02"))
        assert found["critical"][503] > 0
        found = asyncio.run(crowd(made, {"sheddable": 8}, 2.0, "/a"))
        assert set(found["sheddable"]) == {200}


def test_a_flood_is_held_at_the_edge_and_the_others_are_served() -> None:
    """One client sends as much as it can through the edge by which the others come."""
    web = service("web", limit=(RateLimit(rate_per_s=5, burst=5, per=LimitPer.CLIENT),))
    with rig(system(web)) as made:
        start(made)

        async def together() -> tuple[Counter[int], Counter[int]]:
            others: Counter[int] = Counter()
            flood: Counter[int] = Counter()
            loop = asyncio.get_running_loop()
            end = loop.time() + 4.0

            async def ask_from(source: str, found: Counter[int], pause_s: float) -> None:
                while loop.time() < end:
                    found[
                        (await asyncio.to_thread(made.get, "/busy/0.001", source=source)).status
                    ] += 1
                    await asyncio.sleep(pause_s)

            await asyncio.gather(
                *(ask_from("127.9.9.1", flood, 0.0) for _ in range(8)),
                *(ask_from(f"127.9.8.{n}", others, 0.4) for n in range(10)),
            )
            return others, flood

        others, flood = asyncio.run(together())
        assert set(others) == {200}
        assert flood[200] <= 5 + 5 * 8
        assert flood[429] > 0
        (reading,) = asyncio.run(made.admin("us").traffic())
        assert reading.limited == flood[429]
        assert reading.requests == others[200] + flood[200], "the service saw nothing of it"


def test_the_rate_is_kept() -> None:
    with rig(system(service("web", limit=(RateLimit(rate_per_s=20, burst=5),)))) as made:
        start(made)
        loop_s = 2.0

        async def flood() -> Counter[int]:
            loop = asyncio.get_running_loop()
            end = loop.time() + loop_s
            found: Counter[int] = Counter()
            while loop.time() < end:
                found[(await asyncio.to_thread(made.get)).status] += 1
            found[0] = round(1000 * (loop.time() - end + loop_s))
            return found

        found = asyncio.run(flood())
        allowed = 5 + 20 * found[0] / 1000
        assert 0.8 * allowed <= found[200] <= allowed + 2
        assert found[429] > 0
