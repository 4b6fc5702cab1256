"""A real Envoy that loses instances, zones and a region: who serves then, and who fails."""

import asyncio
import dataclasses
import json
import signal
import time
from collections import Counter

import aiohttp
import pytest

from seakeep.engines.local.envoy.paths import access_log
from seakeep.engines.local.link.client import hold_fault
from seakeep.model.observation import Address
from seakeep.model.system import Balance, BalancePolicy
from seakeep.model.time import MILLISECOND
from tests.live.envoy_rig import Rig, ask, gateway, rig, service, system, until, zone

pytestmark = pytest.mark.live

LOAD_PER_S = 100


async def load(
    address: Address, path: str, lasts_s: float, method: str = "GET"
) -> Counter[int | str]:
    """Open-loop requests at LOAD_PER_S; how many ended with which status, or error."""
    ends: Counter[int | str] = Counter()

    async def one(session: aiohttp.ClientSession) -> None:
        try:
            async with session.request(
                method, f"http://{address.host}:{address.port}{path}"
            ) as got:
                await got.read()
                ends[got.status] += 1
        except aiohttp.ClientError as error:
            ends[type(error).__name__] += 1

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        start = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for n in range(int(lasts_s * LOAD_PER_S)):
                await asyncio.sleep(max(0.0, start + n / LOAD_PER_S - time.monotonic()))
                tasks.create_task(one(session))
    return ends


async def load_and(made: Rig, act: object, path: str, lasts_s: float) -> Counter[int | str]:
    """Load, with `act()` called half a second into it."""
    assert callable(act)
    asyncio.get_running_loop().call_later(0.5, act)
    return await load(made.book.edge("us", 8080), path, lasts_s)


def names(made: Rig, count: int, region: str = "us") -> Counter[str]:
    return Counter(made.get(region=region).name for _ in range(count))


def test_a_zone_then_the_region_fails_over_through_a_real_link() -> None:
    what = system(service("web"), regions={"us": "ab", "eu": "a"}, latency=30 * MILLISECOND)
    with rig(what) as made:
        made.start_all()
        a, b = (made.start_upstream(f"us-{z}", "us", z) for z in "ab")
        far = made.start_upstream("eu-a", "eu", "a")
        made.push("eu", "web.local", zone("a", far, region="eu"))
        made.push("us", "web", zone("a", a), zone("b", b, priority=1), gateway("eu", 2))
        assert names(made, 10) == {"us-a": 10}
        made.upstreams["us-a"].kill()
        assert names(made, 10) == {"us-b": 10}, "the first retry may already leave the zone"
        made.upstreams["us-b"].kill()
        until(lambda: len(made.unhealthy("us", "web")) == 2, "both are out of rotation")
        began = time.monotonic()
        answer = made.get()
        assert answer.name == "eu-a"
        assert time.monotonic() - began >= 0.060, "the WAN was crossed, there and back"
        assert "traceparent" in answer.body["headers"]
        made.upstreams["eu-a"].kill()
        link = made.book.link("us", "eu", "web", 9000)
        until(
            lambda: f"{link.host}:{link.port}" in made.unhealthy("us", "web"),
            "the gateway reports that its region has no healthy instance",
        )
        assert made.get().status == 503


def test_a_gateway_never_sends_on() -> None:
    what = system(service("web"), regions={"us": "a", "eu": "a"}, latency=MILLISECOND)
    with rig(what) as made:
        made.start_all()
        for here, there in (("us", "eu"), ("eu", "us")):
            made.push(here, "web", gateway(there), wait_healthy=False)
            made.push(here, "web.local", wait_healthy=False)
        began = time.monotonic()
        assert made.get().status == 503
        assert time.monotonic() - began < 10, "no circle between the regions"


def test_half_of_ten_unhealthy_spills_about_a_third() -> None:
    """A row of the failover table in the design: 5 of 10 healthy -> 70 : 30."""
    with rig(system(service("web", balance=Balance(policy=BalancePolicy.ROUND_ROBIN)))) as made:
        made.start_edge("us")
        near = made.start_upstream("near", "us", "a")
        far = made.start_upstream("far", "us", "b")
        local = [made.start_upstream(f"near-{n}", "us", "a") for n in range(9)]
        remote = [made.start_upstream(f"far-{n}", "us", "b") for n in range(9)]
        p0 = [dataclasses.replace(each, healthy=n < 5) for n, each in enumerate([near, *local])]
        made.push("us", "web", zone("a", *p0), zone("b", far, *remote, priority=1))
        found = Counter(made.get().name.split("-")[0] for _ in range(1000))
        assert 0.65 <= found["near"] / 1000 <= 0.75, found


def test_panic_uses_everyone_when_too_few_are_healthy() -> None:
    with rig(system(service("web", balance=Balance(panic_fraction=0.5)))) as made:
        made.start_edge("us")
        servers = [made.start_upstream(f"web-{n}", "us", "a") for n in range(3)]
        told = [dataclasses.replace(each, healthy=n == 0) for n, each in enumerate(servers)]
        made.push("us", "web", zone("a", *told))
        assert set(names(made, 60)) == {"web-0", "web-1", "web-2"}
        told = [dataclasses.replace(each, healthy=n != 0) for n, each in enumerate(servers)]
        made.push("us", "web", zone("a", *told))
        assert set(names(made, 60)) == {"web-1", "web-2"}


