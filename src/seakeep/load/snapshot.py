"""What a run says of itself, while it runs and when it has ended. Durations in nanoseconds."""

from collections.abc import Mapping
from dataclasses import dataclass

from seakeep.load.results import Result
from seakeep.model.ids import RegionName
from seakeep.model.time import Duration, Instant

LATE_FRACTION_MAX = 0.01
"""More late requests than this, and the client could not keep up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """From due to answered, of requests that were served or timed out. None: there were none."""

    count: int
    p50: Duration | None
    p90: Duration | None
    p99: Duration | None
    p999: Duration | None
    max: Duration | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSnapshot:
    """One traffic source, or all of them."""

    source: str
    service: str
    region: RegionName | None
    """Whose edge most of its requests went to; None for a URL and for all together."""
    regions: Mapping[RegionName, int]
    """Requests that ended, by whose edge they went to; those that found none are not here."""
    due: int
    """Requests whose time came. due = ok + declined + failed + in flight."""
    sent: int
    ok: int
    declined: Mapping[Result, int]
    failed: Mapping[Result, int]
    late: int
    in_flight: int
    rps: float
    """Requests that ended, per second, over the last interval (1 s)."""
    interval: Latencies
    """Of the last interval, by when requests ended; exact."""
    total: Latencies
    """Since the start; from the merged histograms."""

    @property
    def failures(self) -> int:
        return sum(self.failed.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientState:
    """Whether the client itself was up to its task."""

    sent: int
    late: int
    """Sent more than `late_after` after they were due."""
    late_after: Duration
    overloaded: int
    """Not sent at all: no room left."""
    lateness_p50: Duration
    lateness_p99: Duration
    lateness_max: Duration

    @property
    def kept_up(self) -> bool:
        return not self.overloaded and self.late <= LATE_FRACTION_MAX * self.sent

    @property
    def warning(self) -> str | None:
        """What to tell the user when it could not keep up."""
        if self.kept_up:
            return None
        share = self.late / self.sent if self.sent else 0.0
        return (
            f"client could not keep up: {self.late:,} of {self.sent:,} requests ({share:.1%}) "
            f"left more than {self.late_after / 1e6:g} ms late "
            f"(p99 {self.lateness_p99 / 1e6:.1f} ms, max {self.lateness_max / 1e6:.1f} ms), "
            f"{self.overloaded:,} were not sent; latencies include this"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondRow:
    """One second of a source's series: the requests that were due in it."""

    second: int
    """Since the start."""
    ok: int
    declined: int
    failed: int
    open: int
    """Still in flight: the row may change."""
    p50: Duration | None
    p99: Duration | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    at: Instant
    """On the monotonic clock of this machine."""
    elapsed: Duration
    """Since the run's start."""
    sources: tuple[SourceSnapshot, ...]
    total: SourceSnapshot
    client: ClientState
