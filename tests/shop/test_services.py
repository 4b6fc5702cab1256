"""The example's three services, as real processes on free loopback ports."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import psutil
import pytest

SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"
DEADLINE_S = 30.0

pytestmark = pytest.mark.live


@dataclass
class Running:
    """A service's process and the folder of its log."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def call(
        self, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[HTTPResponse, str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response, response.read().decode()

    def records(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)


@dataclass
class Starter:
    """Starts services and sees to it that none outlives the test."""

    folder: Path
    running: list[Running] = field(default_factory=list)

    def __call__(self, name: str, **env: str) -> Running:
        port = free_port()
        log = self.folder / f"{name}-{len(self.running)}.log"
        place = {"SEAKEEP_INSTANCE": f"{name}-7", "SEAKEEP_REGION": "us-east", "SEAKEEP_ZONE": "b"}
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", f"shop.{name}"],
                cwd=SHOP,
                env={**os.environ, **place, "HOST": "127.0.0.1", "PORT": str(port), **env},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        service = Running(process, port, log)
        self.running.append(service)
        wait_for(lambda: self._ready(service))
        return service

    def _ready(self, service: Running) -> bool:
        assert service.process.poll() is None, service.log.read_text()
        with contextlib.suppress(OSError):
            return service.call("GET", "/ready")[0].status == 200
        return False


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    for service in starter.running:
        service.process.kill()
        service.process.wait(DEADLINE_S)


@dataclass
class Shop:
    web: Running
    catalog: Running
    orders: Running


@pytest.fixture
def shop(start: Starter) -> Shop:
    catalog, orders = start("catalog"), start("orders")
    urls = {
        "CATALOG_URL": f"http://127.0.0.1:{catalog.port}",
        "ORDERS_URL": f"http://127.0.0.1:{orders.port}",
    }
    return Shop(start("web", **urls, SHOP_ORDER_SHARE="1"), catalog, orders)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


@pytest.mark.parametrize("name", ["web", "catalog", "orders"])
def test_health_and_place(start: Starter, name: str) -> None:
    service = start(name)
    for path in ("/healthz", "/ready"):
        response, _ = service.call("GET", path)
        assert response.status == 200
        assert response.headers["x-served-by"] == f"{name}-7@us-east/b"
    assert service.stop() == 0


def test_catalog_searches(start: Starter) -> None:
    catalog = start("catalog")

    def search(query: str) -> dict[str, object]:
        response, body = catalog.call("GET", f"/products?{query}")
        assert response.status == 200
        return json.loads(body)

    everything, oak, oak_lamps = search(""), search("q=oak"), search("q=oak+lam")
    assert everything["total"] == 3000
    assert 0 < oak_lamps["total"] < oak["total"] < 3000
    assert all({"oak", "lamp"} <= set(p["name"].lower().split()) for p in oak_lamps["products"])
    second = search("q=oak&page=2")
    assert second["page"] == 2
    assert {p["id"] for p in second["products"]}.isdisjoint(p["id"] for p in oak["products"])
    assert search("q=submarine")["total"] == 0

    one = oak["products"][0]
    assert json.loads(catalog.call("GET", f"/products/{one['id']}")[1]) == one
    assert catalog.call("GET", "/products/999999")[0].status == 404
    assert catalog.call("GET", "/products?page=0")[0].status == 400
    assert catalog.call("POST", "/products")[0].status == 405


def test_every_instance_has_the_same_catalogue(start: Starter) -> None:
    one, other = start("catalog", PYTHONHASHSEED="1"), start("catalog", PYTHONHASHSEED="2")
    for path in ("/products?q=steel+bow", "/products/2000", "/products?page=150"):
        assert one.call("GET", path)[1] == other.call("GET", path)[1]


def test_an_order_sent_twice_is_one_order(start: Starter) -> None:
    orders = start("orders")

    def place(key: str, *lines: tuple[int, int, int]) -> tuple[int, dict[str, object]]:
        names = ("product", "quantity", "price_cents")
        body = json.dumps({"items": [dict(zip(names, line, strict=True)) for line in lines]})
        response, text = orders.call("POST", "/orders", body, {"idempotency-key": key})
        return response.status, json.loads(text)

    first = place("basket-0001", (42, 2, 1999), (7, 1, 500))
    assert (first[0], first[1]["total_cents"]) == (201, 2 * 1999 + 500)
    assert place("basket-0001", (42, 2, 1999), (7, 1, 500)) == (200, first[1])
    assert json.loads(orders.call("GET", "/orders/basket-0001")[1]) == first[1]
    assert place("basket-0001", (42, 3, 1999))[0] == 409
    assert orders.call("GET", "/orders/basket-0002")[0].status == 404


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("{", "not JSON"),
        ("[]", "items must be a list"),
        ('{"items": []}', "items must be a list"),
        ('{"items": [{"product": 1}]}', "items[0] must have"),
        ('{"items": [{"product": 1, "quantity": 0, "price_cents": 5}]}', "items[0].quantity"),
        ('{"items": [{"product": 1, "quantity": true, "price_cents": 5}]}', "items[0].quantity"),
        ("[" * 50_000, "not JSON"),
    ],
)
def test_orders_refuses_what_is_not_an_order(start: Starter, body: str, says: str) -> None:
    orders = start("orders")
    response, text = orders.call("POST", "/orders", body, {"idempotency-key": "basket-0001"})
    assert response.status == 400
    assert says in json.loads(text)["error"]
    assert orders.call("POST", "/orders", body)[0].status == 400
    assert orders.call("POST", "/orders", "x" * 70_000)[0].status == 413
    assert orders.call("GET", "/healthz")[0].status == 200


