"""Every region's Envoy as the control plane knows it: what it was told, and what its own checks
have found out. Also the links between regions, over which the checks of gateways go.

An Envoy that is told endpoints begins to check those that are new to it. A gateway's check is
answered by the other region's Envoy: it passes while one in a hundred of the service's instances
there is well.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from seakeep.engines.twin.agenda import Agenda
from seakeep.engines.twin.body import SILENT, Body, asks_path
from seakeep.engines.twin.checks import Checks, Reach
from seakeep.engines.twin.plane import Plane
from seakeep.engines.twin.vigil import Vigil
from seakeep.engines.twin.world import Process
from seakeep.model.action import Endpoint, SetEndpoints, SetLimit
from seakeep.model.ids import InstanceId, RegionName, ServiceName
from seakeep.model.observation import AppliedEndpoints, AppliedLimit
from seakeep.model.system import System, link_between
from seakeep.model.time import Duration, Instant

WELL_PERCENT_MIN = 1
"""Of a gateway's instances."""


@dataclass(slots=True)
class Way:
    """What faults do to one direction of a link."""

    added: list[Duration] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    cuts: int = 0

    @property
    def loss(self) -> float:
        kept = 1.0
        for loss in self.losses:
            kept *= 1 - loss
        return 1 - kept


class Edges:
    """`find` finds an instance; `notify` hears of every verdict of an Envoy's checks, `note` of
    what none may do."""

    def __init__(
        self,
        *,
        seed: int,
        plane: Plane,
        agenda: Agenda,
        find: Callable[[InstanceId], Body | None],
        now: Callable[[], Instant],
        notify: Callable[[RegionName, str, bool], None],
        note: Callable[[Instant, str], None],
    ) -> None:
        self._plane = plane
        self._find = find
        self._now = now
        self._notify = notify
        self._checks = Checks(seed, agenda, self._turned)
        self.vigil = Vigil(lambda name: plane.figures(name).asked_at, self._checks.rules, note)
        self._system: System | None = None
        self._states: dict[RegionName, Process] = {}
        self._sent: dict[tuple[RegionName, str], SetEndpoints] = {}
        """What each cluster was told last: it is kept in a file."""
        self._local: dict[tuple[RegionName, ServiceName], tuple[Endpoint, ...]] = {}
        """What a region offers to others."""
        self._well: dict[tuple[RegionName, ServiceName], bool] = {}
        """Whether a gateway says so of its instances."""
        self._ways: dict[tuple[RegionName, RegionName], Way] = {}
        self._shares: dict[tuple[RegionName, str], float] = {}
        self.applied: dict[tuple[RegionName, str], AppliedEndpoints] = {}
        self.limits: dict[tuple[RegionName, str], AppliedLimit] = {}

    def configure(self, system: System) -> None:
        self._system = system
        self._checks.configure(system)

    # --- the Envoy itself ---

    def begin(self, at: Instant, region: RegionName) -> None:
        """It runs, with what it was last told, and knows of nobody's health."""
        self._set(region, Process.SERVING)
        self._checks.start(at, region)
        assert self._system is not None
        for service in self._system.services:
            self.vigil.began(at, region, service)
        for (of, key), rate in self._shares.items():
            if of == region:
                self._note_limit(at, region, key, rate)
        self._review(at, region)

    def end(self, at: Instant, region: RegionName, *, dark: bool) -> None:
        self._set(region, Process.DARK if dark else Process.DEAD)
        self._checks.stop(region)
        self.disown(region)
        self._review(at, region)

    def disown(self, region: RegionName) -> None:
        """Nobody is left who remembers what it has taken."""
        self.applied = {key: one for key, one in self.applied.items() if key[0] != region}
        self.limits = {key: one for key, one in self.limits.items() if key[0] != region}

    def get_power(self, at: Instant, region: RegionName) -> None:
        if self._states.get(region) is Process.DARK:
            self._set(region, Process.DEAD)
            self._review(at, region)

    def _set(self, region: RegionName, state: Process) -> None:
        self._states[region] = state
        self._plane.set_edge(region, state)

    def _review(self, at: Instant, region: RegionName) -> None:
        """What others meet when they ask the region's gateway, after it has changed."""
        assert self._system is not None
        for service in self._system.services:
            self._weigh(at, region, service, always=True)

    # --- what it is told ---

    def set_endpoints(self, at: Instant, action: SetEndpoints) -> str:
        region, cluster = key = action.region, action.cluster
        before = self._sent.get(key)
        if before is None or before.localities != action.localities:
            self._sent[key] = action
            self._plane.set_endpoints(region, cluster, action.localities)
            kept = list(_kept(action))
            self._checks.watch(at, region, cluster, action.service, self._targets(action, kept))
            if cluster == f"{action.service}.local":
                self._local[region, action.service] = tuple(kept)
                self._weigh(at, region, action.service)
        serving = tuple(
            endpoint.instance
            for locality in action.localities
            for endpoint in locality.endpoints
            if endpoint.instance is not None and not endpoint.draining
        )
        self.applied[key] = AppliedEndpoints(
            region=region,
            cluster=cluster,
            digest=action.digest,
            applied_at=at,
            serving=serving,
        )
        return f"{len(serving)} endpoints"

    def _targets(
        self, action: SetEndpoints, kept: list[Endpoint]
    ) -> Iterator[tuple[str, Callable[[], Reach]]]:
        for endpoint in kept:
            if endpoint.instance is not None:
                yield endpoint.instance, partial(self._reach_of_instance, endpoint.instance)
            else:
                other, service = endpoint.host, action.service
                reach = partial(self._reach_of_gateway, action.region, other, service)
                yield f"{other}:{service}", reach

    def set_limit(self, at: Instant, action: SetLimit) -> str:
        self._shares[action.region, action.limit] = action.rate_per_s
        self._plane.set_limit(action.region, action.limit, action.rate_per_s)
        self._note_limit(at, action.region, action.limit, action.rate_per_s)
        return f"{action.rate_per_s:.6g}/s"

    def _note_limit(self, at: Instant, region: RegionName, key: str, rate: float) -> None:
        self.limits[region, key] = AppliedLimit(
            region=region, limit=key, rate_per_s=rate, applied_at=at
        )

    # --- what its checks meet ---

    def reached(self, body: Body) -> None:
        """An instance answers otherwise than before. Only its own region's Envoy asks it."""
        self._checks.change(self._now(), body.region, body.id, body.reach)
        self.vigil.turned(self._now(), body)

    def _reach_of_instance(self, name: InstanceId) -> Reach:
        body = self._find(name)
        return SILENT if body is None else body.reach

    def _reach_of_gateway(
        self, origin: RegionName, other: RegionName, service: ServiceName
    ) -> Reach:
        assert self._system is not None
        there, back = self._way(origin, other), self._way(other, origin)
        state = self._states.get(other, Process.DEAD)
        if there.cuts or back.cuts or state is Process.DARK:
            return SILENT
        link = link_between(self._system, origin, other)
        takes = 2 * (link.latency if link else 0) + sum(there.added) + sum(back.added)
        well = self._well.get((other, service), False)
        if service in self._system.services and not asks_path(self._system.services[service]):
            well = True  # its port is open, whoever is behind it
        return Reach(state is Process.SERVING and well, takes)

    def _turned(self, region: RegionName, target: str, ok: bool) -> None:
        self._plane.set_check(region, target, ok)
        self._notify(region, target, ok)
        body = self._find(target)
        if body is not None:
            self._weigh(self._now(), region, body.service)

    def _weigh(
        self, at: Instant, region: RegionName, service: ServiceName, *, always: bool = False
    ) -> None:
        """Whether enough of what a region offers is well for its gateway to say so."""
        members = self._local.get((region, service), ())
        verdicts = [self._checks.verdict(region, one.instance or "") for one in members]
        well = sum(
            one.healthy and verdict is True for one, verdict in zip(members, verdicts, strict=True)
        )
        fit = sum(
            verdict is not None or not one.healthy
            for one, verdict in zip(members, verdicts, strict=True)
        )
        self.vigil.weighed(at, region, service, well, fit)
        is_well = bool(members) and 100 * well >= WELL_PERCENT_MIN * len(members)
        if not always and self._well.get((region, service), False) is is_well:
            return
        self._well[region, service] = is_well
        assert self._system is not None
        for origin in self._system.regions:
            if origin != region:
                reach = self._reach_of_gateway(origin, region, service)
                self._checks.change(at, origin, f"{region}:{service}", reach)

    # --- links ---

    def _way(self, origin: RegionName, target: RegionName) -> Way:
        return self._ways.setdefault((origin, target), Way())

    def change_way(
        self,
        at: Instant,
        origin: RegionName,
        target: RegionName,
        change: Callable[[Way], None],
    ) -> None:
        """A fault of one direction of a link begins or ends."""
        way = self._way(origin, target)
        change(way)
        self._plane.set_link(origin, target, added=sum(way.added), loss=way.loss, cut=way.cuts > 0)
        assert self._system is not None
        for one, other in ((origin, target), (target, origin)):
            for service in self._system.services:
                reach = self._reach_of_gateway(one, other, service)
                self._checks.change(at, one, f"{other}:{service}", reach)


def _kept(action: SetEndpoints) -> Iterator[Endpoint]:
    """Those that get requests: as `engines.local.envoy.endpoints`, which leaves out what drains
    unless there is nothing else."""
    found = [one for locality in action.localities for one in locality.endpoints]
    all_drain = all(one.draining for one in found)
    yield from (one for one in found if all_drain or not one.draining)
