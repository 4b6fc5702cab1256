"""What the embedded engine must remember across its own death: `.seakeep/system.json`.

The token in it marks every process of the system, the address book says where everything
listens, and each part's identity lets a new supervisor adopt what runs. It is written, by
atomic rename, before what it describes is relied upon.
"""

import contextlib
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from seakeep.engines.local import processes
from seakeep.engines.local.addresses import AddressBook, book_from
from seakeep.engines.local.files import replace_file
from seakeep.engines.local.layout import Layout
from seakeep.engines.local.octets import Claim, lease_octets, span_for
from seakeep.engines.local.processes import Identity
from seakeep.model.codec import decode, encode
from seakeep.model.observation import Address, PartKind
from seakeep.model.order import Order, OrderKind
from seakeep.model.rollout import RolloutRecord
from seakeep.model.time import Instant

FORMAT = 1
TOKEN = re.compile(r"^[0-9a-f]{16}$")


class StateError(Exception):
    """The state cannot be used; `hint` says what can be done."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class ForeignStateError(StateError):
    """The state was copied or moved here: what it describes belongs to another folder."""

    def __init__(self, layout: Layout, home: str) -> None:
        project = Path(home).parent
        if Path(home).exists():
            hint = f"this folder is a copy: remove {layout.state} and go on"
        else:
            hint = (
                f"this folder was moved: move it back to {project}, run `seakeep down` there, then "
                f"move it; or, when nothing of it runs any more, remove {layout.state}"
            )
        super().__init__(f"{layout.state} belongs to the system of {project}", hint)


class BrokenStateError(StateError):
    """The state was damaged by something other than Seakeep, which replaces it as a whole."""

    def __init__(self, layout: Layout, why: str) -> None:
        super().__init__(
            f"{layout.identity} is damaged: {why}",
            "`seakeep down` ends what it finds by the marks on its processes and clears up; "
            "then `seakeep up` begins anew",
        )


@dataclass(slots=True, kw_only=True)
class PartRecord:
    """A part as it was last started."""

    id: str
    kind: PartKind
    region: str
    zone: str | None
    identity: Identity | None = None
    restarts: int = 0
    """Starts after the first one."""
    changed_at: Instant = 0


@dataclass(slots=True, kw_only=True)
class EngineState:
    token: str
    book: AddressBook
    epoch: int = 0
    """Grows with every supervisor, so that actions of an older one are refused."""
    parts: dict[str, PartRecord] = field(default_factory=dict)
    edges: dict[str, Address] = field(default_factory=dict)
    """Where clients reach each region."""
    servers: dict[str, Address] = field(default_factory=dict)
    """Where resolvers reach each region's DNS server; empty without a zone, and where regions
    have no addresses of their own."""
    ordinals: dict[str, int] = field(default_factory=dict)
    """By service: the highest that an instance was started with."""
    homes: dict[str, str] = field(default_factory=dict)
    """The node of every instance that has an address."""
    condemned: dict[str, str] = field(default_factory=dict)
    """Instances to be forgotten when their node is back, with their node: they were replaced
    while it was gone."""
    orders: dict[str, Order] = field(default_factory=dict)
    """What operators have ordered, by id."""
    rollouts: dict[str, RolloutRecord] = field(default_factory=dict)
    """How far the change of each service's workload has got, by service."""


def load_state(layout: Layout) -> EngineState | None:
    """The state on disk; None when the system has never run here (or is down). Raises
    ForeignStateError, so that a copy of a folder never takes over what the original runs, and
    BrokenStateError."""
    try:
        tree = orjson.loads(layout.identity.read_bytes())
        home, format_ = str(tree["home"]), tree["format"]
        if home != str(layout.state):
            raise ForeignStateError(layout, home)
        if format_ != FORMAT:
            raise BrokenStateError(layout, f"its format is {format_!r}, not {FORMAT}")
        return _state(tree)
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokenStateError(layout, f"{type(error).__name__}: {error}") from error


def _state(tree: dict[str, Any]) -> EngineState:
    token = tree["token"]
    if not isinstance(token, str) or not TOKEN.match(token):
        raise ValueError("its token is none")
    return EngineState(
        token=token,
        book=book_from(tree["first_octet"], tree["whole_loopback"], tree["tables"]),
        epoch=tree["epoch"],
        parts={part["id"]: _part(part) for part in tree["parts"]},
        edges={name: Address(**address) for name, address in tree["edges"].items()},
        servers={n: Address(**address) for n, address in tree.get("servers", {}).items()},
        ordinals=tree["ordinals"],
        homes=tree["homes"],
        condemned=tree["condemned"],
        orders={order.id: order for order in map(_order, tree.get("orders", []))},
        rollouts={
            one.service: one
            for one in (decode(RolloutRecord, item) for item in tree.get("rollouts", []))
        },
    )


def save_state(layout: Layout, state: EngineState) -> None:
    """Replace the state on disk."""
    tree = {
        "format": FORMAT,
        "home": str(layout.state),
        "token": state.token,
        "first_octet": state.book.first_octet,
        "whole_loopback": state.book.whole_loopback,
        "tables": state.book.tables,
        "epoch": state.epoch,
        "parts": list(state.parts.values()),
        "edges": state.edges,
        "servers": state.servers,
        "ordinals": state.ordinals,
        "homes": state.homes,
        "condemned": state.condemned,
        "orders": list(state.orders.values()),
        "rollouts": [encode(record) for record in state.rollouts.values()],
    }
    replace_file(layout.identity, orjson.dumps(tree, option=orjson.OPT_INDENT_2))


def systems_at(layout: Layout) -> list[str]:
    """Tokens of the systems whose machinery works in the state folder or has left its names
    there, sorted: how what runs is found when the state is gone or damaged."""
    folders = {str(layout.state), f"{layout.state} (deleted)"}
    found = {one.token for one, folder in processes.with_folders() if folder in folders}
    for path in layout.state.glob("nodes/*/agent.json"):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            found.add(str(orjson.loads(path.read_bytes())["token"]))
    systems = {token.partition("/")[0] for token in found}
    return sorted(system for system in systems if TOKEN.match(system))


def bereft(layout: Layout) -> bool:
    """Whether parts of the system work on in a state folder that has been removed."""
    gone = f"{layout.state} (deleted)"
    return any(folder == gone for _, folder in processes.with_folders())


def new_state(layout: Layout, regions: int) -> tuple[EngineState, Claim]:
    """A fresh state with addresses that no other system on this machine uses, and the claim to
    them, which is to be held until something listens there."""
    octet, claim = lease_octets(layout, span_for(regions))
    return EngineState(token=secrets.token_hex(8), book=AddressBook(first_octet=octet)), claim


def _order(tree: dict[str, Any]) -> Order:
    return Order(**(tree | {"kind": OrderKind(tree["kind"])}))


def _part(tree: dict[str, object]) -> PartRecord:
    identity = tree.pop("identity")
    kind = PartKind(str(tree.pop("kind")))
    record = PartRecord(kind=kind, **tree)  # type: ignore[arg-type]
    record.identity = Identity(**identity) if isinstance(identity, dict) else None
    return record
