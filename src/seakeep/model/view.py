"""The world as controllers see it: an observation judged for freshness and health, and
indexed. Made by `seakeep.observe`, a pure function of the system, the observation and its
own memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from seakeep.model.histogram import Counts
from seakeep.model.ids import ActionId, InstanceId, RegionName, ServiceName
from seakeep.model.observation import (
    AppliedAnswers,
    AppliedEndpoints,
    AppliedLimit,
    InstanceState,
    Outcome,
    PartState,
    RevisionReading,
    TrafficReading,
)
from seakeep.model.order import Order
from seakeep.model.rollout import RolloutRecord
from seakeep.model.time import Duration, Instant


class Health(StrEnum):
    """The verdict on one instance."""

    STARTING = "starting"
    """Its startup probe (or first readiness) has not passed yet."""
    READY = "ready"
    UNREADY = "unready"
    """Runs, but its readiness probe fails: no traffic, no restart."""
    FAILED = "failed"
    """Liveness or startup probe beyond its threshold, or the process has exited: restart."""
    UNKNOWN = "unknown"
    """Its node has not been heard lately: believe the last word, change nothing yet."""
    LOST = "lost"
    """Its node has been gone for longer than the grace: replace it elsewhere."""


@dataclass(frozen=True, slots=True, init=False)
class InstanceView:
    state: InstanceState
    health: Health
    detail: str
    """What the verdict rests on, for reasons: `readiness: HTTP 503 x3`."""
    last_word: Health | None = None
    """UNKNOWN and LOST: the verdict before it fell silent; None otherwise."""

    def __init__(
        self, state: InstanceState, health: Health, detail: str, last_word: Health | None = None
    ) -> None:
        # Thousands are made in every step; what `frozen` would generate takes twice as long.
        _set_state(self, state)
        _set_health(self, health)
        _set_detail(self, detail)
        _set_last_word(self, last_word)


_set_state, _set_health, _set_detail, _set_last_word = (
    InstanceView.__dict__[name].__set__ for name in InstanceView.__slots__
)


@dataclass(frozen=True, slots=True)
class News:
    """What of a service's instances is new in a view, figures (of probes, CPU, memory) aside."""

    since: Instant
    """When something was new of the service before: who has seen it then has missed nothing."""
    came: tuple[InstanceView, ...] = ()
    """Those that were not there before, in the order of the ordinals."""
    changed: tuple[InstanceView, ...] = ()
    """Those that were there and say something else now, in the order of the ordinals."""
    went: tuple[InstanceView, ...] = ()
    """Those that are not there any more, as they were last seen."""


NO_NEWS = News(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What a region's balancer has told of one service over a window that ends now."""

    window: Duration
    rate_per_s: float
    failures_per_s: float
    concurrency: float
    """Requests in flight, on average."""
    pending: float
    """Requests that waited for a connection, on average."""
    in_flight: int
    """Now."""
    latency: Counts = ()
    """Of the answers within the window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    at: Instant
    instances: Mapping[InstanceId, InstanceView]
    by_service: Mapping[ServiceName, tuple[InstanceView, ...]]
    """In the order of the ordinals; services of the spec first, in its order."""
    parts: Mapping[str, PartState]
    """Parts whose state is known, by id."""
    endpoints: Mapping[tuple[RegionName, str], AppliedEndpoints]
    """What balancers run with, by (region, cluster)."""
    traffic: tuple[TrafficReading, ...]
    outcomes: tuple[Outcome, ...]
    pending: frozenset[ActionId]
    """Actions submitted whose outcome is not known yet."""
    ordinals: Mapping[ServiceName, int] = field(default_factory=dict)
    """By service: the highest ordinal that was ever used, whether its instance is seen or not."""
    silent: Mapping[str, Instant] = field(default_factory=dict)
    """Parts that run but have not answered lately, by id, and since when that is known."""
    limits: Mapping[tuple[RegionName, str], AppliedLimit] = field(default_factory=dict)
    """Shares that balancers run with, by (region, limit)."""
    wall: Instant = 0
    """Unix time of `at`, in ns; it may jump."""
    orders: Mapping[str, Order] = field(default_factory=dict)
    """What operators have ordered, by id."""
    signals: Mapping[tuple[RegionName, ServiceName], Signal] = field(default_factory=dict)
    """By region and service, of services that scale. One that cannot be trusted now, because
    its balancer does not run, does not answer or has only begun, is absent."""
    answers: Mapping[RegionName, AppliedAnswers] = field(default_factory=dict)
    """What DNS servers answer from, by their region."""
    rollouts: Mapping[ServiceName, RolloutRecord] = field(default_factory=dict)
    """How far the change of each service's workload has got."""
    revisions: tuple[RevisionReading, ...] = ()
    """What versions that run side by side answer."""
    changed: Mapping[ServiceName, Instant] = field(default_factory=dict, compare=False)
    """By service: when an instance of it last came, went, or changed in more than its figures
    (those of probes, CPU, memory). Of a service that is not here nothing is known."""
    news: Mapping[ServiceName, News] = field(default_factory=dict, compare=False)
    """Of those services that changed with this view and of which the view before was known."""

    def news_since(self, service: ServiceName, seen_at: Instant | None) -> News | None:
        """What is new of a service to somebody who saw it last in the view of `seen_at`: `NO_NEWS`
        when nothing is, None when that is not known and everything must be looked at."""
        changed_at = self.changed.get(service)
        if changed_at is None or seen_at is None:
            return None
        news = self.news.get(service)
        if news is not None:
            return news if news.since <= seen_at else None
        return NO_NEWS if changed_at <= seen_at else None