def test_a_draining_endpoint_gets_no_new_requests_and_finishes_its_own() -> None:
    with rig(system(service("web"))) as made:
        made.start_edge("us")
        stay, leave = (made.start_upstream(f"web-{n}", "us", "a") for n in range(2))
        made.push("us", "web", zone("a", leave))

        async def drain_under_way() -> Counter[int | str]:
            draining = dataclasses.replace(leave, draining=True)
            running = asyncio.create_task(
                load(made.book.edge("us", 8080), "/sleep/0.5", lasts_s=0.05)
            )
            await asyncio.sleep(0.2)
            await asyncio.to_thread(made.push, "us", "web", zone("a", stay, draining))
            return await running

        assert asyncio.run(drain_under_way()) == {200: 5}
        assert names(made, 30) == {"web-0": 30}
        made.push("us", "web", zone("a", dataclasses.replace(leave, draining=True)))
        assert names(made, 3) == {"web-1": 3}, "when there is no other, it still serves"


def test_an_instance_killed_under_load_fails_no_get() -> None:
    with rig(system(service("web"))) as made:
        made.start_edge("us")
        servers = [made.start_upstream(f"web-{n}", "us", "a") for n in range(4)]
        made.push("us", "web", zone("a", *servers))
        ends = asyncio.run(load_and(made, made.upstreams["web-0"].kill, "/sleep/0.01", 2.5))
        assert ends == {200: 250}
        gone = made.addresses["web-0"]
        until(lambda: f"{gone.host}:{gone.port}" in made.unhealthy("us", "web"), "out of rotation")


def test_a_frozen_instance_is_ejected_by_its_traffic_alone() -> None:
    """Its kernel goes on accepting connections; the health check is too slow to matter."""
    slow = dataclasses.replace(service("web").workload.probes[0], period=60_000 * MILLISECOND)
    web = service("web", timeout=1000 * MILLISECOND, probes=(slow,))
    with rig(system(web)) as made:
        made.start_edge("us")
        servers = [made.start_upstream(f"web-{n}", "us", "a") for n in range(4)]
        made.push("us", "web", zone("a", *servers))

        def freeze() -> None:
            made.upstreams["web-0"].send_signal(signal.SIGSTOP)

        ends = asyncio.run(load_and(made, freeze, "/sleep/0.01", 4))
        assert ends == {200: 400}
        hosts = asyncio.run(made.admin("us").hosts())
        frozen = made.addresses["web-0"].host
        assert [h.address.split(":")[0] for h in hosts if h.ejected] == [frozen]


def test_posts_are_retried_only_when_nothing_of_them_was_sent() -> None:
    with rig(system(service("web"))) as made:
        made.start_edge("us")
        servers = [made.start_upstream(f"web-{n}", "us", "a") for n in range(2)]
        made.push("us", "web", zone("a", *servers))
        edge = made.book.edge("us", 8080)
        assert ask(edge, "/flaky", method="POST", headers={"x-key": "p"}).status == 503
        assert ask(edge, "/flaky", method="PUT", headers={"x-key": "q"}).status == 200
        made.upstreams["web-0"].kill()
        time.sleep(0.1)
        codes = Counter(ask(edge, method="POST").status for _ in range(20))
        assert codes == {200: 20}, "a refused connection carried nothing"


def test_a_partition_is_survived_by_those_who_have_a_choice() -> None:
    what = system(service("web"), regions={"us": "a", "eu": "a"}, latency=5 * MILLISECOND)
    with rig(what) as made:
        made.start_all()
        far = made.start_upstream("eu-a", "eu", "a")
        near = made.start_upstream("us-a", "us", "a")
        made.push("eu", "web.local", zone("a", far, region="eu"))
        made.push("us", "web", gateway("eu", 0), zone("a", near, priority=1))
        assert names(made, 5) == {"eu-a": 5}
        with hold_fault(made.layout.link_socket("us"), "partition", target="eu", direction="both"):
            assert made.get().name == "us-a", "the try through the link hangs, a retry does not"
            until(lambda: made.unhealthy("us", "web"), "the gateway is out of rotation")
            began = time.monotonic()
            assert names(made, 5) == {"us-a": 5}
            assert time.monotonic() - began < 5
        until(lambda: made.get().name == "eu-a", "healed: the region is used again")


def test_scaling_up_does_not_push_traffic_away() -> None:
    """Endpoints that were not checked yet are no part of the failover arithmetic."""
    with rig(system(service("web"))) as made:
        made.start_edge("us")
        first = made.start_upstream("near-0", "us", "a")
        far = zone("b", made.start_upstream("far-0", "us", "b"), priority=1)
        more = [made.start_upstream(f"near-{n}", "us", "a") for n in range(1, 6)]
        made.push("us", "web", zone("a", first), far)

        def scale_up() -> None:
            made.push("us", "web", zone("a", first, *more), far, wait_healthy=False)

        async def scale_up_under_load() -> None:
            loop = asyncio.get_running_loop()
            loop.call_later(0.5, loop.run_in_executor, None, scale_up)
            await load(made.book.edge("us", 8080), "/", 1.5)

        asyncio.run(scale_up_under_load())
        until(lambda: len(set(names(made, 30))) == 6, "all new ones serve")
        hosts = asyncio.run(made.admin("us").hosts())
        assert {host.priority for host in hosts} == {0, 1}
        log = access_log(made.layout, "us")
        used = {json.loads(line)["upstream"] for line in log.read_text().splitlines()}
        assert f"{made.addresses['far-0'].host}:9000" not in used
