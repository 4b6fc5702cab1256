"""Views made by hand, for tables."""

from collections.abc import Iterable
from dataclasses import replace

from seakeep.model.ids import ordinal_of
from seakeep.model.observation import (
    Address,
    AppliedEndpoints,
    AppliedLimit,
    InstanceState,
    Outcome,
    PartKind,
    PartState,
    Phase,
    ProbeReading,
    TrafficReading,
)
from seakeep.model.order import Order
from seakeep.model.system import ProbeKind, System, nodes_of
from seakeep.model.time import SECOND
from seakeep.model.view import Health, InstanceView, View

AT = 1_000 * SECOND


def reading(kind: ProbeKind, ok: bool, count: int) -> ProbeReading:
    return ProbeReading(
        kind=kind, ok=ok, count=count, passed=True, checked_at=AT, detail="" if ok else "HTTP 503"
    )


def instance(
    name: str,
    place: str = "us-east/a/0",
    health: Health = Health.READY,
    detail: str = "",
    last_word: Health | None = None,
    **fields: object,
) -> InstanceView:
    """An instance on the node `place`; `fields` override its state's."""
    region, zone, _ = place.split("/")
    state = InstanceState(
        id=name,
        service=name.rpartition("-")[0],
        region=region,
        zone=zone,
        node=place,
        revision="w1",
        address=Address(host=f"{name}.{region}", port=8080),
        phase=Phase.RUNNING,
        pid=1,
        created_at=AT - 600 * SECOND,
        started_at=AT - 600 * SECOND,
        restarts=0,
    )
    return InstanceView(replace(state, **fields), health, detail or health.value, last_word)


def exited(name: str, place: str = "us-east/a/0", **fields: object) -> InstanceView:
    """A process that has just died."""
    fields = {"phase": Phase.EXITED, "exited_at": AT, "exit_detail": "exit code 1"} | fields
    return instance(name, place, Health.FAILED, "exit code 1", **fields)


def hung(name: str, place: str = "us-east/a/0", **fields: object) -> InstanceView:
    """A process that runs, and whose liveness probe fails."""
    fields = {"probes": (reading(ProbeKind.LIVENESS, False, 3),)} | fields
    return instance(name, place, Health.FAILED, "liveness: HTTP 503 x3", **fields)


def starting(name: str, place: str = "us-east/a/0", **fields: object) -> InstanceView:
    return instance(name, place, Health.STARTING, **({"started_at": AT - SECOND} | fields))


def part(name: str, *, running: bool = True, **fields: object) -> PartState:
    kind, _, place = name.partition(":")
    names = place.split("/")
    state = PartState(
        id=name,
        kind=PartKind(kind),
        region=names[0],
        zone=names[1] if len(names) > 1 else None,
        running=running,
        restarts=0,
        changed_at=AT - 600 * SECOND,
    )
    return replace(state, **fields)


def parts_of(system: System) -> list[PartState]:
    """Everything that the system wants, running."""
    names = [f"edge:{region}" for region in system.regions]
    if len(system.regions) > 1:
        names += [f"link:{region}" for region in system.regions]
    names += [f"node:{node.id}" for node in nodes_of(system)]
    return [part(name) for name in names]


def view_of(
    system: System,
    instances: Iterable[InstanceView] = (),
    *,
    at: int = AT,
    parts: Iterable[PartState] | None = None,
    endpoints: Iterable[AppliedEndpoints] = (),
    outcomes: Iterable[Outcome] = (),
    pending: Iterable[str] = (),
    orders: Iterable[Order] = (),
    limits: Iterable[AppliedLimit] = (),
    traffic: Iterable[TrafficReading] = (),
) -> View:
    """A view with these instances; all parts of the system run unless others are given."""
    ordered = sorted(instances, key=lambda one: (one.state.service, ordinal_of(one.state.id)))
    groups: dict[str, list[InstanceView]] = {name: [] for name in system.services}
    for one in ordered:
        groups.setdefault(one.state.service, []).append(one)
    return View(
        at=at,
        instances={one.state.id: one for one in ordered},
        by_service={name: tuple(group) for name, group in groups.items()},
        parts={one.id: one for one in (parts_of(system) if parts is None else parts)},
        endpoints={(one.region, one.cluster): one for one in endpoints},
        limits={(one.region, one.limit): one for one in limits},
        traffic=tuple(traffic),
        outcomes=tuple(outcomes),
        pending=frozenset(pending),
        orders={order.id: order for order in orders},
    )
