"""Where a service's replicas should be: over regions by weight, within a region evenly over its
zones, each within what fits on their nodes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from seakeep.decide.division import Party, displaced, divide
from seakeep.decide.placement_nodes import NodeRoom, Place, Rooms
from seakeep.decide.placement_tally import ANY_ZONE, regions_of
from seakeep.model.ids import RegionName
from seakeep.model.system import Service, System, ZoneSpread


@dataclass(slots=True, kw_only=True)
class Grid:
    """The places a service may be in, and their nodes."""

    service: Service
    weights: Mapping[RegionName, float]
    nodes: dict[Place, list[NodeRoom]]
    by_region: dict[RegionName, list[Place]]

    def room(self, place: Place) -> int:
        """How many more instances fit in a place."""
        need = self.service.workload.resources
        return sum(node.fits(need) for node in self.nodes.get(place, ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    plan: Mapping[Place, int]
    """Of every place that has or gets a replica."""
    unplaced: int
    overflow: Mapping[RegionName, int] = field(default_factory=dict)
    """Replicas that are elsewhere for want of room in the region that they belong to."""


Layout: TypeAlias = Mapping[RegionName, int]
"""Replicas by region."""


def grid_of(system: System, service: Service, rooms: Rooms, layout: Layout | None = None) -> Grid:
    """With a `layout` its numbers weigh the regions instead of the spec's shares: dividing their
    sum gives just them."""
    weights = regions_of(system, service)
    if layout:
        weights = {name: float(layout.get(name, 0)) for name in weights}
    any_zone = service.spread.zones is ZoneSpread.ANY
    nodes: dict[Place, list[NodeRoom]] = {}
    by_region: dict[RegionName, list[Place]] = {}
    for region in weights:
        for zone in system.regions[region].zones:
            place = (region, ANY_ZONE if any_zone else zone)
            if place not in nodes:
                nodes[place] = []
                by_region.setdefault(region, []).append(place)
            nodes[place].extend(rooms.by_place.get((region, zone), ()))
    return Grid(service=service, weights=weights, nodes=nodes, by_region=by_region)


def share_out(total: int, grid: Grid, held: Mapping[Place, int], *, keep: bool) -> Shares:
    """Divide `total` over the places within their capacity, given what they hold. With `keep`
    what is there stays, as far as the total allows."""
    capacity = {place: held.get(place, 0) + grid.room(place) for place in grid.nodes}
    parties = tuple(
        Party(
            name=region,
            weight=grid.weights[region],
            capacity=sum(capacity[place] for place in places),
            current=sum(held.get(place, 0) for place in places),
        )
        for region, places in grid.by_region.items()
    )
    division = divide(total, parties, keep=keep)
    plan: dict[Place, int] = {}
    for party in parties:
        places = grid.by_region[party.name]
        counts = [held.get(place, 0) for place in places]
        count = division.plan[party.name]
        even = keep or len(places) == 1 or max(counts) - min(counts) <= 1
        if count == party.current and even:
            plan.update(zip(places, counts, strict=True))  # as it should be: the common case
            continue
        zones = tuple(
            Party(name=place[1], weight=1.0, capacity=capacity[place], current=has)
            for place, has in zip(places, counts, strict=True)
        )
        over_zones = divide(count, zones, keep=keep).plan
        plan.update({place: over_zones[place[1]] for place in places})
    is_bound = any(division.plan[party.name] == party.capacity for party in parties)
    return Shares(
        plan=plan,
        unplaced=division.unplaced,
        overflow=displaced(total, parties, division) if is_bound else {},
    )


def take_away(
    count: int,
    grid: Grid,
    held: Mapping[Place, int],
    firm: Mapping[Place, int],
    unready: Mapping[Place, int],
) -> dict[Place, int]:
    """From which places `count` of those held should go: the worst seats of the division, places
    outside the spread first. `firm` ones are not up for removal; between equals, one goes where
    some are not ready."""
    by_region: dict[RegionName, list[Place]] = {}
    for place in held:
        by_region.setdefault(place[0], []).append(place)
    regions = tuple(
        Party(
            name=region,
            weight=grid.weights.get(region, 0.0),
            min=sum(firm.get(place, 0) for place in places),
            current=sum(held[place] for place in places),
            preference=-sum(unready.get(place, 0) for place in places),
        )
        for region, places in by_region.items()
    )
    left = divide(sum(held.values()) - count, regions, keep=True).plan
    gone: dict[Place, int] = {}
    for region in regions:
        if left[region.name] == region.current:
            continue
        places = by_region[region.name]
        zones = tuple(
            Party(
                name=place[1],
                weight=1.0 if place in grid.nodes else 0.0,
                min=firm.get(place, 0),
                current=held[place],
                preference=-unready.get(place, 0),
            )
            for place in places
        )
        plan = divide(left[region.name], zones, keep=True).plan
        gone.update(
            {
                place: held[place] - plan[place[1]]
                for place in places
                if held[place] > plan[place[1]]
            }
        )
    return gone
