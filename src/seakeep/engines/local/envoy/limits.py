"""Token buckets in Envoy's terms: who is counted with whom, and how many go through.

A bucket must not be refilled whenever a weight or a retry changes, and one of a service must be
shared by all of its routes. So the buckets are in no route: each way in (the edge, an inner
listener) has two filters whose configurations are files of their own (ECDS), `limits` for what
the spec says outright, `shares` for the region's part of what all regions share, which changes
with demand. A route only says whose it is, in its metadata, and the filters make their
descriptors from that.

Every limit is a descriptor of the service or route that it belongs to, its number there, and, if
it is per client, the client. Envoy makes a bucket when it first sees one, and keeps the
`CLIENTS_MAX` that were used last of each limit. Of the buckets that a request must pass the
slowest is asked first, so that a client beyond its own limit uses nothing of the others'.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from seakeep.engines.local.envoy.paths import Json
from seakeep.engines.local.files import replace_file
from seakeep.model.ids import ServiceName
from seakeep.model.limits import LimitPer, LimitScope, RateLimit, limit_key
from seakeep.model.system import Protocol, Service

TYPE = "type.googleapis.com/"
LOCAL_RATE_LIMIT = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
METADATA = "seakeep"
"""The namespace of what routes say of themselves."""

LIMITS = "limits"
SHARES = "shares"
KINDS = (LIMITS, SHARES)
"""In the order in which a request passes them."""

CLIENTS_MAX = 10_000
"""Buckets kept for each limit that is per client. By default Envoy keeps 20."""

FILL_MS_MIN = 50
"""Envoy's shortest; buckets fill continuously all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """A limit and whose it is: `("service", "web")` or `("route", "web.1")`."""

    kind: str
    owner: str
    index: int
    """Its place among the owner's limits."""
    limit: RateLimit


def route_name(service: ServiceName, index: int) -> str:
    """The name of a route of the spec, by its place among the service's: `web.1`."""
    return f"{service}.{index}"


def shared_limits(services: Iterable[Service]) -> frozenset[str]:
    """The names of all limits that regions share."""
    return frozenset(
        limit_key(owned.owner, owned.index)
        for owned in owned_limits(services, routes=True)
        if owned.limit.scope is LimitScope.SYSTEM
    )


def load_shares(path: Path) -> dict[str, float]:
    """What `save_shares` wrote; nothing when that cannot be read."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        name: float(rate)
        for name, rate in found.items()
        if isinstance(rate, int | float) and not isinstance(rate, bool) and 0 < rate < math.inf
    }


def save_shares(path: Path, shares: Mapping[str, float]) -> None:
    """Raises OSError, and what was there stays."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, json.dumps(shares, sort_keys=True).encode())


def metadata_of(service: Service, index: int | None = None) -> Json:
    """What a route says of itself. `index` is that of a route of the spec with its own limits."""
    said = {"service": service.name}
    if index is not None and service.routes[index].limit:
        said["route"] = route_name(service.name, index)
    return {"filter_metadata": {METADATA: said}}


def owned_limits(services: Iterable[Service], *, routes: bool) -> list[Owned]:
    """The limits of these services, those of their routes too if `routes`."""
    found = []
    for service in services:
        if service.workload.protocol is not Protocol.HTTP:
            continue
        found += _owned("service", service.name, service.limit)
        for index, route in enumerate(service.routes if routes else ()):
            found += _owned("route", route_name(service.name, index), route.limit)
    return found


def _owned(kind: str, owner: str, limits: Iterable[RateLimit]) -> list[Owned]:
    return [
        Owned(kind=kind, owner=owner, index=index, limit=limit)
        for index, limit in enumerate(limits)
    ]


def render_limits(found: Iterable[Owned], ways: int) -> Json:
    """The configuration of the filter of all limits that are a region's own. `ways` says into how
    many ways in they are divided."""
    own = [owned for owned in found if owned.limit.scope is LimitScope.REGION]
    return _filter(own, {owned: _part(owned.limit, 1 / ways) for owned in own}, headers=True)


