"""Endpoints of a cluster, as Envoy reads them.

The traffic controller decides who serves; here it is only put into Envoy's terms.
"""

from collections.abc import Sequence

from seakeep.engines.local.addresses import AddressBook
from seakeep.engines.local.envoy.clusters import is_gateway
from seakeep.engines.local.envoy.config import (
    discovery,
    empty_assignment,
    replace_if_changed,
)
from seakeep.engines.local.envoy.paths import Json, endpoints_path
from seakeep.engines.local.layout import Layout
from seakeep.model.action import Endpoint, Locality, SetEndpoints
from seakeep.model.observation import Address
from seakeep.model.scale import is_held
from seakeep.model.system import Service, System

WEIGHT_SCALE = 1_000
"""Share of a locality of weight 1, before it is divided among its endpoints."""


def write_endpoints(
    layout: Layout, book: AddressBook, system: System, action: SetEndpoints
) -> bool:
    """Write the endpoints of a cluster; False when they are there already. Envoy reports the
    action's digest once it has taken them."""
    path = endpoints_path(layout, action.region, action.cluster)
    return replace_if_changed(path, render_endpoints(book, system, action))


def render_endpoints(book: AddressBook, system: System, action: SetEndpoints) -> Json:
    """The file of a cluster. Raises KeyError when the spec has no such service.

    Endpoints that drain are left out, which ends their share at once and lets requests that
    are under way finish. Marked as draining they would still count among all endpoints of
    their priority, and every rollout would push a share of the traffic to the next one. Only
    when there is nothing else left they stay, as Envoy's last resort (panic).

    Behind them all stands the holder, for a service that may be without instances: as long as
    there is no other, or none that Envoy has found healthy yet, requests wait there.
    """
    service = system.services[action.service]
    held = is_held(service.scale, service.replicas.min) and not is_gateway(action.cluster)
    all_drain = not held and all(
        endpoint.draining for locality in action.localities for endpoint in locality.endpoints
    )
    localities = [
        locality
        for locality in _kept(action.localities, keep_draining=all_drain)
        if locality.endpoints
    ]
    assignment = empty_assignment(action.cluster)
    # Envoy wants priorities without gaps, and takes no note of empty ones.
    ranks = sorted({locality.priority for locality in localities})
    assignment["endpoints"] = [
        _locality(locality, ranks.index(locality.priority), localities, action, service, book)
        for locality in localities
    ]
    if held:
        address = book.holder(action.region, service.name, service.workload.port)
        assignment["endpoints"].append(_holder(action.region, len(ranks), address))
    return discovery(action.digest, [assignment])


def _holder(region: str, priority: int, address: Address) -> Json:
    """The holder is not asked for its health: a question would be held, and wake the service."""
    return {
        "locality": {"region": region, "zone": ""},
        "priority": priority,
        "lb_endpoints": [
            {
                "endpoint": {
                    "address": {
                        "socket_address": {"address": address.host, "port_value": address.port}
                    },
                    "health_check_config": {"disable_active_health_check": True},
                },
                "health_status": "HEALTHY",
            }
        ],
    }


def _kept(localities: Sequence[Locality], *, keep_draining: bool) -> list[Locality]:
    return [
        Locality(
            region=locality.region,
            zone=locality.zone,
            priority=locality.priority,
            weight=locality.weight,
            endpoints=tuple(
                endpoint
                for endpoint in locality.endpoints
                if keep_draining or not endpoint.draining
            ),
        )
        for locality in localities
    ]


def _locality(
    locality: Locality,
    rank: int,
    localities: Sequence[Locality],
    action: SetEndpoints,
    service: Service,
    book: AddressBook,
) -> Json:
    peers = [other for other in localities if other.priority == locality.priority]
    weighted = any(
        other.weight > 0 or any(endpoint.weight != 1 for endpoint in other.endpoints)
        for other in peers
    )
    total = sum(endpoint.weight for endpoint in locality.endpoints)
    entry: Json = {
        "locality": {"region": locality.region, "zone": locality.zone or ""},
        "priority": rank,
        "lb_endpoints": [
            _endpoint(
                endpoint,
                _weight(endpoint, locality, total) if weighted else None,
                _address(endpoint, action, service, book),
            )
            for endpoint in locality.endpoints
        ],
    }
    return entry


def _weight(endpoint: Endpoint, locality: Locality, total: int) -> int:
    """The endpoint's share of its priority. A locality's weight is carried by its endpoints:
    Envoy's own locality weights keep a locality's share whole until 1/1.4 of it is left, which
    overloads what remains. `total` is that of the locality's endpoints."""
    share = locality.weight if locality.weight > 0 else total
    return max(1, round(WEIGHT_SCALE * share * endpoint.weight / max(1, total)))


def _address(
    endpoint: Endpoint, action: SetEndpoints, service: Service, book: AddressBook
) -> Address:
    """An instance's own address; for another region's gateway, this end of the link there."""
    if endpoint.instance is not None:
        return Address(host=endpoint.host, port=endpoint.port)
    return book.link(action.region, endpoint.host, service.name, service.workload.port)


def _endpoint(endpoint: Endpoint, weight: int | None, address: Address) -> Json:
    status = "HEALTHY" if endpoint.healthy else "UNHEALTHY"
    entry: Json = {
        "endpoint": {
            "address": {"socket_address": {"address": address.host, "port_value": address.port}}
        },
        "health_status": "DRAINING" if endpoint.draining else status,
    }
    if weight is not None:
        entry["load_balancing_weight"] = weight
    return entry
