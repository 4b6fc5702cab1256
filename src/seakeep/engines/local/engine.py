"""The embedded engine: real processes, Envoys and links on this machine.

Senses and acts, decides nothing. Everything slow happens on an event loop in a thread of its
own; the control loop's thread only takes snapshots (`observe`) and queues actions (`submit`).
"""

import asyncio
import threading
import traceback
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol, assert_never

from seakeep.engines.local.addresses import AddressBook
from seakeep.engines.local.clock import BootClock
from seakeep.engines.local.complain import complain
from seakeep.engines.local.dns.part import DnsPart
from seakeep.engines.local.envoy.admin import AdminError
from seakeep.engines.local.envoy.part import EdgePart
from seakeep.engines.local.holder.part import HolderPart
from seakeep.engines.local.instances import Instances, Refused
from seakeep.engines.local.layout import Layout
from seakeep.engines.local.link.part import LinkPart
from seakeep.engines.local.node.client import NodeError
from seakeep.engines.local.node.part import NodePart
from seakeep.engines.local.octets import Claim
from seakeep.engines.local.parts import Part, PartError
from seakeep.engines.local.state import (
    EngineState,
    PartRecord,
    load_state,
    new_state,
    save_state,
)
from seakeep.model.action import (
    Action,
    AnswerDns,
    DrainInstance,
    RecordRollout,
    RestartInstance,
    RetirePart,
    SetEndpoints,
    SetLimit,
    StartInstance,
    StartPart,
    StopInstance,
)
from seakeep.model.observation import (
    Address,
    Observation,
    Outcome,
    OutcomeStatus,
    PartKind,
    Sample,
)
from seakeep.model.order import Order
from seakeep.model.rollout import RolloutRecord
from seakeep.model.system import System, has_held, nodes_of
from seakeep.model.time import SECOND, Duration, Instant

SOURCE = "local"
ADOPTION_DEADLINE_S = 10.0
ACTION_DEADLINE_S = 10.0
"""A node or an Envoy that does not answer an action for this long has failed to do it."""
HEARD_LATELY: Duration = 2 * SECOND
FAILURES = (PartError, NodeError, AdminError, OSError, EOFError, TimeoutError)


class Admit(Protocol):
    """`seakeep.act.admit.admit`, handed in by the runtime: why an action is refused, or None."""

    def __call__(
        self, action: Action, *, revision: str, epoch: int, now: Instant, restarts: int | None
    ) -> str | None: ...


