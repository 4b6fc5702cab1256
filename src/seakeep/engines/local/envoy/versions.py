"""What the versions of a service answer, told apart, while two of them run side by side.

Envoy counts requests and failures by endpoint (`/clusters`), but not how long they took: that is
in the access log alone. So both are read, once a second, and only of services of which more than
one version runs. The log costs at most `LOG_BYTES_MAX` a turn: of more, the latest part is a
sample. A try that failed and was tried again elsewhere counts against the endpoint that failed.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import orjson

from seakeep.model.histogram import BOUNDS
from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.observation import RevisionReading
from seakeep.model.time import MILLISECOND

LOG_BYTES_MAX = 1 << 20
"""About 2,000 requests; parsing them takes some 7 ms."""

Versions: TypeAlias = Mapping[str, tuple[ServiceName, str]]
"""`host:port` of an instance -> its service and revision."""


@dataclass(frozen=True, slots=True)
class HostCount:
    """Of one endpoint in one cluster, since it came there."""

    cluster: str
    address: str
    requests: int
    failures: int


@dataclass(slots=True)
class _Total:
    requests: int = 0
    failures: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * len(BOUNDS))


class VersionMeter:
    """Of one region's balancer. Counts from when versions are first told apart."""

    def __init__(self, region: RegionName, log: Path) -> None:
        self._region = region
        self._log = log
        self._offset: int | None = None
        self._hosts: dict[tuple[str, str], HostCount] = {}
        self._totals: dict[tuple[ServiceName, str], _Total] = {}

    def forget(self) -> None:
        """No service has more than one version."""
        self._offset = None
        self._hosts.clear()
        self._totals.clear()

    def take(self, hosts: Iterable[HostCount], versions: Versions) -> tuple[RevisionReading, ...]:
        """Bring the figures up to date; sorted by service and revision."""
        begins = self._offset is None
        present = set(versions.values())
        for key in [key for key in self._totals if key not in present]:
            del self._totals[key]
        seen: dict[tuple[str, str], HostCount] = {}
        for host in hosts:
            version = versions.get(host.address)
            if version is None:
                continue
            total = self._totals.setdefault(version, _Total())
            key = (host.cluster, host.address)
            before = self._hosts.get(key)
            seen[key] = host
            if begins:
                continue
            if before is None or host.requests < before.requests:
                before = HostCount(host.cluster, host.address, 0, 0)
            total.requests += host.requests - before.requests
            total.failures += max(0, host.failures - before.failures)
        self._hosts = seen
        for line in self._lines():
            self._time(line, versions)
        return tuple(
            RevisionReading(
                region=self._region,
                service=service,
                revision=revision,
                requests=total.requests,
                failures=total.failures,
                latency=tuple(total.latency),
            )
            for (service, revision), total in sorted(self._totals.items())
        )

    def _lines(self) -> list[bytes]:
        """What the access log has got since the last turn, whole lines only."""
        try:
            size = self._log.stat().st_size
            if self._offset is None:
                self._offset = size
                return []
            start = 0 if size < self._offset else self._offset  # it was rotated away
            start = max(start, size - LOG_BYTES_MAX)
            with self._log.open("rb") as file:
                file.seek(start)
                data = file.read(size - start)
        except OSError:
            self._offset = self._offset or 0
            return []
        if start != self._offset and start:  # in the middle of a line
            data = data[data.find(b"\n") + 1 :]
        end = data.rfind(b"\n") + 1
        self._offset = size - (len(data) - end)
        return data[:end].splitlines()

    def _time(self, line: bytes, versions: Versions) -> None:
        try:
            record = orjson.loads(line)
            version = versions.get(record["upstream"])
            duration_ns = int(record["duration_ms"]) * MILLISECOND
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # not of an HTTP request, or damaged
        if version is not None and duration_ns >= 0:
            total = self._totals.setdefault(version, _Total())
            total.latency[min(bisect_left(BOUNDS, duration_ns), len(BOUNDS) - 1)] += 1
