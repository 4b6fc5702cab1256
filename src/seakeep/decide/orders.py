"""What operators have ordered, as the controllers ask for it. Cheap: there are seldom any."""

from collections.abc import Mapping

from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.order import OrderKind
from seakeep.model.view import View

_NOTHING: frozenset[str] = frozenset()


def drained(view: View) -> frozenset[RegionName]:
    """Regions that nothing is to be served in. Its order can never show: use it to ask whether
    a region is in it."""
    return _subjects(view, OrderKind.DRAIN)


def paused(view: View) -> frozenset[ServiceName]:
    """Services whose rollout is to stay as it is."""
    return _subjects(view, OrderKind.PAUSE)


def undone(view: View) -> Mapping[ServiceName, str]:
    """By service: the revision of the workload that is to be left again. Sorted by service."""
    found = [order for order in view.orders.values() if order.kind is OrderKind.UNDO]
    return {order.subject: order.argument for order in sorted(found, key=lambda one: one.subject)}


def _subjects(view: View, kind: OrderKind) -> frozenset[str]:
    if not view.orders:
        return _NOTHING
    return frozenset(order.subject for order in view.orders.values() if order.kind is kind)
