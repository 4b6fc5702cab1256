"""Active-passive services: which side serves, and how many stand by.

While an active region can serve, the standby regions run their warm share and get no calls. When
none can (nobody READY behind an edge that runs), calls go to whoever stands by at once, and after
a moment the standby side *takes over*: it gets the full number of replicas, and keeps the calls.

It gives them back when the active side has had all that is wanted READY for `failback` without a
break: a region that comes back half dead, or comes and goes, gets no calls. Whoever wants to
decide for himself when that is drains the active regions: then the standby side serves until
they are undrained.

A supervisor that remembers nothing goes by what it sees: more than the warm share standing by,
and an active side that is not whole, is a takeover. Else the active side gets the time that a
system needs to start.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from seakeep.decide.ground import ACTIVE, Ground, Side, Stance
from seakeep.decide.placement_halves import standing_by
from seakeep.decide.placement_tally import regions_of
from seakeep.model.decision import Decision, Number, Reason
from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.system import Service, System
from seakeep.model.time import SECOND, Duration, Instant
from seakeep.model.view import Health, View

TAKE_OVER_AFTER: Duration = 3 * SECOND
"""Nobody READY on the active side for this long: longer than a restart takes."""
ADOPTION_GRACE: Duration = 5 * SECOND
"""For every node to be heard by a new supervisor."""
START_PATIENCE: Duration = 60 * SECOND
"""With an active side that has never been seen to serve but is starting."""

REASONS = {
    "standby.takeover": (
        "{subject} is served by its standby regions (ready there: {standby} of {wanted}): no active"
        " one can serve it"
    ),
    "standby.calls": (
        "{subject} has nobody ready in its active regions: calls go to its standby regions, which"
        " take over at {until_ns}"
    ),
    "standby.held.failback": (
        "{subject} stays with its standby regions until {until_ns}: the active ones have been whole"
        " for {whole_ns} only"
    ),
    "standby.held.active": (
        "{subject} stays with its standby regions: the active ones have {active} of {wanted} ready"
    ),
    "standby.failback": (
        "{subject} goes back to its active regions: they have had all that is wanted ready for"
        " {whole_ns}"
    ),
    "standby.relieving": (
        "{subject} gets all its replicas in its standby regions (ready there: {standby} of"
        " {wanted}): the active ones are being drained"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is remembered of one service."""

    since: Instant
    """Of the first look."""
    has_served: bool = False
    """The active side was seen to have somebody READY."""
    failing_since: Instant | None = None
    """When the last of them was seen to be gone."""
    took_over: bool = False
    whole_since: Instant | None = None
    """After a takeover: since when the active side has had all that is wanted."""
    stance: Stance = ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class StandbyMemory:
    services: Mapping[ServiceName, Watch] = field(default_factory=dict)


NOTHING = StandbyMemory()


def with_stances(ground: Ground, memory: StandbyMemory) -> Ground:
    """The ground, with how every active-passive service stands."""
    if not memory.services:
        return ground
    return replace(ground, stances={name: of.stance for name, of in memory.services.items()})


class StandbyController:
    """It acts through placement, traffic and DNS: `with_stances` tells them."""

    def initial(self) -> StandbyMemory:
        return NOTHING

    def decide(
        self,
        system: System,
        view: View,
        memory: StandbyMemory,
        wanted: Mapping[ServiceName, int],
        ground: Ground,
    ) -> Decision[StandbyMemory]:
        """`wanted` as placement gets it; `ground` as the drains have left it."""
        reasons: list[Reason] = []
        wakes: list[Instant] = []
        services: dict[ServiceName, Watch] = {}
        for name, service in system.services.items():
            if not service.spread.standby:
                continue
            before = memory.services.get(name) or Watch(since=view.at)
            need = wanted.get(name, service.replicas.min)
            look = _Look(system, view, service, need, ground, reasons, wakes)
            services[name] = look.at(before)
        if not services:
            return Decision(memory=NOTHING)
        return Decision(
            memory=StandbyMemory(services=services),
            reasons=tuple(reasons),
            wake_at=min(wakes, default=None),
        )


