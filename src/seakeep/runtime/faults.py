"""Real faults into a running system, each undone when its holder lets go or dies.

A fault is held by something that the kernel takes back from a dead process: an open connection
to a node agent or a link, or a lock on a place's power. So there is no clean-up to forget.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from seakeep.engines.local import processes
from seakeep.engines.local.layout import Layout
from seakeep.engines.local.link import client as link_client
from seakeep.engines.local.node import client as node_client
from seakeep.engines.local.parts import part_token
from seakeep.engines.local.power import Power
from seakeep.engines.local.state import EngineState, PartRecord, load_state
from seakeep.model.observation import PartKind
from seakeep.model.system import Fault, FaultKind
from seakeep.runtime import control

NOTE_WITHIN_S = 2.0
"""A supervisor that hangs must not hold a fault up."""


class FaultError(Exception):
    """A fault cannot be injected; `hint` says what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Target:
    """An instance and the node that keeps it."""

    instance: str
    node: str


@contextmanager
def hold(layout: Layout, fault: Fault) -> Iterator[str]:
    """Inject the fault for as long as the context is open; yields what was hit, in words.
    Killing is done at once and stays done: healing it is the controllers' business."""
    holder = _HOLDERS.get(fault.kind)
    if holder is None:
        _refuse(fault.kind)
    state = load_state(layout)
    if state is None:
        raise FaultError("no system is up here", "`seakeep up` starts it")
    with ExitStack() as stack:
        hit = holder(stack, layout, state, fault)
        _note(layout, f"fault {fault.kind.value} {hit}")
        try:
            yield hit
        finally:
            stack.close()
            if fault.kind is not FaultKind.KILL:
                _note(layout, f"fault {fault.kind.value} {hit} ended")


def _note(layout: Layout, text: str) -> None:
    """Into the journal, when somebody is there to write it."""
    try:
        control.call(layout.supervisor_socket, "note", timeout_s=NOTE_WITHIN_S, text=text)
    except control.ControlError:
        return


# --- instances --------------------------------------------------------------


def find_instance(layout: Layout, state: EngineState, name: str) -> Target:
    """The instance called `name`, or the oldest instance of the service called `name`, asked
    of the node agents themselves."""
    candidates: list[tuple[str, int, str, str]] = []
    for part in _alive(state, PartKind.NODE):
        node = part.id.partition(":")[2]
        try:
            report = node_client.ask_once(layout.node_socket(node), "report")["report"]
        except node_client.NodeError:
            continue
        for item in report["instances"]:
            candidates.append((item["service"], item["started_at"], item["id"], node))
    exact = [Target(item, node) for _, _, item, node in candidates if item == name]
    oldest = [Target(item, node) for service, _, item, node in sorted(candidates)
              if service == name]  # fmt: skip
    if not exact and not oldest:
        known = ", ".join(sorted({item for _, _, item, _ in candidates})) or "none"
        raise FaultError(f"there is no instance or service {name}", f"there are: {known}")
    return (exact or oldest)[0]


def _kill(stack: ExitStack, layout: Layout, state: EngineState, fault: Fault) -> str:
    target = find_instance(layout, state, fault.subject)
    node_client.ask_once(layout.node_socket(target.node), "kill", instance=target.instance)
    return target.instance


def _hold_instance(verb: str) -> Callable[[ExitStack, Layout, EngineState, Fault], str]:
    def holder(stack: ExitStack, layout: Layout, state: EngineState, fault: Fault) -> str:
        target = find_instance(layout, state, fault.subject)
        fields: dict[str, Any] = {"instance": target.instance}
        if fault.kind is FaultKind.SLOW:
            fields["fraction"] = fault.amount
        stack.enter_context(node_client.hold_fault(layout.node_socket(target.node), verb, **fields))
        return target.instance

    return holder


# --- places -----------------------------------------------------------------


def _lose(stack: ExitStack, layout: Layout, state: EngineState, fault: Fault) -> str:
    """Cut the power of a node, zone or region, and kill all that ran there."""
    place = fault.subject
    parts = [part for part in state.parts.values() if _lies_in(part, place)]
    if not parts:
        places = sorted({place for part in state.parts.values() for place in _places_of(part)})
        raise FaultError(f"there is no place {place}", f"there are: {', '.join(places)}")
    stack.enter_context(Power(layout).cut(place))
    node_client.power_off(place, state.token)
    # By their tokens, too: one may have been started since the state was read.
    processes.kill_strays(part_token(state.token, place))
    for part in parts:
        if part.identity is not None:
            processes.send(part.identity, signal.SIGKILL)
    return place


