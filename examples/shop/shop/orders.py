"""Orders: checked, priced and kept.

    POST /orders         {"items": [{"product": 42, "quantity": 2, "price_cents": 1999}]}
    GET  /orders/<id>

The caller names its order: the header `idempotency-key` is the order's id, so that a request
that is sent twice orders once. Orders live in the memory of the instance that took them;
seakeep.yaml sends everything about one key to the same instance while that lives.
"""

import json
import re
from collections import OrderedDict
from typing import Any

from shop.http import HttpError, Request, Response, Service, as_json

ORDERS_MAX = 20_000
"""The oldest are forgotten, so that an instance under load for days keeps its size."""
ITEMS_MAX = 50
QUANTITY_MAX = 1_000
PRICE_CENTS_MAX = 100_000_000
KEY = re.compile(r"[A-Za-z0-9_-]{8,64}")

service = Service("orders", default_port=8082)
orders: OrderedDict[str, dict[str, Any]] = OrderedDict()


@service.route("POST", "/orders")
async def place(request: Request) -> Response:
    """201 for a new order, 200 with the same order for a repeated key, 409 when the key was
    used for something else."""
    key = request.headers.get("idempotency-key", "")
    if not KEY.fullmatch(key):
        raise HttpError(400, "idempotency-key must be 8 to 64 letters, digits, - or _")
    items = checked_items(request.body)
    if key in orders:
        if orders[key]["items"] != items:
            raise HttpError(409, "this idempotency-key belongs to another order")
        return as_json(orders[key])
    total_cents = sum(item["quantity"] * item["price_cents"] for item in items)
    orders[key] = {"id": key, "items": items, "total_cents": total_cents}
    if len(orders) > ORDERS_MAX:
        orders.popitem(last=False)
    return as_json(orders[key], 201)


@service.route("GET", "/orders/([A-Za-z0-9_-]{8,64})")
async def order(request: Request, key: str) -> Response:
    if key not in orders:
        raise HttpError(404, f"no order {key}")
    return as_json(orders[key])


def checked_items(body: bytes) -> list[dict[str, int]]:
    """The items of an order. Raises HttpError 400 with what is wrong."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HttpError(400, "the body is not JSON") from error
    items = document.get("items") if isinstance(document, dict) else None
    if not isinstance(items, list) or not 1 <= len(items) <= ITEMS_MAX:
        raise HttpError(400, f"items must be a list of 1 to {ITEMS_MAX}")
    limits = {"product": 10**9, "quantity": QUANTITY_MAX, "price_cents": PRICE_CENTS_MAX}
    for position, item in enumerate(items):
        if not isinstance(item, dict) or item.keys() != limits.keys():
            raise HttpError(400, f"items[{position}] must have product, quantity, price_cents")
        for name, most in limits.items():
            if type(item[name]) is not int or not 1 <= item[name] <= most:
                raise HttpError(400, f"items[{position}].{name} must be a number from 1 to {most}")
    return items


if __name__ == "__main__":
    service.run()
