"""The control loop: observe, decide, write it down, act, wait.

The only place where time, the journal and the pure core meet. One step is a pure function
(`runtime.step`); this file feeds it and carries its answer to the engine. The journal has the
decision before the engine has the actions.
"""

import gc
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from seakeep.model.decision import Decision, Reason
from seakeep.model.engine import Engine
from seakeep.model.observation import Observation, Outcome
from seakeep.model.system import System
from seakeep.model.time import MILLISECOND, MINUTE, SECOND, Instant
from seakeep.model.view import View
from seakeep.runtime.journal import Journal
from seakeep.runtime.step import Pipeline, StepState

STEP_EVERY_MAX = SECOND
"""A step at least this often, so that silence (a stale reading) is noticed."""
STEP_EVERY_MIN = 20 * MILLISECOND
"""At most 50 steps a second, whatever the engine reports."""
EVENTS_KEPT = 2_000
COLLECT_ALL_EVERY = MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A reason or an outcome, as it happened."""

    number: int
    at: Instant
    reason: Reason | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latest:
    """What the last step saw and decided."""

    system: System
    observation: Observation
    view: View
    decision: Decision[object]


class Loop:
    """Runs one engine by one controller. `run` blocks; everything else may be called from any
    thread."""

    def __init__(
        self, engine: Engine, pipeline: Pipeline, journal: Journal, wake: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._pipeline = pipeline
        self._journal = journal
        self._wake = wake
        self._next_system: System | None = None
        self._obstacle = ""
        """Why the next spec could not be taken at the last try."""
        self._stopping = False
        self._collect_all_at: Instant = 0
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._told: Mapping[tuple[str, str], tuple[object, ...]] = {}
        self._number = 0
        self.news = threading.Condition()
        self.latest: Latest | None = None

    def run(self, system: System) -> None:
        """Keep the system until `stop`."""
        # A collection in the middle of a step would cost more than the step: at 10,000 instances
        # it takes 50-100 ms (benchmarks/decide_step.py). It is done while waiting instead.
        gc.disable()
        try:
            self._keep(system)
        finally:
            gc.enable()

    def _keep(self, system: System) -> None:
        state = self._pipeline.initial()
        self._journal.system(system, self._engine.clock.now())
        while not self._stopping:
            system = self._changed(system)
            started = self._engine.clock.now()
            state, decision = self._step(system, state)
            until = started + STEP_EVERY_MAX
            if decision.wake_at is not None:
                until = min(until, decision.wake_at)
            self._collect(started)
            self._pause(started + STEP_EVERY_MIN)
            self._engine.wait(until)

    def _changed(self, system: System) -> System:
        """The system to keep from here on. A spec that the engine cannot take now (the disk is
        full, say) is tried again at the next turn; until then the old one stands."""
        wanted = self._next_system
        if wanted is None:
            return system
        try:
            self._engine.configure(wanted)
        except (OSError, ValueError) as error:
            if str(error) != self._obstacle:
                self._obstacle = str(error)
                self._journal.note(
                    f"the spec could not be taken yet: {error}", self._engine.clock.now()
                )
            return system
        self._obstacle = ""
        if self._next_system is wanted:
            self._next_system = None
        self._journal.system(wanted, self._engine.clock.now())
        return wanted

    def _collect(self, now: Instant) -> None:
        """What has become garbage since the last step; all of memory once in a while."""
        if now >= self._collect_all_at:
            self._collect_all_at = now + COLLECT_ALL_EVERY
            gc.collect()
        else:
            gc.collect(1)

    def _pause(self, until: Instant) -> None:
        """Sleep out the minimum between two steps, whatever happens meanwhile."""
        remaining = (until - self._engine.clock.now()) / SECOND
        if remaining > 0 and not self._stopping:
            threading.Event().wait(remaining)

    def _step(self, system: System, state: StepState) -> tuple[StepState, Decision[object]]:
        observation = self._engine.observe()
        result = self._pipeline.step(system, observation, state)
        decision = result.decision
        self._journal.step(
            observation, decision, before=partial(self._pipeline.encode_state, state)
        )
        self._engine.submit(decision.actions)
        self._tell(observation, decision)
        self.latest = Latest(
            system=system, observation=observation, view=result.view, decision=decision
        )
        with self.news:
            self.news.notify_all()
        return result.state, decision

    def _tell(self, observation: Observation, decision: Decision[object]) -> None:
        """Keep what is new for `events`: a reason that stands step after step is told once."""
        told: dict[tuple[str, str], tuple[object, ...]] = {}
        for outcome in observation.outcomes:
            self._add(Event(number=0, at=observation.at, outcome=outcome))
        for reason in decision.reasons:
            key = (reason.code, reason.subject)
            told[key] = (reason.action,)
            if self._told.get(key) != told[key] or reason.action is not None:
                self._add(Event(number=0, at=observation.at, reason=reason))
        self._told = told

    def _add(self, event: Event) -> None:
        self._number += 1
        self._events.append(
            Event(number=self._number, at=event.at, reason=event.reason, outcome=event.outcome)
        )

    def events(self, after: int = 0) -> list[Event]:
        """Events with numbers above `after`, oldest first; at most the last 2,000."""
        return [event for event in list(self._events) if event.number > after]

    def reload(self, system: System) -> None:
        """Go on with another spec from the next step on."""
        self._next_system = system
        self._wake()

    def stop(self) -> None:
        self._stopping = True
        self._wake()
