"""Readings in closed form against checks that are made one by one, as a node agent makes them."""

import random
import zlib

import pytest

from seakeep.engines.twin.probes import EARLY_LASTS, EARLY_PERIOD, PASSES, Answer, Probing
from seakeep.model.observation import ProbeReading
from seakeep.model.system import Probe, ProbeKind, TcpCheck
from seakeep.model.time import MILLISECOND, SECOND, Instant

REFUSED = Answer(False, "connection refused")
HANGS = Answer(False, "timed out after 1s", hangs=True)
START = 7 * SECOND


def probe(kind: ProbeKind, **given: int) -> Probe:
    fields = {"period": SECOND, "timeout": SECOND, "failures": 3, "successes": 1, "delay": 0}
    return Probe(kind=kind, check=TcpCheck(), **(fields | given))  # type: ignore[arg-type]


class OneByOne:
    """`engines.local.node.probes.Prober` in virtual time, for answers that are known beforehand."""

    def __init__(self, name: str, one: Probe, turns: list[tuple[Instant, Answer]]) -> None:
        self.probe, self.turns = one, turns
        self.offset = zlib.crc32(name.encode()) % 1000
        self.results: list[tuple[Instant, bool, str]] = []
        self.passed_at: Instant | None = None

    def answer_at(self, at: Instant) -> Answer:
        return [answer for since, answer in self.turns if since <= at][-1]

    def check(self, at: Instant) -> tuple[Instant, Answer]:
        """When a check that starts now ends, and with what."""
        answer = self.answer_at(at)
        if not answer.hangs:
            return at, answer
        due = at + self.probe.timeout
        for since, later in self.turns:
            if at < since < due and not later.hangs:
                return since, later
        return due, answer

    def run(self, gate_at: Instant, until: Instant) -> None:
        one = self.probe
        begin = max(gate_at, START + one.delay)
        due = begin + one.period * self.offset // 1000
        at = begin if self.early(begin) else due
        while at <= until:
            regular = at >= due
            if regular:
                due += one.period * (1 + (at - due) // one.period)
            ended, answer = self.check(at)
            if regular or answer.ok:
                self.take(ended, answer)
            if one.kind is ProbeKind.STARTUP and self.passed_at is not None:
                return
            following = min(due, ended + EARLY_PERIOD) if self.early(ended) else due
            at = max(following, ended)

    def early(self, at: Instant) -> bool:
        one = self.probe
        return (
            one.kind is not ProbeKind.LIVENESS
            and one.successes == 1
            and self.passed_at is None
            and at < START + one.delay + EARLY_LASTS
        )

    def take(self, at: Instant, answer: Answer) -> None:
        self.results.append((at, answer.ok, answer.detail))
        row = 0
        for _, ok, _ in reversed(self.results):
            if not ok:
                break
            row += 1
        if self.passed_at is None and row >= self.probe.successes:
            self.passed_at = at

    def reading(self, at: Instant) -> ProbeReading | None:
        seen = [one for one in self.results if one[0] <= at]
        if not seen:
            return None
        last, ok, detail = seen[-1]
        count = 0
        for _, other, _ in reversed(seen):
            if other is not ok:
                break
            count += 1
        passed = self.passed_at is not None and self.passed_at <= at
        return ProbeReading(
            kind=self.probe.kind, ok=ok, count=count, passed=passed, checked_at=last, detail=detail
        )


@pytest.mark.parametrize("seed", range(200))
def test_readings_are_those_of_checks_made_one_by_one(seed: int) -> None:
    rng = random.Random(seed)
    name = f"web-{seed}"
    kind = rng.choice(list(ProbeKind))
    one = probe(
        kind,
        period=rng.choice([200, 500, 1000, 3000]) * MILLISECOND,
        timeout=rng.choice([100, 500, 1000]) * MILLISECOND,
        failures=rng.randint(1, 4),
        successes=rng.randint(1, 2),
        delay=rng.choice([0, 0, 1500]) * MILLISECOND,
    )
    turns = [(START, rng.choice([REFUSED, PASSES]))]
    for _ in range(rng.randint(0, 5)):
        gap = rng.randint(1, 6_000) * MILLISECOND + rng.randint(1, 99_999)
        # A turn from one way of failing to another in the middle of a check is left out.
        choices = [REFUSED, PASSES] if turns[-1][1] is PASSES else [PASSES]
        choices += [HANGS] if turns[-1][1] is PASSES else []
        turns.append((turns[-1][0] + gap, rng.choice(choices)))
    end = turns[-1][0] + 30 * SECOND
    oracle = OneByOne(name, one, turns)
    oracle.run(START, end)
    probing = Probing(name, (one,), START, [turns[0][1]])
    looks = sorted(rng.randint(START, end) for _ in range(40))
    left = turns[1:]
    for at in looks:
        while left and left[0][0] <= at:
            probing.turn(*left.pop(0), kind)
        found = probing.readings(at)
        wanted = oracle.reading(at)
        assert found == (() if wanted is None else (wanted,)), (at, turns)
