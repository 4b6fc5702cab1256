"""Where services may be and serve at present, beyond what the spec says: regions that are being
drained, and which side of an active-passive service serves. `draining` and `standby` make it;
placement, traffic and DNS go by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.system import Service, System

_NOWHERE: frozenset[RegionName] = frozenset()


class Side(StrEnum):
    """Of an active-passive service."""

    ACTIVE = "active"
    STANDBY = "standby"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stance:
    """How an active-passive service stands."""

    serves: Side = Side.ACTIVE
    """The side that gets the calls while it can take them."""
    is_full: bool = False
    """Whether the standby side has the full number of replicas, not only its warm share."""


ACTIVE = Stance()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Ask its sets whether a region is in them; never go through them in their own order."""

    drained: frozenset[RegionName] = _NOWHERE
    """Regions that nothing new is to be placed in."""
    out: frozenset[RegionName] = _NOWHERE
    """Nobody else's calls go there, and DNS does not name them: of those that are drained, once
    others stand in for them; and of those that come back, until they have what is theirs."""
    empty: frozenset[RegionName] = _NOWHERE
    """Of the drained: their instances may leave, as far as others stand in for them."""
    forced: frozenset[RegionName] = _NOWHERE
    """Of the drained: their instances leave even when nobody stands in for them."""
    returning: frozenset[RegionName] = _NOWHERE
    """Regions whose order was withdrawn and that have not all that is theirs yet: it is started
    at once, not one by one."""
    stances: Mapping[ServiceName, Stance] = field(default_factory=dict)
    """Of active-passive services."""

    def stance(self, service: Service) -> Stance:
        """Of an active-passive service."""
        return self.stances.get(service.name, ACTIVE)

    def serves(self, service: Service, region: RegionName) -> bool:
        """Whether calls are to go to a region that has the service, as far as orders and the
        spec have a say in it."""
        if region in self.out:
            return False
        if not service.spread.standby:
            return True
        return self.stance(service).serves is side_of(service, region)


def side_of(service: Service, region: RegionName) -> Side:
    """On which side of an active-passive service a region is."""
    return Side.STANDBY if region in service.spread.standby else Side.ACTIVE


Resting = tuple[tuple[ServiceName, tuple[RegionName, ...]], ...]
"""Services whose standby side serves, and their active regions, which do not."""


def resting(system: System, ground: Ground) -> Resting:
    return tuple(
        (name, tuple(sorted(system.services[name].spread.regions)))
        for name, stance in ground.stances.items()
        if stance.serves is Side.STANDBY
    )


PLAIN = Ground()
"""No orders, and everything that is active serves."""
