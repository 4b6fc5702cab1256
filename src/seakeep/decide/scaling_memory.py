"""What scaling remembers from one period to the next."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from seakeep.decide.forecast import Learned
from seakeep.decide.hpa import Dated
from seakeep.decide.scaling_metrics import MetricReading
from seakeep.decide.schedule import Calendar
from seakeep.model.decision import Reason
from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.time import Instant

Needs: TypeAlias = tuple[tuple[Instant, float], ...]
"""The needs of a region that can still be the largest of the window, the newest last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """One service."""

    current: int
    """Carrying the load: what the HorizontalPodAutoscaler calls its replicas."""
    wanted: int
    """With what is held for a loss."""
    next_at: Instant
    base: Mapping[RegionName, int] = field(default_factory=dict)
    """`current` by region; empty: by the spec's shares."""
    layout: Mapping[RegionName, int] = field(default_factory=dict)
    """`wanted` by region; empty: by the spec's shares."""
    recommendations: tuple[Dated, ...] = ()
    ups: tuple[Dated, ...] = ()
    downs: tuple[Dated, ...] = ()
    needs: Mapping[RegionName, Needs] = field(default_factory=dict)
    active_at: Instant = 0
    """When there was a request last."""
    forecast: Learned | None = None
    readings: tuple[MetricReading, ...] = ()
    bounds: tuple[int, int] = (0, 0)
    """(min, max) in force at the last decision."""
    reasons: tuple[Reason, ...] = ()
    """What stands until the next decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingMemory:
    services: Mapping[ServiceName, Scaling] = field(default_factory=dict)
    revision: str = ""
    began_at: Instant = 0
    calendar: Calendar = field(default_factory=Calendar)

    @property
    def wanted(self) -> dict[ServiceName, int]:
        return {name: one.wanted for name, one in self.services.items()}

    @property
    def layouts(self) -> dict[ServiceName, Mapping[RegionName, int]]:
        return {name: one.layout for name, one in self.services.items() if one.layout}
