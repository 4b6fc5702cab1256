"""One service as placement lays it out: in halves, each with regions and a wanted number of its
own, and the evacuees, which are in regions that are being drained.

Most services are one half. An active-passive one is two: the active regions, and those that stand
by. Nobody has to know but this file: a half is the service with another spread.

Evacuees serve on until their region may be emptied and others stand in for them. They count for
nothing meanwhile: what is missing elsewhere is started as if they were gone, all at once, since
it takes nothing from them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

from seakeep.decide.ground import Ground
from seakeep.decide.placement_moves import Leave, Moves
from seakeep.decide.placement_share import Layout
from seakeep.decide.placement_tally import AskedStart, Tally, is_leaving, regions_of
from seakeep.model.ids import RegionName
from seakeep.model.system import Service, System
from seakeep.model.view import Health, InstanceView, View


@dataclass(frozen=True, slots=True)
class Half:
    service: Service
    """With the regions of this half alone."""
    wanted: int
    members: Sequence[InstanceView]
    asked: Sequence[AskedStart]
    evacuees: Sequence[InstanceView]
    is_whole: bool = False
    """Whether it is all of the service, which then is the one of the spec."""
    has_place: bool = True
    """Whether any region is left for it."""
    stand_ins: int | None = None
    """Without a place: how many READY ones of the other half its evacuees wait for; None: there
    is no such half."""


def halves_of(
    system: System,
    service: Service,
    wanted: int,
    members: Sequence[InstanceView],
    asked: Sequence[AskedStart],
    ground: Ground,
) -> tuple[Half, ...]:
    standby = service.spread.standby
    if not ground.drained and not standby:
        return (Half(service, wanted, members, asked, (), is_whole=True),)
    regions = regions_of(system, service)
    active = {name: weight for name, weight in regions.items() if name not in standby}
    if not standby:
        return (_half(service, wanted, active, members, asked, ground),)
    waiting = {name: share for name, share in standby.items() if name in system.regions}
    halves = (
        _half(
            service,
            wanted,
            active,
            [one for one in members if one.state.region not in standby],
            [one for one in asked if one.region not in standby],
            ground,
        ),
        _half(
            service,
            standing_by(service, wanted, ground),
            waiting,
            [one for one in members if one.state.region in standby],
            [one for one in asked if one.region in standby],
            ground,
        ),
    )
    floor = max(0, wanted - service.rollout.unavailable)
    return (replace(halves[0], stand_ins=floor), replace(halves[1], stand_ins=0))


def standing_by(service: Service, wanted: int, ground: Ground) -> int:
    """How many the standby regions are to have: their share, rounded up, or all of it."""
    warm = ceil(wanted * sum(service.spread.standby.values()) - ROUNDING)
    return max(wanted, warm) if ground.stance(service).is_full else warm


ROUNDING = 1e-9
"""20% of 5 is 1, whatever the binary fractions say."""


def _half(
    service: Service,
    wanted: int,
    regions: Mapping[RegionName, float],
    members: Sequence[InstanceView],
    asked: Sequence[AskedStart],
    ground: Ground,
) -> Half:
    drained = ground.drained
    left = {name: weight for name, weight in regions.items() if name not in drained}
    stay = members
    gone: Sequence[InstanceView] = ()
    if drained:
        stay = [one for one in members if one.state.region not in drained]
        gone = [one for one in members if one.state.region in drained]
        asked = [one for one in asked if one.region not in drained]
    if not left:  # nobody can stand in for those that are there
        return Half(service, 0, (), (), (*stay, *gone), has_place=False)
    half = replace(service, spread=replace(service.spread, regions=left))
    return Half(half, wanted, stay, asked, gone)


def layout_in(half: Half, layout: Layout | None) -> Layout | None:
    """The layout as far as it bears on this half: None when it says nothing of its regions."""
    if layout and any(layout.get(region, 0) for region in half.service.spread.regions):
        return layout
    return layout if not half.service.spread.regions else None


def evacuate(
    half: Half, tally: Tally, beside: int, moves: Moves, ground: Ground, view: View
) -> list[Leave]:
    """Who of the evacuees leaves now: those in regions that may be emptied, as far as enough
    READY ones stay, in order of their ordinals. What was lost with its node is not among them.
    `beside`: READY ones in the other half."""
    able = [
        one
        for one in half.evacuees
        if one.health not in (Health.LOST, Health.UNKNOWN) and not is_leaving(one, view)
    ]
    serving = sum(one.health is Health.READY for one in able)
    leaving = sum(leave.instance.health is Health.READY for leave in moves.leaves)
    ready, floor = tally.ready - leaving, tally.ready_floor
    if not half.has_place:
        ready, floor = beside, serving + beside if half.stand_ins is None else half.stand_ins
    spare = ready + serving - floor
    chosen: list[Leave] = []
    held = 0
    for one in able:
        region = one.state.region
        if region not in ground.empty:
            continue
        if one.health is Health.READY and region not in ground.forced:
            if spare <= 0:
                held += 1
                continue
            spare -= 1
        chosen.append(Leave(one, "placement.drain.evacuated"))
    if held:
        moves.note(
            "placement.held.evacuees",
            half.service.name,
            waiting=held,
            ready=ready,
            floor=floor,
        )
    return chosen
