"""Verdicts of Envoy's active checks in closed form against checks made one by one."""

import random

import pytest

from seakeep.engines.twin.agenda import Agenda
from seakeep.engines.twin.checks import Checks, Reach, rules_of
from seakeep.model.system import ProbeKind
from seakeep.model.time import MILLISECOND, SECOND, Instant
from tests.world import probe, service, system_of

WELL, REFUSED, SILENT = Reach(True), Reach(False), Reach(False, None)
READINESS = probe(ProbeKind.READINESS, failures=2, successes=2, every=500 * MILLISECOND)
SYSTEM = system_of(
    {"east": {"a": 1}, "west": {"a": 1}},
    [service("web", {"east": 1.0}, probes=(READINESS,)), service("bare", {"east": 1.0}, probes=())],
)


class Rig:
    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self.at: Instant = SECOND
        self.turns: list[tuple[Instant, str, bool]] = []
        self.agenda = Agenda()
        self.checks = Checks(1, self.agenda, self.turned)
        self.checks.configure(SYSTEM)
        self.checks.start(0, "east")
        self.watch("web", "web-1")

    def turned(self, region: str, target: str, ok: bool) -> None:
        self.turns.append((self.at, target, ok))

    def watch(self, cluster: str, *targets: str) -> None:
        wanted = [(name, lambda: self.reach) for name in targets]
        self.checks.watch(self.at, "east", cluster, "web", wanted)

    def run(self, until: Instant) -> None:
        while (due := self.agenda.next_at) is not None and due <= until:
            self.at = due
            self.agenda.take()()
        self.at = until

    def change(self, reach: Reach) -> None:
        self.reach = reach
        self.checks.change(self.at, "east", "web-1", reach)


def test_the_first_check_counts_at_once_and_comes_within_a_twentieth_of_the_period() -> None:
    for reach, verdict in ((WELL, True), (REFUSED, False)):
        rig = Rig(reach)
        rig.run(2 * SECOND)
        ((at, target, ok),) = rig.turns
        assert (target, ok) == ("web-1", verdict)
        assert SECOND <= at <= SECOND + 25 * MILLISECOND


def test_a_process_that_is_refused_is_out_after_its_failures_in_a_row() -> None:
    rig = Rig(WELL)
    rig.run(10 * SECOND)
    rig.change(REFUSED)
    rig.run(20 * SECOND)
    at, _, ok = rig.turns[-1]
    assert not ok
    assert 500 * MILLISECOND <= at - 10 * SECOND <= 1_100 * MILLISECOND


def test_one_that_hangs_is_out_when_the_time_of_so_many_checks_is_up() -> None:
    rules = rules_of(SYSTEM, "east", SYSTEM.services["web"])
    rig = Rig(WELL)
    rig.run(10 * SECOND)
    rig.change(SILENT)
    rig.run(20 * SECOND)
    at, _, ok = rig.turns[-1]
    assert not ok
    waited = 2 * rules.timeout + rules.interval
    assert waited <= at - 10 * SECOND <= waited + 600 * MILLISECOND


def test_a_short_trouble_between_two_checks_is_not_seen() -> None:
    rig = Rig(WELL)
    rig.run(10 * SECOND)
    rig.change(REFUSED)
    rig.run(10 * SECOND + 300 * MILLISECOND)
    rig.change(WELL)
    rig.run(20 * SECOND)
    assert [ok for _, _, ok in rig.turns] == [True]


def test_failures_of_two_kinds_are_one_row() -> None:
    rules = rules_of(SYSTEM, "east", SYSTEM.services["web"])
    rig = Rig(WELL)
    rig.run(10 * SECOND)
    rig.change(SILENT)
    rig.run(10 * SECOND + rules.timeout + rules.interval)
    rig.change(REFUSED)
    rig.run(20 * SECOND)
    at, _, ok = rig.turns[-1]
    assert not ok
    assert at <= 10 * SECOND + rules.timeout + 2 * rules.interval + 100 * MILLISECOND


def test_a_gateway_whose_answer_takes_too_long_fails() -> None:
    rules = rules_of(SYSTEM, "east", SYSTEM.services["web"])
    rig = Rig(Reach(True, rules.timeout + 1))
    rig.run(20 * SECOND)
    assert [ok for _, _, ok in rig.turns] == [False]


def test_an_envoy_that_begins_anew_knows_nobody() -> None:
    rig = Rig(WELL)
    rig.run(10 * SECOND)
    rig.checks.stop("east")
    rig.change(REFUSED)
    rig.run(15 * SECOND)
    assert len(rig.turns) == 1
    rig.checks.start(rig.at, "east")
    rig.run(16 * SECOND)
    assert [ok for _, _, ok in rig.turns] == [True, False]
    assert rig.turns[-1][0] <= 15 * SECOND + 25 * MILLISECOND


def test_a_cluster_that_is_new_hears_of_what_is_known_already() -> None:
    rig = Rig(WELL)
    rig.run(10 * SECOND)
    rig.watch("web.local", "web-1")
    rig.run(11 * SECOND)
    assert [ok for _, _, ok in rig.turns] == [True, True]
    rig.watch("web")
    rig.watch("web.local")
    rig.change(REFUSED)
    rig.run(20 * SECOND)
    assert len(rig.turns) == 2


@pytest.mark.parametrize("seed", range(100))
def test_verdicts_follow_from_checks_made_one_by_one(seed: int) -> None:
    rng = random.Random(seed)
    rules = rules_of(SYSTEM, "east", SYSTEM.services["web"])
    rig = Rig(rng.choice([WELL, REFUSED]))
    target = rig.checks._targets["east"]["web-1"]
    start, interval = target.next_at, target.interval
    changes = [(SECOND, rig.reach)]
    for _ in range(12):
        # No turn before a verdict stands, so that no row of results is cut short.
        gap = rng.randint(4 * SECOND, 9 * SECOND)
        reach = rng.choice([REFUSED, SILENT]) if changes[-1][1].ok else WELL
        changes.append((changes[-1][0] + gap, reach))
    for at, reach in changes[1:]:
        rig.run(at)
        rig.change(reach)
    rig.run(changes[-1][0] + 10 * SECOND)
    verdict, row, found, at = None, 0, [], start
    while at < rig.at:
        meets = [reach for since, reach in changes if since <= at][-1]
        ended = at + (rules.timeout if meets.takes is None else 0)
        if verdict is None:
            verdict = meets.ok
            found.append((ended, verdict))
        elif meets.ok is verdict:
            row = 0
        else:
            row += 1
            if row == (rules.failures if verdict else rules.successes):
                verdict, row = meets.ok, 0
                found.append((ended, verdict))
        at = ended + interval
    assert [ok for _, _, ok in rig.turns] == [ok for _, ok in found]
    for (one, _, _), (other, _) in zip(rig.turns, found, strict=True):
        # What hangs when it comes back keeps its Envoy waiting once more.
        assert abs(one - other) <= rules.timeout + interval
