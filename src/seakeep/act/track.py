"""Actions that were submitted and have not ended: which, and until when they are waited for.

An engine need not answer: it may crash with the action in its queue. So an action without an
outcome by its guard's expiry and `MARGIN` is taken for failed. Since an engine refuses an action
past its expiry, nothing can still come of it then.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from seakeep.model.action import Action
from seakeep.model.ids import ActionId
from seakeep.model.observation import Outcome, OutcomeStatus
from seakeep.model.time import SECOND, Duration, Instant

MARGIN: Duration = 2 * SECOND
"""For an action that began just before its expiry to end and be reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracker:
    """A value: every method answers a new one."""

    deadlines: Mapping[ActionId, Instant] = field(default_factory=dict)
    """By pending action, in the order of submission."""

    @property
    def pending(self) -> frozenset[ActionId]:
        return frozenset(self.deadlines)

    @property
    def wake_at(self) -> Instant | None:
        """When the next pending action times out."""
        return min(self.deadlines.values(), default=None)

    def fresh(self, actions: Iterable[Action]) -> tuple[Action, ...]:
        """Those to submit: not pending yet, and each id once."""
        first: dict[ActionId, Action] = {}
        for action in actions:
            if action.id not in self.deadlines:
                first.setdefault(action.id, action)
        return tuple(first.values())

    def submitted(self, actions: Iterable[Action], at: Instant) -> "Tracker":
        """After `actions` went to the engine at `at`. One that was pending keeps its deadline."""
        added = {
            action.id: max(action.guard.expires_at, at) + MARGIN for action in self.fresh(actions)
        }
        return Tracker(deadlines={**self.deadlines, **added}) if added else self

    def seen(
        self, outcomes: Iterable[Outcome], at: Instant
    ) -> tuple["Tracker", tuple[Outcome, ...]]:
        """After an observation at `at`: what is left, and the outcomes with timeouts appended.
        Outcomes of actions that nobody waits for any more are passed on all the same."""
        ended = tuple(outcomes)
        names = {outcome.action for outcome in ended}
        left = {name: due for name, due in self.deadlines.items() if name not in names}
        late = tuple(
            Outcome(
                action=name,
                status=OutcomeStatus.FAILED,
                at=at,
                detail="timed out: no outcome by its deadline",
            )
            for name, due in left.items()
            if due <= at
        )
        if len(left) == len(self.deadlines) and not late:
            return self, ended
        return (
            Tracker(deadlines={name: due for name, due in left.items() if due > at}),
            ended + late,
        )
