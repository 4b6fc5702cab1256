"""What DNS answers for, as it follows from the spec alone."""

from dataclasses import dataclass

from seakeep.model.codec import digest
from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.system import (
    Dns,
    Link,
    Location,
    Protocol,
    Steer,
    Steering,
    System,
    in_zone,
)

_PLACES = tuple[tuple[RegionName, Location | None], ...]


@dataclass(frozen=True, slots=True)
class Host:
    """A name that is answered, and what must be ready behind it."""

    name: str
    steer: Steer
    services: tuple[ServiceName, ...]
    regions: tuple[RegionName, ...]
    """That may be answered; in the order of failover, or of the spec."""


def hosts_of(system: System, dns: Dns) -> tuple[Host, ...]:
    """The hosts of the zone, sorted, with all services that their routes lead to."""
    found: dict[str, tuple[Steer, list[ServiceName]]] = {}
    for service in system.services.values():
        if service.workload.protocol is not Protocol.HTTP:
            continue
        for route in service.routes:
            if in_zone(route.host, dns.zone):
                _, services = found.setdefault(route.host, (route.steer, []))
                if service.name not in services:
                    services.append(service.name)
    return tuple(
        Host(name, steer, tuple(services), _regions(system, steer))
        for name, (steer, services) in sorted(found.items())
    )


def _regions(system: System, steer: Steer) -> tuple[RegionName, ...]:
    if steer.by is Steering.FAILOVER:
        return tuple(name for name in steer.order if name in system.regions)
    return tuple(system.regions)


def zone_digest(system: System) -> str:
    """Of everything that a server's table holds beside the hosts' regions."""
    locations = {name: region.location for name, region in system.regions.items()}
    return digest(
        (system.dns, system.edge.port, tuple(locations.items()), system.links),
        tuple[Dns | None, int, _PLACES, tuple[Link, ...]],
    )
