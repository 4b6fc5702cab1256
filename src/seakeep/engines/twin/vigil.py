"""Whether balancers keep sending requests to instances that are down, for longer than their checks
take to notice: what must not happen, whatever strikes.

An instance is down while a check of it would fail. From then on, a row of failed checks and the
pace of checks bound how long it may still be asked. The bound does not hold while a balancer may be
in panic, and ignores health on purpose: that is when less than 1/1.4 of a service's members in its
region are well, and for as long as an ejection of outliers may last.
"""

from collections.abc import Callable

from seakeep.engines.twin.body import Body
from seakeep.engines.twin.checks import INTERVAL_JITTER, Rules
from seakeep.model.ids import InstanceId, RegionName, ServiceName
from seakeep.model.time import MILLISECOND, SECOND, Duration, Instant

WELL_MIN = 1 / 1.4
"""Of the members: from there on no balancer panics, since priorities are overprovisioned."""
EJECTED_FOR_MAX: Duration = 15 * SECOND
MARGIN: Duration = 100 * MILLISECOND
"""For a check to be told, and a push to be taken."""


class Vigil:
    """`asked_at` says when an instance was last sent a request, `rules` how it is checked, `note`
    hears of what must not happen."""

    def __init__(
        self,
        asked_at: Callable[[InstanceId], Instant],
        rules: Callable[[RegionName, ServiceName], Rules],
        note: Callable[[Instant, str], None],
    ) -> None:
        self._asked_at = asked_at
        self._rules = rules
        self._note = note
        self._down: dict[InstanceId, tuple[Body, Instant]] = {}
        self._panic_until: dict[tuple[RegionName, ServiceName], Instant] = {}
        """By region and service: until when a balancer may have ignored health."""
        self._panics: dict[tuple[RegionName, ServiceName], bool] = {}

    def turned(self, at: Instant, body: Body) -> None:
        """An instance may be down now, or no longer."""
        if body.reach.ok:
            self.gone(at, body)
        else:
            self._down.setdefault(body.id, (body, at))

    def gone(self, at: Instant, body: Body) -> None:
        """It is up, or will be removed."""
        if body.id in self._down:
            self._look(at, body, self._down.pop(body.id)[1])

    def weighed(
        self, at: Instant, region: RegionName, service: ServiceName, well: int, members: int
    ) -> None:
        """How many of the members of a service in a region its balancer has found to be well."""
        key = (region, service)
        panics = well < WELL_MIN * members or not members
        if panics or self._panics.get(key, True):
            self._may_ignore(at, key, at)
        self._panics[key] = panics

    def ejected(self, at: Instant, region: RegionName, service: ServiceName) -> None:
        """A balancer has put outliers out, beside what its checks say: told after the fact."""
        key = (region, service)
        self._panic_until[key] = max(at + EJECTED_FOR_MAX, self._panic_until.get(key, 0))

    def began(self, at: Instant, region: RegionName, service: ServiceName) -> None:
        """A balancer that has checked nobody yet."""
        self._may_ignore(at, (region, service), at + SECOND)

    def end(self, at: Instant) -> None:
        for body, since in self._down.values():
            self._look(at, body, since)

    def _may_ignore(self, at: Instant, key: tuple[RegionName, ServiceName], until: Instant) -> None:
        for body, since in self._down.values():
            if (body.region, body.service) == key:
                self._look(at, body, since)
        self._panic_until[key] = max(until, self._panic_until.get(key, 0))

    def _look(self, at: Instant, body: Body, since: Instant) -> None:
        key = (body.region, body.service)
        if self._panics.get(key, True):
            return
        since = max(since, self._panic_until.get(key, 0))
        asked_at = self._asked_at(body.id)
        bound = noticed_within(self._rules(body.region, body.service))
        if asked_at > since + bound:
            self._note(
                at,
                f"{body.id} was still asked {(asked_at - since) / SECOND:.3f} s after it went down,"
                f" and checks notice within {bound / SECOND:.3f} s",
            )


def noticed_within(rules: Rules) -> Duration:
    """How long it takes an Envoy at most to leave an instance out that is down."""
    every = round(rules.interval * (1 + INTERVAL_JITTER))
    return rules.failures * (rules.timeout + every) + every + MARGIN
