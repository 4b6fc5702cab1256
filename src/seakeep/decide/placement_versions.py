"""The tallies of a service two versions of which stand side by side: see `rollout_plan`.

Each version has a quota. What is within it stays; what is beyond it leaves once its place is
taken, as an outdated instance does; what a quota lacks is started. While both have one, nothing
is moved for evenness' sake: a move is a start of one version and a leave of perhaps the other.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from seakeep.decide.placement_nodes import Place, Rooms
from seakeep.decide.placement_tally import (
    AskedStart,
    Tally,
    is_leaving,
    place_of,
    place_of_node,
    regions_of,
)
from seakeep.decide.rollout_plan import RolloutPlan
from seakeep.model.ids import ordinal_of
from seakeep.model.system import Resources, Rollout, Service, System, Workload
from seakeep.model.view import Health, InstanceView, View


def tallies_of(
    system: System,
    service: Service,
    plan: RolloutPlan,
    view: View,
    rooms: Rooms,
    asked: Iterable[AskedStart],
    members: Iterable[InstanceView],
) -> list[Tally]:
    """One of both versions together; two, the old one's first, when they stand apart. Takes the
    room of all on the nodes, and tells the nodes what is known of them."""
    if not plan.apart:
        if not plan.is_beyond:
            return [_Sorting(system, service, plan, view, rooms).tally(members, asked)]
        # One more than the service wants: that is one of the surge, and what is on its way out
        # keeps its room.
        bounds = service.rollout
        fewer = Rollout(surge=bounds.surge - 1, unavailable=bounds.unavailable + 1)
        service = replace(service, rollout=fewer)
        both = _Sorting(system, service, plan, view, rooms).tally(members, asked)
        both.strays += len(both.draining)
        return [both]
    asked = list(asked)
    old = plan.old.revision
    one_set = _Sorting(system, service, _only(plan, old=True), view, rooms).tally(
        [one for one in members if one.state.revision == old],
        [start for start in asked if start.revision == old],
    )
    # What is there of a third version gets no requests: no bound on its readiness. And what is
    # on its way out keeps its room, or there would be three sets.
    bare = replace(service, rollout=Rollout(surge=0, unavailable=max(1, plan.new_wanted)))
    other_set = _Sorting(system, bare, _only(plan, old=False), view, rooms).tally(
        [one for one in members if one.state.revision != old],
        [start for start in asked if start.revision != old],
    )
    other_set.strays += len(other_set.draining)
    return [one_set, other_set]


def _only(plan: RolloutPlan, *, old: bool) -> RolloutPlan:
    if old:
        return replace(plan, new_wanted=0, strict=True)
    return replace(plan, old_wanted=0, strict=True)


class _Sorting:
    """One tally in the making."""

    def __init__(
        self, system: System, service: Service, plan: RolloutPlan, view: View, rooms: Rooms
    ) -> None:
        self.plan, self.view, self.rooms = plan, view, rooms
        self.service = replace(service, workload=_roomiest(service.workload, plan))
        self.needs = {
            plan.old.revision: plan.old.resources,
            plan.new.revision: plan.new.resources,
        }
        regions = regions_of(system, service)
        self.allowed = {name for name, room in rooms.nodes.items() if room.region in regions}
        self.tally_ = Tally(service=self.service, wanted=plan.old_wanted + plan.new_wanted)

    def tally(self, members: Iterable[InstanceView], asked: Iterable[AskedStart]) -> Tally:
        tally, plan = self.tally_, self.plan
        new, old, others = self._sort(members)
        asked_new, asked_old = self._sort_asked(asked)
        if plan.strict:
            tally.leavers += others
            others = []
        both = plan.new_wanted > 0 and plan.old_wanted > 0
        new = self._within(plan.new_wanted - len(asked_new), new, (), cut=both)
        if not plan.new_wanted:
            tally.leavers += new
            tally.strays += len(asked_new)
            new, asked_new = [], []
        if plan.old_wanted:
            stay = self._within(plan.old_wanted - len(asked_old), old, others, cut=both)
        else:
            tally.leavers += [*others, *old]
            tally.strays += len(asked_old)
            stay, asked_old = [], []
        tally.keepers = sorted([*new, *stay], key=lambda one: ordinal_of(one.state.id))
        tally.asked = [*asked_new, *asked_old]
        tally.to_start = [plan.new] * max(0, plan.new_wanted - len(new) - len(asked_new))
        tally.to_start += [plan.old] * max(0, plan.old_wanted - len(stay) - len(asked_old))
        tally.workload = plan.new if plan.new_wanted else plan.old
        tally.leaves_new = plan.new.revision if not plan.new_wanted else ""
        tally.is_mixed = both or plan.apart
        self._count()
        return tally

    def _sort(
        self, members: Iterable[InstanceView]
    ) -> tuple[list[InstanceView], list[InstanceView], list[InstanceView]]:
        """(new, old, neither) of those that may stay."""
        plan, tally = self.plan, self.tally_
        new: list[InstanceView] = []
        old: list[InstanceView] = []
        others: list[InstanceView] = []
        for one in members:
            room = self.rooms.nodes.get(one.state.node)
            if room is not None and one.health is not Health.READY:
                room.judge(one.health)
            if one.health is Health.LOST:
                tally.lost.append(one)
            elif is_leaving(one, self.view):
                tally.draining.append(one)
            elif one.state.node not in self.allowed:
                tally.leavers.append(one)
            elif one.state.revision == plan.new.revision:
                new.append(one)
            elif one.state.revision == plan.old.revision:
                old.append(one)
            else:
                others.append(one)
        return new, old, others

    def _sort_asked(self, asked: Iterable[AskedStart]) -> tuple[list[AskedStart], list[AskedStart]]:
        new: list[AskedStart] = []
        old: list[AskedStart] = []
        for start in asked:
            if start.node not in self.allowed or start.revision not in self.needs:
                self.tally_.strays += 1
            else:
                (new if start.revision == self.plan.new.revision else old).append(start)
        return new, old

    def _within(
        self,
        quota: int,
        mine: list[InstanceView],
        others: Iterable[InstanceView],
        *,
        cut: bool,
    ) -> list[InstanceView]:
        """Those that stay; what is beyond the quota leaves: those of neither version first, then
        by turns from where there are most, the newest. A new version's idle ones go before all."""
        standins = list(others)
        beyond = len(mine) + len(standins) - max(0, quota)
        if not cut or beyond <= 0:
            return [*standins, *mine]
        leavers = self._worst(standins, min(beyond, len(standins)))
        is_new = bool(mine) and mine[0].state.revision == self.plan.new.revision
        idle = [one for one in mine if one.health is not Health.READY] if is_new else []
        leavers += self._worst(idle, min(beyond - len(leavers), len(idle)))
        gone = {one.state.id for one in leavers}
        rest = [one for one in mine if one.state.id not in gone]
        leavers += self._worst(rest, beyond - len(leavers))
        self.tally_.leavers += leavers
        gone = {one.state.id for one in leavers}
        return [one for one in (*standins, *mine) if one.state.id not in gone]

    def _worst(self, among: list[InstanceView], count: int) -> list[InstanceView]:
        by_place: dict[Place, list[InstanceView]] = {}
        for one in among:
            by_place.setdefault(place_of(one, self.service), []).append(one)
        for members in by_place.values():  # the first to go stands last
            members.sort(key=lambda one: (one.health is not Health.READY, ordinal_of(one.state.id)))
        chosen: list[InstanceView] = []
        while len(chosen) < count:
            place = min(by_place, key=lambda place: (-len(by_place[place]), place))
            chosen.append(by_place[place].pop())
        return chosen

    def _count(self) -> None:
        """What follows from who stays and who leaves."""
        tally, plan, nodes = self.tally_, self.plan, self.rooms.nodes
        staying = [one.state.node for one in tally.keepers]
        for start in tally.asked:
            staying.append(start.node)
            nodes[start.node].starting += 1
        tally.by_node = dict(Counter(staying))
        for one in (*tally.keepers, *tally.leavers, *tally.draining):
            room = nodes.get(one.state.node)
            if room is not None:
                room.take(self._need(one.state.revision))
        for start in tally.asked:
            nodes[start.node].take(self._need(start.revision))
        for name, count in tally.by_node.items():
            place = place_of_node(nodes[name].region, nodes[name].zone, self.service)
            tally.by_place[place] = tally.by_place.get(place, 0) + count
        tally.ready = sum(
            1
            for one in (*tally.keepers, *tally.leavers)
            if one.health is Health.READY and one.state.id not in plan.unripe
        )

    def _need(self, revision: str) -> Resources:
        return self.needs.get(revision, self.service.workload.resources)


def _roomiest(workload: Workload, plan: RolloutPlan) -> Workload:
    """For finding room: either version fits where this does."""
    either = (plan.old.resources, plan.new.resources)
    return replace(
        workload,
        resources=Resources(
            cpu_millicores=max(one.cpu_millicores for one in either),
            memory_bytes=max(one.memory_bytes for one in either),
        ),
    )
