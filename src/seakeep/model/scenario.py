"""Faults and when they strike, and what must hold meanwhile."""

from dataclasses import dataclass
from enum import StrEnum

from seakeep.model.time import Duration


class FaultKind(StrEnum):
    KILL = "kill"
    FREEZE = "freeze"
    SLOW = "slow"
    LOSE_NODE = "lose-node"
    LOSE_ZONE = "lose-zone"
    LOSE_REGION = "lose-region"
    PARTITION = "partition"
    DELAY = "delay"
    SURGE = "surge"
    # The twin's alone:
    ERRORS = "errors"
    LOSS = "loss"
    OUTAGE = "outage"
    DEPLOY = "deploy"
    CONTROL_DOWN = "control-down"
    STALE_DNS = "stale-dns"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy:
    """A new version of a service, and what is wrong with it."""

    errors: float = 0.0
    """Fraction of its requests that are answered with 500."""
    slower: float = 1.0
    """Its service time, as a multiple of the old version's."""
    ready: bool = True
    """Whether it ever becomes ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault and its subject: an instance or service, `region/zone/node`, `region/zone`,
    `region`, `region~region` (both ways), `region>region` (one way), or a traffic source.
    CONTROL_DOWN and STALE_DNS have none."""

    kind: FaultKind
    subject: str
    amount: float = 0.0
    """Surge: factor. Slow: fraction of CPU left. Delay: added one-way latency in ns. Errors:
    fraction of requests. Loss: fraction of messages."""
    deploy: Deploy | None = None
    """Deploy only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    at: Duration
    fault: Fault
    lasts: Duration | None
    """None: to the end of the scenario. 0: it is over as soon as it is done (kill, deploy)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    name: str
    duration: Duration
    """Without the warm-up."""
    steps: tuple[Step, ...] = ()
    """Their times count from the end of the warm-up."""
    recovery: Duration | None = None
    """Every objective is met again within this time of the last fault's end."""
    warmup: Duration = 0
    """Runs first, with traffic, and is not counted."""
    budget: float | None = None
    """The share of every objective's error budget, over the objective's whole window, that the
    scenario may use up. None: the objective must hold over the scenario taken by itself."""
