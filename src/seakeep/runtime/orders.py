"""Operators' orders as the supervisor takes them: checked, written down, told to whoever asks.

Two operators may act at once. An order that stands already is not given twice: whoever comes
second is told who gave it and when. One that would change another's order is refused, unless it
names the one that it means to replace (by its `given_at_ns`); so is the withdrawal of an order
that has been replaced since it was read.
"""

import difflib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from seakeep.model.order import Order, OrderKind
from seakeep.model.system import System
from seakeep.model.time import Clock, Instant, in_seconds
from seakeep.model.units import format_duration
from seakeep.runtime.control import ControlError

BY_CHARACTERS_MAX = 80
ARGUMENT_CHARACTERS_MAX = 200
SECOND_NS = 1_000_000_000

Note = Callable[[str, Instant, str], object]
"""(text, at, what): written into the journal."""


class Keeper(Protocol):
    """What keeps the orders: the engine."""

    @property
    def clock(self) -> Clock: ...

    @property
    def orders(self) -> tuple[Order, ...]: ...

    def give(self, order: Order) -> None: ...

    def withdraw(self, order: str) -> Order | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """How giving an order ended."""

    order: Order
    """The one that stands now."""
    is_new: bool
    """False: it, or one that says the same, stood before."""
    replaced: Order | None = None


class Orders:
    """May be called from any thread."""

    def __init__(self, keeper: Keeper, note: Note) -> None:
        self._keeper = keeper
        self._note = note
        self._lock = threading.Lock()

    def give(
        self,
        system: System,
        kind: OrderKind,
        subject: str,
        *,
        by: str,
        argument: str = "",
        replaces: Instant | None = None,
        check: Callable[[tuple[Order, ...]], object] = lambda standing: None,
    ) -> Given:
        """Give an order. `check` may refuse it in view of the standing ones, which nobody changes
        meanwhile. Raises ControlError when its subject does not exist, or when it would change
        somebody else's; OSError when it cannot be written down."""
        _check_subject(system, kind, subject)
        if len(argument) > ARGUMENT_CHARACTERS_MAX:
            raise ControlError(f"an argument has {ARGUMENT_CHARACTERS_MAX} characters at most")
        with self._lock:
            now = self._keeper.clock.now()
            order = Order(
                kind=kind, subject=subject, given_at=now, given_by=cleaned(by), argument=argument
            )
            before = {one.id: one for one in self._keeper.orders}.get(order.id)
            if before is not None and before.argument == argument:
                return Given(order=before, is_new=False)
            if replaces is not None and (before is None or before.given_at != replaces):
                raise ControlError(*_moved_on(order.id, before, now))
            if before is not None and replaces is None and before.given_by != order.given_by:
                raise ControlError(
                    f"{order.id} stands already, for {before.argument or 'nothing more'}: "
                    f"{told(before, now)}",
                    "agree with them; then withdraw it first, or replace it",
                )
            check(self._keeper.orders)
            self._keeper.give(order)
            self._note(f"{order.given_by or 'somebody'} ordered {_shown(order)}", now, "order.give")
        return Given(order=order, is_new=True, replaced=before)

    def withdraw(self, order: str, *, by: str, given_at: Instant | None = None) -> Order | None:
        """Take an order back; None when it does not stand. With `given_at`: only that very one.
        Raises ControlError when another has taken its place, OSError as `give`."""
        with self._lock:
            now = self._keeper.clock.now()
            before = {one.id: one for one in self._keeper.orders}.get(order)
            if before is None:
                return None
            if given_at is not None and before.given_at != given_at:
                raise ControlError(*_moved_on(order, before, now))
            self._keeper.withdraw(order)
            self._note(
                f"{cleaned(by) or 'somebody'} withdrew {_shown(before)} ({told(before, now)})",
                now,
                "order.withdraw",
            )
        return before

    def documents(self, wall_ns: int) -> list[dict[str, Any]]:
        """The standing orders for `status`; `wall_ns` is the Unix time now."""
        now = self._keeper.clock.now()
        return [document_of(order, now, wall_ns) for order in self._keeper.orders]


def document_of(order: Order, now: Instant, wall_ns: int) -> dict[str, Any]:
    """{"id", "kind", "subject", "argument", "given_by", "given_at_ns", "given_wall_ns",
    "age_s"}; the last two are null for an order from before the machine's last start."""
    age = now - order.given_at if order.given_at <= now else None
    return {
        "id": order.id,
        "kind": order.kind.value,
        "subject": order.subject,
        "argument": order.argument,
        "given_by": order.given_by,
        "given_at_ns": order.given_at,
        "given_wall_ns": None if age is None else wall_ns - age,
        "age_s": None if age is None else round(in_seconds(age), 1),
    }


def told(order: Order, now: Instant) -> str:
    """`root@host ordered it 12s ago`."""
    who = order.given_by or "somebody"
    if order.given_at > now:
        return f"{who} ordered it before this machine last started"
    age = (now - order.given_at) // SECOND_NS * SECOND_NS
    return f"{who} ordered it {format_duration(age)} ago"


def cleaned(by: str) -> str:
    """A name as it may be shown at any terminal."""
    return "".join(c for c in by if c.isprintable())[:BY_CHARACTERS_MAX]


def kind_of(name: object) -> OrderKind:
    """The kind of a request. Raises ControlError."""
    try:
        return OrderKind(str(name))
    except ValueError:
        known = [kind.value for kind in OrderKind]
        raise ControlError(
            f"there is no order {str(name)[:40]!r}", _nearest(str(name), known)
        ) from None


def instant_of(request: Mapping[str, Any], name: str) -> Instant | None:
    """A field of a request that is an instant or absent. Raises ControlError."""
    value = request.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise ControlError(f"{name} is an instant in ns", "take it from `orders`")


def _check_subject(system: System, kind: OrderKind, subject: str) -> None:
    is_place = kind is OrderKind.DRAIN
    known = list(system.regions if is_place else system.services)
    if subject in known:
        return
    word = "region" if is_place else "service"
    raise ControlError(f"there is no {word} {subject[:60]}", _nearest(subject, known))


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name[:60], known, 1)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(known) or 'none'}"


def _moved_on(order: str, before: Order | None, now: Instant) -> tuple[str, str]:
    if before is None:
        return f"{order} has been withdrawn meanwhile", "look again with `seakeep status`"
    return (
        f"{order} has been given anew meanwhile: {told(before, now)}",
        "look again with `seakeep status`, then decide",
    )


def _shown(order: Order) -> str:
    return f"{order.id} {order.argument}".strip()
