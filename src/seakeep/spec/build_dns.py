"""The zone of a valid document, how its hosts are steered, and where its clients are."""

from collections.abc import Mapping
from ipaddress import ip_address

from seakeep.model.system import Dns, Location, Steer, Steering
from seakeep.spec.dns import SteerPart
from seakeep.spec.document import Document
from seakeep.spec.service import ServicePart

BENCHMARK_FIRST = int(ip_address("198.18.0.0"))
"""RFC 2544: 198.18.0.0/15 is for benchmarks, and nobody's otherwise."""
SOURCES_MAX = 512


def prefix_of(index: int) -> str:
    """The subnet of the traffic source at this place of the file (from 0) that names none:
    198.18.0.0/24, 198.18.1.0/24 and so on. Beyond the 512th there is none."""
    if index >= SOURCES_MAX:
        return ""
    return f"{ip_address(BENCHMARK_FIRST + 256 * index)}/24"


def prefixes(document: Document) -> dict[str, str]:
    """The clients' subnet of every traffic source; empty text where there is none."""
    return {
        name: part.prefix or prefix_of(index)
        for index, (name, part) in enumerate(document.traffic.items())
    }


def dns_of(document: Document) -> Dns | None:
    part = document.dns
    if part is None:
        return None
    places = {prefix: Location(latitude_deg=at[0], longitude_deg=at[1])
              for prefix, at in part.places.items()}  # fmt: skip
    for name, prefix in prefixes(document).items():
        origin = document.traffic[name].origin
        if prefix and origin is not None:
            place = Location(latitude_deg=origin[0], longitude_deg=origin[1])
            places.setdefault(prefix, place)
    return Dns(
        zone=part.zone,
        port=part.port,
        ttl=part.ttl,
        negative_ttl=part.negative_ttl,
        places=tuple(places.items()),
        database=part.database or "",
        fall=part.health.fall,
        rise=part.health.rise,
        answers_per_s=0 if part.rate_limit is None else max(1, round(part.rate_limit)),
    )


def steers_of(document: Document) -> Mapping[str, Steer]:
    """How each host of http routes is steered: what one of its routes says holds for all."""
    found: dict[str, Steer] = {}
    for service in document.services.values():
        for host, part in steered(service):
            found[host] = _steer(part, tuple(document.regions))
    return found


def steered(service: ServicePart) -> list[tuple[str, SteerPart]]:
    """The hosts of a service whose routes say how they are steered."""
    return [(route.host, route.steer) for route in service.routes if route.steer is not None]


def _steer(part: SteerPart, regions: tuple[str, ...]) -> Steer:
    if part.weighted is not None:
        shares = part.weighted or dict.fromkeys(regions)
        given = sum(share for share in shares.values() if share is not None)
        even = [name for name, share in shares.items() if share is None]
        rest = max(0.0, 1 - given) / len(even) if even else 0.0
        weights = {name: rest if share is None else share for name, share in shares.items()}
        return Steer(by=Steering.WEIGHTED, weights=weights)
    if part.failover is not None:
        return Steer(by=Steering.FAILOVER, order=tuple(part.failover) or regions)
    return Steer(by=Steering.GEO if part.geo else Steering.LATENCY)
