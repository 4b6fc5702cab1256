"""What happened in one run of the twin, event by event, in sentences: faults, what balancers found
out by themselves, what controllers saw and what they did."""

from collections.abc import Iterable, Mapping

from seakeep.decide.reasons import REASONS
from seakeep.engines.twin.world import Notice
from seakeep.explain.wording import sentence
from seakeep.model.decision import Decision, Reason
from seakeep.model.ids import InstanceId, RegionName
from seakeep.model.run import EventKind, RunEvent
from seakeep.model.scenario import Fault, FaultKind
from seakeep.model.time import Duration, Instant
from seakeep.model.view import Health, InstanceView, View

HAPPENINGS = (
    "scaling.up",
    "scaling.down",
    "scaling.wake",
    "scaling.idle",
    "scaling.bounds",
    "scaling.layout",
    "dns.region.out",
    "dns.region.in",
    "dns.fail_open",
    "traffic.elsewhere",
    "traffic.nobody",
    "placement.no_capacity",
)
"""Reasons without an action of their own that are told when they begin to hold."""
WORDS: Mapping[FaultKind, str] = {
    FaultKind.KILL: "{hit} is killed",
    FaultKind.FREEZE: "{hit} freezes",
    FaultKind.SLOW: "{hit} has {amount:.0%} of its CPU left",
    FaultKind.LOSE_NODE: "node {hit} loses its power",
    FaultKind.LOSE_ZONE: "zone {hit} loses its power",
    FaultKind.LOSE_REGION: "region {hit} loses its power",
    FaultKind.PARTITION: "the link {hit} is cut",
    FaultKind.DELAY: "the link {hit} takes {milliseconds:g} ms longer",
    FaultKind.SURGE: "{hit} sends {amount:g} times as much",
    FaultKind.ERRORS: "{hit} answers {amount:.0%} of its requests with errors",
    FaultKind.LOSS: "the link {hit} loses {amount:.0%} of its messages",
    FaultKind.OUTAGE: "nothing of {hit} answers",
    FaultKind.DEPLOY: "{hit} is given a new version",
    FaultKind.CONTROL_DOWN: "the control plane is down",
    FaultKind.STALE_DNS: "DNS servers take no new answers",
}


class Story:
    """Collects events; their times are told since `zero`, and what was before is left out."""

    def __init__(self, zero: Instant, wall: Duration) -> None:
        """`wall`: Unix time at the clock's zero."""
        self._zero = zero
        self._wall = wall
        self._events: list[RunEvent] = []
        self._told: frozenset[tuple[str, str]] = frozenset()
        self._health: dict[InstanceId, Health] = {}
        self._parts: dict[str, bool] = {}
        self._seen_at: Instant | None = None
        self._out: dict[tuple[RegionName, str], bool] = {}

    def events(self) -> tuple[RunEvent, ...]:
        return tuple(sorted(self._events, key=lambda event: event.at))

    def _add(self, at: Instant, kind: EventKind, subject: str, code: str, text: str) -> None:
        if at >= self._zero:
            self._events.append(
                RunEvent(at=at - self._zero, kind=kind, subject=subject, code=code, text=text)
            )

    # --- faults ---

    def fault(self, at: Instant, fault: Fault, hit: str | None) -> None:
        """`hit`: None when there was nothing to hit."""
        text = WORDS[fault.kind].format(
            hit=hit, amount=fault.amount, milliseconds=fault.amount / 1_000_000
        )
        if hit is None:
            text = f"{fault.kind.value} hits nobody: there is no {fault.subject} now"
        subject = fault.subject or fault.kind.value
        self._add(at, EventKind.FAULT, subject, fault.kind.value, text)

    def heal(self, at: Instant, fault: Fault) -> None:
        subject = fault.subject or fault.kind.value
        text = (
            f"{fault.kind.value} of {fault.subject} is over"
            if fault.subject
            else (f"{fault.kind.value} is over")
        )
        self._add(at, EventKind.HEAL, subject, fault.kind.value, text)

    # --- balancers ---

    def checked(self, at: Instant, region: RegionName, target: str, ok: bool) -> None:
        """A verdict of the checks of a region's balancer."""
        was_out = self._out.get((region, target))
        self._out[region, target] = not ok
        if was_out is None or was_out is not ok:
            return
        what = target.replace(":", "'s gateway for ")
        if ok:
            text = f"the balancer of {region} takes {what} back: its checks pass"
            self._add(at, EventKind.RETURN, target, "checks", text)
        else:
            text = f"the balancer of {region} leaves {what} out: its checks fail"
            self._add(at, EventKind.EJECT, target, "checks", text)

    def ejected(self, notice: Notice) -> None:
        """By outlier detection, or back."""
        what = notice.target
        if not what.startswith(f"{notice.service}-"):
            what = f"{notice.target}'s gateway for {notice.service}"
        if notice.out:
            text = f"the balancer of {notice.region} ejects {what}: its requests fail"
            self._add(notice.at, EventKind.EJECT, notice.target, "outlier", text)
        else:
            text = f"the balancer of {notice.region} lets {what} in again"
            self._add(notice.at, EventKind.RETURN, notice.target, "outlier", text)

    # --- controllers ---

    def step(self, view: View, decision: Decision[object]) -> None:
        self._see(view)
        self._tell(view.at, decision.reasons)

    def _tell(self, at: Instant, reasons: Iterable[Reason]) -> None:
        told: list[tuple[str, str]] = []
        for reason in reasons:
            if reason.code == "parts.start" and dict(reason.numbers).get("tries") != 1:
                continue  # of a region without power, two a second for each part
            if reason.action is None:
                if not (reason.code in HAPPENINGS or _is_rollout(reason.code)):
                    continue
                told.append((reason.code, reason.subject))
                if told[-1] in self._told:
                    continue
            text = sentence(reason, REASONS, wall_offset=self._wall)
            self._add(at, EventKind.ACTION, reason.subject, reason.code, text)
        self._told = frozenset(told)

    def _see(self, view: View) -> None:
        """Verdicts on instances and parts that have changed."""
        seen_at, self._seen_at = self._seen_at, view.at
        for name, part in view.parts.items():
            before = self._parts.get(name)
            if before is not part.running:
                self._parts[name] = part.running
                if before is not None:
                    code = "runs" if part.running else "down"
                    text = (
                        f"{name} runs again" if part.running else f"{name} is down: {part.detail}"
                    )
                    self._add(view.at, EventKind.HEALTH, name, code, text)
        for service in view.by_service:
            news = view.news_since(service, seen_at)
            if news is None:
                self._note_all(view.by_service[service])
                continue
            self._note_all(news.came)
            for one in news.changed:
                self._note_change(view.at, one)
            for one in news.went:
                self._health.pop(one.state.id, None)

    def _note_all(self, views: Iterable[InstanceView]) -> None:
        for one in views:
            self._health[one.state.id] = one.health

    def _note_change(self, at: Instant, one: InstanceView) -> None:
        name = one.state.id
        if self._health.get(name) is not one.health:
            self._health[name] = one.health
            text = f"{name} is {one.health.value}: {one.detail}"
            self._add(at, EventKind.HEALTH, name, one.health.value, text)


def _is_rollout(code: str) -> bool:
    """Whether it says that a rollout turns: those say so in one step only."""
    return code.startswith("rollout.") and ".held." not in code and code != "rollout.rolling"
