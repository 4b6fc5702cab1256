"""Load against capacity, by hand: what cannot be stable is said with its numbers."""

from pathlib import Path

import pytest
from tests.spec.writing import written

from seakeep.explain.stability import Finding, stability
from seakeep.model.system import System, scenarios_of
from seakeep.spec import load

SPEC = """\
system: s
regions: {home: {zones: [a], nodes: {count: 8}}}
services:
  web: {work: {WORK}, replicas: 4}
traffic:
  t: {to: web, rate: 480/s}
"""


def system_of(folder: Path, text: str) -> System:
    return load(written(folder, text)).system


def findings(folder: Path, text: str) -> tuple[Finding, ...]:
    system = system_of(folder, text)
    return stability(system, next(iter(scenarios_of(system).values())))


def with_work(work: str) -> str:
    return SPEC.replace("WORK", work)


def test_a_queue_that_grows_without_bound(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, with_work("time: 25ms, concurrency: 2"))
    assert found == Finding(
        service="web",
        grows=True,
        message="web: 480 requests/s x 25ms = 12.0 busy slots, capacity 4 x 2 = 8 (replicas 4, "
        "concurrency 2): the queue grows without bound",
        hint="write replicas: 7 or more, or bound the queue with work.queue",
    )


@pytest.mark.parametrize(
    ("work", "grows"),
    [
        ("time: 16ms, concurrency: 2", None),
        ("time: exponential(mean=16ms), concurrency: 2", None),
        ("time: exponential(mean=17ms), concurrency: 2", True),
        ("time: constant(value=16667us), concurrency: 2", True),
        ("time: 25ms, concurrency: 2, queue: 0", False),
        ("time: 25ms, concurrency: 2, queue_timeout: 1s", False),
        ("time: 25ms, concurrency: 2, cancel: true", False),
    ],
)
def test_what_is_stable_and_what_is_bounded(tmp_path: Path, work: str, grows: bool | None) -> None:
    found = findings(tmp_path, with_work(work))
    assert [one.grows for one in found] == ([] if grows is None else [grows])


def test_that_callers_go_away_helps_only_where_instances_notice(tmp_path: Path) -> None:
    text = with_work("time: 25ms, concurrency: 2").replace("480/s", "480/s, patience: 1s")
    text = text.replace("replicas: 4", "replicas: 4, timeout: none")
    assert findings(tmp_path, text)[0].grows
    (found,) = findings(tmp_path, text.replace("concurrency: 2", "concurrency: 2, cancel: true"))
    assert not found.grows
    assert found.message.endswith("at least 33% of requests are refused or given up (patience)")
    assert found.hint == "write replicas: 7 or more"


@pytest.mark.parametrize("fields", ["breaker: {requests: 50}", "shed: 100ms"])
def test_what_else_bounds_a_queue(tmp_path: Path, fields: str) -> None:
    text = with_work("time: 25ms, concurrency: 2").replace("replicas: 4", f"replicas: 4, {fields}")
    assert [one.grows for one in findings(tmp_path, text)] == [False]


def test_a_limit_below_capacity_is_enough(tmp_path: Path) -> None:
    text = with_work("time: 25ms, concurrency: 2").replace(
        "replicas: 4", "replicas: 4, limit: 300/s"
    )
    assert findings(tmp_path, text) == ()


CALLS = """\
system: s
regions: {home: {zones: [a], nodes: {count: 8}}}
services:
  web:
    work: {time: 10ms, concurrency: 10}
    replicas: {min: 1, max: 2}
    scale: {on: concurrency, target: 5}
    calls: {one: {per_request: 2, parallel: true}, two: {parallel: true}, three: 0.5}
  one: {work: {time: 30ms, concurrency: 100}}
  two: {work: {time: 20ms, concurrency: 100}}
  three: {work: {time: 40ms, concurrency: 1}, timeout: 20ms, replicas: 4}
traffic:
  t: {to: web, rate: 500/s}
"""


