"""`--set`: values that stand in for the file's, under the same rules."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seakeep.model.system import System
from seakeep.model.time import MILLISECOND, SECOND
from seakeep.spec import SpecError, load
from tests.spec.writing import written

SPEC = """\
system: shop
x-common: &common {replicas: {min: 2, max: 4}, timeout: 1s, calls: {db: 1}}
regions: {a: {zones: [x, y]}, b: {zones: [x]}}
network: {a~b: 10ms}
services:
  web: {run: x, <<: *common, routes: [{path: /}], limit: 500/s, spread: {regions: [a, b]}}
  api: {run: x, <<: *common}
  db: {run: x, replicas: 3}
traffic: {t: {from: [0, 0], to: web, rate: 5/s}}
scenarios:
  s: {duration: 1m, steps: [{at: 1s, kill: web}, {at: 2s, slow: {service: web, cpu: 5%}}]}
"""


def system_of(folder: Path, *overrides: str) -> System:
    return load(written(folder, SPEC), overrides=overrides).system


def test_a_value_is_set_and_those_that_shared_it_are_left_alone(tmp_path: Path) -> None:
    services = system_of(tmp_path, "services.web.replicas.max=20").services
    assert [services[name].replicas.max for name in ("web", "api")] == [20, 4]


def test_the_later_of_two_holds(tmp_path: Path) -> None:
    system = system_of(tmp_path, "services.web.timeout=2s", "services.web.timeout=3s")
    assert system.services["web"].timeout == 3 * SECOND


def test_short_forms_are_written_out_where_the_path_goes_into_them(tmp_path: Path) -> None:
    system = system_of(
        tmp_path,
        "services.db.replicas.max=7",
        "services.web.limit.burst=9",
        "services.web.spread.regions.a=60%",
        "regions.a.zones.y.nodes.count=2",
    )
    assert (system.services["db"].replicas.min, system.services["db"].replicas.max) == (3, 7)
    assert [(one.rate_per_s, one.burst) for one in system.services["web"].limit] == [(500.0, 9)]
    assert system.services["web"].spread.regions == {"a": 0.6, "b": 0.4}
    assert [len(zone.nodes) for zone in system.regions["a"].zones.values()] == [1, 2]


def test_keys_that_the_file_leaves_out_and_new_names(tmp_path: Path) -> None:
    system = system_of(
        tmp_path,
        "services.web.work.time=lognormal(p50=1ms, p99=2ms)",
        "services.db.work={time: gamma(mean=3ms, cv=2), concurrency: 2}",
        "services.web.env.A=012",
        "traffic.u={to: web, rate: 1/s}",
        "network.a~b=20ms",
        "edge.port=9000",
        "services.api.calls={}",
    )
    web, db = system.services["web"], system.services["db"]
    assert web.work is not None
    assert web.work.time.name == "lognormal"
    assert db.work is not None
    assert (db.work.time.name, db.work.concurrency) == ("gamma", 2)
    assert web.workload.env == (("A", "012"),)
    assert list(system.traffic) == ["t", "u"]
    assert system.links[0].latency == 20 * MILLISECOND
    assert system.edge.port == 9000


def test_items_of_lists_have_indexes(tmp_path: Path) -> None:
    steps = system_of(
        tmp_path,
        "scenarios.s.steps[0].at=5s",
        "scenarios.s.steps.1.slow.cpu=50%",
    ).scenarios["s"].steps  # fmt: skip
    assert steps[0].at == 5 * SECOND
    assert steps[1].fault.amount == 0.5


@pytest.mark.parametrize(
    ("text", "wanted", "hint"),
    [
        ("services.web.replica.max=2", "unknown key 'replica'", "did you mean replicas?"),
        ("service.web.replicas=2", "unknown key 'service'", "did you mean services?"),
        ("services.wbe.replicas.max=3", "services has no 'wbe'", "did you mean web?"),
        ("services.web.replicas.max=x", "must be a whole number, not text", "without quotes"),
        ("services.web.replicas.max=1", "min 2 is more than max 1", "swap them"),
        ("services.web.replicas.max", "there is no value", "--set services.web.replicas.max=20"),
        ("=3", "does not say what to set", "--set services.web.replicas.max=20"),
        ("services..web=3", "does not go on the path", "--set services.web.replicas.max=20"),
        ("services.web.timeout.x=3", "timeout has nothing below it", "services.web.timeout=VALUE"),
        ("scenarios.s.steps[2].at=3s", "steps has no item 2", "write 0 to 1"),
        ("scenarios.s.steps.at=3s", "is a list, and 'at' is no index", "steps[0].at"),
        ("services[0].run=x", "services has no item 0", "known here: web, api, db"),
        ("include=[x]", "before anything is set", "name another spec"),
        ("services.web.timeout={", "not YAML", ""),
        ("services.web.env.'a.b'=1", "'a.b' is not a variable's name", "letters, digits and _"),
        ("traffic.t.to=wob", "there is no service 'wob'", "did you mean web?"),
    ],
)
def test_what_cannot_be_set(tmp_path: Path, text: str, wanted: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        system_of(tmp_path, text)
    problem = caught.value.problems[0]
    assert wanted in problem.message
    assert hint in problem.hint
    assert str(problem.file) == f"--set {text.partition('=')[0]}" or problem.file.name == (
        "seakeep.yaml"
    )


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        system_of(tmp_path, "services.wbe.port=1", "services.web.replicas.max=x", "a.b=1")
    assert len(caught.value.problems) == 3


PIECES = [
    *("services", "web", "x", "replicas", "max", "3", "limit", "scenarios", "s", "steps", "at"),
    *(".", "[0]", "[", "]", '"', "'", "=", "{", "}", "-", " ", "\0", "\n", "*a", "&a"),
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_whatever_is_set_gives_a_system_or_a_spec_error(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            system_of(Path(folder), text)
        except SpecError as caught:
            error = caught
        else:
            return
    assert all(problem.line >= 1 for problem in error.problems)
    assert all(problem.message.isprintable() for problem in error.problems)
