"""How many instances every service should have now.

The Kubernetes HorizontalPodAutoscaler (autoscaling/v2), service by service, once a period:

    metrics -> proposals -> the largest -> stabilised -> paced by policies -> within bounds

with its rules for what is missing: while a metric cannot be had nothing is scaled down, and with
none at all nothing is scaled. Beside the metrics stand what the schedule and the forecast want;
they enter before stabilisation, so that whatever the cause, the number goes down only after the
window, and its direction changes at most once per window.

Then what upstream has no word for: `scaling_layout` says in which regions, and how many more for
a loss. A service whose minimum is 0 goes to nothing after its idle time, and is woken by the first
request at once, whatever the period.

What is decided here is a number per region. Placement makes it true.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from seakeep.decide.forecast import Learned, expected, learned
from seakeep.decide.hpa import Dated, lately, paced, remembered, stabilised
from seakeep.decide.placement_tally import is_leaving
from seakeep.decide.scaling_layout import capped, lay_out, with_headroom
from seakeep.decide.scaling_memory import Needs, Scaling, ScalingMemory
from seakeep.decide.scaling_metrics import WORDS, Measured, measure
from seakeep.decide.schedule import Calendar, in_force
from seakeep.model.decision import Decision, Number, Reason
from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.scale import Follow, Scale
from seakeep.model.system import Service, System
from seakeep.model.time import SECOND, Duration, Instant
from seakeep.model.view import Health, View

ADOPTED_WITHIN: Duration = 30 * SECOND
"""After a start, the instances that turn up are taken for those that were wanted."""

REASONS: Mapping[str, str] = {
    "scaling.up": (
        "{subject} is scaled up from {before} to {after}: {metric} at {value}, aiming at {target}"
    ),
    "scaling.down": (
        "{subject} is scaled down from {before} to {after}: {metric} at {value}, aiming at {target}"
    ),
    "scaling.wake": "{subject} is woken: a request waits, and there is no instance",
    "scaling.idle": "{subject} goes to sleep: no request for {idle_ns}",
    "scaling.bounds": "{subject} goes from {before} to {after}, the nearest that the spec allows",
    "scaling.adopted": "{subject} has {after} that were wanted before; they stay for now",
    "scaling.steady": (
        "{subject} stays as it is, {replicas} carrying the load: {metric} at {value}, aiming at"
        " {target}"
    ),
    "scaling.held.stabilisation": (
        "{subject} stays at {replicas} rather than {desired}: the most cautious wish of the last"
        " {window_ns} counts"
    ),
    "scaling.held.metric": (
        "{subject} is not scaled down from {replicas}: {metric} cannot be had ({detail})"
    ),
    "scaling.held.blind": (
        "{subject} stays at {replicas}: none of its metrics can be had ({detail})"
    ),
    "scaling.limited.policy": (
        "{subject} goes to {after} rather than {desired} for now: its policies allow no more"
        " at once"
    ),
    "scaling.limited.max": "{subject} would want {desired}, and may have at most {limit}",
    "scaling.limited.min": "{subject} would want {desired}, and has at least {limit}",
    "scaling.limited.survive": (
        "{subject} cannot survive the loss of a {what} within its {limit}: it would take {desired}"
    ),
    "scaling.limited.capacity": (
        "{subject} is scaled to {wanted}, and for {replicas} there is no room: its nodes have too"
        " little {short} left"
    ),
    "scaling.schedule": "{subject} has at least {limit}, whatever its load: so says its schedule",
    "scaling.schedule.max": (
        "{subject} has at most {limit}, whatever its load: so says its schedule"
    ),
    "scaling.forecast": (
        "{subject} has {after} rather than {desired}: so many are expected to be needed within"
        " {ahead_ns}"
    ),
    "scaling.survive": (
        "{subject} has {after}, where its load takes {replicas}: the loss of any one {what} leaves"
        " enough"
    ),
    "scaling.layout": "{subject} has {replicas} in {region}, by the need of its callers: {need}",
    "scaling.clock": (
        "{subject}: the wall clock has jumped by {jump_ns}; schedules go by the old one until the"
        " new one has stood for a while"
    ),
}


class ScalingController:
    def initial(self) -> ScalingMemory:
        return ScalingMemory()

    def decide(self, system: System, view: View, memory: ScalingMemory) -> Decision[ScalingMemory]:
        """No action of its own: the memory has what placement is to be given."""
        scaled = [one for one in system.services.values() if one.scale is not None]
        if not scaled:
            return Decision(memory=ScalingMemory())
        began_at = memory.began_at or view.at
        calendar = memory.calendar.told(view.at, view.wall)
        left_before = began_at if view.at < began_at + ADOPTED_WITHIN else None
        services: dict[ServiceName, Scaling] = {}
        reasons: list[Reason] = []
        for index, service in enumerate(scaled):
            turn = _Turn(system, service, view, calendar)
            before = memory.services.get(service.name) or turn.first(index, len(scaled))
            same_spec = memory.revision in ("", system.revision)
            after = turn.next(before, left_before, same_spec)
            services[service.name] = after
            reasons.extend(turn.events)
            reasons.extend(after.reasons)
        if calendar.other is not None and calendar.lead is not None:
            jump = calendar.other - calendar.lead
            reasons.append(_reason("scaling.clock", system.name, jump_ns=jump))
        return Decision(
            memory=ScalingMemory(
                services=services,
                revision=system.revision,
                began_at=began_at,
                calendar=calendar,
            ),
            reasons=tuple(reasons),
            wake_at=min(one.next_at for one in services.values()),
        )


def short_of_room(memory: ScalingMemory, reasons: Sequence[Reason]) -> list[Reason]:
    """For services that were scaled to more than placement has room for."""
    told = []
    for reason in reasons:
        if reason.code == "placement.no_capacity" and reason.subject in memory.services:
            numbers = dict(reason.numbers)
            told.append(
                _reason(
                    "scaling.limited.capacity",
                    reason.subject,
                    wanted=numbers["wanted"],
                    replicas=numbers["replicas"],
                    short=numbers["short"],
                )
            )
    return told


def _reason(code: str, subject: str, **numbers: Number) -> Reason:
    return Reason(code=code, subject=subject, numbers=tuple(numbers.items()))


class _Turn:
    """One step of one service."""

    def __init__(self, system: System, service: Service, view: View, calendar: Calendar) -> None:
        assert service.scale is not None
        self.system, self.service, self.view, self.calendar = system, service, view, calendar
        self.scale: Scale = service.scale
        self.events: list[Reason] = []
        """What happens in this step."""
        self.standing: list[Reason] = []
        """What stands until the next decision."""

    def next(self, before: Scaling, left_before: Instant | None, same_spec: bool) -> Scaling:
        """`left_before`: instances from before this instant may still turn up."""
        if self.service.replicas.min == 0:
            before = self._noting_activity(before)
        if left_before is not None:
            before = self._adopting(before, left_before)
        if before.current == 0 and self._is_called():
            return self._woken(before)
        if self.view.at < before.next_at and same_spec:
            return before
        return self._decided(before)

    # --- beginnings ---

    def first(self, index: int, count: int) -> Scaling:
        """Before anything is known. Services begin one after the other, so that no step decides
        for all of them."""
        least = self.service.replicas.min
        earlier = self.scale.every * 2 // 5 * index // count
        return Scaling(
            current=least,
            wanted=least,
            next_at=self.view.at + self.scale.every - earlier,
            active_at=self.view.at,
        )

    def _adopting(self, before: Scaling, began_at: Instant) -> Scaling:
        """Instances that an earlier Seakeep has left are what it wanted: its reasons are
        forgotten, and count as given now, so that nothing goes before its window is over. What
        was started since is no wish of that kind: it may stand beside one that it replaces."""
        placed = sum(
            1
            for one in self.view.by_service.get(self.service.name, ())
            if one.state.created_at < began_at
            and one.health is not Health.LOST
            and not is_leaving(one, self.view)
        )
        placed = min(placed, self.service.replicas.max)
        if placed <= before.wanted:
            return before
        current = placed
        if self.scale.survive is not None:
            # The fewest whose headroom makes it so many.
            able = range(max(1, before.current), placed + 1)
            current = next(
                (count for count in able if self._laid_out(count, {}, {})[0] >= placed), placed
            )
        self.events.append(self._told("scaling.adopted", after=placed))
        at = self.view.at
        return replace(
            before,
            current=current,
            wanted=placed,
            base={},
            layout={},
            recommendations=self._remembered(at, current, before),
        )

    def _remembered(self, at: Instant, desired: int, before: Scaling) -> tuple[Dated, ...]:
        up, down = self.scale.up.window, self.scale.down.window
        return remembered(at, desired, before.recommendations, up, down)

    # --- sleeping and waking ---

    def _is_called(self) -> bool:
        return any(
            reading.service == self.service.name and reading.in_flight > 0
            for reading in self.view.traffic
        )

    def _noting_activity(self, before: Scaling) -> Scaling:
        active = self._is_called()
        for region in () if active else self.system.regions:
            signal = self.view.signals.get((region, self.service.name))
            # Of a balancer that tells nothing, nobody knows that it is idle.
            active = active or signal is None or signal.rate_per_s > 0
        return replace(before, active_at=self.view.at) if active else before

    def _woken(self, before: Scaling) -> Scaling:
        called = {
            reading.region: float(reading.in_flight)
            for reading in self.view.traffic
            if reading.service == self.service.name and reading.in_flight > 0
        }
        self.events.append(self._told("scaling.wake"))
        at = self.view.at
        wanted, layout, base = self._laid_out(1, called, {})
        return replace(
            before,
            current=1,
            wanted=wanted,
            base=base,
            layout=layout,
            next_at=at + self.scale.every,
            active_at=at,
            ups=(*lately(at, self.scale.up, before.ups), (at, 1)),
            recommendations=self._remembered(at, 1, before),
            reasons=(),
        )

    # --- the decision of a period ---

    def _decided(self, before: Scaling) -> Scaling:
        at, replicas = self.view.at, self.service.replicas
        spare = max(1.0, before.wanted / before.current) if before.current else 1.0
        measured = measure(self.system, self.service, self.view, before.current, spare)
        forecast, floor, cap = self._beside(before, measured)
        bounds = (replicas.min, replicas.max)
        recommendations = before.recommendations
        current = before.current
        if not bounds[0] <= current <= bounds[1]:
            current = min(max(current, bounds[0]), bounds[1])
            self.events.append(self._told("scaling.bounds", before=before.current, after=current))
        elif before.current > 0 and self._is_idle(before, measured, floor):
            current = 0
            self.events.append(self._told("scaling.idle", idle_ns=at - before.active_at))
        else:
            desired = self._desired(before, measured, floor, cap, bounds)
            if desired is not None:
                current = self._tamed(before, measured, desired, bounds)
                recommendations = self._remembered(at, desired, before)
        needs = self._needs(before, measured)
        latest = {region: max(need for _, need in of) for region, of in needs.items()}
        wanted, layout, base = self._laid_out(current, latest, before.base)
        self._tell_moves(before.layout, layout, latest)
        change = current - before.current
        ups = lately(at, self.scale.up, before.ups)
        downs = lately(at, self.scale.down, before.downs)
        return Scaling(
            current=current,
            wanted=wanted,
            # A new spec is acted upon at once, between two periods.
            next_at=before.next_at if at < before.next_at else at + self.scale.every,
            base=base,
            layout=layout,
            recommendations=recommendations,
            ups=(*ups, (at, change)) if change > 0 else ups,
            downs=(*downs, (at, -change)) if change < 0 else downs,
            needs=needs,
            active_at=before.active_at,
            forecast=forecast,
            readings=tuple(measured.readings),
            bounds=(max(bounds[0], floor), bounds[1] if cap is None else min(bounds[1], cap)),
            reasons=tuple(self.standing),
        )

    def _beside(
        self, before: Scaling, measured: Measured
    ) -> tuple[Learned | None, int, int | None]:
        """(what the forecast has learned, the least that schedule and forecast want, the most
        that the schedule allows)."""
        wall = self.calendar.wall(self.view.at)
        if wall is None:
            return before.forecast, 0, None
        least, most = in_force(self.scale.schedule, wall)
        memory, coming = before.forecast, 0
        if self.scale.forecast is not None:
            known = measured.readings and measured.failed is None
            need = sum(measured.needs.values()) if known else None
            memory = learned(memory or Learned(), self.scale.forecast, wall, need)
            coming = math.ceil(expected(memory, self.scale.forecast, wall) or 0.0)
        now = self._wish(before, measured)
        if least is not None and least > max(coming, now):
            self._say("scaling.schedule", limit=least)
        elif coming > max(least or 0, now):
            assert self.scale.forecast is not None
            ahead = self.scale.forecast.ahead
            self._say("scaling.forecast", after=coming, desired=now, ahead_ns=ahead)
        if most is not None and now > most:
            self._say("scaling.schedule.max", limit=most)
        return memory, max(least or 0, coming), most

    def _wish(self, before: Scaling, measured: Measured) -> int:
        """What the metrics alone want."""
        first = measured.first
        if first is not None and first.wants is not None:
            return first.wants
        return before.current if self.scale.metrics else self.service.replicas.min

    def _is_idle(self, before: Scaling, measured: Measured, floor: int) -> bool:
        return (
            self.service.replicas.min == 0
            and floor == 0
            and measured.failed is None
            and self.view.at - before.active_at >= self.scale.idle
        )

    def _desired(
        self,
        before: Scaling,
        measured: Measured,
        floor: int,
        cap: int | None,
        bounds: tuple[int, int],
    ) -> int | None:
        """What is wanted before it is tamed; None: nothing is changed, for want of a metric."""
        wish = self._wish(before, measured)
        failed = measured.failed
        if failed is not None and measured.first is None:
            self._say("scaling.held.blind", replicas=before.current, detail=failed.detail)
            if floor <= before.current:
                return None
        elif failed is not None and wish < before.current:
            self._say(
                "scaling.held.metric",
                replicas=before.current,
                metric=WORDS[failed.metric],
                detail=failed.detail,
            )
            if floor <= before.current:
                return None
        desired = max(wish, floor)
        if cap is not None:
            desired = min(desired, max(cap, bounds[0]))
        if bounds[0] == 0:
            # Down to nothing it is only the idle time that leads.
            desired = max(desired, min(1, before.current))
        return desired

    def _tamed(
        self, before: Scaling, measured: Measured, desired: int, bounds: tuple[int, int]
    ) -> int:
        """`desired`, stabilised and paced."""
        at, current, scale = self.view.at, before.current, self.scale
        windows = (scale.up.window, scale.down.window)
        steady = stabilised(at, current, desired, before.recommendations, *windows)
        if steady == current != desired:
            window = windows[0] if desired > current else windows[1]
            self._say(
                "scaling.held.stabilisation",
                replicas=current,
                desired=desired,
                window_ns=window,
            )
        after, why = paced(
            at, current, steady, bounds, (scale.up, scale.down), (before.ups, before.downs)
        )
        if why == "policy":
            self._say("scaling.limited.policy", after=after, desired=steady)
        elif why:
            limit = bounds[1] if why == "max" else bounds[0]
            self._say(f"scaling.limited.{why}", desired=steady, limit=limit)
        first = measured.first
        numbers: dict[str, Number] = {
            "metric": "no metric" if first is None else WORDS[first.metric],
            "value": 0.0 if first is None else round(first.value or 0.0, 3),
            "target": 0.0 if first is None else first.target,
        }
        if after != current:
            code = "scaling.up" if after > current else "scaling.down"
            self.events.append(self._told(code, before=current, after=after, **numbers))
        elif desired == current and first is not None:
            self._say("scaling.steady", replicas=current, **numbers)
        return after

    # --- places ---

    def _needs(self, before: Scaling, measured: Measured) -> dict[RegionName, Needs]:
        """By region, those of the window that no later one exceeds."""
        at, since = self.view.at, self.view.at - self.scale.down.window
        needs: dict[RegionName, Needs] = {}
        for region in self.system.regions:
            now = measured.needs.get(region)
            kept = before.needs.get(region, ())
            if now is not None:
                kept = tuple(one for one in kept if one[0] > since and one[1] > now)
                kept = (*kept, (at, round(now, 6)))
            if kept:
                needs[region] = kept
        return needs

    def _laid_out(
        self, current: int, needs: Mapping[RegionName, float], before: Mapping[RegionName, int]
    ) -> tuple[int, dict[RegionName, int], dict[RegionName, int]]:
        """(all that are wanted, they by region, those that carry the load by region): `current`
        carry it; `before` is how they did."""
        survive = self.scale.survive
        if survive is None and (
            self.scale.follow is Follow.SPREAD or len(self.system.regions) == 1
        ):
            return current, {}, {}
        if self.scale.follow is Follow.SPREAD:
            needs = {}
        if survive is None and not needs and not before:
            return current, {}, {}
        tolerance = self.scale.up.tolerance
        base = lay_out(self.system, self.service, current, needs, before, tolerance)
        if survive is None or current == 0:
            return sum(base.values()), base, base
        limit = self.service.replicas.max
        layout, possible = with_headroom(self.system, self.service, base, survive)
        wanted = sum(layout.values())
        if not possible or wanted > limit:
            self._say("scaling.limited.survive", what=survive.value, limit=limit, desired=wanted)
        elif wanted > current:
            self._say("scaling.survive", what=survive.value, after=wanted, replicas=current)
        layout = capped(layout, limit)
        return sum(layout.values()), layout, base

    def _tell_moves(
        self,
        before: Mapping[RegionName, int],
        layout: Mapping[RegionName, int],
        needs: Mapping[RegionName, float],
    ) -> None:
        for region, count in layout.items():
            if count != before.get(region, count):
                need = round(needs.get(region, 0.0), 2)
                self.events.append(
                    self._told("scaling.layout", region=region, replicas=count, need=need)
                )

    # --- telling ---

    def _told(self, code: str, **numbers: Number) -> Reason:
        return _reason(code, self.service.name, **numbers)

    def _say(self, code: str, **numbers: Number) -> None:
        self.standing.append(self._told(code, **numbers))
