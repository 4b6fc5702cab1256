"""Which of a service's instances are as they should be, kept from step to step.

Of thousands, nearly all are plain: READY, of the service's workload, on a node that the service
may use, and not on their way out. Of those placement only has to know how many are on which node.
The odd ones it looks at one by one. Both are brought up to date with what a view has news of.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from seakeep.model.ids import InstanceId, NodeId
from seakeep.model.observation import Phase
from seakeep.model.system import Service, System
from seakeep.model.time import Instant
from seakeep.model.view import NO_NEWS, Health, InstanceView, News, View


@dataclass(frozen=True, slots=True)
class Standing:
    """Of one service."""

    system: System
    """That it was made under."""
    allowed: frozenset[NodeId]
    """Where the service may be."""
    seen_at: Instant
    plain: Mapping[NodeId, int]
    odd: frozenset[InstanceId]


def standing_of(
    system: System,
    service: Service,
    view: View,
    allowed: Iterable[NodeId],
    before: Standing | None,
) -> Standing:
    """Of all that the service has. `before`: of an earlier view; `allowed` is not looked at when
    it was of the same system."""
    news = None
    if before is not None and before.system is system:
        news = view.news_since(service.name, before.seen_at)
    if before is None or news is None:
        members = view.by_service.get(service.name, ())
        return standing_among(members, system, service, view, allowed)
    if news is NO_NEWS:
        return before
    return _with_news(before, news, service.workload.revision, view.at)


def standing_among(
    members: Sequence[InstanceView],
    system: System,
    service: Service,
    view: View,
    allowed: Iterable[NodeId],
) -> Standing:
    """Of these alone; made from nothing."""
    nothing = Standing(system, frozenset(allowed), view.at, {}, frozenset())
    return _with_news(
        nothing, News(view.at, came=tuple(members)), service.workload.revision, view.at
    )


def _with_news(before: Standing, news: News, revision: str, at: Instant) -> Standing:
    odd, allowed = set(before.odd), before.allowed
    left = [one.state.node for one in news.went if one.state.id not in odd]
    left += [one.state.node for one in news.changed if one.state.id not in odd]
    odd.difference_update([one.state.id for one in news.went])
    odd.difference_update([one.state.id for one in news.changed])
    joined: list[NodeId] = []
    ready, stopping = Health.READY, Phase.STOPPING
    for one in (*news.changed, *news.came):
        state = one.state
        if (
            one.health is ready
            and state.draining_since is None
            and state.phase is not stopping
            and state.revision == revision
            and state.node in allowed
        ):
            joined.append(state.node)
        else:
            odd.add(state.id)
    plain = Counter(before.plain)
    plain.update(joined)
    plain.subtract(left)
    kept = {node: count for node, count in plain.items() if count}
    return Standing(before.system, allowed, at, kept, frozenset(odd))
