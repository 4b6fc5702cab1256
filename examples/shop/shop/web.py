"""The shop's pages.

    GET  /?q=oak&page=2     listing                    calls catalog
    GET  /products/42       one product                calls catalog
    POST /checkout          order a product            calls catalog and orders
    GET  /orders/<id>       an order                   calls orders

One load of the listing in ten also places an order, as a shopper with a standing order would,
so that plain GET traffic reaches all three services. SHOP_ORDER_SHARE sets that share.
"""

import json
import os
import secrets
from hashlib import sha256
from html import escape
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from shop.http import (
    Client,
    HttpError,
    Request,
    Response,
    Service,
    Unavailable,
    as_html,
    whole_number,
)

ORDER_SHARE = float(os.environ.get("SHOP_ORDER_SHARE", "0.1"))

service = Service("web", default_port=8080)
catalog = Client(os.environ.get("CATALOG_URL", "http://127.0.0.1:8081"), timeout_s=1.0)
orders = Client(os.environ.get("ORDERS_URL", "http://127.0.0.1:8082"), timeout_s=0.6)


@service.route("GET", "/")
async def home(request: Request) -> Response:
    query = request.query.get("q", "")
    listing = await from_catalog("/products?" + urlencode(request.query), request)
    notice = await standing_order(request, listing["products"])
    rows = "".join(
        f'<li><a href="/products/{item["id"]}">{escape(item["name"])}</a> {price(item)}</li>'
        for item in listing["products"]
    )
    search = f'<form><input name="q" value="{escape(query)}"> <button>Search</button></form>'
    total = f"<p>{listing['total']} products, page {listing['page']} of {listing['pages']}</p>"
    return page("Shop", f"{search}{total}<ul>{rows}</ul>{notice}")


@service.route("GET", "/products/([0-9]{1,9})")
async def product(request: Request, id: str) -> Response:
    item = await from_catalog(f"/products/{id}", request)
    key = secrets.token_urlsafe(12)
    form = (
        '<form method="post" action="/checkout">'
        f'<input type="hidden" name="product" value="{item["id"]}">'
        f'<input type="hidden" name="key" value="{key}">'
        '<input name="quantity" value="1"> <button>Buy</button></form>'
    )
    return page(item["name"], f"<p>{escape(item['description'])} {price(item)}</p>{form}")


@service.route("POST", "/checkout")
async def checkout(request: Request) -> Response:
    fields = {name: values[0] for name, values in parse_qs(request.body.decode("latin-1")).items()}
    id = whole_number(fields.get("product", ""), "product", least=1, most=999_999_999)
    quantity = whole_number(fields.get("quantity", "1"), "quantity", least=1, most=1000)
    item = await from_catalog(f"/products/{id}", request)
    try:
        answer = await place_order(request, fields.get("key", ""), item, quantity)
    except Unavailable as error:
        service.log("no order taken", request, level="warning", error=str(error))
        raise HttpError(
            503, "orders are not taken right now; try again with the same key"
        ) from None
    if answer.status >= 400:
        raise HttpError(answer.status, answer.json()["error"])
    order = answer.json()
    location = f"/orders/{quote(order['id'])}"
    return page("Thank you", f'<p>Your <a href="{location}">order</a>: {cents(order)}</p>')


@service.route("GET", "/orders/([A-Za-z0-9_-]{8,64})")
async def order(request: Request, id: str) -> Response:
    try:
        answer = await orders.get(f"/orders/{id}", request, **{"idempotency-key": id})
    except Unavailable as error:
        service.log("orders unavailable", request, level="warning", error=str(error))
        raise HttpError(503, "orders cannot be shown right now") from None
    if answer.status >= 400:
        raise HttpError(answer.status, "no such order")
    return page("Order", f"<p>Total {cents(answer.json())}</p>")


async def standing_order(request: Request, items: list[dict[str, Any]]) -> str:
    """Order the first item of the listing for a fixed share of requests. The page is served
    whether that works or not.

    Key and choice both follow from the request's id, which a balancer keeps when it tries a
    request again: the second try places the same order, not another.
    """
    name = request.headers.get("x-request-id") or request.trace_id
    digest = sha256(name.encode()).digest()
    if not items or int.from_bytes(digest[:4], "big") >= ORDER_SHARE * 2**32:
        return ""
    try:
        answer = await place_order(request, digest.hex()[:32], items[0], 1)
    except Unavailable as error:
        service.log("no order taken", request, level="warning", error=str(error))
        return "<p>Orders are not taken right now.</p>"
    return f"<p>Ordered for you: {cents(answer.json())}</p>" if answer.status < 400 else ""


async def place_order(request: Request, key: str, item: dict[str, Any], quantity: int) -> Response:
    """Raises Unavailable."""
    line = {"product": item["id"], "quantity": quantity, "price_cents": item["price_cents"]}
    body = json.dumps({"items": [line]}).encode()
    headers = {"content-type": "application/json", "idempotency-key": key}
    return await orders.send("POST", "/orders", request, body, headers)


async def from_catalog(target: str, request: Request) -> dict[str, Any]:
    """What the catalogue says. Without it there is no page: HttpError 503."""
    try:
        answer = await catalog.get(target, request)
    except Unavailable as error:
        service.log("catalog unavailable", request, level="warning", error=str(error))
        raise HttpError(503, "the catalogue does not answer") from None
    found: dict[str, Any] = answer.json()
    if answer.status >= 400:
        raise HttpError(answer.status, found["error"])
    return found


def price(item: dict[str, Any]) -> str:
    return f"{item['price_cents'] / 100:.2f}"


def cents(order: dict[str, Any]) -> str:
    return f"{order['total_cents'] / 100:.2f}"


def page(title: str, body: str) -> Response:
    foot = f"<footer>{escape(service.instance)} in {escape(service.region)}</footer>"
    return as_html(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<h1>{escape(title)}</h1>{body}{foot}</html>\n"
    )


if __name__ == "__main__":
    service.run()
