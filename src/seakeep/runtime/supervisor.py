"""The supervisor daemon: one control loop over the embedded engine, and a socket to talk to it.

`seakeep up` starts it detached. Killing it at any instant harms nothing: Envoys, links, node
agents and instances go on, and the next supervisor adopts them.
"""

import argparse
import contextlib
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from seakeep.act.admit import admit
from seakeep.decide.arbitrate import PlaneMemory
from seakeep.decide.reasons import REASONS
from seakeep.engines.local import processes
from seakeep.engines.local.complain import complain
from seakeep.engines.local.engine import LocalEngine
from seakeep.engines.local.layout import layout_for
from seakeep.engines.local.process_table import TOKEN_VARIABLE
from seakeep.engines.local.state import StateError, load_state
from seakeep.explain.wording import sentence
from seakeep.model import codec
from seakeep.model.order import Order, OrderKind
from seakeep.model.system import System
from seakeep.runtime import control
from seakeep.runtime.atomic import write_atomic
from seakeep.runtime.daemon import EXIT_ALREADY_RUNNING
from seakeep.runtime.drains import check_drain, drains_of, warnings
from seakeep.runtime.journal import Journal
from seakeep.runtime.lock import locked
from seakeep.runtime.loop import Event, Latest, Loop
from seakeep.runtime.orders import Orders, document_of, instant_of, kind_of
from seakeep.runtime.rollouts import rollouts_document
from seakeep.runtime.status import Rates, status_document
from seakeep.runtime.step import Pipeline
from seakeep.runtime.teardown import supervisor_file
from seakeep.spec import SpecError, load

EXIT_FAILED = 1
EXIT_BAD_SPEC = 2
DESCRIPTORS_MAX = 65_536
STREAM_BEAT_S = 5.0
COUNT_EVERY_S = 0.25


