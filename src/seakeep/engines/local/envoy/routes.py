"""Which request goes to which cluster, and how often it may be tried: Envoy's L7 routes.

Two routes are made of each one in the spec. The first takes methods that may be sent twice
(RFC 9110 §9.2.2) and retries them after any failure that another instance may not have; the
second takes the others and retries them only while nothing of them can have been processed.
"""

import re
from collections.abc import Iterable

from seakeep.engines.local.envoy.limits import metadata_of
from seakeep.engines.local.envoy.paths import Json
from seakeep.engines.local.envoy.shed import switched_on
from seakeep.engines.local.envoy.units import duration
from seakeep.model.limits import Priority
from seakeep.model.system import BalancePolicy, Protocol, Route, Service, System
from seakeep.model.time import MILLISECOND, Duration

RETRY_BACK_OFF = {"base_interval": "0.010s", "max_interval": "0.200s"}

RETRY_IDEMPOTENT = "connect-failure,refused-stream,reset,reset-before-request,gateway-error"
"""gateway-error is 502, 503, 504 and a timeout of one try. 500 is left out, unless the spec asks
for it: it is what a bug answers, and the next instance has the same bug. 503 may be an instance
shedding load; the retry budget keeps such retries from feeding the overload."""

RETRY_ANY = "connect-failure,refused-stream,reset-before-request"

HOST_ATTEMPTS_MAX = 5
"""How often Envoy draws again when it drew an endpoint that this request has tried."""


def per_try_timeout(service: Service) -> Duration | None:
    """How long one try of a request that may be retried is waited for; None: however long.

    Unless the spec says otherwise, half the request's timeout: one try at an instance that
    hangs then still leaves as much for another.
    """
    said = service.retries.per_try_timeout
    if service.timeout == 0:
        return said
    return max(service.timeout // 2, MILLISECOND) if said is None else min(said, service.timeout)


def edge_hosts(system: System) -> list[Json]:
    """Virtual hosts of the edge. Within a host the longest path is matched first, then the
    route with more headers, then the order of the file. A host of its own hides the routes of
    `*` (there is no fall-through, as with server blocks elsewhere)."""
    found: dict[str, list[tuple[int, Service]]] = {}
    for service in system.services.values():
        if service.workload.protocol is Protocol.HTTP:
            for index, route in enumerate(service.routes):
                found.setdefault(route.host, []).append((index, service))
    return [
        {
            "name": host,
            "domains": [host],
            "routes": [
                entry
                for index, service in sorted(pairs, key=_most_specific)
                for entry in routes_to(service, service.name, index)
            ],
        }
        for host, pairs in found.items()
    ]


def service_hosts(service: Service, cluster: str, *, retries: bool) -> list[Json]:
    """The virtual host of a listener that leads to one service only."""
    routes = routes_to(service, cluster) if retries else [_gateway_route(service, cluster)]
    return [{"name": service.name, "domains": ["*"], "routes": routes}]


def routes_to(service: Service, cluster: str, index: int | None = None) -> list[Json]:
    """The entries for one route of the spec, by its place among the service's; without `index`,
    those for all requests."""
    route = Route() if index is None else service.routes[index]
    said = {"metadata": metadata_of(service, index)}
    found = []
    for header, priority in _priorities(service, route):
        enabled = switched_on(service, priority)
        filters = {"typed_per_filter_config": enabled} if enabled else {}
        for entry in _entries(service, cluster, route):
            match = {**entry["match"], "headers": [*entry["match"].get("headers", ()), *header]}
            found.append({**entry, "match": match if header else entry["match"], **said, **filters})
    return found


def _priorities(service: Service, route: Route) -> list[tuple[list[Json], Priority]]:
    """(headers that a request must have for it, priority), the first that fits holds."""
    found: list[tuple[list[Json], Priority]] = []
    if service.shed is not None and service.shed.header is not None:
        for priority in Priority:
            value = {"exact": priority.value, "ignore_case": True}
            found.append(([{"name": service.shed.header, "string_match": value}], priority))
    return [*found, ([], route.priority)]


def _entries(service: Service, cluster: str, route: Route) -> list[Json]:
    match: Json = _path_match(route.path)
    headers = [{"name": name, "string_match": {"exact": value}} for name, value in route.headers]
    if service.retries.attempts == 0:
        return [_entry(service, cluster, match, headers, None)]
    methods = "|".join(re.escape(method) for method in service.retries.methods)
    idempotent = {"name": ":method", "string_match": {"safe_regex": {"regex": methods}}}
    entries = [_entry(service, cluster, match, headers, _retry_policy(service, RETRY_ANY))]
    if service.retries.methods:
        more = ",5xx" if service.retries.server_errors else ""
        policy = _retry_policy(service, RETRY_IDEMPOTENT + more)
        if (per_try := per_try_timeout(service)) is not None:
            policy["per_try_timeout"] = duration(per_try)
        entries.insert(0, _entry(service, cluster, match, [*headers, idempotent], policy))
    return entries


def _most_specific(pair: tuple[int, Service]) -> tuple[int, int]:
    route = pair[1].routes[pair[0]]
    return (-len(route.path.rstrip("/")), -len(route.headers))


def _path_match(path: str) -> Json:
    """A prefix on whole segments: `/api` takes `/api` and `/api/x`, not `/apix`."""
    prefix = path.rstrip("/")
    return {"path_separated_prefix": prefix} if prefix else {"prefix": "/"}


def _entry(
    service: Service, cluster: str, match: Json, headers: Iterable[Json], policy: Json | None
) -> Json:
    matched = dict(match)
    if listed := list(headers):
        matched["headers"] = listed
    action: Json = {"cluster": cluster, "timeout": duration(service.timeout)}
    if service.timeout == 0:
        # Or else Envoy ends a stream on which nothing has moved for five minutes.
        action["idle_timeout"] = duration(0)
    if policy is not None:
        action["retry_policy"] = policy
    if service.retries.hedge and policy is not None and "per_try_timeout" in policy:
        action["hedge_policy"] = {"hedge_on_per_try_timeout": True}
    if service.balance.policy in (BalancePolicy.RING_HASH, BalancePolicy.MAGLEV):
        action["hash_policy"] = _hash_policy(service)
    return {"match": matched, "route": action}


def _gateway_route(service: Service, cluster: str) -> Json:
    """The caller's region owns the retries; the gateway only steps past an endpoint that does
    not accept connections, which costs no second try of the request."""
    policy = _retry_policy(service, "connect-failure")
    policy.pop("retry_priority")
    policy["num_retries"] = 1
    return _entry(service, cluster, {"prefix": "/"}, (), policy)


def _retry_policy(service: Service, retry_on: str) -> Json:
    return {
        "retry_on": retry_on,
        "num_retries": service.retries.attempts,
        "retry_back_off": RETRY_BACK_OFF,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": "type.googleapis.com/"
                    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                },
            }
        ],
        "host_selection_retry_max_attempts": HOST_ATTEMPTS_MAX,
        # The first retry stays in the priority (another instance of the region), the second
        # goes to the next one: with update_frequency 1 every retry would cross the WAN.
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": "type.googleapis.com/"
                "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                "update_frequency": 2,
            },
        },
    }


def _hash_policy(service: Service) -> list[Json]:
    """By header when the request has it, else by the client's address."""
    by_address: Json = {"connection_properties": {"source_ip": True}}
    if service.balance.hash_header is None:
        return [by_address]
    return [{"header": {"header_name": service.balance.hash_header}, "terminal": True}, by_address]