def test_a_page_reaches_all_three_services_with_one_trace(shop: Shop) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01", "x-request-id": "visit-1"}
    response, text = shop.web.call("GET", "/?q=oak", headers=headers)
    assert response.status == 200
    assert "Ordered for you" in text
    for service in (shop.web, shop.catalog, shop.orders):
        assert [r["message"] for r in service.records() if r.get("trace_id") == trace_id]

    # A balancer that tries the page again keeps its request id: no second order.
    shop.web.call("GET", "/?q=oak", headers=headers)
    placed = [r for r in shop.orders.records() if r["message"] == "POST /orders"]
    assert [r["status"] for r in placed] == [201, 200]


def test_checkout(shop: Shop) -> None:
    product = shop.web.call("GET", "/products/42")[1]
    key = re.search(r'name="key" value="([^"]+)"', product)
    assert key is not None
    body = f"product=42&quantity=3&key={key[1]}"
    response, text = shop.web.call("POST", "/checkout", body)
    assert response.status == 200
    price_cents = json.loads(shop.catalog.call("GET", "/products/42")[1])["price_cents"]
    assert f"{3 * price_cents / 100:.2f}" in text
    assert shop.web.call("POST", "/checkout", body)[1] == text
    assert f"{3 * price_cents / 100:.2f}" in shop.web.call("GET", f"/orders/{key[1]}")[1]
    assert shop.web.call("POST", "/checkout", "product=0")[0].status == 400
    assert shop.web.call("POST", "/checkout", "product=999999&key=12345678")[0].status == 404


def test_web_without_orders_still_lists_and_without_catalog_says_so(shop: Shop) -> None:
    assert shop.orders.stop() == 0
    response, text = shop.web.call("GET", "/")
    assert response.status == 200
    assert "Orders are not taken right now" in text
    checkout = shop.web.call("POST", "/checkout", "product=42&quantity=1&key=basket-0001")
    assert checkout[0].status == 503

    # A frozen catalogue does not hang the page: the call has a timeout.
    shop.catalog.process.send_signal(signal.SIGSTOP)
    try:
        assert shop.web.call("GET", "/")[0].status == 503
    finally:
        shop.catalog.process.send_signal(signal.SIGCONT)
    wait_for(lambda: shop.web.call("GET", "/")[0].status == 200)


def test_burn_uses_cpu_and_leaves_probes_alone(start: Starter) -> None:
    catalog = start("catalog")
    process = psutil.Process(catalog.process.pid)
    before = sum(process.cpu_times()[:2])
    response, text = catalog.call("GET", "/burn?ms=400")
    assert response.status == 200
    assert json.loads(text)["rounds"] > 0
    assert sum(process.cpu_times()[:2]) - before >= 0.39
    assert catalog.call("GET", "/burn?ms=abc")[0].status == 400
    assert catalog.call("GET", "/burn?ms=999999")[0].status == 400


def test_nonsense_on_the_wire_gets_400(start: Starter) -> None:
    catalog = start("catalog")
    for nonsense in (b"\x16\x03\x01\x00\xa5\r\n\r\n", b"GET http://[ HTTP/1.1\r\nhost: a\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", catalog.port), DEADLINE_S) as connection:
            connection.sendall(nonsense)
            assert connection.makefile("rb").readline().startswith(b"HTTP/1.1 400")
    assert catalog.call("HEAD", "/products")[0].status == 200
    assert "Traceback" not in catalog.log.read_text()


def test_a_drain_under_load_fails_no_request(start: Starter) -> None:
    """Clients hold kept-alive connections as a balancer does, and go on until they are told
    to close. Every request that was sent is answered."""
    catalog = start("catalog")

    async def client() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", catalog.port)
        answered = 0
        while True:
            writer.write(b"GET /products?q=oak HTTP/1.1\r\nhost: a\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            assert length is not None
            await reader.readexactly(int(length[1]))
            assert head.startswith(b"HTTP/1.1 200"), head
            answered += 1
            if b"connection: close" in head:
                assert await reader.read() == b""
                writer.close()
                return answered
            await asyncio.sleep(0.002)

    async def slow() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", catalog.port)
        writer.write(b"GET /burn?ms=700 HTTP/1.1\r\nhost: a\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return answer

    async def scene() -> list[int]:
        idle = await asyncio.open_connection("127.0.0.1", catalog.port)
        clients = [asyncio.create_task(client()) for _ in range(8)]
        await asyncio.sleep(0.5)
        long_one = asyncio.create_task(slow())
        await asyncio.sleep(0.1)
        catalog.process.send_signal(signal.SIGTERM)
        unready = lambda: catalog.call("GET", "/ready")[0].status == 503  # noqa: E731
        await asyncio.to_thread(wait_for, unready)
        answered = await asyncio.wait_for(asyncio.gather(*clients), DEADLINE_S)
        assert (await asyncio.wait_for(long_one, DEADLINE_S)).startswith(b"HTTP/1.1 200")
        assert await asyncio.wait_for(idle[0].read(), DEADLINE_S) == b""
        idle[1].close()
        return answered

    assert min(asyncio.run(scene())) > 1
    assert catalog.process.wait(DEADLINE_S) == 0
    assert catalog.records()[-1]["cut"] == 0


def test_a_taken_port_is_said_plainly(start: Starter) -> None:
    first = start("orders")
    second = subprocess.run(
        [sys.executable, "-m", "shop.orders"],
        cwd=SHOP,
        env={**os.environ, "PORT": str(first.port)},
        capture_output=True,
        timeout=DEADLINE_S,
    )
    assert second.returncode == 1
    assert json.loads(second.stdout)["message"] == "cannot listen"
    assert b"Traceback" not in second.stderr
