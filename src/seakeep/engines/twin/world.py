"""The data plane of the twin: requests, queues and balancers, as one compiled event loop.

    world = World(system, seed=1, now=0, counted_from=0, end=60 * SECOND, bucket=SECOND)
    world.add_instance("web-1", service="web", region="r", zone="a", node="r/a/0", revision="1")
    world.set_state("web-1", Process.SERVING)
    world.set_endpoints("r", "web", localities)
    world.set_check("r", "web-1", ok=True)
    world.start_traffic(0)
    world.advance(60 * SECOND)
    world.traffic()["clients"].latency.percentile_s(0.99)

Nothing in here decides: who serves, what DNS answers and what dies comes from outside. Nothing else
touches the tables. What happens is written in `kernel`, one job a file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seakeep.engines.twin import numbers
from seakeep.engines.twin.endpoints import EndpointTables
from seakeep.engines.twin.kernel import loop, records, words
from seakeep.engines.twin.results import Results
from seakeep.engines.twin.sources import add_sources
from seakeep.engines.twin.steering import Steerer
from seakeep.engines.twin.tables import Tables, add_series, build
from seakeep.model.action import HostAnswers, Locality
from seakeep.model.ids import InstanceId, NodeId, RegionName, ServiceName, ZoneName
from seakeep.model.observation import RevisionReading, TrafficReading
from seakeep.model.run import Flow, Good, Line, Load
from seakeep.model.system import System
from seakeep.model.time import Duration, Instant

NOBODY = 0
"""The row of an instance that is not there: it refuses."""


class Process(IntEnum):
    """What a process, an edge or a DNS server does with what comes to it."""

    STARTING = words.STARTING
    """Connections are refused."""
    SERVING = words.SERVING
    FROZEN = words.FROZEN
    """Takes everything, gets nothing done, and goes on where it was when it serves again."""
    DEAD = words.DEAD
    """As STARTING. What was in it is reset."""
    DARK = words.DARK
    """Without power: nothing answers. What was in it is lost, and nobody is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of an instance."""

    busy: int
    """Worker slots taken."""
    queued: int
    done: int
    """Requests answered since it was added."""
    cpu_ns: float
    """CPU time used since it was added, in ns of one core."""
    asked_at: Instant
    """When it was last sent a request, whether it took it or not."""
    left_bytes: int
    """Memory that its process's requests have left behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A balancer has put an endpoint out of rotation by itself, or back."""

    at: Instant
    region: RegionName
    """Of the balancer."""
    service: ServiceName
    target: str
    """An instance's id, or the other region whose gateway it is."""
    out: bool


@cache
def _loop() -> Any:
    return loop.load()


def warm() -> None:
    """Compile the loop, or load it from Numba's cache, so that worlds find it ready."""
    _loop()


