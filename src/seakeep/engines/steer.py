"""Which of the regions that DNS may answer a client is sent to, in every engine.

- latency: the region with the shortest way. To the nearest region that is the distance's (as for
  links, see `model.distance`). What a further one is further away counts by the latency between
  the two regions, where that is declared to be longer or shorter than their distance says: who
  lives in Virginia has the way to Dublin that Virginia has.
- geo: the nearest on the globe.
- weighted: in turn by smooth weighted round robin, whoever asks, so that every stretch of answers
  has the shares as nearly as whole numbers can.
- failover: the first.

A client whose place nobody knows is taken to be where the server is that it asks.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import gcd, inf

from seakeep.model.distance import great_circle_km, travel_time
from seakeep.model.system import Location, Steering

KNOWN_MAX = 10_000


class Atlas:
    """Regions, where they are, and how far apart."""

    def __init__(
        self,
        home: str,
        locations: Mapping[str, Location | None],
        links: Iterable[tuple[str, str, int]],
    ) -> None:
        """`home`: the server's region. `links`: (a, b, one-way ns)."""
        self._home = home
        self._locations = locations
        self._links = {frozenset((a, b)): latency for a, b, latency in links}
        self._known: dict[tuple[Steering, Location | None, tuple[str, ...]], str] = {}

    def choose(self, by: Steering, place: Location | None, regions: tuple[str, ...]) -> str:
        """By latency or geography. Remembered, for as many places as declared ones may be."""
        key = (by, place, regions)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            ask = self.by_distance if by is Steering.GEO else self.by_latency
            found = self._known[key] = ask(place, regions)
        return found

    def by_latency(self, place: Location | None, regions: Sequence[str]) -> str:
        """The region with the shortest way, the first of equals."""
        if place is None or place == self._locations.get(self._home):
            return min(regions, key=lambda name: self._link(self._home, name))
        near = min(self._locations, key=lambda name: self._km(place, name))
        return min(regions, key=lambda name: self._way(place, near, name))

    def by_distance(self, place: Location | None, regions: Sequence[str]) -> str:
        """The nearest region, the first of equals; those without coordinates come last."""
        here = self._locations.get(self._home) if place is None else place
        if here is None:
            return self._home if self._home in regions else regions[0]
        return min(regions, key=lambda name: self._km(here, name))

    def _km(self, place: Location, region: str) -> float:
        there = self._locations.get(region)
        return inf if there is None else great_circle_km(place, there)

    def _link(self, a: str, b: str) -> float:
        return 0.0 if a == b else float(self._links.get(frozenset((a, b)), inf))

    def _way(self, place: Location, near: str, region: str) -> float:
        """Nanoseconds, one way."""
        there = self._locations.get(region)
        straight = float(travel_time(place, there))
        declared = self._link(near, region)
        if region == near or declared == inf:
            return straight
        first = travel_time(place, self._locations.get(near))
        by_distance = travel_time(self._locations.get(near), there)
        beyond = max(0.0, straight - first) / by_distance if by_distance else 1.0
        return first + declared * beyond


def in_turn(weights: Sequence[int]) -> tuple[int, ...]:
    """One round of smooth weighted round robin: indexes into `weights`, each as often as its
    weight, spread as evenly as can be."""
    common = gcd(*weights)
    shares = [weight // common for weight in weights]
    total, credit = sum(shares), [0] * len(shares)
    turns = []
    for _ in range(total):
        credit = [have + share for have, share in zip(credit, shares, strict=True)]
        best = credit.index(max(credit))
        credit[best] -= total
        turns.append(best)
    return tuple(turns)
