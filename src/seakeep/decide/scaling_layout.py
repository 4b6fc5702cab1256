"""Where the instances that scaling wants should be, and how many more a loss would take.

The minimum is laid out by the spec's shares. What is above it goes where the need is: regions
are given instances in proportion to what their callers need, by Webster's method, so that when
the traffic of one region triples it is that region that grows. The layout changes only when the
total does, or when a region needs more than it has by more than the tolerance: callers who come
and go within it move nobody.

`survive` adds what has to be there for the rest to suffice when a zone, or a region, is gone.
"""

from collections.abc import Mapping

from seakeep.decide.division import Party, divide
from seakeep.decide.placement_share import Layout
from seakeep.decide.placement_tally import regions_of
from seakeep.model.ids import RegionName
from seakeep.model.scale import Survive
from seakeep.model.system import Service, System, ZoneSpread, by_distance


def lay_out(
    system: System,
    service: Service,
    total: int,
    needs: Mapping[RegionName, float],
    before: Layout,
    tolerance: float,
) -> dict[RegionName, int]:
    """`total` instances over the regions of the service. `needs` are by region of the callers;
    those of a region without a share count for the nearest that has one."""
    weights = regions_of(system, service)
    needed = attributed(system, weights, needs)
    floors = _by_shares(weights, min(total, service.replicas.min), {})
    if sum(needed.values()) <= 0:
        return _by_shares(weights, total, before)

    def parties(held: Layout) -> tuple[Party, ...]:
        return tuple(
            Party(
                name=name,
                weight=needed.get(name, 0.0) if weight > 0 else 0.0,
                min=floors[name],
                max=None if weight > 0 else 0,
                current=held.get(name, 0),
            )
            for name, weight in weights.items()
        )

    held = {name: before.get(name, 0) for name in weights}
    if sum(held.values()) == sum(before.values()) > 0:
        kept = dict(divide(total, parties(held), keep=True).plan)
        short = any(need > kept[name] * (1 + tolerance) for name, need in needed.items())
        if not short and sum(kept.values()) == total:
            return kept
    return dict(divide(total, parties(held)).plan)


def attributed(
    system: System, weights: Mapping[RegionName, float], needs: Mapping[RegionName, float]
) -> dict[RegionName, float]:
    """The needs by region that has a share."""
    able = [name for name, weight in weights.items() if weight > 0]
    found = {name: needs.get(name, 0.0) for name in able}
    for region, need in needs.items():
        if region not in found and need > 0 and region in system.regions:
            nearest = next((name for name in by_distance(system, region) if name in found), None)
            if nearest is not None:
                found[nearest] += need
    return found


def _by_shares(
    weights: Mapping[RegionName, float], total: int, held: Layout
) -> dict[RegionName, int]:
    parties = tuple(
        Party(
            name=name,
            weight=weight,
            max=None if weight > 0 else 0,
            current=held.get(name, 0),
        )
        for name, weight in weights.items()
    )
    return dict(divide(total, parties).plan)


# --- headroom ---------------------------------------------------------------


def with_headroom(
    system: System, service: Service, base: Layout, survive: Survive
) -> tuple[dict[RegionName, int], bool]:
    """(the layout with which the loss of any one zone or region leaves what `base` has in all,
    whether there is one). Nothing is added to nothing."""
    total = sum(base.values())
    layout = dict(base)
    if total == 0:
        return layout, True
    weights = regions_of(system, service)
    whole = [name for name in weights if survive is Survive.REGION]
    if survive is Survive.ZONE:
        for name, count in base.items():
            zones = len(system.regions[name].zones)
            if zones < 2 or service.spread.zones is ZoneSpread.ANY:
                whole.append(name)  # the loss of its zone is the loss of it, or may be
            else:
                layout[name] = -(-count * zones // (zones - 1))
    others = [name for name, weight in weights.items() if weight > 0]
    for _ in range(2 * len(whole)):
        lost = max(whole, key=lambda name: (layout.get(name, 0), name))
        missing = total - (sum(layout.values()) - layout.get(lost, 0))
        if missing <= 0:
            return layout, True
        parties = tuple(
            Party(name=name, weight=weights[name], current=layout.get(name, 0))
            for name in others
            if name != lost
        )
        if not parties:
            return layout, False
        target = sum(party.current for party in parties) + missing
        layout |= divide(target, parties, keep=True).plan
    return layout, True


def capped(layout: Layout, limit: int) -> dict[RegionName, int]:
    """The layout within `limit` instances, in its own proportions."""
    if sum(layout.values()) <= limit:
        return dict(layout)
    parties = tuple(Party(name=name, weight=float(n)) for name, n in layout.items())
    return dict(divide(limit, parties).plan)
