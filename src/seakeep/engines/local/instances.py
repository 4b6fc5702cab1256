"""The instances of all nodes: their latest reports, and the requests that change them.

What a node agent reported last is kept when the agent is gone, with the time of the report,
so that its age can be judged.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from seakeep.engines.local.addresses import AddressBook
from seakeep.engines.local.complain import complain
from seakeep.engines.local.layout import Layout
from seakeep.engines.local.node.client import NodeClient, NodeRefused
from seakeep.engines.local.node.codec import NodeReport
from seakeep.model.action import DrainInstance, RestartInstance, StartInstance, StopInstance
from seakeep.model.ids import InstanceId, NodeId, ServiceName, ordinal_of
from seakeep.model.observation import InstanceState, Sample, UsedOrdinals
from seakeep.model.system import Prefer, System
from seakeep.model.time import in_seconds

REPORT_WITHIN_S = 2.0


class Refused(Exception):
    """The action's guard does not hold any more, or its subject is not there."""


class Instances:
    """Instances by node. Lives on the engine's event loop; `samples` and `find` may be called
    from any thread, since reports are replaced whole."""

    def __init__(self, layout: Layout, project: Path, changed: Callable[[], None]) -> None:
        self._layout = layout
        self._project = project
        self._changed = changed
        self._clients: dict[NodeId, NodeClient] = {}
        self._reports: dict[NodeId, NodeReport] = {}
        self._condemned: dict[InstanceId, NodeId] = {}
        self._ordinals: dict[ServiceName, int] = {}
        self._homes: dict[InstanceId, NodeId] = {}
        self._starting: set[InstanceId] = set()
        self._book: AddressBook | None = None
        self._save: Callable[[], None] = lambda: None

    def remember(
        self,
        homes: dict[InstanceId, NodeId],
        condemned: dict[InstanceId, NodeId],
        ordinals: dict[ServiceName, int],
        book: AddressBook,
        save: Callable[[], None],
    ) -> None:
        """Use these tables, kept with the engine's state, across supervisors."""
        self._homes = homes
        self._condemned = condemned
        self._ordinals = ordinals
        self._book = book
        self._save = save

    # --- what nodes say -----------------------------------------------------

    def attach(self, node: NodeId, client: NodeClient) -> None:
        self._clients[node] = client

    def detach(self, node: NodeId) -> None:
        self._clients.pop(node, None)
        self._changed()

    async def settle(self, node: NodeId) -> None:
        """A node is back: make it forget what was replaced while it was gone."""
        for instance in [name for name, home in self._condemned.items() if home == node]:
            with suppress(NodeRefused):  # the node does not know it: nothing to forget
                await self._clients[node].request("stop", instance=instance, grace_ns=0)
            self._pardon(instance)

    def take_report(self, report: NodeReport) -> None:
        before = self._reports.get(report.node)
        self._reports[report.node] = report
        self._free_slots(report)
        if before is None or _facts(before) != _facts(report):
            self._changed()

    def _free_slots(self, report: NodeReport) -> None:
        """An address is free once its process is gone, not when it was told to go."""
        present = {state.id for state in report.instances} | self._starting
        self._vacate(
            [
                name
                for name, home in self._homes.items()
                if home == report.node and name not in present
            ]
        )

    def drop_node(self, node: NodeId) -> None:
        """The node was retired: nothing on it is of interest any more."""
        self._reports.pop(node, None)
        self._clients.pop(node, None)
        for instance in [name for name, home in self._condemned.items() if home == node]:
            self._pardon(instance)
        self._vacate([name for name, home in self._homes.items() if home == node])

    def _vacate(self, names: list[InstanceId]) -> None:
        for name in names:
            region, zone, _ = self._homes.pop(name).split("/")
            assert self._book is not None
            self._book.release_slot(region, zone, name)
        if names:
            self._save_if_it_fits()

    def _save_if_it_fits(self) -> None:
        """Of what is freed: on a full disk it is freed all the same, and noted later."""
        try:
            self._save()
        except OSError as error:
            complain(f"the state could not be written: {error}")

    # --- snapshots ----------------------------------------------------------

    def samples(self) -> tuple[Sample[InstanceState], ...]:
        """Latest reading of every instance, sorted by service and ordinal."""
        found = [
            Sample(value=state, observed_at=report.at, source=report.node)
            for report in list(self._reports.values())
            for state in report.instances
            if state.id not in self._condemned
        ]
        return tuple(sorted(found, key=_order))

    def versions(self) -> dict[str, tuple[ServiceName, str]]:
        """`host:port` -> (service, revision), of services of which more than one version runs."""
        found = [state for report in list(self._reports.values()) for state in report.instances]
        first: dict[ServiceName, str] = {}
        several = {
            state.service
            for state in found
            if first.setdefault(state.service, state.revision) != state.revision
        }
        return {
            f"{state.address.host}:{state.address.port}": (state.service, state.revision)
            for state in found
            if state.service in several
        }

    def used_ordinals(self) -> tuple[UsedOrdinals, ...]:
        return tuple(
            UsedOrdinals(service=name, last=last) for name, last in sorted(self._ordinals.items())
        )

    def find(self, instance: InstanceId) -> InstanceState | None:
        for report in list(self._reports.values()):
            for state in report.instances:
                if state.id == instance:
                    return state
        return None

    # --- actions ------------------------------------------------------------

    async def start(self, action: StartInstance, system: System, book: AddressBook) -> str:
        if self.find(action.instance) is not None:
            return "is there already"
        client = self._client(action.node)
        used = self._ordinals.get(action.service, 0)
        self._ordinals[action.service] = max(used, ordinal_of(action.instance))
        self._starting.add(action.instance)
        try:
            return await self._start(client, action, system, book)
        finally:
            self._starting.discard(action.instance)

    async def _start(
        self, client: NodeClient, action: StartInstance, system: System, book: AddressBook
    ) -> str:
        self._homes[action.instance] = action.node
        slot = book.slot(action.region, action.zone, action.instance)
        self._save()
        port = action.workload.port
        address = book.instance(action.region, action.zone, slot, port)
        env = call_urls(system, action, book)
        reply = await client.start(
            instance=action.instance,
            service=action.service,
            region=action.region,
            zone=action.zone,
            system=system.name,
            address=address,
            workload=action.workload,
            env=env,
            cwd=self._project,
        )
        await self._reported(action.instance, restarts=0)
        return str(reply.get("detail", ""))

    async def restart(self, action: RestartInstance) -> str:
        state = self._known(action.instance)
        client = self._client(state.node)
        restarts = state.restarts if action.guard.restarts is None else action.guard.restarts
        detail = await _ask(client, "restart", instance=state.id, restarts=restarts)
        await self._reported(state.id, restarts=restarts + 1)
        return detail

    async def drain(self, action: DrainInstance) -> str:
        state = self._known(action.instance)
        return await _ask(self._client(state.node), "drain", instance=state.id)

    async def stop(self, action: StopInstance) -> str:
        """Stop and forget. With its node gone the instance is condemned: forgotten here at
        once, and by the node as soon as it is back."""
        state = self._known(action.instance)
        client = self._clients.get(state.node)
        if client is None or not client.connected:
            self._condemned[state.id] = state.node
            self._save()
            return "forgotten: its node is gone"
        await _ask(client, "stop", instance=state.id, grace_ns=action.grace)
        return f"told to stop within {in_seconds(action.grace):g}s"

    async def _reported(self, instance: InstanceId, restarts: int) -> None:
        """Return once a report shows what was done, so that no outcome is known before its
        effect; at most for as long as a report may take."""
        deadline = asyncio.get_running_loop().time() + REPORT_WITHIN_S
        while asyncio.get_running_loop().time() < deadline:
            state = self.find(instance)
            if state is not None and state.restarts >= restarts:
                return
            await asyncio.sleep(0.002)

    def _known(self, instance: InstanceId) -> InstanceState:
        state = self.find(instance)
        if state is None:
            raise Refused(f"there is no {instance}")
        return state

    def _client(self, node: NodeId) -> NodeClient:
        client = self._clients.get(node)
        if client is None or not client.connected:
            raise Refused(f"node {node} is gone")
        return client

    def _pardon(self, instance: InstanceId) -> None:
        self._condemned.pop(instance, None)
        self._save_if_it_fits()


