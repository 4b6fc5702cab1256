"""What DNS servers answer to each source's clients, as `engines.steer` chooses."""

from collections.abc import Sequence

import numpy as np

from seakeep.engines.steer import Atlas, in_turn
from seakeep.engines.twin.kernel import records
from seakeep.engines.twin.sources import host_of
from seakeep.engines.twin.tables import Tables
from seakeep.model.action import HostAnswers
from seakeep.model.ids import RegionName
from seakeep.model.system import Location, Steering


class Steerer:
    def __init__(self, tables: Tables) -> None:
        self._t = tables
        self._hosts = {
            name: host_of(source, tables.system) for name, source in tables.system.traffic.items()
        }
        self._wheels: dict[tuple[RegionName, str], tuple[int, tuple[int, ...]]] = {}
        system = tables.system
        locations = {name: region.location for name, region in system.regions.items()}
        links = [(link.a, link.b, link.latency) for link in system.links]
        self._atlases = {name: Atlas(name, locations, links) for name in system.regions}

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
        if answers.by is Steering.FAILOVER:
            return answers.regions[0]
        return self._atlases[home].choose(answers.by, place, answers.regions)


def _found(hosts: dict[str, HostAnswers], name: str) -> HostAnswers | None:
    """Its own answers, or those of the nearest wildcard above it."""
    if name in hosts:
        return hosts[name]
    above = "" if name.startswith("*.") else name
    while "." in above:
        above = above.partition(".")[2]
        if f"*.{above}" in hosts:
            return hosts[f"*.{above}"]
    return None
