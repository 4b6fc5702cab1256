"""What the spec says of how a service's changed workload takes over."""

from dataclasses import dataclass
from enum import StrEnum

from seakeep.model.time import SECOND, Duration


class Strategy(StrEnum):
    """How a changed workload takes over from the old one."""

    ROLLING = "rolling"
    """Instance by instance; after the steps of `canary`, when there are any."""
    BLUE_GREEN = "blue-green"
    """A whole new set beside the old one; traffic is switched at once."""


class OnFailure(StrEnum):
    """What becomes of a rollout whose new version turns out to be bad."""

    STOP = "stop"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryStep:
    """For so long the new version gets this fraction of the requests."""

    weight: float
    lasts: Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """When the new version counts as worse than the old one."""

    requests: int = 100
    """Of either version, before anything is said; 0 compares nothing."""
    errors: float = 0.01
    """By how much its error rate may be higher, as a fraction of all requests."""
    slower: float = 0.5
    """By how much its latency may be higher, as a fraction of the old version's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How a changed workload takes over. Bounds are replicas above and below the wanted number."""

    surge: int = 1
    unavailable: int = 0
    strategy: Strategy = Strategy.ROLLING
    canary: tuple[CanaryStep, ...] = ()
    """Steps before the rest follows; rolling only."""
    min_ready: Duration = 0
    """How long a new instance must be ready without a break until it counts."""
    deadline: Duration = 60 * SECOND
    """A new version that gets no further for so long, since its instances are not ready, is bad."""
    keep: Duration = 30 * SECOND
    """Blue-green: how long the old set stays after the switch."""
    on_failure: OnFailure = OnFailure.STOP
    compare: Comparison = Comparison()
