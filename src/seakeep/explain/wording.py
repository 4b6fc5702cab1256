"""Reasons, durations and instants in words.

Templates come from the controllers (`decide.reasons.REASONS`) and are handed in: code ->
sentence with placeholders for the subject and the numbers. A figure whose name ends in `_ns` is
a duration, unless it ends in `until_ns` or `at_ns`: then it is an instant. One whose name ends in
`_bytes` or `_millicores` is an amount of memory or CPU.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from string import Formatter

from seakeep.model.decision import Number, Reason
from seakeep.model.time import HOUR, MICROSECOND, MILLISECOND, MINUTE, SECOND, Duration, Instant
from seakeep.model.units import format_bytes, format_cpu

INSTANTS = ("until_ns", "at_ns")


def sentence(
    reason: Reason, templates: Mapping[str, str], *, wall_offset: Duration | None = None
) -> str:
    """A reason as a sentence. Instants become times of day (UTC) when `wall_offset` is given,
    else times since the clock's start. A code without a template, or figures that do not fit
    it, are listed plainly: nothing that was recorded is unreadable."""
    figures = {name: figure(name, number, wall_offset) for name, number in reason.numbers}
    template = templates.get(reason.code)
    if template is not None:
        try:
            return Formatter().vformat(template, (), {"subject": reason.subject, **figures})
        except (KeyError, ValueError, IndexError, AttributeError, TypeError):
            pass
    listed = ", ".join(f"{name} {text}" for name, text in figures.items())
    return f"{reason.subject}: {reason.code}" + (f" ({listed})" if listed else "")


def figure(name: str, number: Number, wall_offset: Duration | None = None) -> str:
    """One figure of a reason."""
    if isinstance(number, str):
        return number
    if isinstance(number, int) and name.endswith(INSTANTS):
        return clock_time(number, wall_offset)
    if name.endswith("_ns"):
        return duration(round(number))
    if isinstance(number, int) and name.endswith("_bytes"):
        return format_bytes(number)
    if isinstance(number, int) and name.endswith("_millicores"):
        return format_cpu(number)
    return f"{number:.6g}" if isinstance(number, float) else str(number)


def duration(ns: Duration) -> str:
    """Three significant digits or so: `1.25s`, `300ms`, `4m10s`, `2h05m`."""
    if ns < 0:
        return "-" + duration(-ns)
    # The thresholds are half a last digit lower, so that rounding never gives 1000ms or 60.0s.
    if ns >= HOUR - SECOND // 2:
        minutes = (ns + MINUTE // 2) // MINUTE
        return f"{minutes // 60}h{minutes % 60:02}m"
    if ns >= MINUTE - SECOND // 20:
        whole = (ns + SECOND // 2) // SECOND
        return f"{whole // 60}m{whole % 60:02}s"
    if ns >= SECOND - MILLISECOND // 2:
        return f"{ns / SECOND:.2f}s" if ns < 10 * SECOND else f"{ns / SECOND:.1f}s"
    if ns >= MILLISECOND:
        return f"{ns / MILLISECOND:.0f}ms"
    return f"{ns / MICROSECOND:.0f}us" if ns else "0s"


def clock_time(at: Instant, wall_offset: Duration | None) -> str:
    """`12:03:04.250` (UTC), or `T+8m20s` when nobody knows what the clock's zero was."""
    if wall_offset is None:
        return f"T+{duration(at)}"
    return _moment(at + wall_offset).strftime("%H:%M:%S.%f")[:-3]


def dated(wall_ns: int) -> str:
    """`2026-02-03 12:03:04.250Z`."""
    return _moment(wall_ns).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"


def _moment(wall_ns: int) -> datetime:
    try:
        whole, rest = divmod(wall_ns, SECOND)
        return datetime.fromtimestamp(whole, UTC).replace(microsecond=rest // MICROSECOND)
    except (OverflowError, ValueError, OSError):
        # Out of the calendar: a foreign clock. Better a wrong date than no story.
        return datetime.fromtimestamp(0, UTC)
