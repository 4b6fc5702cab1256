"""What a balancer refuses so that the rest is served well: rate limits and shedding."""

from dataclasses import dataclass
from enum import StrEnum

from seakeep.model.time import Duration


class LimitPer(StrEnum):
    """Who shares a token bucket."""

    ALL = "all"
    """Everybody."""
    CLIENT = "client"
    """Every client has one of its own, by its address."""
    HEADER = "header"
    """Every value of a header has one; without the header, every address."""


class LimitScope(StrEnum):
    """What the rate is a bound on."""

    REGION = "region"
    """What each region lets through."""
    SYSTEM = "system"
    """What all regions together let through: divided among them by demand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """A token bucket: `burst` tokens at most, `rate_per_s` new ones, one for a request."""

    rate_per_s: float
    burst: int
    per: LimitPer = LimitPer.ALL
    header: str | None = None
    """Of `per: header`."""
    scope: LimitScope = LimitScope.REGION


def limit_key(owner: str, index: int) -> str:
    """What a limit is called in actions: `web:0` for the first of a service, `web.1:0` for the
    first of the service's second route."""
    return f"{owner}:{index}"


class Priority(StrEnum):
    """How long a request goes on being served when not all can be, last first."""

    CRITICAL = "critical"
    NORMAL = "normal"
    SHEDDABLE = "sheddable"


NORMAL_FACTOR = 2
"""How many times later than sheddable ones normal requests begin to be refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shed:
    """When a region's balancer refuses requests of a service that is saturated."""

    latency: Duration
    """The median time to the answer that the service has when it is well. While it is longer,
    fewer sheddable requests are let in at once; while it is longer than `NORMAL_FACTOR` times
    as long, fewer normal ones; critical ones always are."""
    header: str | None = None
    """Its value is a request's priority, where it names one; else the route's holds."""
    at_least: int = 10
    """Requests of each priority that a balancer lets in at once however late answers are. It is
    also where its bound begins when it has just been started."""
