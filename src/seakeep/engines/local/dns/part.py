"""A region's DNS server as a part: what it listens at, and the table that it is given."""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from seakeep.engines.local import processes
from seakeep.engines.local.addresses import AddressBook
from seakeep.engines.local.clock import BootClock
from seakeep.engines.local.control_socket import ask
from seakeep.engines.local.dns.zone import FORMAT
from seakeep.engines.local.files import replace_file
from seakeep.engines.local.layout import Layout
from seakeep.engines.local.parts import Part, make_folder, python_module
from seakeep.engines.local.processes import Identity
from seakeep.engines.local.state import PartRecord
from seakeep.model.action import AnswerDns
from seakeep.model.ids import RegionName
from seakeep.model.observation import AppliedAnswers
from seakeep.model.system import Location, System
from seakeep.model.time import SECOND

ASK_WITHIN_S = 5.0


class DnsError(OSError):
    """The server could not be talked to, or did not take its table."""


class DnsPart(Part):
    def __init__(
        self,
        record: PartRecord,
        layout: Layout,
        token: str,
        changed: Callable[[], None],
        save: Callable[[], None],
        book: AddressBook,
        project: Path,
    ) -> None:
        super().__init__(record, layout, token, changed, save)
        self._book = book
        self._project = project
        self._system: System | None = None
        self._applied: AppliedAnswers | None = None
        self._listening: asyncio.Task[None] | None = None

    def configure(self, system: System) -> None:
        """Take the spec. A server that listens elsewhere now is ended, and started again by the
        controllers; one whose region or zone has left the spec goes on until it is retired."""
        if system.dns is None or self.record.region not in system.regions:
            return
        before = self._address()
        self._system = system
        if self.running and before not in ("", self._address()):
            self._end()

    def prepare(self) -> None:
        make_folder(self.layout.dns(self.record.region))

    def launch(self) -> Identity:
        region = self.record.region
        return self.spawn(
            python_module(
                "seakeep.engines.local.dns.server",
                *("--address", self._address()),
                *("--table", str(table_path(self.layout, region))),
                *("--control", str(self.layout.dns_socket(region))),
            )
        )

    async def connect(self) -> None:
        told = await self._ask("report")
        if self._system is not None and told["address"] != self._address():
            self._end()
            raise ConnectionError(f"it listens at {told['address']}")
        self._take_word(told)
        self._listening = asyncio.create_task(self.listen())

    async def disconnect(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        self._applied = None

    async def ping(self) -> None:
        await self._ask("report")

    async def answer(self, action: AnswerDns) -> str:
        """Give it a table, and hear from it that it answers from that one."""
        if self._system is None:
            raise DnsError(f"the DNS server of {self.record.region} has no zone")
        tree = render_table(self._system, action, self._book, self._project)
        await asyncio.to_thread(
            replace_file, table_path(self.layout, action.region), orjson.dumps(tree)
        )
        told = await self._ask("load")
        if told["digest"] != action.digest:
            raise DnsError(f"it answers from {told['digest']}, not {action.digest}")
        self._take_word(told)
        return f"{len(action.hosts)} hosts"

    def applied_answers(self) -> AppliedAnswers | None:
        """What it said that it answers from; None while it does not run, or knows nothing yet."""
        return self._applied if self.running else None

    def _take_word(self, told: dict[str, Any]) -> None:
        self.detail = told["trouble"]
        if told["digest"]:
            self._applied = AppliedAnswers(
                region=self.record.region,
                digest=told["digest"],
                applied_at=BootClock().now(),
                out=tuple(told["out"]),
            )

    async def _ask(self, verb: str) -> dict[str, Any]:
        async with asyncio.timeout(ASK_WITHIN_S):
            told = await ask(self.layout.dns_socket(self.record.region), {"verb": verb})
        if not told["ok"]:
            raise DnsError(f"it refused: {told['error']}")
        return told

    def _address(self) -> str:
        """Empty while there is no zone."""
        if self._system is None or self._system.dns is None:
            return ""
        address = self._book.dns(self.record.region, self._system.dns.port)
        return f"{address.host}:{address.port}"

    def _end(self) -> None:
        if self.record.identity is not None:
            with contextlib.suppress(OSError):
                processes.send(self.record.identity, signal.SIGTERM)


def table_path(layout: Layout, region: RegionName) -> Path:
    return layout.dns(region) / "table.json"


def render_table(
    system: System, action: AnswerDns, book: AddressBook, project: Path
) -> dict[str, Any]:
    """The table of one server, as `zone.Table` reads it."""
    dns = system.dns
    assert dns is not None
    return {
        "format": FORMAT,
        "digest": action.digest,
        "zone": dns.zone,
        "region": action.region,
        "ttl_s": dns.ttl // SECOND,
        "negative_ttl_s": dns.negative_ttl // SECOND,
        "answers_per_s": dns.answers_per_s,
        "servers": {name: book.dns(name, dns.port).host for name in system.regions},
        "edges": {name: book.edge(name, system.edge.port).host for name in system.regions},
        "locations": {name: _pair(region.location) for name, region in system.regions.items()},
        "links": [[link.a, link.b, link.latency] for link in system.links],
        "places": [[prefix, _pair(place)] for prefix, place in dns.places],
        "database": str(project / dns.database) if dns.database else "",
        "hosts": [
            {
                "host": one.host,
                "by": one.by.value,
                "regions": list(one.regions),
                "weights": list(one.weights),
                "out": list(one.out),
            }
            for one in action.hosts
        ],
    }


def _pair(location: Location | None) -> list[float] | None:
    return None if location is None else [location.latitude_deg, location.longitude_deg]