def test_waiting_for_calls_holds_a_slot_and_calls_are_load(tmp_path: Path) -> None:
    # 10 ms + max(30, 20) + 0.5 x 20 (the timeout) = 50 ms; three is called 250 times a second.
    web, three = findings(tmp_path, CALLS)
    assert web.message == (
        "web: 500 requests/s x 50ms (10ms of work, 40ms of calls) = 25.0 busy slots, capacity "
        "2 x 10 = 20 (replicas.max 2, concurrency 10): the queue grows without bound"
    )
    assert web.hint.startswith("write replicas.max: 3 or more")
    assert three.message.startswith("three: 250 requests/s x 40ms = 10.0 busy slots, capacity 4 x")


def test_a_circle_of_calls_adds_up(tmp_path: Path) -> None:
    text = SPEC.replace("WORK", "time: 1ms").replace("replicas: 4", "calls: {web: 0.5}")
    # 480 x (1 + 1/2 + 1/4 + ...) = 960 requests/s
    (found,) = findings(tmp_path, text)
    assert found.message.startswith("web: 960 requests/s x ")
    (endless,) = findings(tmp_path, text.replace("0.5", "2"))
    assert "calls multiply without end" in endless.message


SURGE = """\
system: s
regions: {home: {zones: [a], nodes: {count: 2, cpu: 1}}}
services:
  web: {work: {time: 10ms, concurrency: 2}, replicas: 2}
traffic:
  t: {to: web, rate: 200/s, shape: SHAPE}
scenarios:
  s: {duration: 10m, warmup: 1m, steps: [STEPS]}
"""


@pytest.mark.parametrize(
    ("shape", "steps", "wanted"),
    [
        ("poisson", "", None),
        ("poisson", "{at: 2m, surge: {traffic: t, factor: 3}, for: 1m}",
         "web from 2m00s to 3m00s: 600 requests/s x 10ms"),
        ("poisson", "{at: 2m, surge: {traffic: t, factor: 3}}", "web from 2m00s to 10m00s: 600 r"),
        ("{step: {30s: 500/s, 1m: 1/s}}", "", "web in the warm-up: 500 requests/s"),
        ("{step: {30m: 500/s}}", "", None),
        ("{surge: {at: 2m, for: 1m, factor: 2.5}}", "", "web from 1m00s to 2m00s: 500 requests/s"),
        ("{diurnal: {period: 8m, amplitude: 100%}}", "", "web: 400 requests/s"),
        ("diurnal", "", None),
        ("{diurnal: {period: 8m, amplitude: 50%}}",
         "{at: 1m, surge: {traffic: t, factor: 1.5}, for: 1m}", "web from 1m00s to 2m00s: 450 r"),
    ],
)  # fmt: skip
def test_the_worst_time_of_a_scenario(
    tmp_path: Path, shape: str, steps: str, wanted: str | None
) -> None:
    found = findings(tmp_path, SURGE.replace("SHAPE", shape).replace("STEPS", steps))
    assert [one.message[: len(wanted or "")] for one in found] == (
        [] if wanted is None else [wanted]
    )
    assert all("the queue grows by" in one.message for one in found if " from " in one.message)


def test_sessions_are_many_requests(tmp_path: Path) -> None:
    text = with_work("time: 25ms, concurrency: 2").replace(
        "480/s", "4/s, sessions: {pages: 10, think: 1s, resources: 11}"
    )
    assert findings(tmp_path, text)[0].message.startswith("web: 480 requests/s")


def test_no_more_instances_than_nodes_have_room_for(tmp_path: Path) -> None:
    text = SURGE.replace("SHAPE", "poisson").replace("STEPS", "")
    text = text.replace("replicas: 2", "replicas: 40, resources: {cpu: 1}").replace(
        "200/s", "500/s"
    )
    (found,) = findings(tmp_path, text)
    assert "capacity 2 x 2 = 4 (room for 2 on the nodes, concurrency 2)" in found.message


def test_cores_are_counted_over_all_services(tmp_path: Path) -> None:
    text = SURGE.replace("SHAPE", "poisson").replace("STEPS", "").replace("10ms,", "10ms, cpu: 1,")
    (found,) = findings(tmp_path, text)
    assert found.message.startswith(
        "nodes: the work of all services takes 2.0 cores, and there are 2:"
    )
