"""How the spec wants a service scaled: metrics and targets, pace, and what holds beside them.

The terms are those of the Kubernetes HorizontalPodAutoscaler (autoscaling/v2), so that what one
knows of it holds here: `docs/concepts/scaling.md` has the formula with its sources.
"""

from dataclasses import dataclass
from enum import StrEnum

from seakeep.model.time import DAY, MINUTE, SECOND, Duration, Instant


class Metric(StrEnum):
    CONCURRENCY = "concurrency"
    """Requests in flight per instance, averaged over the window."""
    RATE = "rate"
    """Requests per second per instance."""
    CPU = "cpu"
    """Fraction of the CPU that an instance asks for."""
    MEMORY = "memory"
    """Fraction of the memory that an instance asks for."""
    LATENCY = "latency"
    """A percentile of the time that an answer takes, in ns, over all instances."""
    QUEUE = "queue"
    """Requests per instance that wait for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleTarget:
    """A metric and the value that scaling aims at: per instance, but for latency."""

    metric: Metric
    target: float
    quantile: float = 0.0
    """Latency only: 0.95 for the 95th percentile."""


class PolicyKind(StrEnum):
    INSTANCES = "instances"
    PERCENT = "percent"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalePolicy:
    """How far the number of instances may change within a period."""

    kind: PolicyKind
    amount: float
    """Instances, or percent of those at the start of the period."""
    period: Duration


class Select(StrEnum):
    """Which of several policies counts."""

    MAX = "max"
    """The one that allows the most change."""
    MIN = "min"
    DISABLED = "disabled"
    """None: no change in this direction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleRules:
    """The pace of one direction."""

    window: Duration
    """Stabilisation: the most cautious recommendation of this time counts."""
    policies: tuple[ScalePolicy, ...]
    select: Select = Select.MAX
    tolerance: float = 0.1
    """Deviation from the target, as a fraction, that changes nothing."""


SCALE_EVERY: Duration = 15 * SECOND
UP = ScaleRules(
    window=0,
    policies=(
        ScalePolicy(kind=PolicyKind.PERCENT, amount=100.0, period=15 * SECOND),
        ScalePolicy(kind=PolicyKind.INSTANCES, amount=4.0, period=15 * SECOND),
    ),
)
DOWN = ScaleRules(
    window=5 * MINUTE,
    policies=(ScalePolicy(kind=PolicyKind.PERCENT, amount=100.0, period=15 * SECOND),),
)
"""The defaults of Kubernetes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offset:
    """The difference of a place's clock from UTC, from an instant on."""

    since: Instant
    """Unix time, ns."""
    offset: Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledBounds:
    """Bounds for certain hours of certain days, by the clock of a place."""

    days: tuple[int, ...]
    """On which it begins; Monday is 0."""
    start: Duration
    """After midnight."""
    end: Duration
    """After midnight; not after `start`: on the next day."""
    zone: str
    """IANA name, for people."""
    offsets: tuple[Offset, ...]
    """The zone's rules, written out, so that no decision depends on a machine's database."""
    min: int | None = None
    max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What recurs every `season` is prepared for `ahead` of its time."""

    season: Duration
    slot: Duration
    """The season is learned in pieces of this length."""
    ahead: Duration


SEASON: Duration = 7 * DAY
SLOTS_MAX = 1_008
"""Of a season: the forecast's memory is bounded."""


class Survive(StrEnum):
    """What may be lost without the rest missing its target."""

    ZONE = "zone"
    REGION = "region"


class Follow(StrEnum):
    """Where instances beyond the minimum go."""

    DEMAND = "demand"
    """To the regions whose callers need them."""
    SPREAD = "spread"
    """By the spec's shares, whatever the demand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What happens to requests while there is no instance at all."""

    time: Duration
    """How long a request waits for one."""
    connections_max: int
    """Per region; beyond it requests are turned away at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How the number of instances follows demand, within `replicas`."""

    metrics: tuple[ScaleTarget, ...]
    """The one that wants the most instances counts."""
    every: Duration = SCALE_EVERY
    up: ScaleRules = UP
    down: ScaleRules = DOWN
    warmup: Duration = 5 * MINUTE
    """CPU only: an instance that is younger and not ready is left out of account."""
    follow: Follow = Follow.DEMAND
    schedule: tuple[ScheduledBounds, ...] = ()
    forecast: Forecast | None = None
    survive: Survive | None = None
    idle: Duration = 10 * MINUTE
    """`replicas.min` 0: this long without a request, and the last instance goes."""
    hold: Hold = Hold(time=10 * SECOND, connections_max=100)


def is_held(scale: Scale | None, minimum: int) -> bool:
    """Whether a service may be without instances, so that its requests have to be held."""
    return scale is not None and minimum == 0
