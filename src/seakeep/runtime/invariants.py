"""What must hold in every run of the twin, whatever strikes: watched while it runs, and told in
sentences when it does not.

- Conservation: every request that was made has ended in exactly one way, or is under way.
- Little's law (the mean number of waiting requests is their rate times their mean wait), where
  nothing strikes, within what chance allows.
- Controllers never bring a service below its minimum (less what its rollout may be short of): what
  they drain, stop or restart while it is ready leaves enough that are ready, as far as they could
  know.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from seakeep.model.action import Action, DrainInstance, RestartInstance, StopInstance
from seakeep.model.ids import InstanceId, RegionName, ServiceName
from seakeep.model.observation import Phase
from seakeep.model.run import Flow, Load
from seakeep.model.system import System
from seakeep.model.time import SECOND, Duration, Instant, in_seconds
from seakeep.model.view import Health, InstanceView, View

BATCHES = 30
BUCKETS_MIN = 10 * BATCHES
"""For the mean of a gauge to say anything."""
BATCH_SIGMAS = 7.0
"""Student's t with 29 degrees of freedom is beyond that less than once in a million."""
WAITING_MIN = 0.05
"""Fewer requests than that on average are not compared: their waits come in too few pieces."""
TOLD_MAX = 20
"""Sentences of one run."""


class Invariants:
    def __init__(self, zero: Instant) -> None:
        self._zero = zero
        """What times in sentences are counted from."""
        self._sentences: list[str] = []
        self._leaving: dict[InstanceId, int] = {}
        """Told to leave: by instance, the restarts of the process that was."""

    def broken(self) -> tuple[str, ...]:
        return tuple(self._sentences[:TOLD_MAX])

    def note(self, at: Instant, what: str) -> None:
        self._sentences.append(f"{in_seconds(at - self._zero):.3f} s: {what}")

    # --- never below the minimum by our own doing ---

    def decided(self, system: System, view: View, actions: Iterable[Action]) -> None:
        """What the controllers have decided, seeing this view."""
        going = {
            action.instance: action
            for action in actions
            if isinstance(action, DrainInstance | StopInstance | RestartInstance)
        }
        self._forget_the_gone(view)
        hit: dict[ServiceName, list[InstanceId]] = {}
        for name in going:
            one = view.instances.get(name)
            if one is not None and self._serves(one):
                hit.setdefault(one.state.service, []).append(name)
        for service, names in hit.items():
            self._weigh(system, view, service, names)
        for name in going:
            one = view.instances.get(name)
            if one is not None:
                self._leaving[name] = one.state.restarts

    def _weigh(
        self, system: System, view: View, name: ServiceName, going: list[InstanceId]
    ) -> None:
        service = system.services.get(name)
        if service is None:
            return
        floor = service.replicas.min - service.rollout.unavailable
        left = sum(
            self._serves(one) and one.state.id not in going for one in view.by_service.get(name, ())
        )
        if left < floor:
            self.note(
                view.at,
                f"controllers took {', '.join(going)} out of service, which left {left} instances "
                f"of {name} ready where it has at least {floor}",
            )

    def _serves(self, one: InstanceView) -> bool:
        state = one.state
        return (
            one.health is Health.READY
            and state.draining_since is None
            and state.phase is Phase.RUNNING
            and self._leaving.get(state.id) != state.restarts
        )

    def _forget_the_gone(self, view: View) -> None:
        if self._leaving:
            self._leaving = {
                name: restarts for name, restarts in self._leaving.items() if name in view.instances
            }

    # --- Little's law ---

    def queued(
        self,
        flows: Mapping[ServiceName, Flow],
        loads: Mapping[tuple[ServiceName, RegionName], Load],
        duration: Duration,
    ) -> None:
        """At the end of a run in which nothing struck: gauges of queues against waits, of services
        whose requests stay in the queue until their turn comes."""
        for name, flow in flows.items():
            gauges = [load.queued for (of, _), load in loads.items() if of == name]
            if not gauges or len(gauges[0]) < BUCKETS_MIN:
                continue
            queue = np.sum(gauges, axis=0)
            batches = np.array([part.mean() for part in np.array_split(queue, BATCHES)])
            mean, waited = float(batches.mean()), flow.wait.sum_ns / duration
            error = float(batches.std(ddof=1)) / BATCHES**0.5
            # Those that waited when it began or ended are in the gauge, but their waits are not.
            edges = (queue[0] + queue[-1]) * (flow.wait.mean_s or 0.0) * SECOND / duration
            if max(mean, waited) < WAITING_MIN:
                continue
            if abs(mean - waited) > BATCH_SIGMAS * error + WAITING_MIN + 4 * edges:
                self._sentences.append(
                    f"{mean:.3f} requests waited for {name} on average, and by their waits it "
                    f"should have been {waited:.3f}"
                )

    # --- conservation ---

    def counted(self, what: str, flows: Mapping[str, Flow]) -> None:
        """At the end: requests of traffic sources, or to services."""
        for name, flow in flows.items():
            ended = flow.ok + flow.failed + flow.rejected + flow.timed_out
            if flow.requests != ended + flow.in_flight or flow.in_flight < 0:
                self._sentences.append(
                    f"of {flow.requests} requests {what} {name}, {ended} have ended and "
                    f"{flow.in_flight} are under way: {flow.requests - ended - flow.in_flight} are "
                    "missing"
                )
            if flow.latency.total != flow.ok:
                self._sentences.append(
                    f"{flow.ok} requests {what} {name} went well, and {flow.latency.total} have a "
                    "latency"
                )
