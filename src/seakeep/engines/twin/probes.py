"""The probes of one process in closed form: what its readings are at any instant.

What must live here: the rules of `engines.local.node.probes`, without a check ever being made.
While what a process would answer does not change, the results of all its checks are the same and
only their number grows: so nothing happens between two changes but counting, which is done when
somebody looks. `next_news` says when a reading will next matter to somebody.

Regular checks are a grid that follows from the instance's name; until a startup or readiness probe
has passed, it is also checked every 100 ms during the first seconds, and those count only when
they pass.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from seakeep.model.observation import ProbeReading
from seakeep.model.system import Probe, ProbeKind
from seakeep.model.time import MILLISECOND, SECOND, Duration, Instant

EARLY_PERIOD: Duration = 100 * MILLISECOND
EARLY_LASTS: Duration = 10 * SECOND


@dataclass(frozen=True, slots=True)
class Answer:
    """What a check of a process meets."""

    ok: bool
    detail: str = ""
    hangs: bool = False
    """No answer: a check fails when its time is up."""


PASSES = Answer(True)


class _Check:
    """One probe of one process."""

    def __init__(self, probe: Probe, offset: int, started_at: Instant, answer: Answer) -> None:
        self.probe = probe
        self._offset = offset
        self._started_at = started_at
        self._answer = answer
        self._since = started_at
        """When the answer became what it is."""
        self._begin: Instant | None = None
        """When its checks begin; None while the startup probe has not passed."""
        self._due: Instant = 0
        """The first regular check that has not been counted yet."""
        self._first: Instant = 0
        """The first regular check of all."""
        self.ended = False
        """Startup only: it has passed, and is checked no more."""
        self._ok = False
        self._count = 0
        self._passed = False
        self._checked_at: Instant = 0
        self._said = ""

    # --- what happens ---

    def begin(self, at: Instant) -> None:
        """Its gate is open."""
        self._begin = max(at, self._started_at + self.probe.delay)
        self._due = self._first = self._begin + self.probe.period * self._offset // 1000

    def turn(self, at: Instant, answer: Answer) -> None:
        """From now on its checks meet another answer."""
        self.count_until(at)
        is_on = self._begin is not None and not self.ended
        under_way = is_on and self._answer.hangs and self._due <= at
        self._answer = answer
        self._since = at
        if not under_way or answer.hangs:
            return
        # Whoever has waited so far has this answer; a check that was due meanwhile follows.
        following = self._after(self._due)
        self._due = self._after(at)
        self._note(1 if following > at else 2, at)
        self._end_if_started()

    def _after(self, at: Instant) -> Instant:
        """The first regular check later than this."""
        if at < self._first:
            return self._first
        period = self.probe.period
        return self._first + ((at - self._first) // period + 1) * period

    def count_until(self, at: Instant) -> None:
        """Take note of all checks that have ended by now."""
        if self._begin is None or self.ended:
            return
        first = self._first_pass()
        if first is not None and first <= at:
            if first < self._due:
                self._note(1, first)
            self._end_if_started()
        if not self.ended:
            self._count_regular(at)

    def _count_regular(self, at: Instant) -> None:
        takes, spacing = self._pace()
        number = (at - takes - self._due) // spacing + 1
        if number <= 0:
            return
        if self._ends_with_passing:
            number = min(number, self.probe.successes - (self._count if self._ok else 0))
        self._note(number, self._due + (number - 1) * spacing + takes)
        self._due += number * spacing
        self._end_if_started()

    @property
    def _ends_with_passing(self) -> bool:
        return self.probe.kind is ProbeKind.STARTUP and self._answer.ok

    def _end_if_started(self) -> None:
        self.ended = self.probe.kind is ProbeKind.STARTUP and self._passed

    def _note(self, number: int, at: Instant) -> None:
        ok = self._answer.ok
        self._count = self._count + number if self._count and self._ok == ok else number
        self._ok = ok
        self._passed = self._passed or (ok and self._count >= self.probe.successes)
        self._checked_at = at
        self._said = self._answer.detail

    def _pace(self) -> tuple[Duration, Duration]:
        """(how long a check takes, from one to the next)."""
        if not self._answer.hangs:
            return 0, self.probe.period
        return self.probe.timeout, max(self.probe.period, self.probe.timeout)

    def _first_pass(self) -> Instant | None:
        """When it passes for the first time, by an early or a regular check, if the answer stays;
        None when it has passed, or an early check makes no difference."""
        assert self._begin is not None
        probe = self.probe
        if (
            not self._answer.ok
            or self._passed
            or probe.kind is ProbeKind.LIVENESS
            or probe.successes != 1
        ):
            return None
        last = max(self._begin, self._due - probe.period)  # every regular check moves them
        waits = max(0, self._since - last)
        early = last + -(-waits // EARLY_PERIOD) * EARLY_PERIOD
        if early < self._started_at + probe.delay + EARLY_LASTS:
            return min(early, self._due)
        return self._due

    # --- what is known ---

    @property
    def passed(self) -> bool:
        return self._passed

    @property
    def passed_at(self) -> Instant:
        """Startup: when it ended."""
        return self._checked_at

    @property
    def fails(self) -> bool:
        """Whether its count is going to grow with failures, or it has not been checked."""
        return not self.ended and not (self._answer.ok and self._ok and self._passed)

    def reading(self) -> ProbeReading | None:
        if not self._count:
            return None
        return ProbeReading(
            kind=self.probe.kind,
            ok=self._ok,
            count=self._count,
            passed=self._passed,
            checked_at=self._checked_at,
            detail=self._said,
        )

    def next_news(self) -> Instant | None:
        """When its run of equal results is next long enough to matter; None when it is."""
        if self._begin is None or self.ended:
            return None
        first = self._first_pass()
        if first is not None:
            return first
        enough = self.probe.successes if self._answer.ok else self.probe.failures
        same = self._count if self._count and self._ok == self._answer.ok else 0
        if same >= enough:
            return None
        takes, spacing = self._pace()
        return self._due + (enough - same - 1) * spacing + takes


class Probing:
    """All probes of one process, from its start to its end."""

    def __init__(
        self, name: str, probes: Sequence[Probe], started_at: Instant, answers: Iterable[Answer]
    ) -> None:
        """`answers`: what the checks of each probe meet for now."""
        offset = zlib.crc32(name.encode()) % 1000
        found = [
            _Check(probe, offset, started_at, answer)
            for probe, answer in zip(probes, answers, strict=True)
        ]
        kinds = list(ProbeKind)
        self._checks = sorted(found, key=lambda one: kinds.index(one.probe.kind))
        self._gate = next(
            (one for one in self._checks if one.probe.kind is ProbeKind.STARTUP), None
        )
        if self._gate is not None:
            self._gate.begin(started_at)
        else:
            for check in self._checks:
                check.begin(started_at)

    def turn(self, at: Instant, answer: Answer, kind: ProbeKind) -> None:
        self._count_until(at)
        for check in self._checks:
            if check.probe.kind is kind:
                check.turn(at, answer)

    def _count_until(self, at: Instant) -> None:
        gate = self._gate
        if gate is not None:
            gate.count_until(at)
            if not gate.ended:
                return
            self._gate = None
            for check in self._checks:
                if check is not gate:
                    check.begin(gate.passed_at)
        for check in self._checks:
            check.count_until(at)

    def readings(self, at: Instant) -> tuple[ProbeReading, ...]:
        """The latest of each probe that has been checked, in the order of `ProbeKind`."""
        self._count_until(at)
        found = [check.reading() for check in self._checks]
        return tuple(one for one in found if one is not None)

    def next_news(self, at: Instant) -> Instant | None:
        """When a reading next says something new, if what checks meet stays as it is."""
        self._count_until(at)
        news = [check.next_news() for check in self._checks]
        return min((max(one, at) for one in news if one is not None), default=None)

    @property
    def is_steady(self) -> bool:
        """Whether the readings say nothing new as time passes, but for the length of runs of
        checks that pass."""
        return self._gate is None and not any(check.fails for check in self._checks)
