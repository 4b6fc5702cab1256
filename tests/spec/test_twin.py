"""What a spec says for the twin's sake: work, clients without a place, faults of all kinds."""

from pathlib import Path

import pytest

from seakeep.load.hdrlog import HdrLogWriter
from seakeep.load.histogram import Histogram
from seakeep.load.plan import Lane, Target
from seakeep.model.observation import Address
from seakeep.model.scenario import Deploy, Fault, FaultKind, Scenario
from seakeep.model.system import Breaker, Call, Link, Retries, Shape, System, scenarios_of
from seakeep.model.time import MILLISECOND, MINUTE, SECOND
from seakeep.model.traffic import Sessions
from seakeep.model.work import START, Distribution, Pauses, Warmup, Work, mean_of
from seakeep.spec import SpecError, load
from tests.spec.writing import written

QUEUE = """\
system: queue
regions: {home: {zones: [a]}}
services:
  desk: {work: {time: 10ms}}
traffic:
  people: {to: desk, rate: 50/s}
"""


def system_of(folder: Path, text: str) -> System:
    loaded = load(written(folder, text))
    assert loaded.warnings == ()
    return loaded.system


def work_of(folder: Path, text: str) -> Work:
    work = system_of(folder, QUEUE.replace("{time: 10ms}", text)).services["desk"].work
    assert work is not None
    return work


def constant(ns: float) -> Distribution:
    return Distribution(name="constant", parameters=(("value", ns),))


def exponential(mean_ns: float) -> Distribution:
    return Distribution(name="exponential", parameters=(("mean", mean_ns),))


def erlang(mean_ns: float, stages: float) -> Distribution:
    return Distribution(name="erlang", parameters=(("mean", mean_ns), ("k", stages)))


def test_a_bare_queue_needs_no_command_route_or_place(tmp_path: Path) -> None:
    system = system_of(tmp_path, QUEUE)
    assert system.services["desk"].workload.command == ()
    assert system.services["desk"].routes == ()
    assert system.services["desk"].work == Work(time=constant(1e7), concurrency=1)
    assert system.traffic["people"].location is None
    assert system.scenarios == {}
    assert scenarios_of(system) == {"steady": Scenario(name="steady", duration=10 * MINUTE)}


def test_what_has_nothing_to_run_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(written(tmp_path, QUEUE + "  more: {to: desk, rate: 1/s}\n"), to_run=True)
    (problem,) = caught.value.problems
    assert (problem.line, problem.message) == (4, "services.desk: there is nothing to run")
    assert problem.hint.startswith("write run: and the command that starts it")


def test_every_word_of_work(tmp_path: Path) -> None:
    work = work_of(
        tmp_path,
        "{time: lognormal(p50=12ms, p99=60ms), concurrency: 8, queue: 20,"
        " queue_timeout: 1s, cancel: true, errors: 0.1%, cpu: 500m,"
        " start: gamma(mean=2s, cv=2), warmup: {factor: 3, for: 30s},"
        " pauses: {every: exponential(mean=10s), time: gamma(mean=50ms, cv=2)}, leak: 2kB,"
        " response: 30KiB}",
    )
    assert work == Work(
        time=Distribution(name="lognormal", parameters=(("p50", 12e6), ("p99", 60e6))),
        concurrency=8,
        queue=20,
        queue_timeout=constant(1e9),
        cancel=True,
        errors=0.001,
        cpu=0.5,
        start=Distribution(name="gamma", parameters=(("mean", 2e9), ("cv", 2.0))),
        warmup=Warmup(factor=3.0, time=30 * SECOND),
        pauses=Pauses(
            every=exponential(1e10),
            time=Distribution(name="gamma", parameters=(("mean", 5e7), ("cv", 2.0))),
        ),
        leak_bytes=2000,
        response_bytes=30 * 1024,
    )
    assert work_of(tmp_path, "{time: 0ms, cpu: 0.5}") == Work(
        time=constant(0.0), concurrency=1, cpu=0.5, start=START
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("constant(value=3ms)", constant(3e6)),
        ("exponential(mean=3ms)", exponential(3e6)),
        ("erlang(mean=3ms, k=4)", erlang(3e6, 4.0)),
        ("erlang(k=4, mean=3ms)", erlang(3e6, 4.0)),
        ("pareto( min = 1ms , alpha = 2.5 )",
         Distribution(name="pareto", parameters=(("min", 1e6), ("alpha", 2.5)))),
    ],
)  # fmt: skip
def test_a_distribution_may_stand_in_braces_although_yaml_splits_it(
    tmp_path: Path, text: str, wanted: Distribution
) -> None:
    for braces in (f"{{time: {text}, start: {text}}}", f"{{time: '{text}', start: '{text}'}}"):
        work = work_of(tmp_path, braces)
        assert (work.time, work.start) == (wanted, wanted)


