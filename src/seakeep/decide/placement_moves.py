"""What should change about one service's instances: which start where, and which leave.

The bounds, in whole instances of the service, over all regions:

- our own doing never leaves fewer than `wanted - rollout.unavailable` READY ones that serve;
- replacing and rebalancing never make it more than `wanted + rollout.surge` live ones, those on
  their way out included; healing (what exists is below the wanted number) knows no such bound;
- the choice of who leaves follows Kubernetes' ReplicaSet (ReplicaSet, "Scaling a ReplicaSet";
  ActivePodsWithRanks): not ready before ready, then from where there are most, then the newest.
  But spread goes before readiness: removing a zone's or a node's only replica because it happens
  to be starting would only have to be made good again, and so for ever.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from seakeep.decide.placement_nodes import STARTING_MAX, NodePicker, NodeRoom, NodeStatus, Place
from seakeep.decide.placement_share import Grid, share_out, take_away
from seakeep.decide.placement_tally import Tally, place_of
from seakeep.model.decision import Number, Reason
from seakeep.model.ids import NodeId, ordinal_of
from seakeep.model.view import Health, InstanceView


@dataclass(frozen=True, slots=True)
class Start:
    node: NodeRoom
    code: str


@dataclass(frozen=True, slots=True)
class Leave:
    instance: InstanceView
    code: str


@dataclass(slots=True, kw_only=True)
class Moves:
    starts: list[Start] = field(default_factory=list)
    leaves: list[Leave] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    """For what is not done."""

    def note(self, code: str, subject: str, **numbers: Number) -> None:
        self.reasons.append(Reason(code=code, subject=subject, numbers=tuple(numbers.items())))


def moves_of(tally: Tally, grid: Grid) -> Moves:
    """What to do now. Takes room on the grid's nodes for what it starts."""
    moves = Moves()
    if tally.kept < tally.wanted:
        _fill(tally, grid, moves)
    if tally.leavers:
        _let_leavers_go(tally, grid, moves)
    surplus = len(tally.keepers) - tally.wanted
    if tally.returning and surplus >= 0:
        _bring_back(tally, grid, surplus, moves)
    elif surplus > 0:
        _remove_surplus(tally, grid, surplus, moves)
    elif tally.is_steady and not tally.is_mixed:
        _rebalance(tally, grid, moves)
    return moves


# --- starting ---------------------------------------------------------------


def _fill(tally: Tally, grid: Grid, moves: Moves) -> None:
    """Start what is missing: all of it where instances are missing, within the surge bound where
    it stands in for one that is still there."""
    name = tally.service.name
    missing = tally.wanted - tally.kept
    vacant = max(0, tally.wanted - tally.placed)
    allowed = min(missing, max(vacant, tally.wanted + tally.surge - tally.live))
    if allowed < missing:
        moves.note(
            "placement.held.surge",
            name,
            waiting=missing - allowed,
            live=tally.live,
            limit=tally.wanted + tally.surge,
        )
    if allowed <= 0:
        return
    before = tally.by_place
    shares = share_out(tally.kept + allowed, grid, before, keep=True)
    code = "placement.start.missing"
    if tally.lost and vacant:
        code = "placement.start.heal"
    elif tally.leavers:
        code = "placement.start.replace"
    elif tally.evacuees:
        code = "placement.start.evacuate"
    wanted = {place: count - before.get(place, 0) for place, count in shares.plan.items()}
    _start_in(wanted, tally, grid, code, moves)
    for region, count in shares.overflow.items():
        moves.note("placement.overflow", name, region=region, replicas=count)
    if shares.unplaced:
        _no_capacity(tally, grid, shares.unplaced, moves)


def _start_in(
    wanted: Mapping[Place, int], tally: Tally, grid: Grid, code: str, moves: Moves
) -> None:
    """Pick nodes for so many starts per place. A node in doubt, or with enough STARTING, keeps
    what it is due, and starts it later."""
    service = tally.service
    waiting: dict[NodeId, int] = {}
    crowded: dict[NodeId, int] = {}
    for place, count in wanted.items():
        if count <= 0:
            continue
        picker = NodePicker(
            grid.nodes[place],
            tally.by_node,
            service.workload.resources,
            service.spread.node_anti_affinity,
        )
        for _ in range(count):
            node = picker.pick()
            if node is None:
                break
            if node.status is NodeStatus.WAITING:
                waiting[node.id] = waiting.get(node.id, 0) + 1
            elif node.starting >= STARTING_MAX:
                crowded[node.id] = crowded.get(node.id, 0) + 1
            else:
                node.starting += 1
                moves.starts.append(Start(node, code))
    for node_id, count in waiting.items():
        moves.note("placement.held.node", service.name, node=node_id, waiting=count)
    for node_id, count in crowded.items():
        moves.note(
            "placement.held.starting",
            service.name,
            node=node_id,
            waiting=count,
            limit=STARTING_MAX,
        )


