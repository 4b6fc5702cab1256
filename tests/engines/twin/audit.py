"""What must hold between a world's tables after every event, whatever has happened."""

from typing import Any

import numpy as np
import pytest

from seakeep.engines.twin.kernel.words import (
    CALLER,
    CALLING,
    CLIENT,
    GATEWAY,
    HELD,
    INSIDE,
    QUEUED,
    WORKING,
)
from seakeep.engines.twin.world import World


def audit(one: World) -> None:
    """Fail when a count is not that of the rows that it counts, or a list holds others."""
    one.advance(one.now)
    rows = one._t.rows
    spans, tries = rows["spans"], rows["tries"]
    live = spans["kind"] >= 0
    waited = (tries["state"] >= 0) & (tries["span"] >= 0)
    _balancers(rows, live, waited)
    _instances(rows, tries)
    for s in np.flatnonzero(live):
        assert _list(tries, "sibling", spans[s]["tries"]) == sorted(
            np.flatnonzero(waited & (tries["span"] == s)).tolist(), reverse=False
        )
        assert spans[s]["trying"] == int(np.sum(waited & (tries["span"] == s)))
    for name in ("spans", "tries", "sessions"):
        free = _list(rows[name], "next", one._t.w[f"{name}_free"])
        assert len(free) == one._t.w[f"{name}_left"]
        used = rows[name][
            "source" if name == "sessions" else "kind" if name == "spans" else "state"
        ]
        assert np.all(used[free] == -1)
    _timers(rows, one)


def _list(rows: Any, link: str, first: int) -> list[int]:
    found = []
    at = int(first)
    while 0 <= at < len(rows):
        found.append(at)
        at = int(rows[at][link])
    assert len(set(found)) == len(found)
    return sorted(found)


def _balancers(rows: Any, live: Any, waited: Any) -> None:
    spans, tries = rows["spans"], rows["tries"]
    endpoints = rows["endpoints"]
    counts = np.bincount(tries["endpoint"][waited], minlength=len(endpoints))
    assert np.array_equal(endpoints["active"], counts)
    of = endpoints["cluster"][tries["endpoint"][waited]]
    clusters = rows["clusters"]
    assert np.array_equal(clusters["active"], np.bincount(of, minlength=len(clusters)))
    retrying = live & (spans["retrying"] != 0)
    assert np.all(spans["state"][retrying] == INSIDE)
    found = np.bincount(spans["cluster"][retrying], minlength=len(clusters))
    assert np.array_equal(clusters["retries"], found)
    held = waited & (tries["state"] == HELD)
    of = endpoints["cluster"][tries["endpoint"][held]]
    assert np.array_equal(clusters["held"], np.bincount(of, minlength=len(clusters)))
    used = endpoints["used"] != 0
    out = np.bincount(
        endpoints["cluster"][used & (endpoints["ejected"] != 0)], minlength=len(clusters)
    )
    assert np.array_equal(clusters["ejected"], out)
    asked = live & (spans["state"] == INSIDE) & (spans["kind"] != GATEWAY)
    services = len(rows["services"])
    fronts = spans["region"][asked] * services + spans["service"][asked]
    assert np.array_equal(
        rows["fronts"]["in_flight"], np.bincount(fronts, minlength=len(rows["fronts"]))
    )
    shed = live & (spans["shed"] >= 0)
    assert np.array_equal(
        rows["sheds"]["active"], np.bincount(spans["shed"][shed], minlength=len(rows["sheds"]))
    )
    assert not np.any(live & (spans["kind"] == CALLER) & (spans["state"] != INSIDE))
    assert np.all(spans["state"][live & (spans["kind"] == CLIENT)] >= 0)


def _instances(rows: Any, tries: Any) -> None:
    instances = rows["instances"]
    there = tries["instance"] >= 0
    for field, states in (("busy", (WORKING, CALLING)), ("queued", (QUEUED,))):
        which = there & np.isin(tries["state"], states)
        counts = np.bincount(tries["instance"][which], minlength=len(instances))
        assert np.array_equal(instances[field], counts), field
    for i in np.flatnonzero(instances["present"]):
        waiting = there & (tries["instance"] == i) & (tries["state"] == QUEUED)
        queue = _list(tries, "queue_after", instances[i]["queue_first"])
        assert queue == np.flatnonzero(waiting).tolist()
        stuck = _list(tries, "queue_after", instances[i]["stuck"])
        assert (
            stuck
            == np.flatnonzero(there & (tries["instance"] == i) & (tries["stuck"] != 0)).tolist()
        )
    shares = there & (tries["state"] == WORKING) & (tries["shares"] != 0)
    cores = rows["services"]["cpu"][instances["service"][tries["instance"][shares]]]
    nodes = instances["node"][tries["instance"][shares]]
    demand = np.bincount(nodes, weights=cores, minlength=len(rows["nodes"]))
    assert rows["nodes"]["demand"] == pytest.approx(demand, abs=1e-6)


def _timers(rows: Any, one: World) -> None:
    for timers, owners in (("span_timers", "spans"), ("try_timers", "tries")):
        for index, timer in enumerate(rows[timers]):
            listed = _list(rows[owners], "timer_after", timer["first"])
            assert listed == np.flatnonzero(rows[owners]["timer"] == index).tolist()
            assert np.all(rows[owners]["expires"][listed] >= one.now)