def test_an_anchor_is_not_changed_by_what_follows_its_alias(tmp_path: Path) -> None:
    text = QUEUE.replace(
        "  desk:", "  one: {work: {time: &t lognormal(p50=1ms, p99=2ms)}}\n  desk:"
    )
    services = system_of(tmp_path, text.replace("10ms", "*t , p99=9ms)")).services
    found = [dict(one.work.time.parameters)["p99"] for one in services.values() if one.work]
    assert found == [2e6, 9e6]


def test_traffic_of_the_twin(tmp_path: Path) -> None:
    (tmp_path / "access.log").write_text("")
    traffic = system_of(
        tmp_path,
        QUEUE
        + """\
  stay: {to: desk, rate: 1/s, sessions: {pages: 4, think: gamma(mean=5s, cv=2), resources: 9}}
  away: {to: desk, rate: 1/s, patience: erlang(mean=2s, k=2), path: /x}
  rush: {to: desk, rate: 10/s, shape: {surge: {at: 30s, for: 1m, factor: 3}}}
  real: {to: desk, shape: {log: access.log}}
""",
    ).traffic
    gamma = Distribution(name="gamma", parameters=(("mean", 5e9), ("cv", 2.0)))
    assert traffic["stay"].sessions == Sessions(pages=4.0, think=gamma, resources=9)
    assert traffic["away"].patience == erlang(2e9, 2.0)
    assert traffic["rush"].shape is Shape.STEP
    assert traffic["rush"].steps == ((30 * SECOND, 30.0), (90 * SECOND, 10.0))
    assert (traffic["real"].shape, traffic["real"].log) == (Shape.LOG, "access.log")
    assert traffic["real"].rate_per_s == 0


def test_faults_of_the_twin(tmp_path: Path) -> None:
    scenario = system_of(
        tmp_path,
        """\
system: s
regions: {a: {zones: [x]}, b: {zones: [x]}}
services: {web: {run: x, routes: [{path: /, host: web.example}]}}
dns: {zone: web.example}
objectives: [{service: web, availability: 99.9%}]
scenarios:
  all:
    duration: 10m
    warmup: 30s
    steps:
      - {at: 0s, errors: {service: web, rate: 5%}, for: 1m}
      - {at: 1s, loss: {link: b~a, rate: 2%}}
      - {at: 2s, outage: web, for: 1m}
      - {at: 3s, deploy: {service: web, errors: 1%, slower: 2, ready: false}}
      - {at: 4s, deploy: web}
      - {at: 5s, control: down, for: 1m}
      - {at: 6s, dns: stale}
    expect: {recovery: 60s, budget: 10%}
""",
    ).scenarios["all"]
    assert (scenario.warmup, scenario.recovery, scenario.budget) == (30 * SECOND, MINUTE, 0.1)
    assert [step.fault for step in scenario.steps] == [
        Fault(kind=FaultKind.ERRORS, subject="web", amount=0.05),
        Fault(kind=FaultKind.LOSS, subject="a~b", amount=0.02),
        Fault(kind=FaultKind.OUTAGE, subject="web"),
        Fault(kind=FaultKind.DEPLOY, subject="web",
              deploy=Deploy(errors=0.01, slower=2.0, ready=False)),
        Fault(kind=FaultKind.DEPLOY, subject="web", deploy=Deploy()),
        Fault(kind=FaultKind.CONTROL_DOWN, subject=""),
        Fault(kind=FaultKind.STALE_DNS, subject=""),
    ]  # fmt: skip
    assert [step.lasts for step in scenario.steps] == [MINUTE, None, MINUTE, 0, 0, MINUTE, None]


def test_what_both_engines_do_in_long_and_short_forms(tmp_path: Path) -> None:
    services = system_of(
        tmp_path,
        """\
system: s
regions: {home: {zones: [a]}}
services:
  web:
    run: x
    timeout: none
    retries: {attempts: 1, per_try: 100ms, hedge: true, on: 5xx}
    breaker: {requests: 100, pending: 50}
    calls: {one: 1, two: {per_request: 2.5, parallel: true}, many: {parallel: true}}
  one: {run: x, retries: 0, timeout: 2s, breaker: {pending: 3}}
  two: {run: x, retries: {}}
  many: {run: x}
""",
    ).services
    web = services["web"]
    assert (web.timeout, web.retries.hedge, web.retries.server_errors) == (0, True, True)
    assert web.breaker == Breaker(requests=100, pending=50)
    assert web.calls == (
        Call(service="one", per_request=1.0),
        Call(service="two", per_request=2.5, parallel=True),
        Call(service="many", per_request=1.0, parallel=True),
    )
    assert services["one"].retries == Retries(attempts=0)
    assert services["one"].breaker == Breaker(pending=3)
    assert services["two"].retries == Retries()
    assert services["two"].breaker == Breaker()