class World:
    """Of one run. All times are ns on one clock; `now` never goes back."""

    def __init__(
        self,
        system: System,
        *,
        seed: int,
        now: Instant,
        counted_from: Instant,
        end: Instant,
        bucket: Duration,
        logs: Mapping[str, NDArray[np.int64]] = MappingProxyType({}),
    ) -> None:
        """Requests that are made in [counted_from, end) are counted, in buckets of this length.
        `logs`: for each source of shape LOG, when its requests are due, ns since counted_from,
        rising. Raises KeyError when one is missing."""
        self.system = system
        self._t: Tables = build(system, seed, now)
        add_sources(self._t, logs, counted_from)
        add_series(self._t, counted_from, end, bucket)
        self._t.put("instances", np.zeros(64, records.INSTANCE))
        self._t.put("revisions", np.zeros(16, records.REVISION))
        self._instances: dict[InstanceId, int] = {}
        self._names: dict[int, InstanceId] = {NOBODY: ""}
        self._free: list[int] = []
        self._started: dict[InstanceId, int] = {}
        self._revisions: dict[InstanceId, str] = {}
        self._first_stream = len(self._t.streams)
        self._t.finish()
        self._t.rows["instances"]["state"][NOBODY] = Process.DEAD
        self._t.w["instances_count"] = 1
        self._endpoints = EndpointTables(self._t)
        self._steerer = Steerer(self._t)
        self._results = Results(self._t)
        self._t.grow()

    @property
    def now(self) -> Instant:
        return int(self._t.w["now"])

    # --- time ---------------------------------------------------------------

    def start_traffic(self, at: Instant) -> None:
        """Advance to `at`, and let all sources begin."""
        self.advance(at)
        for place in range(len(self._t.sources)):
            self._order(words.START, place)

    def advance(self, until: Instant) -> None:
        """Everything up to and including `until`."""
        while _loop()(self._t.address, until) != loop.DONE:
            self._t.grow()

    def _order(self, kind: int, index: int) -> None:
        """To be carried out now, before anything else happens."""
        w = self._t.w
        tail = int(w["todo_tail"])
        self._t.rows["todo"][tail] = (kind, index)
        w["todo_tail"] = tail + 1
        if tail + 1 + w["margin"] > w["todo_size"]:
            self._t.grow()
        if kind in SWEEPING:
            self._make_room()
            self.advance(self.now)

    def _make_room(self) -> None:
        """For orders that may make an event of everything that is in flight."""
        count = len(self._t.rows["spans"]) + len(self._t.rows["tries"])
        self._t.more("events", int(self._t.w["events_used"]) + count + int(self._t.w["margin"]))
        self._t.more("todo", int(self._t.w["todo_tail"]) + count + int(self._t.w["margin"]))

    # --- instances ----------------------------------------------------------

    def add_instance(
        self,
        name: InstanceId,
        *,
        service: ServiceName,
        region: RegionName,
        zone: ZoneName,
        node: NodeId,
        revision: str,
        slower: float = 1.0,
        errors: float = 0.0,
    ) -> None:
        """It is STARTING. Its service time is `slower` times the spec's; `errors` is added to the
        spec's fraction of errors. Its random stream follows from its name alone."""
        t = self._t
        place = self._free.pop() if self._free else int(t.w["instances_count"])
        t.w["instances_count"] = max(place + 1, int(t.w["instances_count"]))
        t.more("instances", place + 1)
        gen = int(t.rows["instances"][place]["gen"])
        t.rows["instances"][place] = np.zeros((), records.INSTANCE)
        row = t.rows["instances"][place]
        row["gen"] = gen + 1
        s = t.services[service]
        says = t.rows["services"][s]
        row["service"], row["region"] = s, t.regions[region]
        row["zone"] = t.zones.get((region, zone), 0)
        row["node"] = t.nodes.get(node, len(t.nodes))
        row["slots"], row["queue"] = says["slots"], says["queue"]
        row["slower"], row["cpu_left"], row["slowness"] = slower, 1.0, slower
        row["errors"] = min(1.0, says["errors"] + errors)
        row["queue_first"] = row["queue_last"] = row["stuck"] = -1
        row["state"] = row["ordered"] = Process.STARTING
        row["started_at"] = self.now
        row["present"] = 1
        row["stream"] = self._first_stream + place
        t.more("streams", self._first_stream + place + 1)
        stream = numbers.stream_table(t.seed, [f"instance {name}"])
        t.rows["streams"][self._first_stream + place] = stream[0]
        self._instances[name], self._names[place] = place, name
        self._revisions[name] = revision
        self._started[name] = 0
        self._endpoints.tell_apart(service, self._present(service))

    def _present(self, service: ServiceName) -> dict[InstanceId, tuple[int, str]]:
        s = self._t.services[service]
        rows = self._t.rows["instances"]
        return {
            name: (place, self._revisions[name])
            for name, place in self._instances.items()
            if rows[place]["service"] == s
        }

    def remove_instance(self, name: InstanceId) -> None:
        """What is in it is reset."""
        place = self._instances.pop(name)
        self._order(words.REMOVED, place)
        self._endpoints.forget(place)
        service = list(self._t.services)[self._row(place)["service"]]
        del self._names[place], self._revisions[name], self._started[name]
        self._free.append(place)
        self._endpoints.tell_apart(service, self._present(service))

    def _row(self, place: int) -> Any:
        return self._t.rows["instances"][place]

    def set_state(self, name: InstanceId, state: Process) -> None:
        place = self._instances[name]
        self._row(place)["ordered"] = state
        self._order(words.PROCESS, place)

    def set_speed(self, name: InstanceId, cpu_left: float) -> None:
        """Of work that begins from now on. 0 < cpu_left <= 1."""
        row = self._row(self._instances[name])
        row["cpu_left"] = cpu_left
        row["slowness"] = row["slower"] / cpu_left

    def set_errors(self, name: InstanceId, fraction: float) -> None:
        """Beside those of the spec."""
        row = self._row(self._instances[name])
        row["errors"] = min(1.0, self._t.rows["services"][row["service"]]["errors"] + fraction)

    def restarted(self, name: InstanceId) -> None:
        """A new process: it has to warm up, and nothing is left behind in its memory."""
        row = self._row(self._instances[name])
        row["started_at"] = self.now
        self._started[name] = int(row["done"])

    def set_node(self, node: NodeId, cpu_millicores: float) -> None:
        place = self._t.nodes[node]
        self._t.rows["nodes"][place]["ordered"] = cpu_millicores / 1000
        self._order(words.CAPACITY, place)

    def figures(self, name: InstanceId) -> Figures:
        row = self._row(self._instances[name])
        leak = self._t.rows["services"][row["service"]]["leak"]
        return Figures(
            busy=int(row["busy"]),
            queued=int(row["queued"]),
            done=int(row["done"]),
            cpu_ns=float(row["cpu_ns"]),
            asked_at=int(row["asked_at"]),
            left_bytes=int(leak) * (int(row["done"]) - self._started[name]),
        )

    # --- balancers ----------------------------------------------------------

    def set_endpoints(
        self, region: RegionName, cluster: str, localities: Sequence[Locality]
    ) -> None:
        """The whole of one cluster. Endpoints that drain get no new requests. A new endpoint gets
        some once it has been checked (`set_check`)."""
        c = self._endpoints.put(region, cluster, localities, self._instances, self.now)
        self._order(words.RELEASE, c)

    def set_check(self, region: RegionName, target: str, ok: bool) -> None:
        """What a region's balancer finds out about an instance (its id), or about another region's
        gateway for a service (`eu-west:web`)."""
        for c in self._endpoints.check(region, target, ok):
            self._order(words.RELEASE, c)

    def set_edge(self, region: RegionName, state: Process) -> None:
        """Of a region's balancer. One that starts again has counted nothing, ejected nobody and
        checked nothing."""
        place = self._t.regions[region]
        row = self._t.rows["regions"][place]
        if state is Process.SERVING and row["ordered"] != Process.SERVING:
            self._endpoints.start_over(region)
            self._results.start_over(place)
        row["ordered"] = state
        self._order(words.EDGE, place)

    def set_limit(self, region: RegionName, key: str, rate_per_s: float) -> None:
        """The region's part of a limit that all regions share, as `model.limits.limit_key` names
        it. The bucket keeps its tokens."""
        self._results.set_limit(region, key, rate_per_s)

    # --- network and DNS ----------------------------------------------------

    def set_link(
        self, origin: RegionName, target: RegionName, *, added: Duration, loss: float, cut: bool
    ) -> None:
        """One direction. `loss` comes on top of the spec's."""
        t = self._t
        place = t.regions[origin] * len(t.regions) + t.regions[target]
        row = t.rows["links"][place]
        row["added"], row["cut"] = added, cut
        row["loss"] = 1 - (1 - t.losses[place]) * (1 - loss)

    def set_dns(self, region: RegionName, state: Process) -> None:
        self._t.rows["regions"][self._t.regions[region]]["dns"] = state

    def set_answers(self, region: RegionName, hosts: Sequence[HostAnswers]) -> None:
        """The table of one region's DNS server."""
        self._steerer.set_answers(region, hosts)

    def set_factor(self, source: str, factor: float) -> None:
        """Of a traffic source's rate, from now on."""
        place = self._t.sources[source]
        self._t.rows["sources"][place]["factor"] = factor
        self._order(words.CHANGE_RATE, place)

    # --- what is measured ---------------------------------------------------

    def readings(self) -> tuple[TrafficReading, ...]:
        """Since each edge's start, sorted by (region, service)."""
        self.advance(self.now)
        return self._results.readings()

    def revision_readings(self) -> tuple[RevisionReading, ...]:
        """Of services of which several revisions run, since they do; sorted by (region, service,
        revision)."""
        return self._endpoints.revision_readings()

    def notices(self) -> list[Notice]:
        """Ejections and returns since the last call."""
        t = self._t
        used = int(t.w["notices_used"])
        regions, services = list(t.regions), list(t.services)
        found = []
        for note in t.rows["notices"][:used]:
            cluster = t.rows["clusters"][note["cluster"]]
            other = int(note["region"])
            found.append(
                Notice(
                    at=int(note["at"]),
                    region=regions[cluster["region"]],
                    service=services[cluster["service"]],
                    target=regions[other] if other >= 0 else self._names[int(note["instance"])],
                    out=bool(note["out"]),
                )
            )
        t.w["notices_used"] = 0
        return found

    def traffic(self) -> dict[str, Flow]:
        """By traffic source, as clients saw it."""
        return self._results.traffic()

    def flows(self) -> dict[ServiceName, Flow]:
        """By service, as balancers saw it."""
        return self._results.services()

    def lines(self) -> dict[tuple[str, RegionName], Line]:
        return self._results.lines()

    def loads(self) -> dict[tuple[ServiceName, RegionName], Load]:
        return self._results.loads()

    def goods(self) -> tuple[Good, ...]:
        """In the order of the system's objectives."""
        return self._results.goods()

    def broken(self) -> list[str]:
        """Conservation: every flow whose requests are not those that ended and those in flight,
        each as a sentence."""
        return self._results.broken()


SWEEPING = frozenset((words.REMOVED, words.PROCESS, words.EDGE))
