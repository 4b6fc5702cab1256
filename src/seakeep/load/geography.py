"""Which edge is nearest to a client: where clients go without DNS, and whose server they ask."""

import math
from collections.abc import Iterable

from seakeep.model.distance import great_circle_km
from seakeep.model.ids import RegionName
from seakeep.model.system import Location, Region


def nearest_first(place: Location | None, regions: Iterable[Region]) -> tuple[RegionName, ...]:
    """Names of the regions by distance from `place`; those without a location come last, and
    equals (all are, without a place) keep the order of the alphabet."""

    def key(region: Region) -> tuple[float, str]:
        if place is None or region.location is None:
            return (math.inf, region.name)
        return (great_circle_km(place, region.location), region.name)

    return tuple(region.name for region in sorted(regions, key=key))
