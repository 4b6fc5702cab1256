"""The active health checks of every region's Envoy, in closed form.

What must live here: the rules that `engines.local.envoy.clusters` configures, without a check ever
being made. A target is an instance, or another region's gateway for a service (`eu-west:web`),
which is asked over the link and answers for its region. From one check to the next it is the time
that a check takes and an interval; a target's first check is made within 50 ms, and its result
counts at once; after that it takes as many equal results in a row as the readiness probe says.
While what a target would answer stays as it is, the instant at which its verdict turns follows.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from seakeep.engines.twin.agenda import Agenda
from seakeep.engines.twin.chance import fraction
from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.system import Probe, ProbeKind, Service, System, link_between
from seakeep.model.time import MILLISECOND, SECOND, Duration, Instant

PERIOD: Duration = SECOND
"""Of services without a readiness probe."""
FAILURES = 3
"""Likewise."""
FIRST_WITHIN: Duration = 50 * MILLISECOND
INTERVAL_JITTER = 0.05
TIMEOUT_ROOM: Duration = 250 * MILLISECOND
GONE = -1
"""The turn of a target that is checked no more."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What a check of a target meets."""

    ok: bool
    takes: Duration | None = 0
    """Until the answer, or the refusal; None: there is none until the time is up."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a region's Envoy checks the members of a service."""

    interval: Duration
    timeout: Duration
    failures: int
    successes: int
    first_within: Duration


