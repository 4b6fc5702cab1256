"""Whether an action may still be carried out: its guard, checked again at the last moment.

An engine asks just before it acts. Between the decision and that moment the spec may have
changed, another Seakeep may have taken over, or the process in question may be another one.
"""

from seakeep.model.action import Action
from seakeep.model.time import Instant, in_seconds


def admit(
    action: Action, *, revision: str, epoch: int, now: Instant, restarts: int | None
) -> str | None:
    """None when the guard holds, else why the action is refused, for the outcome's detail.

    `revision` and `epoch` are the engine's present ones; `restarts` is the present number of the
    action's subject, None when the engine does not know the subject (it is gone, or the action
    creates it)."""
    guard = action.guard
    if guard.epoch < epoch:
        return f"epoch {guard.epoch} was superseded by {epoch}"
    if guard.revision != revision:
        return f"decided for spec {guard.revision}, now {revision}"
    if now >= guard.expires_at:
        return f"expired {in_seconds(now - guard.expires_at):.3f} s ago"
    if guard.restarts is not None and guard.restarts != restarts:
        found = "gone" if restarts is None else f"at {restarts}"
        return f"decided at restart {guard.restarts}, the subject is {found}"
    return None