def _no_capacity(tally: Tally, grid: Grid, count: int, moves: Moves) -> None:
    """Say what is missing, and which of the two resources stands in the way."""
    need = tally.service.workload.resources
    nodes = [
        node for of in grid.nodes.values() for node in of if node.status is not NodeStatus.DOWN
    ]
    by_cpu = any(node.cpu_free >= need.cpu_millicores for node in nodes)
    by_memory = any(node.memory_free >= need.memory_bytes for node in nodes)
    short = {(False, True): "cpu", (True, False): "memory"}.get((by_cpu, by_memory))
    moves.note(
        "placement.no_capacity",
        tally.service.name,
        replicas=count,
        wanted=tally.wanted,
        short=short or "cpu and memory",
        cpu_millicores=count * need.cpu_millicores,
        memory_bytes=count * need.memory_bytes,
        nodes=len(nodes),
        places=_listed([name for name, weight in grid.weights.items() if weight > 0]),
    )


def _listed(names: list[str]) -> str:
    *rest, last = names or ["no region"]
    return f"{', '.join(rest)} and {last}" if rest else last


# --- leaving ----------------------------------------------------------------


def _let_leavers_go(tally: Tally, grid: Grid, moves: Moves) -> None:
    """Drain those that were replaced, and as many more as may be unavailable."""
    seen = len(tally.keepers) + len(tally.leavers)
    unavailable = tally.service.rollout.unavailable
    at_once = max(tally.surge, unavailable) - len(tally.draining)
    allowed = max(seen - tally.wanted, min(seen - (tally.wanted - unavailable), at_once))
    allowed = min(allowed, len(tally.leavers))
    if allowed <= 0:
        return
    movable = [one for one in tally.leavers if one.health is not Health.UNKNOWN]
    idle = [one for one in movable if one.health is not Health.READY]
    chosen = sorted(idle, key=lambda one: -ordinal_of(one.state.id))[:allowed]
    if len(chosen) < allowed:
        held = dict(_count(tally.keepers, tally))
        firm = dict(held)
        leaving = {one.state.id for one in chosen}
        serving = [one for one in tally.leavers if one.state.id not in leaving]
        for place, count in _count(serving, tally).items():
            held[place] = held.get(place, 0) + count
        gone = take_away(allowed - len(chosen), grid, held, firm, {})
        able = [one for one in movable if one.health is Health.READY]
        chosen += _pick_in(gone, able, tally)
    nodes = {node.id for of in grid.nodes.values() for node in of}
    codes = {one.state.id: _why_it_leaves(one, nodes, tally) for one in chosen}
    _leave(chosen, codes, tally, moves)


def _why_it_leaves(one: InstanceView, nodes: Collection[NodeId], tally: Tally) -> str:
    if one.state.node not in nodes:
        return "placement.drain.place_left"
    if one.state.revision == tally.leaves_new:
        return "placement.drain.taken_back"
    return "placement.drain.replaced"


def _remove_surplus(tally: Tally, grid: Grid, count: int, moves: Moves) -> None:
    """Drain `count` of those that are as they should be."""
    held = _count(tally.keepers, tally)
    idle = _count((one for one in tally.keepers if one.health is not Health.READY), tally)
    gone = take_away(count, grid, held, {}, idle)
    movable = [one for one in tally.keepers if one.health is not Health.UNKNOWN]
    chosen = _pick_in(gone, movable, tally)
    code = "placement.drain.surplus"
    _leave(chosen, dict.fromkeys((one.state.id for one in chosen), code), tally, moves)


def _count(instances: Iterable[InstanceView], tally: Tally) -> dict[Place, int]:
    counts: dict[Place, int] = {}
    for one in instances:
        place = place_of(one, tally.service)
        counts[place] = counts.get(place, 0) + 1
    return counts


def _pick_in(
    gone: Mapping[Place, int], candidates: Iterable[InstanceView], tally: Tally
) -> list[InstanceView]:
    """The instances to go in each place: from the node with most of the service, not ready ones
    first, then the newest. Where replicas need not be apart, not ready ones come first of all."""
    per_node: dict[NodeId, int] = {}
    by_place: dict[Place, list[InstanceView]] = {place: [] for place in gone}
    for one in candidates:
        per_node[one.state.node] = per_node.get(one.state.node, 0) + 1
        place = place_of(one, tally.service)
        if place in by_place:
            by_place[place].append(one)
    apart = tally.service.spread.node_anti_affinity >= 100
    return [
        one
        for place, count in gone.items()
        for one in _worst(by_place[place], count, per_node, apart)
    ]


