"""Faults of a scenario, struck into the twin and taken back.

What must live here: for each kind of fault that is of the world what it does, and how it is undone.
A deploy and a control plane that is down are none of the world's: the runtime sees to those.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeAlias

from seakeep.engines.twin.body import Body
from seakeep.engines.twin.edges import Way
from seakeep.engines.twin.engine import TwinEngine
from seakeep.engines.twin.plane import Plane
from seakeep.model.scenario import Fault, FaultKind
from seakeep.model.time import Instant

Undo: TypeAlias = Callable[[Instant], None]


class Faults:
    def __init__(self, engine: TwinEngine, plane: Plane) -> None:
        self._engine = engine
        self._plane = plane
        self._factors: dict[str, list[float]] = {}
        self._kinds: dict[FaultKind, Callable[[Instant, Fault], tuple[str | None, Undo]]] = {
            FaultKind.KILL: self._kill,
            FaultKind.FREEZE: self._freeze,
            FaultKind.SLOW: self._slow,
            FaultKind.ERRORS: self._errors,
            FaultKind.OUTAGE: self._outage,
            FaultKind.LOSE_NODE: self._lose,
            FaultKind.LOSE_ZONE: self._lose,
            FaultKind.LOSE_REGION: self._lose,
            FaultKind.PARTITION: self._partition,
            FaultKind.DELAY: self._delay,
            FaultKind.LOSS: self._loss,
            FaultKind.SURGE: self._surge,
            FaultKind.STALE_DNS: self._stale_dns,
        }

    def begin(self, at: Instant, fault: Fault) -> tuple[str | None, Undo]:
        """(what was hit, None when there was nothing, and how it is taken back)."""
        return self._kinds[fault.kind](at, fault)

    # --- instances ---

    def _find(self, subject: str) -> Body | None:
        """An instance by its name, or the oldest one of a service."""
        instances = self._engine.instances
        return instances.find(subject) or instances.oldest(subject)

    def _kill(self, at: Instant, fault: Fault) -> tuple[str | None, Undo]:
        body = self._find(fault.subject)
        if body is None:
            return None, _nothing
        self._engine.instances.kill(at, body)
        return body.id, _nothing

    def _freeze(self, at: Instant, fault: Fault) -> tuple[str | None, Undo]:
        body = self._find(fault.subject)
        if body is None or not body.lives or body.away:
            return None, _nothing
        instances = self._engine.instances
        turn = instances.freeze(at, body)
        return body.id, lambda end: instances.thaw(end, body, turn)

    def _slow(self, at: Instant, fault: Fault) -> tuple[str | None, Undo]:
        body = self._find(fault.subject)
        if body is None:
            return None, _nothing
        instances, name = self._engine.instances, body.id
        instances.slow(name, fault.amount)
        return name, lambda end: instances.hasten(name, fault.amount)

    def _errors(self, at: Instant, fault: Fault) -> tuple[str | None, Undo]:
        instances = self._engine.instances
        instances.fail(fault.subject, fault.amount)
        return fault.subject, lambda end: instances.succeed(fault.subject, fault.amount)

    def _outage(self, at: Instant, fault: Fault) -> tuple[str | None, Undo]:
        instances = self._engine.instances
        instances.go_out(at, fault.subject, 1)
        return fault.subject, lambda end: instances.go_out(end, fault.subject, -1)

    # --- places, links, clients ---

    def _lose(self, at: Instant, fault: Fault) -> tuple[str | None, Undo]:
        self._engine.cut_power(fault.subject)
        return fault.subject, lambda end: self._engine.restore_power(fault.subject)

    def _partition(self, at: Instant, fault: Fault) -> tuple[str | None, Undo]:
        def cut(by: int, way: Way) -> None:
            way.cuts += by

        return self._on_ways(at, fault, partial(cut, 1), partial(cut, -1))

    def _delay(self, at: Instant, fault: Fault) -> tuple[str | None, Undo]:
        added = round(fault.amount)
        return self._on_ways(
            at,
            fault,
            lambda way: way.added.append(added),
            lambda way: way.added.remove(added),
        )

    def _loss(self, at: Instant, fault: Fault) -> tuple[str | None, Undo]:
        return self._on_ways(
            at,
            fault,
            lambda way: way.losses.append(fault.amount),
            lambda way: way.losses.remove(fault.amount),
        )

    def _on_ways(
        self,
        at: Instant,
        fault: Fault,
        begin: Callable[[Way], None],
        end: Callable[[Way], None],
    ) -> tuple[str | None, Undo]:
        edges = self._engine.edges
        for origin, target in _ways_of(fault.subject):
            edges.change_way(at, origin, target, begin)

        def undo(at: Instant) -> None:
            for origin, target in _ways_of(fault.subject):
                edges.change_way(at, origin, target, end)

        return fault.subject, undo

    def _surge(self, at: Instant, fault: Fault) -> tuple[str | None, Undo]:
        factors = self._factors.setdefault(fault.subject, [])

        def apply() -> None:
            product = 1.0
            for factor in factors:
                product *= factor
            self._plane.set_factor(fault.subject, product)

        def undo(at: Instant) -> None:
            factors.remove(fault.amount)
            apply()

        factors.append(fault.amount)
        apply()
        return fault.subject, undo

    def _stale_dns(self, at: Instant, fault: Fault) -> tuple[str | None, Undo]:
        self._engine.dns_is_stale += 1

        def undo(at: Instant) -> None:
            self._engine.dns_is_stale -= 1

        return "DNS", undo


def _nothing(at: Instant) -> None:
    """Some faults cannot be taken back, and some have hit nobody."""


def _ways_of(subject: str) -> Iterable[tuple[str, str]]:
    """`us-east>eu-west` is one way, `us-east~eu-west` both."""
    if ">" in subject:
        origin, _, target = subject.partition(">")
        return ((origin, target),)
    one, _, other = subject.partition("~")
    return ((one, other), (other, one))
