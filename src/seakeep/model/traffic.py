"""Who sends requests: clients in a place, and how their requests are spread over time."""

from dataclasses import dataclass
from enum import StrEnum

from seakeep.model.ids import ServiceName
from seakeep.model.time import Duration
from seakeep.model.work import Distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A point on the globe, in degrees (WGS 84)."""

    latitude_deg: float
    longitude_deg: float


class Shape(StrEnum):
    """How arrivals are spread over time."""

    POISSON = "poisson"
    CONSTANT = "constant"
    DIURNAL = "diurnal"
    STEP = "step"
    LOG = "log"
    """As in an access log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """Clients that come to stay: a source with sessions starts `rate_per_s` of them."""

    pages: float
    """Page loads of one session, on average (geometric, at least 1)."""
    think: Distribution
    """From the end of one page load to the next."""
    resources: int = 0
    """Further requests of each page load, sent together when the page itself has come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficSource:
    """Clients in one place that send requests to one service."""

    name: str
    location: Location | None
    """None: at the region, without a network in between (the twin only)."""
    service: ServiceName
    rate_per_s: float
    """Mean over a day when `shape` is diurnal, before the first step when it is step."""
    shape: Shape
    path: str = "/"
    period: Duration = 0
    """Of one diurnal wave; 0 means a day."""
    amplitude: float = 0.5
    """Diurnal: peak is rate x (1 + amplitude), trough rate x (1 - amplitude)."""
    steps: tuple[tuple[Duration, float], ...] = ()
    """Step: (time since the start, requests/s from then on)."""
    prefix: str = ""
    """Its clients' subnet, which resolvers tell DNS servers: `198.51.100.0/24`."""
    sessions: Sessions | None = None
    """The twin's alone, as is the rest."""
    patience: Distribution | None = None
    """How long a client waits for its answer before it goes away; None: for ever."""
    log: str = ""
    """Shape LOG: path of an access log, relative to the spec's folder."""
