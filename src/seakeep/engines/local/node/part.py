"""A node as a part: its agent's process, and the connection to it."""

import asyncio
from collections.abc import Callable

from seakeep.engines.local.clock import BootClock
from seakeep.engines.local.instances import Instances
from seakeep.engines.local.layout import Layout
from seakeep.engines.local.node.client import NodeClient, NodeError, agent_token, start_agent
from seakeep.engines.local.node.codec import NodeReport
from seakeep.engines.local.parts import Part, make_folder
from seakeep.engines.local.processes import Identity
from seakeep.engines.local.state import PartRecord
from seakeep.model.system import Node, System, nodes_of

RECONNECT_S = 0.2


class NodePart(Part):
    def __init__(
        self,
        record: PartRecord,
        layout: Layout,
        token: str,
        changed: Callable[[], None],
        save: Callable[[], None],
        instances: Instances,
    ) -> None:
        super().__init__(record, layout, token, changed, save)
        self.node = record.id.partition(":")[2]
        self._instances = instances
        self._client: NodeClient | None = None
        self._reconnecting: asyncio.Task[None] | None = None
        self.spec: Node | None = None
        self.system_name = ""

    def configure(self, system: System) -> None:
        """Take the node's declared capacity from the spec, if it is still in there."""
        self.system_name = system.name
        for node in nodes_of(system):
            if node.id == self.node:
                self.spec = node
                self.capacity = node.capacity

    def prepare(self) -> None:
        make_folder(self.layout.node(self.node))

    def launch(self) -> Identity:
        assert self.spec is not None, "configured before it is started"
        return start_agent(
            self.layout, self.spec, system=self.system_name, token=self.token,
            cwd=self.layout.state,
        )  # fmt: skip

    def process_token(self) -> str:
        return agent_token(self.token, self.node)

    async def connect(self) -> None:
        client = NodeClient(self.layout.node_socket(self.node), self._take_report, self._lost)
        await client.connect()
        self._client = client
        self._instances.attach(self.node, client)
        await self._instances.settle(self.node)

    def _take_report(self, report: NodeReport) -> None:
        self.heard_at = BootClock().now()
        self._instances.take_report(report)

    async def ping(self) -> None:
        if self._client is None:
            raise ConnectionError("not connected")
        await self._client.request("report")

    def _lost(self) -> None:
        """The connection broke. The agent may be alive: try again until it is known to be dead
        (then `disconnect` ends the attempts)."""
        self._instances.detach(self.node)
        if self.running and self._reconnecting is None:
            self._reconnecting = asyncio.create_task(self._reconnect())

    async def _reconnect(self) -> None:
        try:
            while True:
                await asyncio.sleep(RECONNECT_S)
                try:
                    return await self.connect()
                except (OSError, EOFError, NodeError):
                    continue
        finally:
            self._reconnecting = None

    async def disconnect(self) -> None:
        if self._reconnecting is not None:
            self._reconnecting.cancel()
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()
        self._instances.detach(self.node)

    async def stop(self, grace_s: float = 5.0) -> None:
        await super().stop(grace_s)
        self._instances.drop_node(self.node)