async def _ask(client: NodeClient, verb: str, **fields: Any) -> str:
    """The agent's word on what it did. Raises Refused, or NodeError when it failed."""
    try:
        reply = await client.request(verb, **fields)
    except NodeRefused as error:
        raise Refused(str(error)) from error
    return str(reply.get("detail", ""))


def call_urls(system: System, action: StartInstance, book: AddressBook) -> dict[str, str]:
    """`CATALOG_URL` and the like: where this instance finds the services that it calls."""
    urls = {}
    for call in system.services[action.service].calls:
        called = system.services[call.service]
        zone = action.zone if called.balance.prefer == Prefer.ZONE else None
        address = book.internal(action.region, called.name, zone, called.workload.port)
        scheme = "http" if called.workload.protocol == "http" else "tcp"
        name = called.name.upper().replace("-", "_")
        urls[f"{name}_URL"] = f"{scheme}://{address.host}:{address.port}"
    return urls


def _order(sample: Sample[InstanceState]) -> tuple[str, int]:
    assert sample.value is not None
    return sample.value.service, ordinal_of(sample.value.id)


def _facts(report: NodeReport) -> list[tuple[object, ...]]:
    """What of a report is news: not the figures that move all the time."""
    return [
        (
            state.id, state.phase, state.pid, state.restarts, state.draining_since,
            [(probe.kind, probe.ok, probe.passed, min(probe.count, 30)) for probe in state.probes]
            if any(not probe.ok or not probe.passed for probe in state.probes)
            else len(state.probes),
        )
        for state in report.instances
    ]  # fmt: skip
