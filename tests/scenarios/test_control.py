"""Controllers that scale, roll out and roll back, and a world that goes on without them."""

from seakeep.model.run import EventKind
from seakeep.model.scenario import Deploy, FaultKind
from seakeep.model.time import SECOND
from seakeep.runtime.simulate import simulate
from tests.scenarios.random_systems import Spec, system_of
from tests.scenarios.runs import (
    events,
    fault,
    ok_fraction,
    ready,
    scenario,
    spec,
    two_regions,
    web,
)

SCALE: Spec = {
    "metrics": [{"on": "rate", "target": "25/s"}], "every": "5s", "down": {"window": "20s"},
}  # fmt: skip


def test_a_surge_is_met_with_more_instances_that_go_again() -> None:
    system = two_regions(replicas={"min": 4, "max": 20}, scale=SCALE)
    surge = fault(FaultKind.SURGE, "easterners", for_s=40, amount=4)
    run = simulate(system, scenario(surge, duration_s=150), seed=1)
    assert events(run, EventKind.ACTION, "scaling.up")
    assert ready(run, "web", 45) >= 8
    assert ready(run, "web", 148) <= 5
    assert ok_fraction(run, 0, 150) > 0.99
    assert run.broken == ()


def test_a_version_that_never_gets_ready_is_taken_back() -> None:
    system = two_regions(rollout={"on_failure": "rollback", "deadline": "10s"})
    deploy = fault(FaultKind.DEPLOY, "web", for_s=0, deploy=Deploy(ready=False))
    run = simulate(system, scenario(deploy), seed=1)
    assert events(run, EventKind.ACTION, "rollout.rollback.not_ready")
    assert ready(run, "web", 58) == 4
    assert ok_fraction(run, 0, 60) == 1.0
    assert run.broken == ()


def test_a_version_that_fails_requests_is_taken_back() -> None:
    system = two_regions(
        rollout={"on_failure": "rollback", "canary": [{"weight": "20%", "for": "30s"}]}
    )
    deploy = fault(FaultKind.DEPLOY, "web", for_s=0, deploy=Deploy(errors=0.5))
    run = simulate(system, scenario(deploy, duration_s=90), seed=1)
    assert events(run, EventKind.ACTION, "rollout.rollback.errors")
    assert ok_fraction(run, 70, 90) == 1.0
    assert run.broken == ()


def test_a_good_version_is_rolled_out_without_a_failed_request() -> None:
    deploy = fault(FaultKind.DEPLOY, "web", for_s=0)
    run = simulate(two_regions(), scenario(deploy), seed=1)
    assert events(run, EventKind.ACTION, "rollout.complete")
    assert ok_fraction(run, 0, 60) == 1.0
    assert ready(run, "web", 58) == 4


def test_what_runs_goes_on_while_the_control_plane_is_down() -> None:
    run = simulate(
        two_regions(),
        scenario(
            fault(FaultKind.CONTROL_DOWN, at_s=5, for_s=30),
            fault(FaultKind.KILL, "web", at_s=10, for_s=0),
        ),
        seed=1,
    )
    (act,) = events(run, EventKind.ACTION, "health.restart.exited")
    assert 35 * SECOND <= act.at < 36 * SECOND
    assert ready(run, "web", 20) == 3
    assert ready(run, "web", 40) == 4
    assert ok_fraction(run, 14, 60) == 1.0  # the balancer leaves it out by itself
    assert run.broken == ()


def test_regions_that_are_cut_off_from_each_other_serve_their_own_clients() -> None:
    cut = fault(FaultKind.PARTITION, "east~west", for_s=20)
    run = simulate(two_regions(), scenario(cut), seed=1)
    assert {event.subject for event in events(run, EventKind.EJECT)} == {"east:web", "west:web"}
    assert ok_fraction(run, 0, 60) == 1.0
    assert run.broken == ()


def test_calls_over_a_cut_link_fail_until_another_way_is_found() -> None:
    services = {
        "web": web(calls={"stock": 1}),
        "stock": web(routes=[], spread={"regions": ["west"]}),
    }
    cut = fault(FaultKind.PARTITION, "east>west", for_s=20)
    run = simulate(system_of(spec(services)), scenario(cut), seed=1)
    assert ok_fraction(run, 0, 10) > 0.999
    assert ok_fraction(run, 15, 30) < 0.7
    assert ok_fraction(run, 40, 60) > 0.999
    assert run.broken == ()


def test_stale_dns_keeps_clients_with_a_region_that_is_gone() -> None:
    lost = fault(FaultKind.LOSE_REGION, "east", for_s=40)
    stale = fault(FaultKind.STALE_DNS, at_s=9, for_s=41)
    fresh = simulate(two_regions(), scenario(lost), seed=1)
    behind = simulate(two_regions(), scenario(lost, stale), seed=1)
    assert ok_fraction(fresh, 20, 50) > ok_fraction(behind, 20, 50)


def test_an_outage_takes_a_service_and_those_that_need_it_with_it() -> None:
    services = {"web": web(calls={"stock": 1}), "stock": web(routes=[])}
    outage = fault(FaultKind.OUTAGE, "stock", for_s=10)
    run = simulate(system_of(spec(services)), scenario(outage), seed=1)
    assert ok_fraction(run, 11, 19) < 0.05
    assert ok_fraction(run, 40, 60) > 0.999
    assert run.broken == ()


def test_a_leak_ends_in_a_kill_and_a_restart() -> None:
    work = {"time": "5ms", "concurrency": 4, "leak": "200kB"}
    system = two_regions(work=work, resources={"memory": "32MiB"})
    run = simulate(system, scenario(duration_s=30), seed=1)
    acts = events(run, EventKind.ACTION, "health.restart.exited")
    assert acts
    assert "out of memory" in acts[0].text
    assert run.broken == ()
