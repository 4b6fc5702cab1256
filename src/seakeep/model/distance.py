"""How long a message travels between two places on the globe, when nobody has measured it.

Great-circle distance by the haversine formula; the cable's route by the factors of ITU-T
Y.1541, Appendix III (1.5 below 1,000 km, 1.25 above 1,200 km, 1,500 km between); 5 µs per
kilometre of fibre (ITU-T G.114, Table A.1: light in glass, with its repeaters). From
Washington to Dublin this gives 34 ms one way.
"""

import math

from seakeep.model.system import Location
from seakeep.model.time import MICROSECOND, MILLISECOND, Duration

EARTH_RADIUS_KM = 6371.0088
"""Mean radius (IUGG)."""
DELAY_PER_KM: Duration = 5 * MICROSECOND
UNPLACED_LATENCY: Duration = 10 * MILLISECOND
"""Of a pair of regions of which one has no coordinates: some 1,500 km, a country apart."""


def great_circle_km(one: Location, other: Location) -> float:
    """Kilometres along the surface of a sphere."""
    lat1, lat2 = math.radians(one.latitude_deg), math.radians(other.latitude_deg)
    dlat = lat2 - lat1
    dlon = math.radians(other.longitude_deg - one.longitude_deg)
    h = math.sin(dlat / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin(dlon / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(h)))


def route_km(distance_km: float) -> float:
    """The length of the cable between two points this far apart."""
    if distance_km < 1000:
        return 1.5 * distance_km
    return max(1500.0, 1.25 * distance_km)


def travel_time(one: Location | None, other: Location | None) -> Duration:
    """One-way latency between two places, rounded to 10 µs, which the coordinates of a
    region are worth at most."""
    if one is None or other is None:
        return UNPLACED_LATENCY
    kilometres = route_km(great_circle_km(one, other))
    return round(kilometres * DELAY_PER_KM / (10 * MICROSECOND)) * 10 * MICROSECOND
