"""What happened, when, and why: the events of one run, told by the phases of its faults.

Many events of a kind within one phase are one line, so that a region that comes back with two
hundred instances does not drown the one decision that mattered. All of them stand in a list of
their own below.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seakeep.explain.report import series, words
from seakeep.explain.report.faults import Span, spans
from seakeep.explain.report.markup import Markup, tag
from seakeep.explain.report.timeline import Stage
from seakeep.model.histogram import percentile
from seakeep.model.run import EventKind, Run, RunEvent
from seakeep.model.time import SECOND, Instant

ALONE_MAX = 3
"""So many events of a kind within one phase are told one by one; more are one line."""
LINES_MAX = 30
"""Of one phase."""
LISTED_MAX = 1_500
"""Events in the full list."""

ROUTINE: dict[str, str] = {
    "traffic.endpoints": "balancers were given new endpoints",
    "traffic.endpoints.gateway": "gateways were given new endpoints",
    "dns.answers": "DNS servers were given new answers",
    "placement.stop.drained": "instances that had drained were stopped",
    "placement.stop.exited": "instances that had ended were forgotten",
    "placement.stop.lost": "lost instances were forgotten",
}
"""Codes of what follows from a decision that is told already: one line for a phase."""

WHO: dict[EventKind, str] = {
    EventKind.FAULT: "Fault",
    EventKind.HEAL: "Fault ends",
    EventKind.ACTION: "Controller",
    EventKind.EJECT: "Balancer",
    EventKind.RETURN: "Balancer",
    EventKind.HEALTH: "Health",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of the scenario in which the same faults last."""

    title: str
    begins: Instant
    ends: Instant
    events: tuple[RunEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the story: an event, or many of one kind."""

    kind: EventKind
    first: Instant
    last: Instant
    text: str
    subjects: tuple[str, ...]
    """Each once; with how often, when some occur again."""
    count: int


def phases(run: Run, faults: Sequence[Span]) -> list[Phase]:
    """In order of time; the last one ends with the run."""
    bounds = sorted({0, *(at for span in faults for at in (span.begins, span.ends))})
    bounds = [at for at in bounds if at < run.duration or at == 0]
    found = []
    for begins, ends in zip(bounds, [*bounds[1:], run.duration], strict=True):
        last = ends == run.duration
        found.append(
            Phase(
                title=_title(begins, faults),
                begins=begins,
                ends=ends,
                events=tuple(
                    event
                    for event in run.events
                    if (begins <= event.at or begins == 0) and (event.at < ends or last)
                ),
            )
        )
    return found


def entries(phase: Phase) -> list[Entry]:
    """Its events, those of one kind and reason together when there are many; without those that
    are a matter of course."""
    alike: dict[tuple[EventKind, str], list[RunEvent]] = {}
    for event in phase.events:
        if event.code in ROUTINE:
            continue
        alike.setdefault((event.kind, event.code), []).append(event)
    found: list[Entry] = []
    for (kind, _), events in alike.items():
        apart = kind in (EventKind.FAULT, EventKind.HEAL) or len(events) <= ALONE_MAX
        found += [_entry([event]) for event in events] if apart else [_entry(events)]
    return sorted(found, key=lambda entry: entry.first)


def routine(phase: Phase) -> str:
    """What was done in it as a matter of course: `balancers were given new endpoints (13)`."""
    counts = Counter(event.code for event in phase.events if event.code in ROUTINE)
    return words.listed(
        [f"{said} ({counts[code]})" for code, said in ROUTINE.items() if counts[code]]
    )


def story(on: Stage) -> Markup:
    faults = spans(on.proof.scenario)
    told = [_phase(on, phase) for phase in phases(on.run, faults)]
    return Markup("".join((tag("ol", told, class_="story"), _everything(on.run))))


# --- phases -----------------------------------------------------------------------


def _title(begins: Instant, faults: Sequence[Span]) -> str:
    active = [
        span.words
        for span in faults
        if span.begins <= begins < span.ends or (span.begins == span.ends == begins)
    ]
    if active:
        return words.listed([_capital(active[0]), *active[1:]])
    if not faults:
        return "The whole scenario"
    if begins < min(span.begins for span in faults):
        return "Before the first fault"
    later = any(span.begins > begins for span in faults)
    return "Between faults" if later else "After the last fault"


def _phase(on: Stage, phase: Phase) -> Markup:
    lines = entries(phase)
    items = [_item(line) for line in lines[:LINES_MAX]]
    if len(lines) > LINES_MAX:
        items.append(tag("li", f"… and {len(lines) - LINES_MAX} lines more: see all events."))
    followed = routine(phase)
    if followed:
        items.append(tag("li", f"As a matter of course, {followed}.", class_="quiet"))
    if not items:
        items = [tag("li", "Nobody did anything.", class_="quiet")]
    return tag(
        "li",
        tag(
            "h5",
            tag(
                "span", f"{words.moment(phase.begins)} – {words.moment(phase.ends)}", class_="when"
            ),
            " ",
            phase.title,
        ),
        tag("p", _digest(on, phase), class_="digest"),
        tag("ul", items),
        class_="phase",
    )


def _item(line: Entry) -> Markup:
    more: Markup | None = None
    when = words.moment(line.first)
    if line.count > 1:
        subjects = words.listed(line.subjects, 8)
        until = "" if line.last == line.first else f" until {words.moment(line.last)}"
        others = f"{line.count:,} like this{until}: {subjects}"
        more = tag("span", others, class_="more")
    return tag(
        "li",
        tag("span", when, class_="when"),
        tag("span", WHO[line.kind], class_=f"who {line.kind.value}"),
        tag("span", _capital(line.text), more, class_="said"),
    )


def _entry(events: Sequence[RunEvent]) -> Entry:
    return Entry(
        kind=events[0].kind,
        first=events[0].at,
        last=events[-1].at,
        text=events[0].text,
        subjects=_subjects([event.subject for event in events]),
        count=len(events),
    )


def _subjects(names: Sequence[str]) -> tuple[str, ...]:
    counts = Counter(names)
    if len(counts) == len(names):
        return tuple(counts)
    return tuple(f"{name} ({count})" for name, count in counts.items())


def _digest(on: Stage, phase: Phase) -> str:
    """What the phase was like for clients, and for services that had to do with fewer
    instances than at the start."""
    run = on.run
    begin, end = (round(at / max(run.bucket, 1)) for at in (phase.begins, phase.ends))
    lines = series.lines_in(run, None)
    ok = sum(int(line.ok[begin:end].sum()) for line in lines)
    bad = sum(
        int(part[begin:end].sum())
        for line in lines
        for part in (line.failed, line.rejected, line.timed_out)
    )
    if not ok + bad:
        return "No request ended in this time."
    rate = words.rate((ok + bad) * SECOND / max(phase.ends - phase.begins, 1))
    said = f"Clients: {rate}, " + (
        f"{words.percent(bad / (ok + bad))} in error" if bad else "no errors"
    )
    latency = np.sum([line.latency[begin:end].sum(axis=0) for line in lines], axis=0).tolist()
    half, most = percentile(latency, 0.5), percentile(latency, 0.99)
    if half is not None and most is not None:
        said += (
            f"; half answered within {words.seconds(half / SECOND)}, 99% within "
            f"{words.seconds(most / SECOND)}"
        )
    return said + "." + _ready(run, begin, end)


def _ready(run: Run, begin: int, end: int) -> str:
    """Services whose number of ready instances changed meanwhile."""
    changed = []
    for service in dict.fromkeys(name for name, _ in run.loads):
        parts = [load.ready[begin:end] for (name, _), load in run.loads.items() if name == service]
        ready = np.sum(parts, axis=0)
        if ready.size and ready.min() != ready.max():
            changed.append(f"{service} {ready.min()} to {ready.max()}")
    return f" Ready instances: {words.listed(changed)}." if changed else ""


# --- all events -------------------------------------------------------------------


def _everything(run: Run) -> Markup:
    if not run.events:
        return Markup()
    rows = [
        tag(
            "tr",
            tag("td", words.moment(event.at), class_="n"),
            tag("td", WHO[event.kind]),
            tag("td", _capital(event.text), title=event.code),
        )
        for event in run.events[:LISTED_MAX]
    ]
    rest = len(run.events) - LISTED_MAX
    note = tag(
        "p",
        f"{words.counted(rest, 'later event')} left out here; seakeep simulate --json has all.",
        class_="note",
    )
    head = tag("tr", [tag("th", name, scope="col") for name in ("Time", "Who", "What, and why")])
    return tag(
        "details",
        tag("summary", f"All {words.counted(len(run.events), 'event')}, one by one"),
        tag(
            "div",
            tag("table", tag("thead", head), tag("tbody", rows), class_="events"),
            class_="scroll",
        ),
        note if rest > 0 else None,
    )


def _capital(text: str) -> str:
    """Sentences begin with a capital, but names are written as they are: `web-7 starts`."""
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first.isalpha() and first in BEGINNINGS else text


BEGINNINGS = frozenset(
    {"a", "all", "between", "from", "no", "node", "nothing", "region", "the", "zone"}
)
"""Words that begin sentences and are no names."""
