"""Takes each service from the workload that it ran to the one that the spec now says.

What must survive the death of Seakeep is in the service's `RolloutRecord`, which the engine keeps:
the last workload that was rolled out fully, and how far its successor has got. A transition is
asked for as an action and acted upon once the record shows it, so a crash at any point leaves
either the stage before or the one after. Memory holds only clocks: it may be lost, and then every
wait begins anew.

    SETTLED -> ROLLING       the spec has another workload
    ROLLING -> SETTLED       the new version is all that runs, and counts as ready
    ROLLING -> STOPPED       it was found bad and `on_failure` is stop; what serves stays
    ROLLING -> UNDONE        ... is rollback; or an operator said so
    STOPPED -> UNDONE        an operator said so
    STOPPED, UNDONE -> ROLLING   an operator resumes, or the spec has a third workload
    any -> SETTLED           the spec is back at the good workload

How many there are of which version goes to placement as a plan, which moves towards it within
`surge` and `unavailable`. At most so many new instances exist whose readiness is not proven, and
what is lost meanwhile is replaced by its own version (as Kubernetes' ReplicaSets do): a bad
version never spreads because machines die. While nothing has ever been fully rolled out there is
nothing to go back to, and no plan: placement then replaces what is outdated by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from seakeep.decide.placement import wanted_of
from seakeep.decide.rollout_plan import RolloutPlan
from seakeep.decide.rollout_stages import (
    CHECKED_EVERY,
    Census,
    Progress,
    census_of,
    compared,
    plan_of,
    progressed,
)
from seakeep.decide.rollout_verdict import worse
from seakeep.model.action import Guard, RecordRollout
from seakeep.model.decision import Decision, Number, Reason
from seakeep.model.ids import ServiceName
from seakeep.model.order import OrderKind, rollout_argument
from seakeep.model.rolling import OnFailure, Strategy
from seakeep.model.rollout import RolloutRecord, Stage
from seakeep.model.system import Service, System
from seakeep.model.time import SECOND, Duration, Instant
from seakeep.model.view import Health, View

EXPIRES_AFTER: Duration = 10 * SECOND
BLUE_GREEN_SWITCHED, BLUE_GREEN_CLEARED = 1, 2

REASONS: Mapping[str, str] = {
    "rollout.first": (
        "{subject} runs {new} everywhere ({replicas} ready): this is what a rollout goes back to"
    ),
    "rollout.begin": "{subject} begins to roll from {old} to {new}",
    "rollout.rolling": (
        "{subject} rolls from {old} to {new}: of the wanted {wanted}, {new_ready} new ones count as"
        " ready, and {old_live} of other versions are left"
    ),
    "rollout.complete": (
        "{subject} is rolled out: {new} alone runs now ({replicas} ready), in the place of {old}"
    ),
    "rollout.back": "{subject} is to run {new} again, its last good version: that is not tried",
    "rollout.canary": (
        "{subject} gives its new version, {new}, a larger part (steps behind it: {step} of {steps})"
    ),
    "rollout.held.canary": (
        "{subject} gives its new version {weight_percent} % of its requests until {until_ns}"
    ),
    "rollout.switch": "{subject} switches to {new}: all {replicas} of it count as ready",
    "rollout.held.keep": "{subject} keeps {old} beside the new version until {until_ns}",
    "rollout.clear": "{subject} lets {old} go, {kept_ns} after the switch to {new}",
    "rollout.held.paused": (
        "{subject} is paused between {old} and {new} by {by}, with {new_live} new ones of the"
        " wanted {wanted}"
    ),
    "rollout.stop.not_ready": (
        "{subject} stops on its way to {new}: {instance} is not ready after {waited_ns}, and"
        " nothing else has got ready ({detail})"
    ),
    "rollout.rollback.not_ready": (
        "{subject} goes back to {old}: {instance}, of {new}, is not ready after {waited_ns}, and"
        " nothing else has got ready ({detail})"
    ),
    "rollout.stop.errors": (
        "{subject} stops on its way to {new}: that fails {new_percent} % of its requests (so far:"
        " {requests}), and {old} failed {old_percent} % at the same time"
    ),
    "rollout.rollback.errors": (
        "{subject} goes back to {old}: {new} fails {new_percent} % of its requests (so far:"
        " {requests}), and {old} failed {old_percent} % at the same time"
    ),
    "rollout.stop.latency": (
        "{subject} stops on its way to {new}: that answers {quantile_percent} % of requests within"
        " {new_ns}, and {old} within {old_ns} at the same time"
    ),
    "rollout.rollback.latency": (
        "{subject} goes back to {old}: {new} answers {quantile_percent} % of requests within"
        " {new_ns}, and {old} within {old_ns} at the same time"
    ),
    "rollout.undo": "{subject} goes back to {old} from {new}, undone by {by}",
    "rollout.undo.nothing": (
        "{subject} cannot go back from {new}: no version before it was ever rolled out here"
    ),
    "rollout.resume": "{subject} tries {new} once more, resumed by {by}",
    "rollout.stopped": (
        "{subject} stays between {old} and {new}, stopped (new ones that serve: {new_live})"
    ),
    "rollout.undone": (
        "{subject} stays with {old} though the spec says {new}, until that changes or somebody"
        " resumes"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutMemory:
    services: Mapping[ServiceName, Progress] = field(default_factory=dict)
    """Of services in change only."""
    plans: Mapping[ServiceName, RolloutPlan] = field(default_factory=dict)
    """Of this step, for placement and traffic; nothing here reads it again."""

    def without_caches(self) -> "RolloutMemory":
        return replace(self, plans={})


class RolloutController:
    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def initial(self) -> RolloutMemory:
        return RolloutMemory()

    def decide(
        self,
        system: System,
        view: View,
        memory: RolloutMemory,
        wanted: Mapping[ServiceName, int] | None = None,
    ) -> Decision[RolloutMemory]:
        """`wanted` as for placement."""
        counts = wanted_of(system, wanted or {})
        step = _Step(system, view, memory, self._epoch)
        for name, service in system.services.items():
            record = view.rollouts.get(name)
            if record is None:
                step.first(service, counts[name])
            elif not _is_settled(service, record) or view.orders:
                step.change(service, record, counts[name])
        return step.decision()


def _is_settled(service: Service, record: RolloutRecord) -> bool:
    revision = service.workload.revision
    return record.stage is Stage.SETTLED and record.target == record.good.revision == revision


class _Step:
    """One decision in the making."""

    def __init__(self, system: System, view: View, memory: RolloutMemory, epoch: int) -> None:
        self.system, self.view, self.memory, self.epoch = system, view, memory, epoch
        self.services: dict[ServiceName, Progress] = {}
        self.plans: dict[ServiceName, RolloutPlan] = {}
        self.actions: list[RecordRollout] = []
        self.reasons: list[Reason] = []
        self.wakes: list[Instant] = []

    def decision(self) -> Decision[RolloutMemory]:
        return Decision(
            memory=RolloutMemory(services=self.services, plans=self.plans),
            actions=tuple(self.actions),
            reasons=tuple(self.reasons),
            wake_at=min(self.wakes, default=None),
        )

    # --- stages ---

    def first(self, service: Service, wanted: int) -> None:
        """Nothing was ever rolled out fully: has the first workload been, by now?"""
        members = self.view.by_service.get(service.name, ())
        revision = service.workload.revision
        progress = self._progress(service, revision, 0)
        ready = 0
        if len(members) >= wanted > 0:
            for one in members:
                if one.state.revision != revision:
                    return
                ready += one.health is Health.READY and one.state.draining_since is None
        if wanted and ready >= wanted:
            record = RolloutRecord(
                service=service.name,
                good=service.workload,
                target=revision,
                stage=Stage.SETTLED,
                since=self.view.at,
            )
            self._ask(record, progress, "rollout.first", new=revision, replicas=ready)

    def change(self, service: Service, record: RolloutRecord, wanted: int) -> None:
        """A service whose record is not that of a settled one, or that an order may be about."""
        revision = service.workload.revision
        if record.good.revision == revision:
            self._home(service, record)
            return
        if record.target != revision:
            record = replace(
                record,
                target=revision,
                stage=Stage.ROLLING,
                previous=None,
                step=0,
                attempt=record.attempt + 1,
                since=self.view.at,
                code="",
                numbers=(),
            )
            progress = self._progress(service, revision, record.attempt)
            # What follows goes by it already: should it be lost, it is asked for again.
            self._ask(record, progress, "rollout.begin", **_versions(record))
            progress = self.services[service.name]
        else:
            progress = self._progress(service, revision, record.attempt)
        census = census_of(service, record, self.view, progress, wanted)
        progress = progressed(service, record, census, progress, self._pauser(service.name))
        if record.stage is Stage.ROLLING:
            progress = compared(service, record, self.view, progress)
        self.services[service.name] = progress
        self._transition(service, record, census, progress)
        progress = self.services[service.name]
        pauser = self._pauser(service.name)
        self.plans[service.name] = plan_of(service, record, census, progress, pauser)
        self.wakes.extend(wake for wake in census.wakes if wake > self.view.at)

    def _home(self, service: Service, record: RolloutRecord) -> None:
        """The good workload is the spec's."""
        revision = service.workload.revision
        progress = self._progress(service, revision, record.attempt)
        order = self._ordered(OrderKind.UNDO, record)
        if not _is_settled(service, record):
            calm = replace(
                record,
                target=revision,
                stage=Stage.SETTLED,
                step=0,
                since=self.view.at,
                code="",
                numbers=(),
            )
            self._ask(calm, progress, "rollout.back", new=revision)
        elif order is not None and record.previous is None:
            self._note("rollout.undo.nothing", service.name, new=revision)
        elif order is not None and record.previous is not None:
            undone = replace(record, good=record.previous, previous=None)
            self._end(undone, progress, Stage.UNDONE, "rollout.undo", by=order)

    def _transition(
        self, service: Service, record: RolloutRecord, census: Census, progress: Progress
    ) -> None:
        """Ask for the next stage or step when it is time, or say what is waited for."""
        undo = self._ordered(OrderKind.UNDO, record)
        resume = self._ordered(OrderKind.RESUME, record)
        name, figures = service.name, {**_versions(record), **census.figures}
        if record.stage is not Stage.UNDONE and undo is not None:
            self._end(record, progress, Stage.UNDONE, "rollout.undo", by=undo)
        elif record.stage is not Stage.ROLLING and resume is not None:
            step = record.step if record.stage is Stage.STOPPED else 0
            again = replace(
                record,
                stage=Stage.ROLLING,
                step=step,
                attempt=record.attempt + 1,
                since=self.view.at,
                code="",
                numbers=(),
            )
            self._ask(again, progress, "rollout.resume", **_versions(record), by=resume)
        elif record.stage is Stage.UNDONE:
            self._note("rollout.undone", name, **_versions(record))
        elif record.stage is Stage.STOPPED:
            self._note("rollout.stopped", name, **_versions(record), new_live=census.new_firm)
        elif not self._fails(service, record, census, progress):
            self._go_on(service, record, census, progress, figures)

    def _fails(
        self, service: Service, record: RolloutRecord, census: Census, progress: Progress
    ) -> bool:
        """Whether the new version was found to be bad."""
        found = worse(progress.old_side, progress.new_side, service.rollout.compare)
        if found is not None:
            self._fail(service, record, progress, found[0], **found[1])
            return True
        since = progress.stuck_since
        if since is None or census.stuck is None or self.view.at < since + service.rollout.deadline:
            return False
        self._fail(
            service,
            record,
            progress,
            "not_ready",
            instance=census.stuck.state.id,
            detail=census.stuck.detail,
            waited_ns=self.view.at - since,
        )
        return True

    def _go_on(
        self,
        service: Service,
        record: RolloutRecord,
        census: Census,
        progress: Progress,
        figures: Mapping[str, Number],
    ) -> None:
        rollout, name = service.rollout, service.name
        if 0 < census.wanted <= census.new_ripe and not census.old_live:
            done = replace(
                record,
                good=service.workload,
                previous=record.good,
                stage=Stage.SETTLED,
                step=0,
                since=self.view.at,
            )
            replicas = census.new_ripe
            self._ask(done, progress, "rollout.complete", **_versions(record), replicas=replicas)
        elif by := self._pauser(name):
            counts: dict[str, Number] = {"new_live": census.new_live, "wanted": census.wanted}
            counts["by"] = by
            self._note("rollout.held.paused", name, **_versions(record), **counts)
        elif rollout.strategy is Strategy.BLUE_GREEN:
            self._switch(service, record, census, progress)
        elif record.step < census.canary_steps:
            self._next_step(service, record, progress, figures)
        else:
            self._note("rollout.rolling", name, **figures)

    def _next_step(
        self,
        service: Service,
        record: RolloutRecord,
        progress: Progress,
        figures: Mapping[str, Number],
    ) -> None:
        step = service.rollout.canary[record.step]
        if progress.step_since is None:
            self._note("rollout.rolling", service.name, **figures)
            return
        until = progress.step_since + step.lasts
        if self.view.at < until:
            self.wakes.append(until)
            percent = round(step.weight * 100, 2)
            self._note("rollout.held.canary", service.name, weight_percent=percent, until_ns=until)
            return
        further = replace(record, step=record.step + 1, since=self.view.at)
        steps = len(service.rollout.canary)
        numbers: dict[str, Number] = {**_versions(record), "step": further.step, "steps": steps}
        self._ask(further, progress, "rollout.canary", **numbers)

    def _switch(
        self, service: Service, record: RolloutRecord, census: Census, progress: Progress
    ) -> None:
        """Blue-green."""
        name, at = service.name, self.view.at
        if record.step == 0:
            if 0 < census.wanted <= census.new_ripe:
                switched = replace(record, step=BLUE_GREEN_SWITCHED, since=at)
                replicas = census.new_ripe
                self._ask(
                    switched, progress, "rollout.switch", **_versions(record), replicas=replicas
                )
            else:
                self._note("rollout.rolling", name, **_versions(record), **census.figures)
        elif record.step == BLUE_GREEN_SWITCHED and progress.step_since is not None:
            until = progress.step_since + service.rollout.keep
            if at < until:
                self.wakes.append(until)
                self._note("rollout.held.keep", name, **_versions(record), until_ns=until)
                return
            cleared = replace(record, step=BLUE_GREEN_CLEARED, since=at)
            kept = at - progress.step_since
            self._ask(cleared, progress, "rollout.clear", **_versions(record), kept_ns=kept)

    # --- orders ---

    def _ordered(self, kind: OrderKind, record: RolloutRecord) -> str | None:
        """Who has given an order of a kind about this very attempt; None when nobody has."""
        order = self.view.orders.get(f"{kind.value}:{record.service}")
        if order is None or order.argument != rollout_argument(record.target, record.attempt):
            return None
        return order.given_by or "somebody"

    def _pauser(self, name: ServiceName) -> str:
        """Who has paused the rollouts of a service; empty when nobody has."""
        order = self.view.orders.get(f"{OrderKind.PAUSE.value}:{name}")
        return "" if order is None else order.given_by or "somebody"

    # --- asking ---

    def _progress(self, service: Service, revision: str, attempt: int) -> Progress:
        """The memory of this attempt; a fresh one when there is none."""
        before = self.memory.services.get(service.name)
        if before is None or (before.revision, before.attempt) != (revision, attempt):
            asked = None if before is None else before.asked
            before = Progress(revision=revision, attempt=attempt, asked=asked)
        self.services[service.name] = before
        return before

    def _fail(
        self,
        service: Service,
        record: RolloutRecord,
        progress: Progress,
        what: str,
        **numbers: Number,
    ) -> None:
        stops = service.rollout.on_failure is OnFailure.STOP
        stage = Stage.STOPPED if stops else Stage.UNDONE
        code = f"rollout.{'stop' if stops else 'rollback'}.{what}"
        self._end(record, progress, stage, code, **numbers)

    def _end(
        self,
        record: RolloutRecord,
        progress: Progress,
        stage: Stage,
        code: str,
        **numbers: Number,
    ) -> None:
        """Ask for STOPPED or UNDONE, with why."""
        why = {**_versions(record), **numbers}
        ended = replace(
            record, stage=stage, since=self.view.at, code=code, numbers=tuple(why.items())
        )
        self._ask(ended, progress, code, **why)

    def _ask(
        self, record: RolloutRecord, progress: Progress, code: str, /, **numbers: Number
    ) -> None:
        """Have a record written; again after a while when it does not show."""
        action = RecordRollout(
            id=f"rollout:{record.service}:{record.target}:{record.attempt}"
            f":{record.stage.value}.{record.step}",
            guard=Guard(
                revision=self.system.revision,
                epoch=self.epoch,
                expires_at=self.view.at + EXPIRES_AFTER,
            ),
            record=record,
        )
        asked = progress.asked
        if asked is not None and asked[0] == action.id and self.view.at < asked[1] + CHECKED_EVERY:
            self.wakes.append(asked[1] + CHECKED_EVERY)
            return
        self.services[record.service] = replace(progress, asked=(action.id, self.view.at))
        self.actions.append(action)
        self._note(code, record.service, action.id, **numbers)

    def _note(
        self, code: str, subject: str, action: str | None = None, /, **numbers: Number
    ) -> None:
        self.reasons.append(
            Reason(code=code, subject=subject, numbers=tuple(numbers.items()), action=action)
        )


def _versions(record: RolloutRecord) -> dict[str, Number]:
    return {"old": record.good.revision, "new": record.target}
