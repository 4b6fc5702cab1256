"""What ties the DNS zone to the other sections: hosts that it must hold, regions that must exist,
networks that cannot lie in two places."""

from collections.abc import Iterator

from seakeep.model.system import in_zone
from seakeep.spec.build_dns import SOURCES_MAX, prefixes
from seakeep.spec.dns import SteerPart
from seakeep.spec.document import Document
from seakeep.spec.found import Found
from seakeep.spec.messages import Location


def check_dns(document: Document, *, zone_is_sound: bool) -> Iterator[Found]:
    """Everything between sections that is wrong about DNS. `zone_is_sound`: the document has the
    file's `dns` section, or the file has none."""
    steered: dict[str, tuple[Location, SteerPart]] = {}
    for name, service in document.services.items():
        for index, route in enumerate(service.routes):
            location: Location = ("services", name, "routes", index, "steer")
            if route.steer is None or service.protocol == "tcp":
                continue
            yield from _steer(route.steer, location)
            if zone_is_sound:
                yield from _host(document, route.host, location)
            first, part = steered.setdefault(route.host, (location, route.steer))
            if part != route.steer:
                where = ".".join(map(str, first[:2]))
                yield Found(
                    location,
                    f"{route.host} is steered otherwise by a route of {where}",
                    "a name has one set of answers: say it once",
                )
    if document.dns is not None:
        yield from _zone(document)
        yield from _networks(document)


def _host(document: Document, host: str, location: Location) -> Iterator[Found]:
    dns = document.dns
    if dns is None:
        yield Found(
            location,
            "nothing is steered without DNS",
            "add dns: {zone: shop.example} with the zone that holds the host",
            key=True,
        )
    elif not in_zone(host, dns.zone):
        what = "any host" if host == "*" else host
        yield Found(
            location,
            f"{what} is not in the zone {dns.zone}, so DNS does not answer for it",
            f"write host: {dns.zone}, or a name below it",
            key=True,
        )


def _steer(part: SteerPart, location: Location) -> Iterator[Found]:
    for index, region in enumerate(part.failover or ()):
        yield Found((*location, "failover", index), wants=("regions", region))
    shares = part.weighted or {}
    for region in shares:
        yield Found((*location, "weighted", region), wants=("regions", region), key=True)
    given = sum(share for share in shares.values() if share is not None)
    rest_is_taken = None in shares.values()
    if shares and (given > 1 + 1e-9 or (given < 1 - 1e-9 and not rest_is_taken)):
        yield Found(
            (*location, "weighted"),
            f"the shares add up to {given * 100:.10g}%, not 100%",
            "change the percentages, or write even for the rest",
        )


def _zone(document: Document) -> Iterator[Found]:
    assert document.dns is not None
    zone = document.dns.zone
    servers = {f"ns-{region}.{zone}" for region in document.regions}
    answered = False
    for name, service in document.services.items():
        for index, route in enumerate(service.routes):
            if route.host in servers:
                yield Found(
                    ("services", name, "routes", index, "host"),
                    f"{route.host} is the name of the zone's own server",
                    "choose another host, or another zone",
                )
            answered = answered or (route.port is None and in_zone(route.host, zone))
    if not answered:
        yield Found(
            ("dns", "zone"),
            f"no route has a host in {zone}: there is nothing to answer",
            f"give a route host: {zone}, or a name below it",
            warning=True,
        )


def _networks(document: Document) -> Iterator[Found]:
    assert document.dns is not None
    places = {prefix: (at, "dns.places") for prefix, at in document.dns.places.items()}
    for name, prefix in prefixes(document).items():
        source = document.traffic[name]
        if not prefix:
            yield Found(
                ("traffic", name),
                f"only {SOURCES_MAX} traffic sources have a subnet by themselves",
                "write prefix: 198.51.100.0/24, a subnet of its own",
            )
            continue
        if source.origin is None:
            continue
        at, owner = places.setdefault(prefix, (source.origin, f"traffic.{name}"))
        if at != source.origin:
            yield Found(
                ("traffic", name, "prefix") if source.prefix else ("traffic", name),
                f"{prefix} lies elsewhere by {owner}",
                "clients of one subnet are in one place: write another prefix",
            )