def _places_of(part: PartRecord) -> list[str]:
    """Every place that the part lies in: its region, its zone, its node."""
    if part.zone is None:
        return [part.region]
    return [part.region, f"{part.region}/{part.zone}", part.id.partition(":")[2]]


def _lies_in(part: PartRecord, place: str) -> bool:
    own = part.id.partition(":")[2]  # us-east/a/0 of a node, us-east of an edge or a link
    return own == place or own.startswith(f"{place}/")


# --- links ------------------------------------------------------------------


def _hold_link(verb: str) -> Callable[[ExitStack, Layout, EngineState, Fault], str]:
    def holder(stack: ExitStack, layout: Layout, state: EngineState, fault: Fault) -> str:
        one_way = ">" in fault.subject
        origin, _, target = fault.subject.partition(">" if one_way else "~")
        for region in (origin, target):
            if f"link:{region}" not in state.parts:
                known = sorted(part.region for part in _alive(state, PartKind.LINK))
                raise FaultError(
                    f"there is no link of {region or 'nowhere'} in {fault.subject!r}",
                    f"write REGION~REGION or REGION>REGION with {', '.join(known)}",
                )
        if origin == target:
            raise FaultError(
                f"{fault.subject!r} leads from a region to itself, and there is no link",
                "write two regions, such as us-east~eu-west",
            )
        for here, there, direction in _ends(origin, target, one_way, verb):
            fields: dict[str, Any] = {"target": there}
            fields |= (
                {"direction": direction}
                if verb == "partition"
                else {"added_ns": round(fault.amount)}
            )
            stack.enter_context(link_client.hold_fault(layout.link_socket(here), verb, **fields))
        return fault.subject

    return holder


def _ends(origin: str, target: str, one_way: bool, verb: str) -> list[tuple[str, str, str]]:
    """(link of, towards, direction of the bytes) of everything that the fault touches. Bytes
    from origin to target travel out of origin's link, and into target's as answers."""
    if not one_way:
        return [(origin, target, "both"), (target, origin, "both")]
    if verb == "partition":
        return [(origin, target, "out"), (target, origin, "in")]
    return [(origin, target, "both")]


def _alive(state: EngineState, kind: PartKind) -> list[PartRecord]:
    return [
        part for part in state.parts.values()
        if part.kind == kind and part.identity and processes.is_alive(part.identity)
    ]  # fmt: skip


_ELSEWHERE = {
    FaultKind.SURGE: (
        "a surge is traffic, not a fault of the machinery",
        "`seakeep load --factor 3`",
    ),
    FaultKind.DEPLOY: (
        "a new version is no fault of the machinery",
        "change the spec, `seakeep up`",
    ),
    FaultKind.OUTAGE: ("an outage of a whole service is the twin's alone", "kill its instances"),
    FaultKind.CONTROL_DOWN: (
        "a fault of the control plane is the twin's alone",
        "kill the supervisor: `seakeep status --json` has its pid",
    ),
}
"""What is not injected here: why, and what to do instead."""


def _refuse(kind: FaultKind) -> NoReturn:
    message, hint = _ELSEWHERE.get(
        kind,
        (
            f"{kind.value} is a fault of the twin alone",
            "write it into a scenario of the spec, and `seakeep simulate` it",
        ),
    )
    raise FaultError(message, hint)


_HOLDERS: dict[FaultKind, Callable[[ExitStack, Layout, EngineState, Fault], str]] = {
    FaultKind.KILL: _kill,
    FaultKind.FREEZE: _hold_instance("freeze"),
    FaultKind.SLOW: _hold_instance("slow"),
    FaultKind.LOSE_NODE: _lose,
    FaultKind.LOSE_ZONE: _lose,
    FaultKind.LOSE_REGION: _lose,
    FaultKind.PARTITION: _hold_link("partition"),
    FaultKind.DELAY: _hold_link("delay"),
}
