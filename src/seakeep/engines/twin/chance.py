"""Small draws of the control-plane side: phases, jitter, and how long a process takes to start.

Each is a function of the seed and of what it is for, so that no draw can move another. There are
few of them, so they are drawn in plain Python: the compiled samplers of `numbers` would have to be
compiled on their own for it, which takes longer than all that is ever drawn here. The arithmetic
is theirs: logarithm and exponential to the same bits everywhere.
"""

import hashlib
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from seakeep.engines.twin import numbers
from seakeep.engines.twin.numbers import LONGEST_NS
from seakeep.model.ids import InstanceId, ServiceName
from seakeep.model.system import Service
from seakeep.model.time import Duration
from seakeep.model.work import START, Z99, Distribution

_log: Any = numbers.log.py_func
_exp: Any = numbers.exp.py_func


def fraction(seed: int, name: str) -> float:
    """0 <= x < 1."""
    raw = hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()
    return (int.from_bytes(raw, "little") >> 11) / (1 << 53)


class Draws:
    """A stream of its own for each name."""

    def __init__(self, seed: int, name: str) -> None:
        self._seed, self._name = seed, name
        self._count = 0

    def uniform(self) -> float:
        """0 < x < 1."""
        self._count += 1
        return fraction(self._seed, f"{self._name} {self._count}") + 2.0**-54

    def exponential(self) -> float:
        """Mean 1."""
        return float(-_log(self.uniform()))

    def normal(self) -> float:
        """Mean 0, variance 1: by the polar method (Marsaglia, Bray: A convenient method for
        generating normal variables; SIAM Review 6(3), 1964)."""
        while True:
            x, y = 2 * self.uniform() - 1, 2 * self.uniform() - 1
            square = x * x + y * y
            if 0 < square < 1:
                return float(x * (-2 * _log(square) / square) ** 0.5)

    def gamma(self, shape: float) -> float:
        """Scale 1 (Marsaglia, Tsang: A simple method for generating gamma variables; ACM TOMS
        26(3), 2000)."""
        if shape < 1:
            return self.gamma(shape + 1) * float(_exp(_log(self.uniform()) / shape))
        d = shape - 1 / 3
        while True:
            x = self.normal()
            v = 1 + x / (9 * d) ** 0.5
            if v <= 0:
                continue
            v = v * v * v
            if -self.exponential() < 0.5 * x * x + d - d * v + d * float(_log(v)):
                return d * v


def drawn(one: Distribution, draws: Draws) -> float:
    """A duration, ns. ValueError: no distribution has that name."""
    given = dict(one.parameters)
    match one.name:
        case "constant":
            return given["value"]
        case "exponential":
            return given["mean"] * draws.exponential()
        case "erlang":
            return given["mean"] / given["k"] * draws.gamma(given["k"])
        case "gamma":
            square = given["cv"] * given["cv"]
            return given["mean"] * square * draws.gamma(1 / square)
        case "lognormal":
            sigma = float(_log(given["p99"] / given["p50"])) / Z99
            return given["p50"] * float(_exp(sigma * draws.normal()))
        case "pareto":
            return given["min"] * float(_exp(draws.exponential() / given["alpha"]))
        case "empirical":
            return _empirical(one, draws.uniform())
        case _:
            raise ValueError(f"no distribution is called '{one.name}'")


def _empirical(one: Distribution, part: float) -> float:
    """Straight between the points; below the first, the first."""
    if part <= one.points[0][0]:
        return one.points[0][1]
    for (low, before), (high, after) in pairwise(one.points):
        if part <= high:
            return before + (part - low) / (high - low) * (after - before)
    return one.points[-1][1]


class Starts:
    """How long processes take from their start until they are ready."""

    def __init__(self, seed: int, services: Mapping[ServiceName, Service]) -> None:
        self._seed = seed
        self._starts = {name: _start_of(one) for name, one in services.items()}

    def of(self, service: ServiceName, instance: InstanceId, restarts: int) -> Duration:
        """Of one process."""
        draws = Draws(self._seed, f"start {instance} {restarts}")
        return round(min(drawn(self._starts[service], draws), LONGEST_NS))


def _start_of(service: Service) -> Distribution:
    return START if service.work is None else service.work.start
