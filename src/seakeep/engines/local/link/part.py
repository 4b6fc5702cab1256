"""A region's link as a part: the process that carries its calls to the other regions."""

import asyncio
from collections.abc import Callable

from seakeep.engines.local.addresses import AddressBook
from seakeep.engines.local.layout import Layout
from seakeep.engines.local.link.client import LinkClient, Wires, link_argv, write_link_config
from seakeep.engines.local.parts import Part
from seakeep.engines.local.processes import Identity
from seakeep.engines.local.state import PartRecord
from seakeep.model.system import System


class LinkPart(Part):
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
        self._wires: Wires = []
        self._client: LinkClient | None = None
        self._telling: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None

    def configure(self, system: System) -> None:
        if self.record.region not in system.regions:
            return
        self._wires = write_link_config(system, self.record.region, self._book, self.layout)
        if self._client is not None:
            self._telling = asyncio.create_task(self._tell(self._client))

    async def _tell(self, client: LinkClient) -> None:
        try:
            await client.configure(self._wires)
            self.detail = ""
        except OSError as error:
            self.detail = f"did not take its wires: {error}"

    def prepare(self) -> None:
        """Nothing: `configure` has written what the process reads."""

    def launch(self) -> Identity:
        return self.spawn(link_argv(self.layout, self.record.region))

    async def connect(self) -> None:
        client = await LinkClient.connect(self.layout, self.record.region)
        await client.configure(self._wires)
        self._client = client
        self._listening = asyncio.create_task(self.listen())

    async def ping(self) -> None:
        """On a connection of its own: one that was given up on would be answered out of turn."""
        client = await LinkClient.connect(self.layout, self.record.region)
        try:
            await client.report()
        finally:
            await client.close()

    async def disconnect(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()