class _Look:
    """One look at one service."""

    def __init__(
        self,
        system: System,
        view: View,
        service: Service,
        wanted: int,
        ground: Ground,
        reasons: list[Reason],
        wakes: list[Instant],
    ) -> None:
        self._now, self._service, self._wanted = view.at, service, wanted
        self._reasons, self._wakes = reasons, wakes
        standby = service.spread.standby
        active = [name for name in regions_of(system, service) if name not in standby]
        self._active = _ready(view, service, active, ground)
        self._standby = _ready(view, service, standby, ground)
        self._is_away = all(name in ground.drained for name in active)
        self._warm = standing_by(service, wanted, Ground())
        self._starting = any(
            one.health is Health.STARTING and one.state.region in active
            for one in view.by_service.get(service.name, ())
        )

    def at(self, watch: Watch) -> Watch:
        if self._active:
            watch = replace(watch, has_served=True, failing_since=None)
        elif watch.failing_since is None:
            watch = replace(watch, failing_since=self._now)
        if self._wanted <= 0:
            return replace(watch, took_over=False, whole_since=None, stance=ACTIVE)
        if not watch.took_over and not self._takes_over(watch):
            return self._waiting(watch)
        return self._taken(replace(watch, took_over=True))

    def _takes_over(self, watch: Watch) -> bool:
        if self._active:
            # Unless this supervisor is new, and came in the middle of one.
            is_new = self._now - watch.since < ADOPTION_GRACE
            return is_new and self._standby > self._warm and self._active < self._wanted
        if self._is_away:
            return self._standby > 0
        assert watch.failing_since is not None
        if watch.has_served:
            return self._now - watch.failing_since >= TAKE_OVER_AFTER
        if self._standby > self._warm:
            return True
        patience = START_PATIENCE if self._starting else ADOPTION_GRACE
        return self._standby > 0 and self._now - watch.since >= patience

    def _waiting(self, watch: Watch) -> Watch:
        """The active side serves, or is about to, or has only just stopped."""
        if self._is_away:
            self._say("standby.relieving", standby=self._standby, wanted=self._wanted)
            return replace(watch, stance=Stance(is_full=True))
        if not self._active and watch.failing_since is not None:
            until = watch.failing_since + TAKE_OVER_AFTER
            if watch.has_served:
                self._wakes.append(until)
                if self._standby:
                    self._say("standby.calls", until_ns=until)
                    return replace(watch, stance=Stance(serves=Side.STANDBY))
            else:
                ends = (watch.since + ADOPTION_GRACE, watch.since + START_PATIENCE)
                self._wakes.extend(end for end in ends if end > self._now)
        return replace(watch, stance=ACTIVE)

    def _taken(self, watch: Watch) -> Watch:
        """The standby side has taken over: does the active one get it back?"""
        if self._is_away or self._active < self._wanted:
            if self._active and not self._is_away:
                self._say("standby.held.active", active=self._active, wanted=self._wanted)
            else:
                self._say("standby.takeover", standby=self._standby, wanted=self._wanted)
            # Whoever can serve does, whatever the rules say.
            is_empty = self._standby == 0 and self._active > 0
            serves = Side.ACTIVE if is_empty else Side.STANDBY
            return replace(watch, whole_since=None, stance=Stance(serves=serves, is_full=True))
        since = self._now if watch.whole_since is None else watch.whole_since
        whole = self._now - since
        if whole >= self._service.spread.failback or self._standby == 0:
            self._say("standby.failback", whole_ns=whole)
            return replace(watch, took_over=False, whole_since=None, stance=ACTIVE)
        until = since + self._service.spread.failback
        self._wakes.append(until)
        self._say("standby.held.failback", until_ns=until, whole_ns=whole)
        stance = Stance(serves=Side.STANDBY, is_full=True)
        return replace(watch, whole_since=since, stance=stance)

    def _say(self, code: str, **numbers: Number) -> None:
        self._reasons.append(
            Reason(code=code, subject=self._service.name, numbers=tuple(numbers.items()))
        )


def _ready(view: View, service: Service, regions: Collection[RegionName], ground: Ground) -> int:
    """Instances in these regions that can take calls: READY at the last word, staying, behind an
    edge that runs, in a region that is not left by callers."""
    places = []
    for region in regions:
        edge = view.parts.get(f"edge:{region}")
        if region not in ground.out and edge is not None and edge.running:
            places.append(region)
    return sum(
        (one.last_word or one.health) is Health.READY
        and one.health is not Health.LOST
        and one.state.draining_since is None
        and one.state.region in places
        for one in view.by_service.get(service.name, ())
    )