def test_links_have_more_than_a_latency(tmp_path: Path) -> None:
    links = system_of(
        tmp_path,
        """\
system: s
regions: {a: {zones: [x]}, b: {zones: [x]}, c: {zones: [x]}}
network:
  b~a: {latency: 38ms, jitter: 5ms, loss: 0.1%, bandwidth: 1Gbps}
  a~c: {loss: 1%}
  b~c: 3ms
services: {web: {run: x}}
""",
    ).links
    assert links == (
        Link(a="a", b="b", latency=38 * MILLISECOND, jitter=5 * MILLISECOND, loss=0.001,
             bandwidth_bps=1e9),
        Link(a="a", b="c", latency=10 * MILLISECOND, loss=0.01),
        Link(a="b", b="c", latency=3 * MILLISECOND),
    )  # fmt: skip


def test_an_access_log_must_be_there(tmp_path: Path) -> None:
    text = QUEUE + "  real: {to: desk, shape: {log: LOG}}\n"
    for name, wanted in (("none.log", "does not exist"), (".", "is no regular file")):
        with pytest.raises(SpecError) as caught:
            load(written(tmp_path, text.replace("LOG", name)))
        (problem,) = caught.value.problems
        assert (problem.line, problem.column) == (7, 33)
        assert problem.message.startswith("traffic.real.shape.log: ")
        assert problem.message.endswith(wanted)
        assert problem.hint


# --- measured distributions -------------------------------------------------


def hdr_log(folder: Path, values: dict[str, list[int]], name: str = "results.hlog") -> Path:
    """A log as `seakeep load --hdr` writes it, of values in nanoseconds by tag."""
    target = Target(address=Address(host="127.0.0.1", port=1), host="x")
    path = folder / name
    with path.open("w") as file:
        log = HdrLogWriter(file)
        log.header(0)
        for second in range(2):
            for tag, numbers in values.items():
                histogram = Histogram()
                for number in numbers[second::2]:
                    histogram.record(number)
                lane = Lane(source=tag, service="x", target=target)
                log.interval(second * SECOND, (second + 1) * SECOND, [(lane, histogram)])
    return path


def test_a_measured_distribution_comes_from_a_log(tmp_path: Path) -> None:
    values = [MILLISECOND * n for n in range(1, 201)]
    hdr_log(tmp_path, {"east": values, "west": [1_000 * MILLISECOND] * 200})
    both = work_of(tmp_path, "{time: hdr(results.hlog)}").time
    assert both.name == "empirical"
    fractions = [fraction for fraction, _ in both.points]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert both.points[0] == (0.0, pytest.approx(MILLISECOND, rel=0.01))
    half = [ns for fraction, ns in both.points if fraction == 0.5]
    assert half == [pytest.approx(200e6, rel=0.01), pytest.approx(1e9, rel=0.01)], "a gap"
    east = work_of(tmp_path, "{time: hdr(results.hlog, tag=east)}").time
    assert mean_of(east) == pytest.approx(sum(values) / len(values), rel=0.003)


@pytest.mark.parametrize(
    ("text", "file", "wanted"),
    [
        ("hdr(none.hlog)", None, "none.hlog does not exist"),
        ("hdr(.)", None, " is no regular file"),
        ("hdr(x.hlog)", b"", "x.hlog holds no values"),
        ("hdr(x.hlog)", b"#[Comment\n\n1,2\n", "x.hlog:3: is not a line of an HdrHistogram log"),
        ("hdr(x.hlog)", b"0.1,1.0,3.0,HISTFAAAAB\n", "x.hlog:1: holds no histogram"),
        ("hdr(x.hlog)", b"\xff\x00,1.0,3.0,\xffHIST\n", "x.hlog:1: holds no histogram"),
        ("hdr(results.hlog, tag=north)", None, "results.hlog has no line with Tag=north"),
        ("hdr()", None, "'hdr()' does not name a file"),
    ],
)
def test_a_log_that_cannot_be_read(
    tmp_path: Path, text: str, file: bytes | None, wanted: str
) -> None:
    hdr_log(tmp_path, {"east": [MILLISECOND], "west": [MILLISECOND]})
    if file is not None:
        (tmp_path / "x.hlog").write_bytes(file)
    with pytest.raises(SpecError) as caught:
        load(written(tmp_path, QUEUE.replace("time: 10ms", f"time: {text}")))
    (problem,) = caught.value.problems
    assert problem.line == 4
    assert problem.message.startswith("services.desk.work.time: ")
    assert wanted in problem.message
    assert problem.hint
