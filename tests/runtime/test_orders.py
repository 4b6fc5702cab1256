"""Orders of operators: two may act at once, and each is told of the other."""

import threading

import pytest

from seakeep.decide import orders as decided
from seakeep.model.order import Order, OrderKind
from seakeep.model.time import SECOND, Instant
from seakeep.runtime.control import ControlError
from seakeep.runtime.orders import Given, Orders, cleaned, document_of, instant_of, kind_of, told
from tests.decide.views import view_of
from tests.world import service, system_of

SYSTEM = system_of({"us-east": {"a": 1}, "eu-west": {"a": 1}}, [service("web", {"us-east": 1})])


class Shelf:
    """Keeps orders, as an engine does; its clock moves a second with every look."""

    def __init__(self) -> None:
        self.at: Instant = 100 * SECOND
        self.kept: dict[str, Order] = {}
        self.full = False

    @property
    def clock(self) -> "Shelf":
        return self

    def now(self) -> Instant:
        self.at += SECOND
        return self.at

    @property
    def orders(self) -> tuple[Order, ...]:
        return tuple(self.kept[name] for name in sorted(self.kept))

    def give(self, order: Order) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.kept = {**self.kept, order.id: order}

    def withdraw(self, order: str) -> Order | None:
        return self.kept.pop(order, None)


class Desk:
    """Orders over a shelf, and the notes they leave."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.notes: list[str] = []
        self.orders = Orders(self.shelf, lambda text, at, what: self.notes.append(text))

    def drain(self, region: str, by: str, **more: object) -> Given:
        return self.orders.give(SYSTEM, OrderKind.DRAIN, region, by=by, **more)  # type: ignore[arg-type]

    def undo(self, revision: str, by: str, **more: object) -> Given:
        return self.orders.give(
            SYSTEM,
            OrderKind.UNDO,
            "web",
            by=by,
            argument=revision,
            **more,  # type: ignore[arg-type]
        )


def test_an_order_stands_and_is_noted() -> None:
    desk = Desk()
    given = desk.drain("us-east", "ann@desk")
    assert given.is_new
    assert desk.shelf.orders == (given.order,)
    assert given.order.given_at == desk.shelf.at
    assert desk.notes == ["ann@desk ordered drain:us-east"]


def test_the_second_operator_is_told_of_the_first() -> None:
    desk = Desk()
    first = desk.drain("us-east", "ann@desk")
    second = desk.drain("us-east", "bob@desk")
    assert not second.is_new
    assert second.order == first.order
    assert told(second.order, desk.shelf.at) == "ann@desk ordered it 1s ago"
    assert len(desk.notes) == 1


def test_another_ones_order_is_not_changed_unless_it_is_named() -> None:
    desk = Desk()
    first = desk.undo("w1", "ann@desk")
    with pytest.raises(ControlError, match="undo:web stands already, for w1: ann@desk ordered it"):
        desk.undo("w2", "bob@desk")
    replaced = desk.undo("w2", "bob@desk", replaces=first.order.given_at)
    assert replaced.replaced == first.order
    with pytest.raises(ControlError, match="given anew meanwhile: bob@desk"):
        desk.undo("w3", "cyd@desk", replaces=first.order.given_at)
    assert desk.undo("w4", "bob@desk").replaced == replaced.order  # one's own may be changed


def test_a_withdrawal_of_what_was_replaced_is_refused() -> None:
    desk = Desk()
    first = desk.undo("w1", "ann@desk").order
    second = desk.undo("w2", "ann@desk").order
    with pytest.raises(ControlError, match="given anew meanwhile"):
        desk.orders.withdraw("undo:web", by="bob@desk", given_at=first.given_at)
    assert desk.orders.withdraw("undo:web", by="bob@desk", given_at=second.given_at) == second
    assert desk.orders.withdraw("undo:web", by="bob@desk", given_at=second.given_at) is None
    assert desk.notes[-1].startswith("bob@desk withdrew undo:web w2 (ann@desk ordered it")


def test_what_was_withdrawn_cannot_be_replaced() -> None:
    desk = Desk()
    first = desk.undo("w1", "ann@desk").order
    desk.orders.withdraw("undo:web", by="ann@desk")
    with pytest.raises(ControlError, match="withdrawn meanwhile"):
        desk.undo("w2", "bob@desk", replaces=first.given_at)


def test_many_at_once_give_one_order() -> None:
    desk = Desk()
    given: list[Given] = []
    threads = [
        threading.Thread(target=lambda n=n: given.append(desk.drain("us-east", f"op{n}")))
        for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one.is_new for one in given) == 1
    assert len({one.order.given_by for one in given}) == 1
    assert len(desk.notes) == 1


@pytest.mark.parametrize(
    ("kind", "subject", "message", "hint"),
    [
        (OrderKind.DRAIN, "us-eats", "there is no region us-eats", "did you mean us-east?"),
        (OrderKind.DRAIN, "web", "there is no region web", "there are: us-east, eu-west"),
        (OrderKind.PAUSE, "wbe", "there is no service wbe", "did you mean web?"),
        (OrderKind.UNDO, "us-east", "there is no service us-east", "there are: web"),
    ],
)
def test_an_unknown_subject(kind: OrderKind, subject: str, message: str, hint: str) -> None:
    with pytest.raises(ControlError) as caught:
        Desk().orders.give(SYSTEM, kind, subject, by="ann")
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_an_order_that_cannot_be_written_down_is_not_given() -> None:
    desk = Desk()
    desk.shelf.full = True
    with pytest.raises(OSError, match="No space"):
        desk.drain("us-east", "ann")
    assert desk.shelf.orders == ()
    assert desk.notes == []


def test_requests_that_make_no_sense() -> None:
    with pytest.raises(ControlError) as caught:
        kind_of("drian")
    assert caught.value.hint == "did you mean drain?"
    assert instant_of({}, "replaces") is None
    assert instant_of({"replaces": 5}, "replaces") == 5
    for bad in ("5", 1.5, True, [5]):
        with pytest.raises(ControlError):
            instant_of({"replaces": bad}, "replaces")
    assert cleaned("ann\x1b[31m@desk\n" + "x" * 200) == ("ann[31m@desk" + "x" * 200)[:80]


def test_an_order_from_before_the_machine_started() -> None:
    order = Order(kind=OrderKind.DRAIN, subject="us-east", given_at=900 * SECOND, given_by="ann")
    tree = document_of(order, 10 * SECOND, 1_700_000_000 * SECOND)
    assert (tree["age_s"], tree["given_wall_ns"]) == (None, None)
    assert told(order, 10 * SECOND) == "ann ordered it before this machine last started"


def test_what_controllers_ask() -> None:
    orders = [
        Order(kind=OrderKind.DRAIN, subject="us-east", given_at=1),
        Order(kind=OrderKind.PAUSE, subject="web", given_at=2),
        Order(kind=OrderKind.UNDO, subject="web", given_at=3, argument="w2"),
    ]
    view = view_of(SYSTEM, orders=orders)
    assert decided.drained(view) == {"us-east"}
    assert decided.paused(view) == {"web"}
    assert decided.undone(view) == {"web": "w2"}
    assert not decided.drained(view_of(SYSTEM))