class LocalEngine:
    """One system on this machine. Use: `configure`, then the protocol; `close` lets go of the
    processes and leaves them running, `destroy` ends them."""

    def __init__(self, layout: Layout, project: Path, admit: Admit) -> None:
        layout.create()
        self._admit = admit
        self.clock: BootClock = BootClock()
        self.layout = layout
        self.project = project
        self._system: System | None = None
        self._state: EngineState | None = load_state(layout)
        self._claim = Claim()
        self._orders: tuple[Order, ...] = ()
        self._rollouts: tuple[RolloutRecord, ...] = ()
        self._parts: dict[str, Part] = {}
        self._outcomes: list[Outcome] = []
        self._seq = 0
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._unsaved = False
        self._changed = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine", daemon=True)
        self._thread.start()
        self.instances = Instances(layout, project, self._notify)

    # --- the protocol -------------------------------------------------------

    def configure(self, system: System) -> None:
        """Take a spec: addresses for what is new, configuration for what runs. The first call
        adopts everything that an earlier supervisor left running."""
        first = self._system is None
        if self._state is None:
            self._state, self._claim = new_state(self.layout, len(system.regions))
        state = self._state
        state.book.admit(system)
        state.edges = {name: state.book.edge(name, system.edge.port) for name in system.regions}
        state.servers = _servers(state.book, system)
        if first:
            state.epoch += 1
        state.rollouts = {
            name: one for name, one in sorted(state.rollouts.items()) if name in system.services
        }
        # Written before anything relies on it: on a full disk this raises, and nothing is done.
        self._save()
        self._system = system
        self._orders = tuple(state.orders[name] for name in sorted(state.orders))
        self._rollouts = tuple(state.rollouts.values())
        self.instances.remember(
            state.homes, state.condemned, state.ordinals, state.book, self._save
        )
        self._run(self._configure(system), ADOPTION_DEADLINE_S * 2)

    def observe(self) -> Observation:
        with self._lock:
            outcomes, self._outcomes = tuple(self._outcomes), []
        self._changed.clear()
        if self._unsaved:
            self._loop.call_soon_threadsafe(self._save_again)
        now = self.clock.now()
        self._seq += 1
        parts = [self._parts[name] for name in sorted(self._parts)]
        edges = [part for part in parts if isinstance(part, EdgePart)]
        applied = [part.applied_answers() for part in parts if isinstance(part, DnsPart)]
        return Observation(
            seq=self._seq,
            at=now,
            instances=self.instances.samples(),
            parts=tuple(
                Sample(value=part.state(), observed_at=_heard(part, now), source=SOURCE)
                for part in parts
            ),
            endpoints=tuple(applied for edge in edges for applied in edge.applied_endpoints()),
            limits=tuple(applied for edge in edges for applied in edge.applied_limits()),
            traffic=tuple(reading for edge in edges for reading in edge.traffic),
            revisions=tuple(reading for edge in edges for reading in edge.revisions),
            ordinals=self.instances.used_ordinals(),
            outcomes=outcomes,
            wall=self.clock.wall(now),
            orders=self._orders,
            answers=tuple(one for one in applied if one is not None),
            rollouts=self._rollouts,
        )

    def submit(self, actions: Sequence[Action]) -> None:
        if actions:
            asyncio.run_coroutine_threadsafe(self._carry_out(tuple(actions)), self._loop)

    def wait(self, until: Instant) -> None:
        remaining = (until - self.clock.now()) / SECOND
        if remaining > 0:
            self._changed.wait(remaining)

    def close(self) -> None:
        """Let go: everything keeps running, and a new engine adopts it. May be called again."""
        if not self._thread.is_alive():
            return
        self._claim.close()
        self._run(self._release(), 5.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)

    # --- what the supervisor asks beyond the protocol ------------------------

    @property
    def epoch(self) -> int:
        """Of this supervisor; valid after `configure`."""
        assert self._state is not None
        return self._state.epoch

    def wake(self) -> None:
        """End the present `wait` (a new spec, a signal)."""
        self._changed.set()

    @property
    def orders(self) -> tuple[Order, ...]:
        """What operators have ordered, sorted by id."""
        return self._orders

    def give(self, order: Order) -> None:
        """Take an operator's order; one of its kind for its subject is replaced. Raises OSError
        when it cannot be written down: then it is not given."""
        assert self._state is not None
        self._replace_orders(self._state.orders | {order.id: order})

    def withdraw(self, order: str) -> Order | None:
        """Take an order back; None when there is none of this id. Raises OSError as `give`."""
        assert self._state is not None
        found = self._state.orders.get(order)
        if found is not None:
            rest = {name: one for name, one in self._state.orders.items() if name != order}
            self._replace_orders(rest)
        return found

    def _replace_orders(self, orders: dict[str, Order]) -> None:
        assert self._state is not None
        before, self._state.orders = self._state.orders, orders
        try:
            self._save()
        except OSError:
            self._state.orders = before
            raise
        self._orders = tuple(orders[name] for name in sorted(orders))
        self.wake()

    async def hosts(self, region: str) -> list[dict[str, Any]]:
        """The endpoints of a region as its Envoy sees them now."""
        edge = self._parts.get(f"edge:{region}")
        if not isinstance(edge, EdgePart) or not edge.running:
            return []
        return await edge.hosts()

    def ask(self, question: Coroutine[Any, Any, Any], timeout_s: float = 5.0) -> Any:
        """Run a coroutine of the engine's from another thread."""
        return self._run(question, timeout_s)

    # --- configuration ------------------------------------------------------

    async def _configure(self, system: System) -> None:
        for record in self._wanted_parts(system):
            if record.id not in self._parts:
                self._parts[record.id] = self._build(record)
        for part in self._parts.values():
            part.configure(system)
        unadopted = [part for part in self._parts.values() if not part.running]
        await asyncio.gather(*(self._adopt(part) for part in unadopted))

    def _wanted_parts(self, system: System) -> list[PartRecord]:
        """Records of all parts that the spec names or that an earlier spec has left running."""
        assert self._state is not None
        known = self._state.parts
        for region in system.regions:
            self._record(f"edge:{region}", PartKind.EDGE, region, None)
            if len(system.regions) > 1:
                self._record(f"link:{region}", PartKind.LINK, region, None)
            if has_held(system):
                self._record(f"holder:{region}", PartKind.HOLDER, region, None)
            if system.dns is not None:
                self._record(f"dns:{region}", PartKind.DNS, region, None)
        for node in nodes_of(system):
            self._record(f"node:{node.id}", PartKind.NODE, node.region, node.zone)
        return list(known.values())

    def _record(self, name: str, kind: PartKind, region: str, zone: str | None) -> None:
        assert self._state is not None
        self._state.parts.setdefault(name, PartRecord(id=name, kind=kind, region=region, zone=zone))

    def _build(self, record: PartRecord) -> Part:
        assert self._state is not None
        args = (record, self.layout, self._state.token, self._notify, self._save)
        match record.kind:
            case PartKind.NODE:
                return NodePart(*args, self.instances)
            case PartKind.EDGE:
                return EdgePart(*args, self._state.book, self.instances.versions)
            case PartKind.LINK:
                return LinkPart(*args, self._state.book)
            case PartKind.HOLDER:
                return HolderPart(*args, self._state.book)
            case PartKind.DNS:
                return DnsPart(*args, self._state.book, self.project)
            case _:
                assert_never(record.kind)

    async def _adopt(self, part: Part) -> None:
        try:
            await asyncio.wait_for(part.adopt(), ADOPTION_DEADLINE_S)
        except (PartError, TimeoutError) as error:
            part.detail = str(error) or "could not be adopted in time"

    # --- actions ------------------------------------------------------------

    async def _carry_out(self, actions: tuple[Action, ...]) -> None:
        """In order; neighbours of one kind together, since they do not depend on each other."""
        for kind, group in groupby(actions, key=type):
            jobs = [self._one(action) for action in group]
            if kind is StartPart:  # takes its time, and nothing in this batch builds on it
                for job in jobs:
                    task = asyncio.create_task(job)
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
            else:
                await asyncio.gather(*jobs)

    async def _one(self, action: Action) -> None:
        status, detail = OutcomeStatus.DONE, ""
        try:
            self._check(action)
            patience = None if isinstance(action, StartPart) else ACTION_DEADLINE_S
            async with asyncio.timeout(patience):
                detail = await self._dispatch(action)
        except Refused as error:
            status, detail = OutcomeStatus.REFUSED, str(error)
        except FAILURES as error:
            status, detail = OutcomeStatus.FAILED, str(error) or type(error).__name__
        except Exception as error:  # a fault of ours: the outcome must be known all the same
            complain(traceback.format_exc())
            status, detail = OutcomeStatus.FAILED, f"failed inside the engine: {error!r}"
        outcome = Outcome(action=action.id, status=status, at=self.clock.now(), detail=detail)
        with self._lock:
            self._outcomes.append(outcome)
        self._changed.set()

    def _check(self, action: Action) -> None:
        assert self._system is not None
        refusal = self._admit(
            action,
            revision=self._system.revision,
            epoch=self.epoch,
            now=self.clock.now(),
            restarts=self._restarts(action),
        )
        if refusal is not None:
            raise Refused(refusal)

    def _restarts(self, action: Action) -> int | None:
        match action:
            case RestartInstance() | DrainInstance() | StopInstance():
                state = self.instances.find(action.instance)
                return state.restarts if state else None
            case StartPart() | RetirePart():
                part = self._parts.get(action.part)
                return part.record.restarts if part else None
            case StartInstance() | SetEndpoints() | AnswerDns() | SetLimit() | RecordRollout():
                return None
            case _:
                assert_never(action)

    async def _dispatch(self, action: Action) -> str:
        assert self._system is not None
        assert self._state is not None
        match action:
            case StartInstance():
                return await self.instances.start(action, self._system, self._state.book)
            case RestartInstance():
                return await self.instances.restart(action)
            case DrainInstance():
                return await self.instances.drain(action)
            case StopInstance():
                return await self.instances.stop(action)
            case SetEndpoints():
                return await self._edge(action.region).set_endpoints(action)
            case SetLimit():
                return await self._edge(action.region).set_limit(action)
            case AnswerDns():
                return await self._server(action.region).answer(action)
            case StartPart():
                return await self._part(action.part).start()
            case RetirePart():
                return await self._retire(action.part)
            case RecordRollout():
                return self._record_rollout(action)
            case _:
                assert_never(action)

    async def _retire(self, name: str) -> str:
        assert self._state is not None
        part = self._part(name)
        await part.stop()
        del self._parts[name]
        del self._state.parts[name]
        self._save()
        return "retired"

    def _record_rollout(self, action: RecordRollout) -> str:
        """On a full disk it is known here all the same, and written later."""
        assert self._state is not None
        records = self._state.rollouts | {action.record.service: action.record}
        self._state.rollouts = records
        self._rollouts = tuple(records[name] for name in sorted(records))
        self._save_again()
        return action.record.stage.value

    def _part(self, name: str) -> Part:
        part = self._parts.get(name)
        if part is None:
            raise Refused(f"there is no {name}")
        return part

    def _edge(self, region: str) -> EdgePart:
        part = self._part(f"edge:{region}")
        if not isinstance(part, EdgePart) or not part.running:
            raise Refused(f"the edge of {region} is not running")
        return part

    def _server(self, region: str) -> DnsPart:
        part = self._part(f"dns:{region}")
        if not isinstance(part, DnsPart) or not part.running:
            raise Refused(f"the DNS server of {region} is not running")
        return part

    # --- threads ------------------------------------------------------------

    def _notify(self) -> None:
        self._changed.set()

    def _save(self) -> None:
        """Raises OSError; it is tried again then, at every look at the world."""
        assert self._state is not None
        with self._saving:
            self._unsaved = True
            save_state(self.layout, self._state)
            self._unsaved = False

    def _save_again(self) -> None:
        with suppress(OSError):
            self._save()

    async def _release(self) -> None:
        await asyncio.gather(*(part.release() for part in self._parts.values()))

    def _run(self, work: Coroutine[Any, Any, Any], timeout_s: float) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)


def _servers(book: AddressBook, system: System) -> dict[str, Address]:
    """Where each region's DNS server listens. None where all regions share one address: there an
    answer could not tell them apart."""
    if system.dns is None or not book.whole_loopback:
        return {}
    port = system.dns.port
    return {name: book.dns(name, port) for name in system.regions}


def _heard(part: Part, now: Instant) -> Instant:
    """When a part was last heard. That one is not running is known now; one that answers every
    second is always up to date."""
    if not part.running or now - part.heard_at < HEARD_LATELY:
        return now
    return part.heard_at
