"""Placement as decision tables: this world, this decision."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.world import START, service, system_of

from seakeep.decide.placement import REASONS, RETIRED_DRAIN, Placement, PlacementMemory
from seakeep.decide.placement_nodes import NODE_PATIENCE, STARTING_MAX
from seakeep.model.action import Action, DrainInstance, StartInstance, StopInstance
from seakeep.model.decision import Decision, Reason
from seakeep.model.observation import (
    Address,
    AppliedEndpoints,
    InstanceState,
    Outcome,
    OutcomeStatus,
    PartKind,
    PartState,
    Phase,
)
from seakeep.model.system import Resources, Rollout, Spread, System, ZoneSpread, nodes_of
from seakeep.model.time import SECOND
from seakeep.model.view import Health, InstanceView, View

READY, STARTING, LOST = Health.READY, Health.STARTING, Health.LOST
UNREADY, UNKNOWN, FAILED = Health.UNREADY, Health.UNKNOWN, Health.FAILED

CORE = Resources(cpu_millicores=1_000, memory_bytes=1 << 30)
"""A node with room for four instances of the toy service."""


def instance(name: str, node: str, health: Health = READY, **fields: Any) -> InstanceView:
    region, zone, _ = node.split("/")
    state = InstanceState(
        id=name,
        service=name.rpartition("-")[0],
        region=region,
        zone=zone,
        node=node,
        revision=fields.pop("revision", "w1"),
        address=Address(host="127.0.0.1", port=8080),
        phase=fields.pop("phase", Phase.RUNNING),
        pid=1,
        created_at=START,
        started_at=START,
        restarts=fields.pop("restarts", 0),
        **fields,
    )
    return InstanceView(state, health, "")


def parts_of(system: System, **fields: Any) -> dict[str, PartState]:
    """All nodes and edges of a system, running."""
    nodes = {f"node:{node.id}": (PartKind.NODE, node.region) for node in nodes_of(system)}
    edges = {f"edge:{region}": (PartKind.EDGE, region) for region in system.regions}
    return {
        name: PartState(
            id=name, kind=kind, region=region, zone=None, running=True, restarts=0, changed_at=START
        )
        for name, (kind, region) in {**nodes, **edges}.items()
    }


def view_of(
    system: System,
    instances: Iterable[InstanceView] = (),
    *,
    down: Iterable[str] = (),
    at: int = START,
    **fields: Any,
) -> View:
    everyone = list(instances)
    names = dict.fromkeys([*system.services, *(one.state.service for one in everyone)])
    parts = parts_of(system)
    for name in down:
        parts[name] = replace(parts[name], running=False)
    given: dict[str, Any] = {
        "endpoints": {},
        "traffic": (),
        "outcomes": (),
        "pending": frozenset(),
    }
    return View(
        at=at,
        instances={one.state.id: one for one in everyone},
        by_service={
            name: tuple(one for one in everyone if one.state.service == name) for name in names
        },
        parts=parts,
        **(given | fields),
    )


def decide(
    system: System,
    instances: Iterable[InstanceView] = (),
    *,
    memory: PlacementMemory | None = None,
    wanted: Mapping[str, int] | None = None,
    **fields: Any,
) -> Decision[PlacementMemory]:
    placement = Placement(1)
    view = view_of(system, instances, **fields)
    return placement.decide(system, view, memory or placement.initial(), wanted)


def told(decision: Decision[Any]) -> list[str]:
    """The actions in short: `start web-1 on us-east/a/0`."""
    return [short(action) for action in decision.actions]


def short(action: Action) -> str:
    match action:
        case StartInstance():
            return f"start {action.instance} on {action.node}"
        case DrainInstance():
            return f"drain {action.instance}"
        case StopInstance():
            return f"stop {action.instance}"
    raise AssertionError(action)


def codes(decision: Decision[Any]) -> list[str]:
    return [reason.code for reason in decision.reasons]


def numbers(decision: Decision[Any], code: str) -> dict[str, Any]:
    (reason,) = [one for one in decision.reasons if one.code == code]
    return dict(reason.numbers)


def web(replicas: int = 4, regions: Mapping[str, float] | None = None, **fields: Any) -> Any:
    return service("web", regions or {"us-east": 1.0}, replicas=replicas, **fields)


ZONES = {"us-east": {"a": 1, "b": 1}}
TWO_REGIONS = {"us-east": {"a": 1, "b": 1, "c": 1}, "eu-west": {"a": 1, "b": 1}}

EVEN = [
    instance("web-1", "us-east/a/0"),
    instance("web-2", "us-east/b/0"),
    instance("web-3", "us-east/a/0"),
    instance("web-4", "us-east/b/0"),
]

# --- starting ---------------------------------------------------------------


def test_a_new_service_is_spread_over_regions_by_weight_and_zones_evenly() -> None:
    system = system_of(TWO_REGIONS, [web(5, {"us-east": 0.6, "eu-west": 0.4})])
    assert told(decide(system)) == [
        "start web-1 on us-east/a/0",
        "start web-2 on us-east/b/0",
        "start web-3 on us-east/c/0",
        "start web-4 on eu-west/a/0",
        "start web-5 on eu-west/b/0",
    ]


def test_an_action_carries_its_guard_and_its_reason() -> None:
    system = system_of(ZONES, [web(1)])
    decision = Placement(7).decide(system, view_of(system), PlacementMemory())
    (action,) = decision.actions
    assert isinstance(action, StartInstance)
    assert (action.id, action.workload) == ("start:web-1", system.services["web"].workload)
    assert (action.guard.revision, action.guard.epoch, action.guard.restarts) == ("r1", 7, None)
    assert action.guard.expires_at > START
    assert decision.reasons == (
        Reason(
            code="placement.start.missing",
            subject="web",
            numbers=(
                ("instance", "web-1"),
                ("node", "us-east/a/0"),
                ("placed", 0),
                ("wanted", 1),
                ("lost", 0),
                ("leavers", 0),
            ),
            action="start:web-1",
        ),
    )


def test_a_start_under_way_is_not_asked_for_twice() -> None:
    system = system_of(ZONES, [web(1)])
    first = decide(system)
    again = decide(system, memory=first.memory, pending=frozenset({"start:web-1"}))
    assert told(again) == []
    done = (Outcome(action="start:web-1", status=OutcomeStatus.DONE, at=START),)
    assert told(decide(system, memory=again.memory, outcomes=done)) == []


def test_a_refused_start_is_asked_for_again_under_a_new_name() -> None:
    system = system_of(ZONES, [web(1)])
    first = decide(system)
    refused = (Outcome(action="start:web-1", status=OutcomeStatus.REFUSED, at=START),)
    assert told(decide(system, memory=first.memory, outcomes=refused)) == [
        "start web-2 on us-east/a/0"
    ]


def test_a_node_on_which_a_start_failed_is_left_alone_for_a_while() -> None:
    system = system_of(ZONES, [web(1)])
    first = decide(system)
    failed = (Outcome(action="start:web-1", status=OutcomeStatus.FAILED, at=START),)
    second = decide(system, memory=first.memory, outcomes=failed)
    assert told(second) == ["start web-2 on us-east/b/0"]
    assert "placement.aside" in codes(second)
    assert second.wake_at is not None
    assert second.wake_at > START


def test_ordinals_are_never_used_twice() -> None:
    system = system_of(ZONES, [web(2)])
    gone = decide(system, [instance("web-9", "us-east/a/0")])
    assert told(gone) == ["start web-10 on us-east/b/0"]
    assert told(decide(system, memory=gone.memory)) == [
        "start web-11 on us-east/a/0",
        "start web-12 on us-east/b/0",
    ]


def test_wanted_numbers_from_outside_are_held_within_the_bounds() -> None:
    system = system_of({"us-east": {"a": 4}}, [web(2)])
    assert len(decide(system, wanted={"web": 3}).actions) == 3
    assert len(decide(system, wanted={"web": 99}).actions) == 4
    assert len(decide(system, wanted={"web": 0}).actions) == 2


@pytest.mark.parametrize(
    ("anti_affinity", "nodes"),
    [
        (100, ["us-east/a/0", "us-east/a/1", "us-east/a/2"]),
        (0, ["us-east/a/0", "us-east/a/0", "us-east/a/0"]),
    ],
)
def test_anti_affinity_spreads_over_nodes_or_packs_them(
    anti_affinity: int, nodes: list[str]
) -> None:
    spread = Spread(regions={"us-east": 1.0}, node_anti_affinity=anti_affinity)
    system = system_of({"us-east": {"a": 3}}, [web(3, spread=spread)])
    assert [action.node for action in decide(system).actions] == nodes


def test_zones_any_goes_by_nodes_alone() -> None:
    spread = Spread(regions={"us-east": 1.0}, zones=ZoneSpread.ANY)
    system = system_of({"us-east": {"a": 3, "b": 1}}, [web(4, spread=spread)])
    assert [action.node for action in decide(system).actions] == [
        "us-east/a/0",
        "us-east/a/1",
        "us-east/a/2",
        "us-east/b/0",
    ]


# --- capacity ---------------------------------------------------------------


def test_overflow_goes_to_the_region_with_room() -> None:
    system = system_of(
        {"us-east": {"a": 1}, "eu-west": {"a": 3}},
        [web(8, {"us-east": 0.9, "eu-west": 0.1})],
        capacity=CORE,
    )
    decision = decide(system)
    assert [action.node for action in decision.actions] == ["us-east/a/0"] * 4 + [
        "eu-west/a/0",
        "eu-west/a/1",
        "eu-west/a/2",
        "eu-west/a/0",
    ]
    assert numbers(decision, "placement.overflow") == {"region": "us-east", "replicas": 3}


def test_a_region_that_the_spread_does_not_name_takes_nothing() -> None:
    system = system_of({"us-east": {"a": 1}, "eu-west": {"a": 3}}, [web(6)], capacity=CORE)
    decision = decide(system)
    assert {action.region for action in decision.actions} == {"us-east"}
    assert numbers(decision, "placement.no_capacity") == {
        "replicas": 2,
        "wanted": 6,
        "short": "cpu",
        "cpu_millicores": 500,
        "memory_bytes": 256 << 20,
        "nodes": 1,
        "places": "us-east",
    }


def test_what_other_services_and_leaving_instances_use_is_not_free() -> None:
    services = [web(2), service("api", {"us-east": 1.0})]
    system = system_of({"us-east": {"a": 1}}, services, capacity=CORE)
    apis = [instance(f"api-{n}", "us-east/a/0") for n in (1, 2, 3)]
    apis[2] = instance("api-3", "us-east/a/0", draining_since=START)
    decision = decide(system, apis)
    assert told(decision) == ["start web-1 on us-east/a/0"]
    assert codes(decision).count("placement.no_capacity") == 2


def test_few_start_at_once_on_one_node_and_the_rest_follow() -> None:
    system = system_of({"us-east": {"a": 1}}, [web(6)])
    first = decide(system)
    assert len(first.actions) == STARTING_MAX
    assert numbers(first, "placement.held.starting")["waiting"] == 2
    half = [instance(f"web-{n}", "us-east/a/0", READY if n < 3 else STARTING) for n in range(1, 5)]
    assert told(decide(system, half, memory=first.memory)) == [
        "start web-5 on us-east/a/0",
        "start web-6 on us-east/a/0",
    ]


# --- loss -------------------------------------------------------------------


def test_doubt_changes_nothing() -> None:
    system = system_of(ZONES, [web()])
    doubtful = [
        instance(one.state.id, one.state.node, UNKNOWN if one.state.zone == "a" else READY)
        for one in EVEN
    ]
    assert told(decide(system, doubtful, down=["node:us-east/a/0"])) == []


def test_a_lost_zone_is_replaced_at_once_in_the_others_and_forgotten_once_it_is() -> None:
    system = system_of(ZONES, [web()])
    lost = [
        instance(one.state.id, one.state.node, LOST if one.state.zone == "a" else READY)
        for one in EVEN
    ]
    first = decide(system, lost, down=["node:us-east/a/0"])
    assert told(first) == ["start web-5 on us-east/b/0", "start web-6 on us-east/b/0"]
    assert codes(first).count("placement.start.heal") == 2
    half = [*lost, instance("web-5", "us-east/b/0", STARTING)]
    pending = frozenset({"start:web-6"})
    second = decide(system, half, memory=first.memory, pending=pending, down=["node:us-east/a/0"])
    assert told(second) == ["stop web-1"]
    whole = [*half, instance("web-6", "us-east/b/0", STARTING)]
    third = decide(system, whole, memory=second.memory, down=["node:us-east/a/0"])
    assert told(third) == ["stop web-1", "stop web-3"]


def test_a_node_that_does_not_run_yet_keeps_its_share_for_a_moment() -> None:
    system = system_of(ZONES, [web()])
    first = decide(system, down=["node:us-east/a/0"])
    assert told(first) == ["start web-1 on us-east/b/0", "start web-2 on us-east/b/0"]
    assert numbers(first, "placement.held.node") == {"node": "us-east/a/0", "waiting": 2}
    assert first.wake_at == START + NODE_PATIENCE
    two = [instance(f"web-{n}", "us-east/b/0") for n in (1, 2)]
    second = decide(system, two, memory=first.memory, down=["node:us-east/a/0"], at=first.wake_at)
    assert told(second) == ["start web-3 on us-east/b/0", "start web-4 on us-east/b/0"]


def test_a_failed_instance_is_not_placements_to_replace() -> None:
    system = system_of(ZONES, [web()])
    failed = [*EVEN[:3], instance("web-4", "us-east/b/0", FAILED, phase=Phase.EXITED)]
    assert told(decide(system, failed)) == []


# --- rebalancing ------------------------------------------------------------

LOPSIDED = [instance(f"web-{n}", f"us-east/{zone}/0") for n, zone in enumerate("bbbb", start=1)]


def test_a_zone_that_is_back_gets_its_share_one_by_one() -> None:
    system = system_of(ZONES, [web()])
    start = decide(system, LOPSIDED)
    assert told(start) == ["start web-5 on us-east/a/0"]
    assert codes(start) == ["placement.start.rebalance"]
    waiting = decide(
        system, [*LOPSIDED, instance("web-5", "us-east/a/0", STARTING)], memory=start.memory
    )
    assert told(waiting) == []
    assert numbers(waiting, "placement.held.ready") == {"waiting": 1, "ready": 4, "floor": 4}
    ready = decide(system, [*LOPSIDED, instance("web-5", "us-east/a/0")], memory=waiting.memory)
    assert told(ready) == ["drain web-4"]


@pytest.mark.parametrize("health", [STARTING, UNREADY, FAILED, UNKNOWN])
def test_nothing_is_rebalanced_while_something_is_unwell(health: Health) -> None:
    system = system_of(ZONES, [web()])
    assert told(decide(system, [*LOPSIDED[:3], instance("web-4", "us-east/b/0", health)])) == []


def test_a_difference_of_one_is_no_reason_to_move() -> None:
    system = system_of(ZONES, [web(3)])
    decision = decide(system, [EVEN[1], EVEN[2], EVEN[3]])
    assert (told(decision), codes(decision)) == ([], ["placement.settled"])


def test_nodes_of_a_zone_are_evened_out_too() -> None:
    system = system_of({"us-east": {"a": 2}}, [web(3)])
    one_node = [instance(f"web-{n}", "us-east/a/0") for n in (1, 2, 3)]
    first = decide(system, one_node)
    assert told(first) == ["start web-4 on us-east/a/1"]
    starting = [*one_node, instance("web-4", "us-east/a/1", STARTING)]
    assert told(decide(system, starting, memory=first.memory)) == []
    after = decide(system, [*one_node, instance("web-4", "us-east/a/1")], memory=first.memory)
    assert told(after) == ["drain web-3"]


def test_without_surge_one_leaves_before_one_starts() -> None:
    system = system_of(ZONES, [web(rollout=Rollout(surge=0, unavailable=1))])
    assert told(decide(system, LOPSIDED)) == ["drain web-4"]
    left = LOPSIDED[:3]
    assert told(decide(system, left)) == ["start web-4 on us-east/a/0"]


# --- leaving ----------------------------------------------------------------


def test_scaling_down_takes_from_the_fullest_zone_then_node_then_the_newest() -> None:
    system = system_of({"us-east": {"a": 2, "b": 1}}, [web(2)])
    five = [
        instance("web-1", "us-east/a/0"),
        instance("web-2", "us-east/a/0"),
        instance("web-3", "us-east/a/1"),
        instance("web-4", "us-east/b/0"),
    ]
    assert told(decide(system, five)) == ["drain web-2", "drain web-3"]


def test_between_equals_the_one_that_is_not_ready_leaves() -> None:
    system = system_of(ZONES, [web(3)])
    unwell = [instance("web-1", "us-east/a/0", UNREADY), *EVEN[1:]]
    assert told(decide(system, unwell)) == ["drain web-1"]


def test_a_ready_one_stays_while_too_few_others_are_ready() -> None:
    system = system_of(ZONES, [web(2, rollout=Rollout(surge=1, unavailable=0))])
    both_bad = [instance(f"web-{n}", "us-east/a/0", UNREADY) for n in (5, 6)]
    decision = decide(system, [EVEN[0], EVEN[1], *both_bad])
    assert told(decision) == ["drain web-6", "drain web-5"]
    three_to_go = [instance("web-7", "us-east/b/0", UNREADY), EVEN[1], EVEN[3]]
    assert told(decide(system, three_to_go)) == ["drain web-7"]


def test_one_stops_once_drained_and_no_balancer_lists_it() -> None:
    system = system_of(ZONES, [web(3)])
    leaving = [instance("web-1", "us-east/a/0", draining_since=START), *EVEN[1:]]
    listed = {
        ("us-east", "web"): AppliedEndpoints(
            region="us-east", cluster="web", digest="", applied_at=START, serving=("web-1",)
        )
    }
    early = decide(system, leaving, endpoints=listed)
    assert told(early) == []
    assert early.wake_at == START + SECOND
    late = decide(system, leaving, endpoints=listed, at=START + SECOND)
    assert told(late) == []
    assert "placement.held.serving" in codes(late)
    done = decide(system, leaving, at=START + SECOND)
    assert told(done) == ["stop web-1"]
    (action,) = done.actions
    assert isinstance(action, StopInstance)
    assert action.grace == system.services["web"].workload.stop_grace
    edge_down = decide(system, leaving, endpoints=listed, at=START + SECOND, down=["edge:us-east"])
    assert told(edge_down) == ["stop web-1"]


def test_a_leaving_process_that_exited_need_not_drain() -> None:
    system = system_of(ZONES, [web(3)])
    exited = instance("web-1", "us-east/a/0", FAILED, phase=Phase.EXITED, draining_since=START)
    assert told(decide(system, [exited, *EVEN[1:]])) == ["stop web-1"]


def test_a_drain_or_stop_under_way_is_not_asked_for_twice() -> None:
    system = system_of(ZONES, [web(3)])
    assert told(decide(system, EVEN)) == ["drain web-4"]
    assert told(decide(system, EVEN, pending=frozenset({"drain:web-4:0"}))) == []
    leaving = [*EVEN[:3], instance("web-4", "us-east/b/0", draining_since=START)]
    late = START + SECOND
    assert told(decide(system, leaving, at=late)) == ["stop web-4"]
    assert told(decide(system, leaving, at=late, pending=frozenset({"stop:web-4:0"}))) == []
    stopping = [*EVEN[:3], instance("web-4", "us-east/b/0", phase=Phase.STOPPING)]
    assert told(decide(system, stopping, at=late)) == []


def test_a_service_that_left_the_spec_drains_then_stops() -> None:
    system = system_of(ZONES, [web()])
    stranger = instance("old-1", "us-east/a/0")
    assert told(decide(system, [*EVEN, stranger])) == ["drain old-1"]
    drained = instance("old-1", "us-east/a/0", draining_since=START)
    assert told(decide(system, [*EVEN, drained], at=START + SECOND)) == []
    assert told(decide(system, [*EVEN, drained], at=START + RETIRED_DRAIN)) == ["stop old-1"]


def test_a_region_that_left_the_spec_drains_once_replacements_are_ready() -> None:
    system = system_of({"us-east": {"a": 1}}, [web(2)])
    old = instance("web-2", "eu-west/a/0")
    here = instance("web-1", "us-east/a/0")
    first = decide(system, [here, old])
    assert told(first) == ["start web-3 on us-east/a/0"]
    starting = [here, old, instance("web-3", "us-east/a/0", STARTING)]
    assert told(decide(system, starting)) == []
    ready = decide(system, [here, old, instance("web-3", "us-east/a/0")])
    assert told(ready) == ["drain web-2"]
    assert codes(ready) == ["placement.drain.place_left"]


def test_a_region_without_weight_any_more_is_left_likewise() -> None:
    system = system_of({"us-east": {"a": 1}, "eu-west": {"a": 1}}, [web(2)])
    both = [instance("web-1", "us-east/a/0"), instance("web-2", "eu-west/a/0")]
    assert told(decide(system, both)) == ["start web-3 on us-east/a/0"]


# --- replacing an old workload ----------------------------------------------


def test_a_new_workload_starts_one_waits_and_drains_one() -> None:
    system = system_of(ZONES, [web(revision="w2")])
    first = decide(system, EVEN)
    assert told(first) == ["start web-5 on us-east/a/0"]
    assert numbers(first, "placement.held.surge") == {"waiting": 3, "live": 4, "limit": 5}
    starting = instance("web-5", "us-east/a/0", STARTING, revision="w2")
    assert told(decide(system, [*EVEN, starting])) == []
    new = instance("web-5", "us-east/a/0", revision="w2")
    assert told(decide(system, [*EVEN, new])) == ["drain web-3"]
    draining = instance("web-3", "us-east/a/0", draining_since=START)
    assert told(decide(system, [EVEN[0], EVEN[1], draining, EVEN[3], new])) == []


def test_what_may_be_unavailable_drains_at_once() -> None:
    system = system_of(ZONES, [web(revision="w2", rollout=Rollout(surge=0, unavailable=2))])
    assert told(decide(system, EVEN)) == ["drain web-3", "drain web-4"]


def test_old_instances_that_are_not_ready_are_first_to_go() -> None:
    system = system_of(ZONES, [web(revision="w2")])
    new = instance("web-5", "us-east/a/0", STARTING, revision="w2")
    unwell = [EVEN[0], instance("web-2", "us-east/b/0", UNREADY), *EVEN[2:], new]
    assert told(decide(system, unwell)) == ["drain web-2"]


def test_no_more_leave_at_once_than_may_be_unavailable() -> None:
    system = system_of(ZONES, [web(revision="w2", rollout=Rollout(surge=0, unavailable=1))])
    new = instance("web-5", "us-east/a/0", revision="w2")
    draining = instance("web-1", "us-east/a/0", draining_since=START)
    assert told(decide(system, [draining, *EVEN[1:], new])) == []
    assert told(decide(system, [*EVEN[1:], new])) == ["drain web-4"]


def test_an_old_instance_in_doubt_is_left_alone() -> None:
    system = system_of(ZONES, [web(revision="w2", rollout=Rollout(surge=0, unavailable=2))])
    doubtful = [*EVEN[:3], instance("web-4", "us-east/b/0", UNKNOWN)]
    assert told(decide(system, doubtful)) == ["drain web-3"]


def test_starts_that_the_spec_has_overtaken_count_as_old_ones() -> None:
    asked = decide(system_of(ZONES, [web()]))
    pending = frozenset(action.id for action in asked.actions)
    assert len(pending) == 4
    system = system_of(ZONES, [web(revision="w2")])
    assert told(decide(system, memory=asked.memory, pending=pending)) == [
        "start web-5 on us-east/a/0"
    ]


def test_a_spec_without_room_above_or_below_still_gets_there() -> None:
    system = system_of(ZONES, [web(revision="w2", rollout=Rollout(surge=0, unavailable=0))])
    assert told(decide(system, EVEN)) == ["start web-5 on us-east/a/0"]


# --- nothing to do ----------------------------------------------------------


def test_a_quiet_step_says_so_and_the_next_one_says_the_same() -> None:
    system = system_of(ZONES, [web()])
    first = decide(system, EVEN)
    assert (told(first), codes(first), first.wake_at) == ([], ["placement.settled"], None)
    assert first.memory.settled is not None
    unknown = decide(system, EVEN, memory=first.memory)
    assert unknown == first
    assert unknown.memory is not first.memory
    since = {"at": START + SECOND, "changed": {"web": START - SECOND}}
    second = decide(system, EVEN, memory=first.memory, **since)
    assert second.reasons == first.reasons
    assert second.memory is first.memory


@pytest.mark.parametrize(
    "change",
    [
        {"instances": EVEN[:3]},
        {"instances": [*EVEN[:3], instance("web-4", "us-east/b/0", LOST)]},
        {"instances": [*EVEN[:3], instance("web-4", "us-east/b/0", draining_since=START)]},
        {"instances": [*EVEN[:3], instance("web-4", "us-east/b/0", revision="w0")]},
        {"instances": [*EVEN, instance("web-5", "us-east/b/0")]},
        {"instances": [*EVEN, instance("old-1", "us-east/b/0")]},
        {"wanted": {"web": 5}},
        {"down": ["node:us-east/a/0"]},
    ],
)
def test_a_change_is_seen_whatever_was_remembered(change: dict[str, Any]) -> None:
    system = system_of(ZONES, [web()])
    quiet = decide(system, EVEN)
    changed = START + SECOND if "instances" in change else START - SECOND
    given = {"instances": EVEN, "at": START + SECOND, "changed": {"web": changed}} | change
    remembered = decide(system, memory=quiet.memory, **given)
    fresh = decide(system, memory=replace(quiet.memory, settled=None), **given)
    assert remembered == fresh
    assert codes(remembered) != ["placement.settled"] or "down" in change


def test_every_reason_has_a_sentence_that_its_numbers_fill() -> None:
    assert all(code.startswith("placement.") for code in REASONS)
    system = system_of(ZONES, [web(revision="w2")], capacity=CORE)
    leaving = instance("web-5", "us-east/a/0", draining_since=START)
    for decision in (
        decide(system_of(ZONES, [web(99)], capacity=CORE)),
        decide(system, [*EVEN, leaving], at=START + SECOND),
        decide(system_of(ZONES, [web()]), LOPSIDED),
        decide(system_of(ZONES, [web()]), EVEN),
        decide(system_of(ZONES, [web()]), down=["node:us-east/a/0"]),
        decide(system_of(ZONES, [web(2)]), EVEN),
    ):
        for reason in decision.reasons:
            text = REASONS[reason.code].format(subject=reason.subject, **dict(reason.numbers))
            assert reason.subject in text
