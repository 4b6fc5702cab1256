"""What DNS servers answer to each source's clients, as `engines.local.dns.steer` chooses."""

from collections.abc import Sequence
from math import gcd, inf

import numpy as np

from seakeep.engines.twin.kernel import records
from seakeep.engines.twin.sources import host_of
from seakeep.engines.twin.tables import Tables
from seakeep.model.action import HostAnswers
from seakeep.model.distance import great_circle_km, travel_time
from seakeep.model.ids import RegionName
from seakeep.model.system import Location, Steering, link_between


class Steerer:
    def __init__(self, tables: Tables) -> None:
        self._t = tables
        self._hosts = {
            name: host_of(source, tables.system) for name, source in tables.system.traffic.items()
        }
        self._wheels: dict[tuple[RegionName, str], tuple[int, tuple[int, ...]]] = {}

    def set_answers(self, region: RegionName, hosts: Sequence[HostAnswers]) -> None:
        t = self._t
        by_host = {one.host: one for one in hosts}
        for name, place in t.sources.items():
            row = t.rows["answers"][t.regions[region] * len(t.sources) + place]
            host = self._hosts[name]
            answers = None if host is None else _found(by_host, host)
            row["region"] = row["wheel"] = -1
            if answers is None:
                continue
            if answers.by is Steering.WEIGHTED:
                row["wheel"] = self._wheel(region, answers)
            else:
                location = t.system.traffic[name].location
                row["region"] = t.regions[self._choose(region, location, answers)]

    def _wheel(self, region: RegionName, answers: HostAnswers) -> int:
        """One for each host at each server; it turns on from where it is while it is the same."""
        t = self._t
        turns = tuple(t.regions[answers.regions[i]] for i in in_turn(answers.weights))
        key = (region, answers.host)
        place, known = self._wheels.get(key, (len(self._wheels), ()))
        if known != turns:
            t.more("wheels", place + 1)
            row = t.rows["wheels"][place]
            row["turns"] = t.keep(np.array(turns, np.int64).view(records.NUMBER))
            row["count"], row["next"] = len(turns), 0
            self._wheels[key] = (place, turns)
        return place

    def _choose(self, home: RegionName, place: Location | None, answers: HostAnswers) -> RegionName:
        match answers.by:
            case Steering.FAILOVER:
                return answers.regions[0]
            case Steering.GEO:
                return self._by_distance(home, place, answers.regions)
            case _:
                return self._by_latency(home, place, answers.regions)

    def _by_distance(
        self, home: RegionName, place: Location | None, regions: Sequence[RegionName]
    ) -> RegionName:
        here = self._at(home) if place is None else place
        if here is None:
            return home if home in regions else regions[0]
        return min(regions, key=lambda name: self._km(here, name))

    def _by_latency(
        self, home: RegionName, place: Location | None, regions: Sequence[RegionName]
    ) -> RegionName:
        if place is None or place == self._at(home):
            return min(regions, key=lambda name: self._link(home, name))
        near = min(self._t.regions, key=lambda name: self._km(place, name))
        return min(regions, key=lambda name: self._way(place, near, name))

    def _at(self, region: RegionName) -> Location | None:
        return self._t.system.regions[region].location

    def _km(self, place: Location, region: RegionName) -> float:
        there = self._at(region)
        return inf if there is None else great_circle_km(place, there)

    def _link(self, a: RegionName, b: RegionName) -> float:
        link = link_between(self._t.system, a, b)
        return 0.0 if a == b else inf if link is None else float(link.latency)

    def _way(self, place: Location, near: RegionName, region: RegionName) -> float:
        """Nanoseconds, one way: the distance's, corrected by how far the link is said to be."""
        there = self._at(region)
        straight = float(travel_time(place, there))
        declared = self._link(near, region)
        if region == near or declared == inf:
            return straight
        first = travel_time(place, self._at(near))
        by_distance = travel_time(self._at(near), there)
        beyond = max(0.0, straight - first) / by_distance if by_distance else 1.0
        return first + declared * beyond


def _found(hosts: dict[str, HostAnswers], name: str) -> HostAnswers | None:
    """Its own answers, or those of the nearest wildcard above it."""
    if name in hosts:
        return hosts[name]
    above = name.removeprefix("*.")
    while "." in above:
        above = above.partition(".")[2] if not name.startswith("*.") else above
        if f"*.{above}" in hosts:
            return hosts[f"*.{above}"]
        if name.startswith("*."):
            return None
    return None


def in_turn(weights: Sequence[int]) -> tuple[int, ...]:
    """One round of smooth weighted round robin, as `engines.local.dns.steer` turns."""
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