def render_shares(
    found: Iterable[Owned], ways: int, regions: int, shares: Mapping[str, float]
) -> Json:
    """That of the region's parts of shared limits: requests/s by `limit_key`. What nobody has
    divided yet is divided evenly. No x-ratelimit headers: the figures change under the client."""
    shared = [owned for owned in found if owned.limit.scope is LimitScope.SYSTEM]
    parts = {
        owned: shares.get(limit_key(owned.owner, owned.index), owned.limit.rate_per_s / regions)
        / owned.limit.rate_per_s
        for owned in shared
    }
    limits = {owned: _part(owned.limit, parts[owned] / ways) for owned in shared}
    return _filter(shared, limits, headers=False)


def _part(limit: RateLimit, fraction: float) -> RateLimit:
    """Of the rate and the burst. A client's own bucket is never divided: it has one way in."""
    if fraction == 1 or limit.per is not LimitPer.ALL:
        return limit
    burst = max(1, round(limit.burst * fraction))
    return replace(limit, rate_per_s=limit.rate_per_s * fraction, burst=burst)


def _filter(found: list[Owned], limits: Mapping[Owned, RateLimit], *, headers: bool) -> Json:
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    config: Json = {
        "@type": TYPE + LOCAL_RATE_LIMIT,
        "stat_prefix": METADATA,
        "filter_enabled": always,
        "filter_enforced": always,
        "max_dynamic_descriptors": CLIENTS_MAX,
        "enable_retry_after_header": True,
        "rate_limits": [],
        "descriptors": [],
    }
    if headers:
        config["enable_x_ratelimit_headers"] = "DRAFT_VERSION_03"
    # Owners of one shape share the recipe for the descriptor; the metadata tells them apart.
    recipes: dict[str, list[Json]] = {}
    for owned in found:
        for recipe, entries in _descriptors(owned):
            recipes.setdefault(repr(recipe), recipe)
            config["descriptors"].append(
                {"entries": entries, "token_bucket": _bucket(limits[owned])}
            )
    config["rate_limits"] = [{"actions": recipe} for recipe in recipes.values()]
    return config


def _descriptors(owned: Owned) -> Iterable[tuple[list[Json], list[Json]]]:
    """(actions that make a request's descriptor, entries that it must have)."""
    own: list[Json] = [
        {
            "metadata": {
                "descriptor_key": owned.kind,
                "metadata_key": {"key": METADATA, "path": [{"key": owned.kind}]},
                "source": "ROUTE_ENTRY",
            }
        },
        {"generic_key": {"descriptor_key": "limit", "descriptor_value": str(owned.index)}},
    ]
    entries = [
        {"key": owned.kind, "value": owned.owner},
        {"key": "limit", "value": str(owned.index)},
    ]
    # An address of IPv6 is one of 2^64 that its holder has.
    client: Json = {"masked_remote_address": {"v4_prefix_mask_len": 32, "v6_prefix_mask_len": 64}}
    anybody: Json = {"key": "masked_remote_address"}
    header = owned.limit.header
    match owned.limit.per:
        case LimitPer.ALL:
            yield own, entries
        case LimitPer.CLIENT:
            yield [*own, client], [*entries, anybody]
        case LimitPer.HEADER:
            assert header is not None
            value: Json = {"request_headers": {"header_name": header, "descriptor_key": header}}
            yield [*own, value], [*entries, {"key": header}]
            without: Json = {
                "header_value_match": {
                    "descriptor_key": "without",
                    "descriptor_value": header,
                    "expect_match": False,
                    "headers": [{"name": header, "present_match": True}],
                }
            }
            yield (
                [*own, without, client],
                [*entries, {"key": "without", "value": header}, anybody],
            )


def _bucket(limit: RateLimit) -> Json:
    """Envoy takes whole tokens per interval of whole milliseconds; the rate is met to within a
    thousandth or so."""
    tokens = max(1, round(limit.rate_per_s))
    interval_ms = max(FILL_MS_MIN, round(1000 * tokens / limit.rate_per_s))
    return {
        "max_tokens": limit.burst,
        "tokens_per_fill": max(1, round(limit.rate_per_s * interval_ms / 1000)),
        "fill_interval": f"{interval_ms // 1000}.{interval_ms % 1000:03d}s",
    }
