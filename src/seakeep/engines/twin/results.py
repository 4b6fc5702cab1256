"""What a world has measured, in the model's terms."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seakeep.engines.twin.kernel import words
from seakeep.engines.twin.tables import Tables
from seakeep.model.hdr import Histogram
from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.observation import TrafficReading
from seakeep.model.run import Flow, Good, Line, Load
from seakeep.model.system import Objective
from seakeep.model.time import SECOND, Duration

OVERDUE_AFTER: Duration = 10 * SECOND
"""A request counts as one that will have no answer when it has waited for longer than this, and
than any that had one."""


class Results:
    def __init__(self, tables: Tables) -> None:
        self._t = tables

    # --- of the whole run ---------------------------------------------------

    def traffic(self) -> dict[str, Flow]:
        return {name: self._flow(place) for name, place in self._t.sources.items()}

    def services(self) -> dict[ServiceName, Flow]:
        first = len(self._t.sources)
        return {name: self._flow(first + place) for name, place in self._t.services.items()}

    def _flow(self, place: int) -> Flow:
        row = self._t.rows["flows"][place]
        ended = int(row["ok"] + row["failed"] + row["rejected"] + row["timed_out"])
        return Flow(
            requests=int(row["requests"]),
            ok=int(row["ok"]),
            failed=int(row["failed"]),
            rejected=int(row["rejected"]),
            timed_out=int(row["timed_out"]),
            in_flight=int(row["requests"]) - ended,
            retried=int(row["retried"]),
            latency=self._histogram(row, "latency"),
            wait=self._histogram(row, "wait"),
        )

    def _histogram(self, row: Any, name: str) -> Histogram:
        counts = self._t.at(int(row[name]))
        return Histogram(
            counts=counts.copy(),
            sum_ns=int(row[f"{name}_sum"]),
            max_ns=int(row[f"{name}_max"]),
        )

    def lines(self) -> dict[tuple[str, RegionName], Line]:
        rows = self._by_bucket("lines", len(self._t.sources) * len(self._t.regions))
        found = {}
        for source, s in self._t.sources.items():
            for region, r in self._t.regions.items():
                row = rows[s * len(self._t.regions) + r]
                found[source, region] = Line(
                    ok=row["ok"].copy(),
                    failed=row["failed"].copy(),
                    rejected=row["rejected"].copy(),
                    timed_out=row["timed_out"].copy(),
                    latency=row["latency"].copy(),
                )
        return found

    def loads(self) -> dict[tuple[ServiceName, RegionName], Load]:
        rows = self._by_bucket("loads", len(self._t.services) * len(self._t.regions))
        found = {}
        for service, s in self._t.services.items():
            for region, r in self._t.regions.items():
                row = rows[s * len(self._t.regions) + r]
                found[service, region] = Load(
                    instances=row["instances"].copy(),
                    ready=row["ready"].copy(),
                    busy=row["busy"].copy(),
                    slots=row["slots"].copy(),
                    queued=row["queued"].copy(),
                )
        return found

    def goods(self) -> tuple[Good, ...]:
        objectives = self._t.system.objectives
        rows = self._by_bucket("goods", len(objectives))
        return tuple(
            Good(good=row["good"].copy(), total=row["total"] + self._overdue(objective))
            for row, objective in zip(rows, objectives, strict=True)
        )

    def _overdue(self, objective: Objective) -> NDArray[np.int64]:
        """By bucket: requests that have not ended but are bad already, in the bucket in which they
        became so. Without them a system that answers nobody, and has no timeout, would be one
        without a bad request."""
        t, w = self._t, self._t.w
        spans, buckets = t.rows["spans"], int(w["buckets"])
        service = t.services[objective.service]
        sources = [
            place
            for name, place in t.sources.items()
            if t.system.traffic[name].service == objective.service
        ]
        if sources:
            mine = (spans["kind"] == words.CLIENT) & np.isin(spans["source"], sources)
        else:
            mine = (spans["kind"] == words.CALLER) & (spans["service"] == service)
        within = objective.threshold
        if within is None:
            flows = t.rows["flows"][sources or [len(t.sources) + service]]
            within = max(OVERDUE_AFTER, int(flows["latency_max"].max()))
        due = spans["made_at"][mine & (spans["counted"] != 0)] + within
        late = (due[due < w["now"]] - w["counted_from"]) // w["bucket"]
        return np.bincount(late, minlength=buckets)[:buckets].astype(np.int64)

    def _by_bucket(self, name: str, count: int) -> Any:
        buckets = int(self._t.w["buckets"])
        return self._t.rows[name][: count * buckets].reshape(count, buckets)

    def broken(self) -> list[str]:
        """Counted ones that are still there must be those that have not ended."""
        t = self._t
        spans = t.rows["spans"]
        live = spans[(spans["kind"] >= 0) & (spans["counted"] != 0)]
        found = []
        for name, place in t.sources.items():
            flow = self._flow(place)
            there = int(np.sum((live["kind"] == 0) & (live["source"] == place)))
            if flow.in_flight != there:
                found.append(
                    f"traffic {name}: {flow.in_flight} requests have not ended, {there} are there"
                )
        for name, flow in self.services().items():
            if flow.in_flight < 0:
                found.append(
                    f"service {name}: {-flow.in_flight} more requests ended than were made"
                )
        return found

    # --- for controllers ----------------------------------------------------

    def readings(self) -> tuple[TrafficReading, ...]:
        t = self._t
        found = []
        for region in sorted(t.regions):
            for service in sorted(t.services):
                s = t.services[service]
                row = t.rows["fronts"][t.regions[region] * len(t.services) + s]
                timed = t.rows["services"][s]["timed"]
                found.append(
                    TrafficReading(
                        region=region,
                        service=service,
                        requests=int(row["requests"]),
                        failures=int(row["failures"]),
                        retries=int(row["retries"]),
                        in_flight=int(row["in_flight"]),
                        limited=int(row["limited"]),
                        shed=int(row["shed"]),
                        pending=int(row["pending"]),
                        latency=tuple(row["latency"].tolist()) if timed else (),
                    )
                )
        return tuple(found)

    def start_over(self, region: int) -> None:
        """A balancer that has counted nothing."""
        count = len(self._t.services)
        for row in self._t.rows["fronts"][region * count : (region + 1) * count]:
            for field in ("requests", "failures", "retries", "limited", "shed"):
                row[field] = 0
            row["latency"] = 0

    def set_limit(self, region: RegionName, key: str, rate_per_s: float) -> None:
        found = self._t.shares.get((region, key))
        if found is None:
            return  # of something that no traffic goes to
        place, limit = found
        row = self._t.rows["limits"][place]
        now = int(self._t.w["now"])
        row["tokens"] = min(row["burst"], row["tokens"] + (now - row["filled_at"]) * row["per_ns"])
        row["filled_at"] = now
        row["per_ns"] = rate_per_s / SECOND
        row["burst"] = max(1.0, round(limit.burst * rate_per_s / limit.rate_per_s))
