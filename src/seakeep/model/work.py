"""The twin's model of a service's instances: what a request costs them, and how they misbehave.

Nothing here is known to an engine that runs the service for real.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from seakeep.model.time import SECOND, Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A distribution of durations by name; parameters as (name, value), durations in ns."""

    name: str
    parameters: tuple[tuple[str, float], ...] = ()
    points: tuple[tuple[float, float], ...] = ()
    """Empirical only: (fraction of values that are not longer, ns), rising, ending with 1.
    Straight between the points; what lies below the first has its value."""


Z99 = 2.3263478740408408
"""The 99th percentile of the standard normal distribution."""


def mean_of(one: Distribution) -> float:
    """In ns, as every distribution's textbook formula has it.

    ValueError: no distribution has that name.
    """
    given = dict(one.parameters)
    match one.name:
        case "constant":
            return given["value"]
        case "exponential" | "erlang" | "gamma":
            return given["mean"]
        case "lognormal":
            sigma = math.log(given["p99"] / given["p50"]) / Z99
            return given["p50"] * math.exp(sigma * sigma / 2)
        case "pareto":
            return given["min"] * given["alpha"] / (given["alpha"] - 1)
        case "empirical":
            fraction, value = one.points[0]
            total = fraction * value
            for low, high in pairwise(one.points):
                total += (high[0] - low[0]) * (low[1] + high[1]) / 2
            return total
        case _:
            raise ValueError(f"no distribution is called '{one.name}'")


START = Distribution(name="constant", parameters=(("value", float(SECOND)),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """Stops of a whole instance, such as those of a garbage collector."""

    every: Distribution
    """From the end of one to the beginning of the next."""
    time: Distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """A new process is slow at first: by `factor` when it starts, falling evenly to 1 over
    `time`."""

    factor: float
    time: Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a request costs an instance, and its worker slots. A slot is held while the instance
    works and while it waits for the answers to its own calls."""

    time: Distribution
    concurrency: int
    queue: int | None = None
    """Requests that may wait for a slot; None is unbounded."""
    queue_timeout: Distribution | None = None
    """How long each of them may wait; then it is refused with 503. None: for ever."""
    cancel: bool = False
    """A request that nobody waits for any more is given up. When False the instance does not
    notice, and works for nothing."""
    errors: float = 0.0
    """Fraction of requests that are answered with 500."""
    cpu: float = 0.0
    """Cores that a slot takes while it works. When the slots of a node want more than the node
    has, all of them slow down alike. 0: CPU is not what bounds it."""
    start: Distribution = START
    """From the start of the process until it is ready: the cold start."""
    warmup: Warmup | None = None
    pauses: Pauses | None = None
    leak_bytes: int = 0
    """Memory that every request leaves behind. At the memory that it asks for, the process is
    killed."""
    response_bytes: int = 0
    """Size of an answer, for links with a bandwidth."""