def rules_of(system: System, region: RegionName, service: Service) -> Rules:
    probe = readiness(service)
    period = probe.period if probe else PERIOD
    timeout = probe.timeout if probe else PERIOD
    links = (link_between(system, region, other) for other in system.regions)
    farthest = max((link.latency for link in links if link is not None), default=0)
    return Rules(
        interval=period,
        timeout=max(timeout, 4 * farthest + TIMEOUT_ROOM),
        failures=probe.failures if probe else FAILURES,
        successes=probe.successes if probe else 1,
        first_within=min(max(period // 20, MILLISECOND), FIRST_WITHIN),
    )


def readiness(service: Service) -> Probe | None:
    """The probe that says whether an instance takes requests."""
    probes = service.workload.probes
    return next((one for one in probes if one.kind is ProbeKind.READINESS), None)


class _Target:
    """One target of one region's Envoy."""

    __slots__ = ("clusters", "interval", "next_at", "reach", "row", "rules", "turn", "verdict")

    def __init__(self, rules: Rules, interval: Duration, first_at: Instant, reach: Reach) -> None:
        self.rules = rules
        self.interval = interval
        self.next_at = first_at
        """Of a check, the first since `reach` became what it is."""
        self.reach = reach
        self.verdict: bool | None = None
        """None before the first check has ended."""
        self.row = 0
        """Results against the verdict in a row, before the check at `next_at`."""
        self.turn = 0
        """Counts changes, so that an overtaken entry of the agenda can tell."""
        self.clusters: set[str] = set()
        """That it is in; only asked for membership."""

    def takes(self) -> Duration:
        takes = self.reach.takes
        return self.rules.timeout if takes is None else min(takes, self.rules.timeout)

    def passes(self) -> bool:
        """A check whose answer comes late has failed."""
        takes = self.reach.takes
        return self.reach.ok and takes is not None and takes <= self.rules.timeout

    def turns_at(self) -> Instant | None:
        """When its verdict turns if nothing changes; None: it is as it should be."""
        if self.verdict is None:
            return self.next_at + self.takes()
        if self.verdict is self.passes():
            return None
        rules = self.rules
        number = (rules.failures if self.verdict else rules.successes) - self.row
        return self.next_at + number * self.takes() + (number - 1) * self.interval

    def change(self, at: Instant, reach: Reach) -> None:
        """From now on checks meet something else. One that is under way meets it, too."""
        waited = at - self.next_at
        if waited >= 0:
            takes = self.takes()
            pace = self.interval + takes
            done = (waited - takes) // pace + 1 if waited >= takes else 0
            if done:
                self.row = 0 if self.passes() is self.verdict else self.row + done
            self.next_at = max(at, self.next_at + done * pace)
        self.reach = reach
        self.turn += 1


class Checks:
    """All targets of all Envoys. `turned` hears of every verdict: region, target, whether it is
    well."""

    def __init__(
        self, seed: int, agenda: Agenda, turned: Callable[[RegionName, str, bool], None]
    ) -> None:
        self._seed = seed
        self._agenda = agenda
        self._turned = turned
        self._targets: dict[RegionName, dict[str, _Target]] = {}
        self._rules: dict[tuple[RegionName, ServiceName], Rules] = {}
        self._counts: dict[str, int] = {}
        """Beginnings so far, by region and target: each has a phase of its own."""
        self._down: dict[RegionName, bool] = {}
        """Whether the region's Envoy checks nobody, since it does not run."""

    def configure(self, system: System) -> None:
        self._rules = {
            (region, service.name): rules_of(system, region, service)
            for region in system.regions
            for service in system.services.values()
        }

    def rules(self, region: RegionName, service: ServiceName) -> Rules:
        return self._rules[region, service]

    def verdict(self, region: RegionName, target: str) -> bool | None:
        found = self._targets.get(region, {}).get(target)
        return None if found is None else found.verdict

    def watch(
        self,
        at: Instant,
        region: RegionName,
        cluster: str,
        service: ServiceName,
        wanted: Iterable[tuple[str, Callable[[], Reach]]],
    ) -> None:
        """The members of a cluster are these now: (target, what a check of it meets)."""
        targets = self._targets.setdefault(region, {})
        now = dict(wanted)
        for name in [name for name, one in targets.items() if cluster in one.clusters]:
            if name not in now:
                targets[name].clusters.discard(cluster)
                if not targets[name].clusters:
                    targets[name].turn = GONE
                    del targets[name]
        for name, reach in now.items():
            target = targets.get(name)
            if target is None:
                target = targets[name] = self._begun(at, region, service, name, reach())
                self._expect(region, name, target)
            elif cluster not in target.clusters and target.verdict is not None:
                self._tell_soon(at, region, name, target)
            target.clusters.add(cluster)

    def stop(self, region: RegionName) -> None:
        """The region's Envoy has ended, and what it knew is lost."""
        self._down[region] = True
        for target in self._targets.get(region, {}).values():
            target.turn += 1
            target.verdict, target.row = None, 0

    def start(self, at: Instant, region: RegionName) -> None:
        """The region's Envoy begins, with the targets that it had."""
        self._down[region] = False
        for name, target in self._targets.get(region, {}).items():
            target.next_at = at + self._first(region, name, target.rules)
            self._expect(region, name, target)

    def forget(self, region: RegionName) -> None:
        for target in self._targets.pop(region, {}).values():
            target.turn = GONE

    def change(self, at: Instant, region: RegionName, target: str, reach: Reach) -> None:
        """What a check of a target meets is something else now. One that is not watched is
        nobody's concern."""
        found = self._targets.get(region, {}).get(target)
        if found is not None and found.reach != reach:
            found.change(at, reach)
            self._expect(region, target, found)

    # --- one target ---

    def _begun(
        self, at: Instant, region: RegionName, service: ServiceName, name: str, reach: Reach
    ) -> _Target:
        rules = self._rules[region, service]
        jitter = INTERVAL_JITTER * fraction(self._seed, f"check every {region} {name}")
        interval = round(rules.interval * (1 + jitter))
        return _Target(rules, interval, at + self._first(region, name, rules), reach)

    def _first(self, region: RegionName, name: str, rules: Rules) -> Duration:
        key = f"{region} {name}"
        count = self._counts[key] = self._counts.get(key, 0) + 1
        return round(rules.first_within * fraction(self._seed, f"check first {key} {count}"))

    def _tell_soon(self, at: Instant, region: RegionName, name: str, target: _Target) -> None:
        """A cluster that it is new to makes a first check of its own."""

        def tell() -> None:
            if target.turn != GONE and target.verdict is not None:
                self._turned(region, name, target.verdict)

        self._agenda.put(at + self._first(region, name, target.rules), tell)

    def _expect(self, region: RegionName, name: str, target: _Target) -> None:
        at = target.turns_at()
        if at is None or self._down.get(region, True):
            return
        turn = target.turn

        def come() -> None:
            if target.turn == turn:
                self._turn(at, region, name, target)

        self._agenda.put(at, come)

    def _turn(self, at: Instant, region: RegionName, name: str, target: _Target) -> None:
        passes = target.passes()
        changed = target.verdict is not passes
        target.verdict = passes
        target.row = 0
        target.next_at = at + target.interval
        if changed:
            self._turned(region, name, passes)