def _worst(
    candidates: Iterable[InstanceView], count: int, per_node: dict[NodeId, int], apart: bool
) -> list[InstanceView]:
    """The first `count` to go in one place. Nodes queue up by the next one they would give."""
    on_node: dict[NodeId, list[InstanceView]] = {}
    for one in candidates:
        on_node.setdefault(one.state.node, []).append(one)

    def claim(node: NodeId) -> tuple[int, int, int, NodeId]:
        one = on_node[node][-1]
        is_ready, few = int(one.health is Health.READY), -per_node[node]
        first, second = (few, is_ready) if apart else (is_ready, few)
        return (first, second, -ordinal_of(one.state.id), node)

    for members in on_node.values():  # the one to go first stands last
        members.sort(key=lambda one: (one.health is not Health.READY, ordinal_of(one.state.id)))
    queue = [claim(node) for node in on_node]
    heapify(queue)
    chosen: list[InstanceView] = []
    while queue and len(chosen) < count:
        node = heappop(queue)[-1]
        chosen.append(on_node[node].pop())
        per_node[node] -= 1
        if on_node[node]:
            heappush(queue, claim(node))
    return chosen


def _leave(
    chosen: Iterable[InstanceView], codes: Mapping[str, str], tally: Tally, moves: Moves
) -> None:
    """Let the chosen go as far as enough READY ones stay."""
    spare = tally.ready - tally.ready_floor
    spare -= sum(1 for leave in moves.leaves if leave.instance.health is Health.READY)
    held = 0
    for one in chosen:
        if one.health is Health.READY:
            if spare <= 0:
                held += 1
                continue
            spare -= 1
        moves.leaves.append(Leave(one, codes[one.state.id]))
    if held:
        moves.note(
            "placement.held.ready",
            tally.service.name,
            waiting=held,
            ready=tally.ready,
            floor=tally.ready_floor,
        )


# --- rebalancing ------------------------------------------------------------


def _rebalance(tally: Tally, grid: Grid, moves: Moves) -> None:
    """Get evenness back, a few at a time: one starts where it is missing (then, as a surplus,
    one leaves where there are too many). Only a move that improves the spread is made."""
    missing, excess = _unevenness(tally, grid)
    if not missing:
        moves.note("placement.settled", tally.service.name, replicas=tally.wanted)
        return
    if tally.surge:
        few = dict.fromkeys(list(missing)[: tally.surge], 1)
        _start_in(few, tally, grid, "placement.start.rebalance", moves)
    else:  # no room above: one leaves first, and what is missing then starts where it should
        few = dict.fromkeys(list(excess)[: tally.service.rollout.unavailable], 1)
        chosen = _pick_in(few, tally.keepers, tally)
        code = "placement.drain.rebalance"
        _leave(chosen, dict.fromkeys((one.state.id for one in chosen), code), tally, moves)


def _bring_back(tally: Tally, grid: Grid, surplus: int, moves: Moves) -> None:
    """Give a region that comes back all that is its own at once, so that its callers find it
    whole. What stood in for it stays until they have found it."""
    held = tally.by_place
    plan = share_out(tally.wanted, grid, held, keep=False).plan
    back = {
        place: count - held.get(place, 0)
        for place, count in plan.items()
        if place[0] in tally.returning and count > held.get(place, 0)
    }
    _start_in(back, tally, grid, "placement.start.return", moves)
    if surplus:
        moves.note("placement.held.return", tally.service.name, waiting=surplus)


def _unevenness(tally: Tally, grid: Grid) -> tuple[list[Place], list[Place]]:
    """(places with too few replicas, the emptiest first; places with too many, the fullest
    first). A place whose nodes are uneven has both."""
    held = tally.by_place
    plan = share_out(tally.wanted, grid, held, keep=False).plan
    lacking = [place for place, count in plan.items() if count > held.get(place, 0)]
    if lacking:
        excess = [place for place, count in held.items() if count > plan.get(place, 0)]
        lacking.sort(key=lambda place: (held.get(place, 0), place))
        excess.sort(key=lambda place: (-held[place], place))
        return lacking, excess
    if tally.service.spread.node_anti_affinity < 100:
        return [], []
    need, by_node = tally.service.workload.resources, tally.by_node
    for place, nodes in grid.nodes.items():
        if held.get(place, 0) < 2:
            continue
        counts = [by_node.get(node.id, 0) for node in nodes]
        if max(counts) - min(counts) < 2:
            continue
        fewest = min(
            (
                count
                for node, count in zip(nodes, counts, strict=True)
                if node.status is NodeStatus.UP and node.fits(need)
            ),
            default=None,
        )
        if fewest is not None and max(counts) - fewest >= 2:
            return [place], [place]
    return [], []
