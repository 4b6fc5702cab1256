"""Which address everything on this machine listens at.

On Linux the whole of 127.0.0.0/8 is local, so an address says where a thing is:

    127.R.0.1             the edge of region R
    127.R.0.53            the DNS server of region R
    127.R.Z.N             instance N of zone Z (Z from 1)
    127.R.200+Z.S         service S as callers in zone Z reach it (prefer: zone)
    127.R.252.S           holder: where requests wait while service S has no instance
    127.R.253.S           gateway: service S as other regions reach it
    127.R.254.S           service S as callers in the region reach it
    127.R.100+T.S         link: service S of region T, seen from region R

R counts from `first_octet`, which is what keeps two systems on one machine apart. Where only
127.0.0.1 is local (macOS), every name gets a port of its own instead; both plans are
deterministic functions of a name table that is kept with the system's state.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from seakeep.model.observation import Address
from seakeep.model.system import System

ZONES_MAX = 50
INSTANCES_PER_ZONE_MAX = 250
SERVICES_MAX = 250
REGIONS_MAX = 99
PORT_FIRST = 21_000


def has_whole_loopback() -> bool:
    """Whether every address of 127.0.0.0/8 is local without set-up."""
    return sys.platform.startswith("linux")


@dataclass(slots=True, kw_only=True)
class AddressBook:
    """Numbers for names, given once and kept: regions, zones and services keep theirs when
    others come and go. Save `tables` with the state; load it to get the same addresses."""

    first_octet: int
    whole_loopback: bool = field(default_factory=has_whole_loopback)
    tables: dict[str, dict[str, int]] = field(default_factory=dict)

    def admit(self, system: System) -> None:
        """Give numbers to every region, zone and service of the system."""
        for region in system.regions.values():
            self._number("regions", region.name, REGIONS_MAX)
            for zone in region.zones:
                self._number(f"zones {region.name}", zone, ZONES_MAX)
        for service in system.services:
            self._number("services", service, SERVICES_MAX)

    def edge(self, region: str, port: int) -> Address:
        """Where clients reach a region."""
        return self._address(region, "0.1", port)

    def dns(self, region: str, port: int) -> Address:
        """Where resolvers reach a region's DNS server, over UDP and TCP."""
        return self._address(region, "0.53", port)

    def internal(self, region: str, service: str, zone: str | None, port: int) -> Address:
        """Where callers in a region (in one zone of it, when given) reach a service."""
        third = 254 if zone is None else 200 + self._number(f"zones {region}", zone, ZONES_MAX)
        return self._address(region, f"{third}.{self._service(service)}", port)

    def holder(self, region: str, service: str, port: int) -> Address:
        """Where requests to a service wait while it has no instance."""
        return self._address(region, f"252.{self._service(service)}", port)

    def gateway(self, region: str, service: str, port: int) -> Address:
        """Where other regions' links deliver calls to a service."""
        return self._address(region, f"253.{self._service(service)}", port)

    def link(self, origin: str, target: str, service: str, port: int) -> Address:
        """Where `origin`'s balancer finds `target`'s gateway: this end of the link."""
        third = 100 + self._number("regions", target, REGIONS_MAX)
        return self._address(origin, f"{third}.{self._service(service)}", port)

    def instance(self, region: str, zone: str, slot: int, port: int) -> Address:
        """The address of slot `slot` (from 1) of a zone."""
        third = self._number(f"zones {region}", zone, ZONES_MAX)
        return self._address(region, f"{third}.{slot}", port)

    def slot(self, region: str, zone: str, instance: str) -> int:
        """The slot of an instance in its zone: the lowest free one, kept until released."""
        return self._number(f"slots {region}/{zone}", instance, INSTANCES_PER_ZONE_MAX)

    def release_slot(self, region: str, zone: str, instance: str) -> None:
        """Free a slot, once nothing listens at its address any more."""
        self.tables.get(f"slots {region}/{zone}", {}).pop(instance, None)

    def octet(self, region: str) -> int:
        """The second octet of a region's addresses."""
        return self.first_octet + self._number("regions", region, REGIONS_MAX) - 1

    def _service(self, service: str) -> int:
        return self._number("services", service, SERVICES_MAX)

    def _address(self, region: str, tail: str, port: int) -> Address:
        if self.whole_loopback:
            return Address(host=f"127.{self.octet(region)}.{tail}", port=port)
        name = f"{region} {tail} {port}"
        offset = PORT_FIRST + (self.first_octet % 20) * 2_000
        return Address(host="127.0.0.1", port=offset + self._number("ports", name, 2_000) - 1)

    def _number(self, table: str, name: str, most: int) -> int:
        numbers = self.tables.setdefault(table, {})
        if name not in numbers:
            number = next((n for n in range(1, most + 1) if n not in numbers.values()), None)
            if number is None:
                raise ValueError(f"more than {most} {table.split(' ')[0]} on one machine")
            numbers[name] = number
        return numbers[name]


def book_from(
    first_octet: int, whole: bool, tables: Mapping[str, Mapping[str, int]]
) -> AddressBook:
    """The book as it was saved."""
    return AddressBook(
        first_octet=first_octet,
        whole_loopback=whole,
        tables={name: dict(numbers) for name, numbers in tables.items()},
    )
