"""The rollouts of a running system as a document: a part of the status document.

[{"service", "strategy", "stage", "old", "new", "wanted", "new_ready", "new_live", "old_live",
  "step", "steps", "weight", "attempt", "paused_by", "code", "why", "previous", "since_s",
  "compared"}]

`stage` is `first` (nothing was ever rolled out fully), `settled`, `rolling`, `paused`, `stopped`
or `undone`; `old` and `previous` are revisions or null; `why` is a sentence, for a stage that
somebody or something brought about; `compared` holds what both versions answered, or null.
"""

from typing import Any

from seakeep.decide.placement import wanted_of
from seakeep.decide.reasons import REASONS
from seakeep.decide.rollout import RolloutMemory
from seakeep.explain.wording import sentence
from seakeep.model.decision import Reason
from seakeep.model.observation import Phase
from seakeep.model.order import OrderKind
from seakeep.model.rolling import Strategy
from seakeep.model.rollout import RolloutRecord, Stage
from seakeep.model.system import Service, System
from seakeep.model.time import in_seconds
from seakeep.model.view import Health, View

Document = dict[str, Any]


def rollouts_document(system: System, view: View, memory: object) -> list[Document]:
    """One entry a service, in the order of the spec. `memory` is the controllers' one: what in
    it is unknown is left out."""
    rollout = getattr(memory, "rollout", None)
    known = rollout if isinstance(rollout, RolloutMemory) else RolloutMemory()
    wanted = wanted_of(system, getattr(getattr(memory, "scaling", None), "wanted", {}))
    return [_of(one, view, known, wanted[one.name]) for one in system.services.values()]


def _of(service: Service, view: View, memory: RolloutMemory, wanted: int) -> Document:
    record = view.rollouts.get(service.name)
    revision = service.workload.revision
    new = [one for one in view.by_service.get(service.name, ()) if one.state.revision == revision]
    live = [
        one
        for one in view.by_service.get(service.name, ())
        if one.health is not Health.LOST and one.state.phase is not Phase.EXITED
    ]
    progress, plan = memory.services.get(service.name), memory.plans.get(service.name)
    ready = [one for one in new if one.health is Health.READY and one.state.draining_since is None]
    unripe = plan.unripe if plan is not None else frozenset()
    order = view.orders.get(f"{OrderKind.PAUSE.value}:{service.name}")
    is_rolling = record is not None and record.stage is Stage.ROLLING
    document: Document = {
        "service": service.name,
        "strategy": _strategy(service),
        "stage": _stage(record, revision, is_paused=order is not None),
        "old": None if record is None or record.good.revision == revision else record.good.revision,
        "new": revision,
        "wanted": wanted,
        "new_ready": sum(1 for one in ready if one.state.id not in unripe),
        "new_live": sum(1 for one in live if one.state.revision == revision),
        "old_live": sum(1 for one in live if one.state.revision != revision),
        "step": record.step if record is not None and record.target == revision else 0,
        "steps": len(service.rollout.canary),
        "weight": plan.weight if plan is not None and is_rolling else None,
        "attempt": 0 if record is None else record.attempt,
        "paused_by": None if order is None else order.given_by or "somebody",
        "code": None,
        "why": None,
        "previous": None,
        "since_s": None,
        "compared": None,
    }
    if record is not None and record.target == revision:
        document |= _why(record)
        document["since_s"] = round(in_seconds(max(0, view.at - record.since)), 1)
        document["previous"] = record.previous.revision if record.previous else None
    if progress is not None and progress.revision == revision:
        document["compared"] = progress.compared()
    return document


def _strategy(service: Service) -> str:
    if service.rollout.strategy is Strategy.ROLLING and service.rollout.canary:
        return "canary"
    return service.rollout.strategy.value


def _stage(record: RolloutRecord | None, revision: str, *, is_paused: bool) -> str:
    if record is None:
        return "first"
    stage = record.stage if record.target == revision else Stage.ROLLING
    return "paused" if is_paused and stage is Stage.ROLLING else stage.value


def _why(record: RolloutRecord) -> Document:
    if not record.code:
        return {}
    reason = Reason(code=record.code, subject=record.service, numbers=record.numbers)
    return {"code": record.code, "why": sentence(reason, REASONS)}
