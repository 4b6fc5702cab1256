"""What other programs may ask about a system on this machine, running or not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seakeep.engines.local.layout import Layout, layout_for
from seakeep.engines.local.state import load_state
from seakeep.model.observation import Address
from seakeep.runtime import control

STATUS_FORMAT = 2
"""Of the status document; raised with every change that an older reader would stumble over."""


class NotUp(Exception):
    """Nothing of the system runs on this machine."""


class OtherVersion(control.ControlError):
    """The supervisor was started by another version of Seakeep."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(
            f"the supervisor is of another version: it says what it sees in format "
            f"{document.get('format')}, and this command knows {STATUS_FORMAT}",
            f"end it (`kill {document.get('pid')}`; the system goes on), then `seakeep up` has one "
            "of this version take over what runs",
        )


def edges(project: Path) -> dict[str, Address]:
    """Where clients reach each region, in the order of the spec. Works while the supervisor is
    down. Raises NotUp."""
    state = load_state(layout_for(project))
    if state is None or not state.edges:
        raise NotUp(f"no system is up in {project}")
    return dict(state.edges)


def servers(project: Path) -> dict[str, Address]:
    """Where resolvers reach each region's DNS server; empty without a zone. Raises NotUp."""
    state = load_state(layout_for(project))
    if state is None or not state.edges:
        raise NotUp(f"no system is up in {project}")
    return dict(state.servers)


def layout_of(spec: Path) -> Layout:
    """The layout of the system whose spec is the file `spec`."""
    return layout_for(spec.parent)


def status(layout: Layout, timeout_s: float = 30.0) -> dict[str, Any]:
    """The status document (see `runtime.status`). Raises control.NotRunning, and OtherVersion
    when the supervisor that runs speaks of it in another way."""
    document = control.call(layout.supervisor_socket, "status", timeout_s=timeout_s)
    if document.get("format") != STATUS_FORMAT:
        raise OtherVersion(document)
    return document


def events(layout: Layout, after: int = 0, *, follow: bool = True) -> Iterator[dict[str, Any]]:
    """Events with numbers above `after`; with `follow`, then new ones as they come."""
    return control.stream(layout.supervisor_socket, "events", after=after, follow=follow)
