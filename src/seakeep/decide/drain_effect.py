"""What draining a region would do, before it is ordered: which services would have nowhere to go,
and which would have too little room."""

from collections.abc import Mapping
from dataclasses import dataclass

from seakeep.decide.draining import places_left
from seakeep.decide.ground import Ground, Side, Stance
from seakeep.decide.placement import Placement, PlacementMemory
from seakeep.decide.placement_tally import regions_of
from seakeep.model.decision import Reason
from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.observation import PartKind
from seakeep.model.system import System, nodes_of
from seakeep.model.view import Health, View


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainEffect:
    nowhere: tuple[ServiceName, ...]
    """Services that could not be served any more: they may be in no other region."""
    dead: tuple[ServiceName, ...]
    """Likewise: they may be in others, but nothing runs there."""
    lost: tuple[RegionName, ...]
    """Regions, neither this one nor drained, that do not run at present."""
    short: tuple[Reason, ...]
    """`placement.no_capacity` of every service that would lack room elsewhere."""


def effect_of_drain(
    system: System, view: View, region: RegionName, drained: frozenset[RegionName]
) -> DrainEffect:
    """Of draining `region` when others are `drained` already."""
    away = drained | {region}
    alive = _alive(system, view)
    nowhere, dead = [], []
    for name, service in system.services.items():
        places = places_left(system, service, away)
        here = region in regions_of(system, service) or region in service.spread.standby
        if not here or service.replicas.max == 0:
            continue
        if not places:
            nowhere.append(name)
        elif not any(place in alive for place in places):
            dead.append(name)
    lost = tuple(name for name in system.regions if name not in away and name not in alive)
    wanted = _wanted(system, view)
    stances = {
        name: Stance(serves=Side.STANDBY, is_full=True)
        for name, service in system.services.items()
        if service.spread.standby
        and all(place in service.spread.standby for place in places_left(system, service, away))
    }
    decision = Placement(0).decide(
        system,
        view,
        # Nodes that do not run get no patience here: what is lost now counts as lost.
        PlacementMemory(absent={node.id: view.at - _LONG_AGO for node in nodes_of(system)}),
        wanted,
        ground=Ground(drained=away, stances=stances),
    )
    short = tuple(one for one in decision.reasons if one.code == "placement.no_capacity")
    return DrainEffect(nowhere=tuple(nowhere), dead=tuple(dead), lost=lost, short=short)


_LONG_AGO = 1 << 50


def _alive(system: System, view: View) -> dict[RegionName, bool]:
    """Regions whose edge runs, and at least one of their nodes."""
    nodes = {part.region for part in view.parts.values()
             if part.kind is PartKind.NODE and part.running}  # fmt: skip
    edges = {part.region for part in view.parts.values()
             if part.kind is PartKind.EDGE and part.running}  # fmt: skip
    return {name: True for name in system.regions if name in nodes and name in edges}


def _wanted(system: System, view: View) -> Mapping[ServiceName, int]:
    """As many as there are now, and the minimum at least."""
    return {
        name: max(
            service.replicas.min,
            sum(
                one.health is not Health.LOST and one.state.draining_since is None
                for one in view.by_service.get(name, ())
            ),
        )
        for name, service in system.services.items()
    }
