"""A region's holder as a part: the process at which requests wait for a first instance."""

import asyncio
from collections.abc import Callable
from typing import Any

from seakeep.engines.local.addresses import AddressBook
from seakeep.engines.local.control_socket import ask
from seakeep.engines.local.envoy.clusters import readiness_path
from seakeep.engines.local.envoy.config import replace_if_changed
from seakeep.engines.local.envoy.paths import endpoints_path
from seakeep.engines.local.layout import Layout
from seakeep.engines.local.parts import Part, python_module
from seakeep.engines.local.processes import Identity
from seakeep.engines.local.state import PartRecord
from seakeep.model.ids import RegionName
from seakeep.model.scale import is_held
from seakeep.model.system import Protocol, System

Services = list[dict[str, Any]]
"""The `services` of a holder's configuration."""


def render_held(system: System, region: RegionName, book: AddressBook, layout: Layout) -> Services:
    """What the holder of a region holds, in the order of the file."""
    found = []
    for service in system.services.values():
        if service.scale is None or not is_held(service.scale, service.replicas.min):
            continue
        address = book.holder(region, service.name, service.workload.port)
        found.append(
            {
                "name": service.name,
                "listen": f"{address.host}:{address.port}",
                "endpoints": str(endpoints_path(layout, region, service.name)),
                "http": service.workload.protocol is Protocol.HTTP,
                "path": readiness_path(service),
                "time_ns": service.scale.hold.time,
                "connections_max": service.scale.hold.connections_max,
            }
        )
    return found


class HolderError(OSError):
    """The holder could not be talked to, or refused what it was told."""


class HolderPart(Part):
    def __init__(
        self,
        record: PartRecord,
        layout: Layout,
        token: str,
        changed: Callable[[], None],
        save: Callable[[], None],
        book: AddressBook,
    ) -> None:
        super().__init__(record, layout, token, changed, save)
        self._book = book
        self._services: Services = []
        self._telling: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None

    def configure(self, system: System) -> None:
        region = self.record.region
        if region not in system.regions:
            return
        self._services = render_held(system, region, self._book, self.layout)
        replace_if_changed(self.layout.holder(region) / "holder.json", {"services": self._services})
        if self.running:
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        try:
            await self._ask({"verb": "configure", "services": self._services})
            self.detail = ""
        except OSError as error:
            self.detail = f"did not take its services: {error}"

    def prepare(self) -> None:
        """Nothing: `configure` has written what the process reads."""

    def launch(self) -> Identity:
        region = self.record.region
        return self.spawn(
            python_module(
                "seakeep.engines.local.holder.holder",
                *("--config", str(self.layout.holder(region) / "holder.json")),
                *("--control", str(self.layout.holder_socket(region))),
            )
        )

    async def connect(self) -> None:
        await self._ask({"verb": "configure", "services": self._services})
        self._listening = asyncio.create_task(self.listen())

    async def ping(self) -> None:
        await self._ask({"verb": "report"})

    async def disconnect(self) -> None:
        if self._listening is not None:
            self._listening.cancel()

    async def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Raises OSError."""
        answer = await ask(self.layout.holder_socket(self.record.region), message)
        if not answer.get("ok"):
            raise HolderError(str(answer.get("error")))
        return answer
