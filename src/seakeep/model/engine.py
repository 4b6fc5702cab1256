"""The protocol between the loop and a world: the twin, this machine, Kubernetes."""

from collections.abc import Sequence
from typing import Protocol

from seakeep.model.action import Action
from seakeep.model.observation import Observation
from seakeep.model.system import System
from seakeep.model.time import Clock, Instant


class Engine(Protocol):
    """Senses and acts; no policy lives here."""

    @property
    def clock(self) -> Clock: ...

    def configure(self, system: System) -> None:
        """What the parts should look like from now on. Starts nothing, stops nothing; parts
        that are running take their new configuration."""

    def observe(self) -> Observation:
        """The world now. Never blocks on the network; what is not known is absent."""
        ...

    def submit(self, actions: Sequence[Action]) -> None:
        """Queue actions. Never blocks; how each ended comes back as an `Outcome`."""

    def wait(self, until: Instant) -> None:
        """Return at `until`, or earlier when something changed. The twin advances here."""

    def close(self) -> None:
        """Let go of the world without changing it."""
