"""CPU that the slots of a node share: when they want more than it has, all slow down alike.

A node has a clock of its own that runs at min(1, capacity / demand). Work that takes some time
alone is done when the node's clock has gone on by as much, so that a change of demand moves one
event: that of the work that is done first. The others wait in a pairing heap (Fredman, Sedgewick,
Sleator, Tarjan 1986).
"""

from typing import Any

import numpy as np

from seakeep.engines.twin.kernel.events import push
from seakeep.engines.twin.kernel.memory import apart, compiled
from seakeep.engines.twin.kernel.records import node_at, try_at
from seakeep.engines.twin.kernel.words import NODE_WORKED


@apart
def join_node(w: Any, n: int, t: int, work: float, cores: float) -> None:
    """A try begins to work: `work` ns if it had its `cores` for itself."""
    node = node_at(w, n)
    _wind(w, node)
    node.demand += cores
    row = try_at(w, t)
    row.finish = node.clock + work
    row.child = -1
    row.brother = -1
    node.root = t if node.root < 0 else _meld(w, node.root, t)
    _schedule(w, n)


@compiled
def leave_node(w: Any, n: int, cores: float) -> None:
    """A try is given up before it is done; it stays in the heap until its turn."""
    node = node_at(w, n)
    _wind(w, node)
    node.demand = max(0.0, node.demand - cores)
    _schedule(w, n)


@compiled
def take_first(w: Any, n: int) -> int:
    """The try whose work is done; its demand ends with `leave_node`."""
    node = node_at(w, n)
    first = node.root
    node.root = _merge(w, try_at(w, first).child)
    return first


@compiled
def empty_node(w: Any, n: int) -> None:
    """Nobody works there any more, or all are about to join again."""
    node = node_at(w, n)
    _wind(w, node)
    node.demand = 0.0
    node.root = -1
    _schedule(w, n)


@compiled
def set_capacity(w: Any, n: int, cores: float) -> None:
    node = node_at(w, n)
    _wind(w, node)
    node.capacity = cores
    _schedule(w, n)


@compiled
def _speed(node: Any) -> float:
    if node.demand <= node.capacity:
        return 1.0
    return node.capacity / node.demand


@compiled
def _wind(w: Any, node: Any) -> None:
    node.clock += (w.now - node.clock_at) * _speed(node)
    node.clock_at = w.now


@compiled
def _schedule(w: Any, n: int) -> None:
    """The event of the first; earlier ones are void."""
    node = node_at(w, n)
    node.gen += 1
    if node.root >= 0 and node.capacity > 0:
        ahead = max(0.0, try_at(w, node.root).finish - node.clock)
        push(w, w.now + int(np.ceil(ahead / _speed(node))), NODE_WORKED, n, node.gen)


@compiled
def _meld(w: Any, one: int, other: int) -> int:
    """Two heaps in one; of equals `one` comes first."""
    if try_at(w, other).finish < try_at(w, one).finish:
        one, other = other, one
    below = try_at(w, other)
    below.brother = try_at(w, one).child
    try_at(w, one).child = other
    return one


@compiled
def _merge(w: Any, first: int) -> int:
    """All the children of a row that goes, in one heap: pairs from the left, then all of those
    from the right."""
    pairs = -1
    while first >= 0:
        second = try_at(w, first).brother
        rest = -1
        pair = first
        if second >= 0:
            rest = try_at(w, second).brother
            pair = _meld(w, first, second)
        try_at(w, pair).brother = pairs
        pairs, first = pair, rest
    root = -1
    while pairs >= 0:
        rest = try_at(w, pairs).brother
        root = pairs if root < 0 else _meld(w, root, pairs)
        pairs = rest
    if root >= 0:
        try_at(w, root).brother = -1
    return root
