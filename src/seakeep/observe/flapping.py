"""Damping of readiness that comes and goes, so that balancers are not told of every turn.

An instance that falls out of READY for the first time is in again as its probe says. Each further
fall within `FORGET_AFTER` of the one before doubles how long the probe must pass without a break:
5 s after the second fall, then 10 s, up to a minute (as BGP damps routes that flap, RFC 2439).
Falling out is never held up, and restarts are no business of readiness.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from seakeep.model.ids import InstanceId
from seakeep.model.observation import InstanceState
from seakeep.model.system import Probe, ProbeKind
from seakeep.model.time import MINUTE, SECOND, Duration, Instant
from seakeep.model.view import Health, InstanceView

FORGET_AFTER: Duration = 2 * MINUTE
HOLD_FIRST: Duration = 5 * SECOND
HOLD_MAX: Duration = MINUTE


@dataclass(frozen=True, slots=True)
class Flap:
    """Falls of one instance's present process, each soon after the one before."""

    falls: int
    fell_at: Instant
    """The last time."""
    started_at: Instant
    """Of the process: another one begins afresh."""


def damped(
    one: InstanceView,
    last: InstanceView | None,
    readiness: Probe | None,
    at: Instant,
    flaps: dict[InstanceId, Flap],
) -> InstanceView:
    """The verdict, held back when it comes and goes. Notes falls in `flaps`. `last` is of the same
    process."""
    if readiness is None:
        return one
    # Of instances that were not UNREADY the last verdict may be forgotten (`without_caches`).
    before = None if last is None else last.last_word or last.health
    now = one.last_word or one.health
    flap = flaps.get(one.state.id)
    if flap is not None and flap.started_at != one.state.started_at:
        flap = None
    if before is not Health.UNREADY and now is Health.UNREADY:
        falls = flap.falls if flap and at - flap.fell_at < FORGET_AFTER else 0
        flaps[one.state.id] = Flap(falls + 1, at, one.state.started_at)
        return one
    if flap is None or before is not Health.UNREADY or now is not Health.READY:
        return one
    passed = _passed(one.state)
    needed = hold_of(flap.falls) // readiness.period
    if passed >= needed:
        return one
    detail = f"readiness: passes x{passed} of {needed}, having come and gone"
    if one.last_word is None:
        return InstanceView(one.state, Health.UNREADY, detail)
    return InstanceView(one.state, one.health, one.detail, Health.UNREADY)


def hold_of(falls: int) -> Duration:
    """How long the probe of an instance that fell so often must pass."""
    if falls < 2:
        return 0
    return min(HOLD_FIRST << min(falls - 2, 10), HOLD_MAX)


def _passed(state: InstanceState) -> int:
    for reading in state.probes:
        if reading.kind is ProbeKind.READINESS and reading.ok:
            return reading.count
    return 0


def still_known(
    flaps: Mapping[InstanceId, Flap], instances: Mapping[InstanceId, InstanceView], at: Instant
) -> Mapping[InstanceId, Flap]:
    """Without those that are gone, or have been well for long."""
    if not flaps:
        return flaps
    return {
        name: flap
        for name, flap in flaps.items()
        if name in instances
        and (at - flap.fell_at < FORGET_AFTER or instances[name].health is not Health.READY)
    }
