"""What other programs may ask about a system on this machine, running or not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seakeep.engines.local.layout import Layout, layout_for
from seakeep.engines.local.state import load_state
from seakeep.model.observation import Address
from seakeep.runtime import control


class NotUp(Exception):
    """Nothing of the system runs on this machine."""


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


def status(layout: Layout) -> dict[str, Any]:
    """The status document (see `runtime.status`). Raises control.NotRunning."""
    return control.call(layout.supervisor_socket, "status")


def events(layout: Layout, after: int = 0, *, follow: bool = True) -> Iterator[dict[str, Any]]:
    """Events with numbers above `after`; with `follow`, then new ones as they come."""
    return control.stream(layout.supervisor_socket, "events", after=after, follow=follow)
