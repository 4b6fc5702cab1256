"""Which edge is nearest to a client: what DNS will answer once it exists."""

import math
from collections.abc import Iterable

from seakeep.model.ids import RegionName
from seakeep.model.system import Location, Region

EARTH_RADIUS_KM = 6_371.0
"""Mean radius (IUGG)."""


def distance_km(a: Location, b: Location) -> float:
    """Great-circle distance by the haversine formula."""
    lat_a, lat_b = math.radians(a.latitude_deg), math.radians(b.latitude_deg)
    half_lat = (lat_b - lat_a) / 2
    half_lon = math.radians(b.longitude_deg - a.longitude_deg) / 2
    h = math.sin(half_lat) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin(half_lon) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(h)))


def nearest_first(place: Location, regions: Iterable[Region]) -> tuple[RegionName, ...]:
    """Names of the regions by distance from `place`; those without a location come last, and
    equals keep the order of the alphabet."""

    def key(region: Region) -> tuple[float, str]:
        if region.location is None:
            return (math.inf, region.name)
        return (distance_km(place, region.location), region.name)

    return tuple(region.name for region in sorted(regions, key=key))