class Supervisor:
    """Ties loop, engine, journal and control socket together for one project."""

    def __init__(self, project: Path, system: System) -> None:
        self.layout = layout_for(project)
        self.system = system
        self.engine = LocalEngine(self.layout, project, admit)
        self.engine.configure(system)
        self.journal = Journal.open(
            self.layout.journal, system.name, epoch=self.engine.epoch, report=complain
        )
        self.loop = Loop(self.engine, Pipeline(self.engine.epoch), self.journal, self.engine.wake)
        self.orders = Orders(
            self.engine, lambda text, at, what: self.journal.note(text, at, what=what)
        )
        self._rates = Rates()
        self._counting = threading.Lock()
        self._started_ns = time.time_ns()

    def run(self) -> None:
        """Until told to stop; the system keeps running afterwards."""
        with control.serve(self.layout.supervisor_socket, self._handlers(), complain):
            # Once it is there, the supervisor can be talked to.
            write_atomic(supervisor_file(self.layout), orjson.dumps(_own_identity()))
            threading.Thread(target=self._count, name="rates", daemon=True).start()
            self.loop.run(self.system)
        self.journal.close()
        self.engine.close()

    def _handlers(self) -> Mapping[str, control.Handler]:
        return {
            "status": self.status,
            "hosts": self.hosts,
            "events": self.events,
            "reload": self.reload,
            "note": self.note,
            "give": self.give,
            "withdraw": self.withdraw,
            "orders": self.list_orders,
            "stop": self.stop,
        }

    def _count(self) -> None:
        """Keep the rates those of the last second or two, whether anybody asks or not."""
        while True:
            latest = self.loop.latest
            if latest is not None:
                with self._counting:
                    self._rates.take(latest.observation.at, latest.observation.traffic)
            time.sleep(COUNT_EVERY_S)

    # --- verbs --------------------------------------------------------------

    def status(self, request: Mapping[str, Any]) -> dict[str, Any]:
        latest = self._latest()
        state = load_state(self.layout)
        edges = state.edges if state else {}
        servers = state.servers if state else {}
        memory = latest.decision.memory
        scaled = memory.scaling.services if isinstance(memory, PlaneMemory) else {}
        with self._counting:
            document = status_document(
                latest.system,
                latest.view,
                self.engine.epoch,
                edges,
                self._rates,
                scaled,
                servers,
            )
        drains = drains_of(latest.decision.reasons)
        for region in document["regions"]:
            region["drain"] = drains.get(region["name"])
        return {
            **document,
            "rollouts": rollouts_document(latest.system, latest.view, latest.decision.memory),
            "orders": self.orders.documents(time.time_ns()),
            "pid": os.getpid(),
            "started_ns": self._started_ns,
        }

    def _latest(self) -> Latest:
        latest = self.loop.latest
        if latest is None:
            raise control.ControlError("the first step has not ended yet", "ask again in a moment")
        return latest

    def hosts(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Endpoints of a region as its Envoy sees them."""
        region = str(request.get("region", ""))
        return {"hosts": self.engine.ask(self.engine.hosts(region))}

    def events(self, request: Mapping[str, Any]) -> Iterator[dict[str, Any] | None]:
        """Reasons and outcomes, from a number on; `follow: false` ends after what there is."""
        after = int(request.get("after", 0))
        while True:
            found = self.loop.events(after)
            for event in found:
                after = event.number
                yield self._event(event)
            if not request.get("follow", True):
                return
            with self.loop.news:
                self.loop.news.wait(STREAM_BEAT_S)
            yield None  # lets the server notice a client that has left

    def _event(self, event: Event) -> dict[str, Any]:
        wall_ns = time.time_ns() - (self.engine.clock.now() - event.at)
        tree: dict[str, Any] = {"number": event.number, "at_ns": event.at, "wall_ns": wall_ns}
        if event.reason is not None:
            tree["reason"] = codec.encode(event.reason)
            tree["text"] = sentence(event.reason, REASONS)
        if event.outcome is not None:
            tree["outcome"] = asdict(event.outcome)
        return tree

    def reload(self, request: Mapping[str, Any]) -> dict[str, Any]:
        path = Path(str(request.get("spec", "")))
        try:
            loaded = load(path, to_run=True)
        except SpecError as error:
            raise control.ControlError(
                f"{path.name} has {len(error.problems)} errors; the old spec stays in force",
                "run `seakeep check`",
            ) from error
        changed = loaded.system.revision != self.system.revision
        if changed:
            self.system = loaded.system
            self.loop.reload(loaded.system)
        return {"changed": changed, "revision": loaded.system.revision}

    def note(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Write an operator's act (an injected fault) into the journal."""
        text = str(request.get("text", ""))[:1000]
        self.journal.note(text, self.engine.clock.now())
        return {}

    def give(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Take an order: {"kind", "subject", "argument", "by", "replaces"}; answers {"order",
        "is_new", "replaced", "warnings": [sentence]}."""
        kind, subject = kind_of(request.get("kind")), str(request.get("subject", ""))
        argument = str(request.get("argument", ""))
        said: list[str] = []

        def check(standing: tuple[Order, ...]) -> None:
            if kind is OrderKind.DRAIN:
                view = self._latest().view
                said.extend(warnings(check_drain(self.system, view, subject, argument, standing)))

        with _written_down():
            given = self.orders.give(
                self.system,
                kind,
                subject,
                by=str(request.get("by", "")),
                argument=argument,
                replaces=instant_of(request, "replaces"),
                check=check,
            )
        return {
            "order": self._order(given.order),
            "is_new": given.is_new,
            "replaced": self._order(given.replaced),
            "warnings": said,
        }

    def withdraw(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Take an order back: {"order": its id, "by", "given_at_ns"}; answers {"withdrawn":
        the order, null when it did not stand}."""
        with _written_down():
            gone = self.orders.withdraw(
                str(request.get("order", "")),
                by=str(request.get("by", "")),
                given_at=instant_of(request, "given_at_ns"),
            )
        return {"withdrawn": self._order(gone)}

    def list_orders(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The standing orders."""
        return {"orders": self.orders.documents(time.time_ns())}

    def _order(self, order: Order | None) -> dict[str, Any] | None:
        if order is None:
            return None
        return document_of(order, self.engine.clock.now(), time.time_ns())

    def stop(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.loop.stop()
        return {}


@contextlib.contextmanager
def _written_down() -> Iterator[None]:
    """An order that the disk does not take is not given; say so."""
    try:
        yield
    except OSError as error:
        raise control.ControlError(
            f"the order could not be written down: {error.strerror or error}",
            "nothing has changed; make room, then give it again",
        ) from error


def _own_identity() -> processes.Identity | None:
    return processes.identify(os.getpid(), os.environ.get(TOKEN_VARIABLE, "supervisor"))


def raise_descriptor_limit() -> None:
    """As many descriptors as this user may have, up to DESCRIPTORS_MAX: Envoys and links take two
    a connection, and inherit the limit from here. The usual soft one is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main() -> int:
    parser = argparse.ArgumentParser(prog="seakeep-supervisor")
    parser.add_argument("--spec", type=Path, required=True)
    spec = parser.parse_args().spec.resolve()
    layout = layout_for(spec.parent)
    try:
        layout.create()
        with locked(layout) as mine:
            if not mine:
                complain("a supervisor or a `seakeep down` of this system is running already")
                return EXIT_ALREADY_RUNNING
            layout.create()  # a `down` that has just ended may have taken folders along
            return _supervise(spec)
    except (StateError, control.ControlError) as error:
        complain(f"{error} (hint: {error.hint})")
    except OSError as error:
        complain(f"cannot keep the state in {layout.state}: {error.strerror or error}")
    return EXIT_FAILED


def _supervise(spec: Path) -> int:
    raise_descriptor_limit()
    try:
        system = load(spec, to_run=True).system
    except SpecError as error:
        complain(str(error))
        return EXIT_BAD_SPEC
    supervisor = Supervisor(spec.parent, system)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.loop.stop())
    threading.current_thread().name = "control"
    supervisor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
