"""Endpoints of every balancer's clusters: what controllers push, and what checks find out.

An endpoint keeps its row from push to push, for as long as it is in its cluster or has requests,
so that what Envoy knows of it (its requests, its failures, its ejection) stays.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from seakeep.engines.twin.kernel import records, words
from seakeep.engines.twin.kernel.hashing import MAGLEV_SIZE, RING_SIZE_MIN
from seakeep.engines.twin.tables import Rows, Tables
from seakeep.model.action import Endpoint, Locality
from seakeep.model.ids import InstanceId, RegionName, ServiceName
from seakeep.model.observation import RevisionReading
from seakeep.model.scale import is_held
from seakeep.model.system import BalancePolicy
from seakeep.model.time import Instant

HOLDER = ""
"""The target that stands for where requests wait while a service has no instance."""
NOBODY = 0


class EndpointTables:
    def __init__(self, tables: Tables) -> None:
        self._t = tables
        self._t.put("endpoints", np.zeros(64, records.ENDPOINT))
        self._used = 0
        self._free: list[int] = []
        self._left: list[int] = []
        """Rows that are in no cluster any more, but have requests."""
        self._rows: dict[int, dict[str, int]] = {c: {} for c in tables.clusters.values()}
        """By cluster: the row of each target."""
        self._lists: dict[int, tuple[Rows, ...]] = {}
        self._by_region: dict[RegionName, list[int]] = {}
        for (region, _), c in tables.clusters.items():
            self._by_region.setdefault(region, []).append(c)
        self._checks: dict[tuple[RegionName, str], bool] = {}
        self._versions: dict[tuple[RegionName, ServiceName, str], int] = {}

    def put(
        self,
        region: RegionName,
        cluster: str,
        localities: Sequence[Locality],
        instances: Mapping[InstanceId, int],
        now: Instant,
    ) -> int:
        """The whole of one cluster; its row."""
        t = self._t
        c = t.clusters[region, cluster]
        service = t.system.services[cluster.partition("@")[0].partition(".")[0]]
        held = is_held(service.scale, service.replicas.min) and not cluster.endswith(".local")
        wanted = list(_wanted(service.name, localities, held))
        before, after = self._rows[c], {}
        for tier, target, endpoint, weight in wanted:
            row = before.get(target)
            if row is None:
                row = self._new(c, region, target, endpoint, instances, now)
            one = t.rows["endpoints"][row]
            one["tier"], one["weight"] = tier, weight
            one["told"] = endpoint is None or endpoint.healthy
            after[target] = row
        self._rows[c] = after
        for target, row in before.items():
            if target not in after:
                self._drop(c, row)
        self._lay_out(
            c, [(tier, after[target]) for tier, target, _, _ in wanted], service.balance.policy
        )
        weights = {weight for _, _, _, weight in wanted}
        t.rows["clusters"][c]["weighted"] = len(weights) > 1
        return c

    def _new(
        self,
        c: int,
        region: RegionName,
        target: str,
        endpoint: Endpoint | None,
        instances: Mapping[InstanceId, int],
        now: Instant,
    ) -> int:
        t = self._t
        self._sweep()
        if self._free:
            row = self._free.pop()
        else:
            row = self._used
            self._used += 1
            t.more("endpoints", self._used)
        gen = int(t.rows["endpoints"][row]["gen"])
        t.rows["endpoints"][row] = np.zeros((), records.ENDPOINT)
        one = t.rows["endpoints"][row]
        one["gen"] = gen + 1
        one["instance"] = one["region"] = one["revision"] = -1
        if endpoint is None:
            one["check"] = words.PASSING
        elif endpoint.instance is None:
            one["region"] = t.regions[endpoint.host]
        else:
            one["instance"] = instances.get(endpoint.instance, NOBODY)
            one["revision"] = self._version_of(endpoint.instance, region)
        known = self._checks.get((region, target))
        if endpoint is not None and known is not None:
            one["check"] = words.PASSING if known else words.FAILING
        one["cluster"], one["used"] = c, 1
        one["added_at"] = one["returned_at"] = now
        digest = hashlib.blake2b(target.encode(), digest_size=6).digest()
        one["hash"] = int.from_bytes(digest, "little") << 12
        return row

    def _drop(self, c: int, row: int) -> None:
        one = self._t.rows["endpoints"][row]
        if one["ejected"]:
            self._t.rows["clusters"][c]["ejected"] -= 1
            one["ejected"] = 0
        one["used"] = 0
        self._left.append(row)

    def _sweep(self) -> None:
        """Rows that nobody needs are free."""
        rows = self._t.rows["endpoints"]
        self._free += [row for row in self._left if rows[row]["active"] == 0]
        self._left = [row for row in self._left if rows[row]["active"] != 0]

    def _lay_out(self, c: int, members: Sequence[tuple[int, int]], policy: BalancePolicy) -> None:
        """The lists that the balancer goes through: members by priority."""
        ordered = [row for _, row in sorted(members, key=lambda one: one[0])]
        list_ = np.array(ordered or [0], np.int64).view(records.NUMBER)
        count = 1 + max((tier for tier, _ in members), default=-1)
        tiers = np.zeros(max(1, count), records.TIER)
        tables = []
        first = 0
        for tier in range(count):
            total = sum(1 for one, _ in members if one == tier)
            tiers[tier]["first"], tiers[tier]["total"] = first, total
            first += total
            if policy is BalancePolicy.RING_HASH:
                tables.append(np.zeros(RING_SIZE_MIN + 2 * total, records.MARK))
            elif policy is BalancePolicy.MAGLEV:
                tables.append(np.zeros(MAGLEV_SIZE, records.NUMBER))
            if tables:
                tiers[tier]["ring"] = tables[-1].ctypes.data
        cluster = self._t.rows["clusters"][c]
        cluster["members"], cluster["tiers"] = list_.ctypes.data, tiers.ctypes.data
        cluster["count"], cluster["tiers_count"] = len(members), count
        cluster["dirty"] = 1
        self._lists[c] = (list_, tiers, *tables)

    # --- health -------------------------------------------------------------

    def check(self, region: RegionName, target: str, ok: bool) -> Iterator[int]:
        """The clusters that this bears on."""
        self._checks[region, target] = ok
        state = words.PASSING if ok else words.FAILING
        for c in self._by_region[region]:
            row = self._rows[c].get(target)
            if row is not None and self._t.rows["endpoints"][row]["check"] != state:
                self._t.rows["endpoints"][row]["check"] = state
                self._t.rows["clusters"][c]["dirty"] = 1
                yield c

    def start_over(self, region: RegionName) -> None:
        """A balancer that knows nothing."""
        self._checks = {key: ok for key, ok in self._checks.items() if key[0] != region}
        for c in self._by_region[region]:
            for target, row in self._rows[c].items():
                one = self._t.rows["endpoints"][row]
                one["gen"] += 1
                one["check"] = words.PASSING if target == HOLDER else words.UNCHECKED
                one["ejected"] = one["failures"] = one["backoff"] = 0
            self._t.rows["clusters"][c]["ejected"] = 0
            self._t.rows["clusters"][c]["dirty"] = 1

    def forget(self, instance: int) -> None:
        """An instance is gone, whatever clusters still hold of it."""
        rows = self._t.rows["endpoints"][: self._used]
        rows["instance"][rows["instance"] == instance] = NOBODY

    # --- versions -----------------------------------------------------------

    def tell_apart(
        self, service: ServiceName, present: Mapping[InstanceId, tuple[int, str]]
    ) -> None:
        """Count by revision while several run. `present`: (row, revision) of its instances."""
        t = self._t
        self._present = {**getattr(self, "_present", {}), service: present}
        versions = sorted({revision for _, revision in present.values()})
        kept = {key for key in self._versions if key[1] == service and key[2] in versions}
        if len(versions) < 2:
            kept = set()
        for key in [key for key in self._versions if key[1] == service and key not in kept]:
            del self._versions[key]
        if len(versions) > 1:
            for region in t.regions:
                for revision in versions:
                    self._count((region, service, revision))
        for region in t.regions:
            for c in self._by_region[region]:
                for target, row in self._rows[c].items():
                    if target in present:
                        version = self._version_of(target, region)
                        t.rows["endpoints"][row]["revision"] = version

    def _count(self, key: tuple[RegionName, ServiceName, str]) -> None:
        if key not in self._versions:
            used = set(self._versions.values())
            row = next(i for i in range(len(used) + 1) if i not in used)
            self._t.more("revisions", row + 1)
            self._t.rows["revisions"][row] = np.zeros((), records.REVISION)
            self._versions[key] = row

    def _version_of(self, instance: InstanceId, region: RegionName) -> int:
        for service, present in getattr(self, "_present", {}).items():
            if instance in present:
                return self._versions.get((region, service, present[instance][1]), -1)
        return -1

    def revision_readings(self) -> tuple[RevisionReading, ...]:
        found = []
        for (region, service, revision), row in sorted(self._versions.items()):
            counts = self._t.rows["revisions"][row]
            found.append(
                RevisionReading(
                    region=region,
                    service=service,
                    revision=revision,
                    requests=int(counts["requests"]),
                    failures=int(counts["failures"]),
                    latency=tuple(counts["latency"].tolist()),
                )
            )
        return tuple(found)


WEIGHT_SCALE = 1_000


def _wanted(
    service: ServiceName, localities: Sequence[Locality], held: bool
) -> Iterator[tuple[int, str, Endpoint | None, float]]:
    """(priority, target, endpoint, weight) as `engines.local.envoy.endpoints` writes them: what
    drains is left out unless nothing else is left, priorities have no gaps, a locality's weight is
    carried by its endpoints, and the holder comes last."""
    everyone = [one for locality in localities for one in locality.endpoints]
    keep = not held and all(one.draining for one in everyone)
    kept = [
        (locality, [one for one in locality.endpoints if keep or not one.draining])
        for locality in localities
    ]
    kept = [(locality, endpoints) for locality, endpoints in kept if endpoints]
    ranks = sorted({locality.priority for locality, _ in kept})
    for locality, endpoints in kept:
        weighted = any(
            other.weight > 0 or any(one.weight != 1 for one in others)
            for other, others in kept
            if other.priority == locality.priority
        )
        total = sum(one.weight for one in endpoints)
        share = locality.weight if locality.weight > 0 else total
        for one in endpoints:
            weight = 1.0
            if weighted:
                weight = max(1, round(WEIGHT_SCALE * share * one.weight / max(1, total)))
            target = one.instance or f"{one.host}:{service}"
            yield ranks.index(locality.priority), target, one, weight
    if held:
        yield len(ranks), HOLDER, None, 1.0
