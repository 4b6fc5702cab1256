"""What the demo knows of the running system, asked ten times a second."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from seakeep.engines.local.layout import Layout
from seakeep.runtime import control

ASK_EVERY_S = 0.1
EVENTS_KEPT = 400

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that the controllers did or refused to do, in words."""

    at_ns: int
    code: str
    subject: str
    text: str
    is_action: bool
    is_detail: bool
    """A push to a gateway: it goes along with one to the region's own callers."""


@dataclass(slots=True)
class Snapshot:
    """The latest answers. `status` is None while the supervisor does not answer."""

    at_ns: int = 0
    status: Document | None = None
    hosts: dict[str, list[Document]] = field(default_factory=dict)
    """Endpoints by region, as that region's Envoy sees them."""


class Watch:
    """Polls status, endpoints and events in a thread, from entry to exit."""

    def __init__(self, layout: Layout, regions: list[str]) -> None:
        self.now = Snapshot()
        self.lines: list[Line] = []
        self._layout = layout
        self._regions = regions
        self._after = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(5)

    def forget_events(self) -> None:
        """A new supervisor counts its events from 1 again."""
        self._after = 0

    def until(self, condition: Callable[[Snapshot], bool], timeout_s: float) -> int | None:
        """When the condition was first seen to hold (monotonic ns), or None if it did not."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            snapshot = self.now
            if snapshot.at_ns and condition(snapshot):
                return snapshot.at_ns
            time.sleep(ASK_EVERY_S / 5)
        return None

    def _run(self) -> None:
        while not self._stop.wait(ASK_EVERY_S):
            self.now = self._ask()

    def _ask(self) -> Snapshot:
        socket = self._layout.supervisor_socket
        snapshot = Snapshot(at_ns=time.monotonic_ns())
        try:
            snapshot.status = control.call(socket, "status")
            for region in self._regions:
                snapshot.hosts[region] = control.call(socket, "hosts", region=region)["hosts"]
            for event in control.stream(socket, "events", after=self._after, follow=False):
                self._take(event)
        except control.ControlError:
            pass
        return snapshot

    def _take(self, event: Document) -> None:
        self._after = event["number"]
        reason = event.get("reason")
        if reason is None or _is_repetition(reason):
            return
        self.lines.append(
            Line(
                at_ns=event["at_ns"],
                code=reason["code"],
                subject=reason["subject"],
                text=event["text"],
                is_action=reason.get("action") is not None,
                is_detail=".local:" in str(reason.get("action")),
            )
        )
        del self.lines[:-EVENTS_KEPT]


def _is_repetition(reason: Document) -> bool:
    """Another try at something that is known to be down."""
    if reason["code"] == "parts.held.backoff":
        return True
    return reason["code"] == "parts.start" and int(dict(reason["numbers"])["tries"]) > 1


def instances(document: Document) -> list[Document]:
    """All instances of a status document."""
    return [
        item
        for region in document["regions"]
        for zone in region["zones"]
        for node in zone["nodes"]
        for item in node["instances"]
    ]


def service(document: Document, name: str) -> Document:
    """A service of a status document."""
    found: Document = next(item for item in document["services"] if item["name"] == name)
    return found


def all_well(snapshot: Snapshot) -> bool:
    """Every service has its replicas, all of them are in rotation, and every part runs."""
    document = snapshot.status
    if document is None or document["pending"]:
        return False
    return enough(snapshot) and all(
        item["health"] == "ready" or item["draining"] for item in instances(document)
    )


def enough(snapshot: Snapshot) -> bool:
    """Every service has the replicas that it wants, ready."""
    document = snapshot.status
    return document is not None and all(
        service["ready"] >= service["wanted"] for service in document["services"]
    )


def in_rotation(snapshot: Snapshot, addresses: set[str]) -> bool:
    """Whether any Envoy that answers would still send a new request to one of the addresses."""
    return any(
        host["address"] in addresses and host["healthy"]
        for hosts in snapshot.hosts.values()
        for host in hosts
    )
