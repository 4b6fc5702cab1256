"""Dividing what is not enough: max-min fairness with a floor.

Nobody gets less so that somebody who has more gets more still: of a demand that can be met no
part goes to others, and those whose demand cannot be met get alike. That is what filling
connected vessels with water gives, each up to its demand.
"""

from collections.abc import Mapping
from typing import TypeVar

K = TypeVar("K")


def divide(budget: float, demands: Mapping[K, float], floor: float) -> dict[K, float]:
    """Parts of `budget` by name, in the order of `demands`; they add up to it.

    `floor` is what each has even if it asks for nothing (of budget / number, at most). What is
    left when all have what they ask for is divided evenly, so that no part stands idle."""
    if not demands:
        return {}
    even = budget / len(demands)
    wanted = {name: max(demand, min(floor, even)) for name, demand in demands.items()}
    level = _level(budget, sorted(wanted.values()))
    parts = {name: min(want, level) for name, want in wanted.items()}
    spare = max(0.0, budget - sum(parts.values())) / len(parts)
    return {name: part + spare for name, part in parts.items()}


def _level(budget: float, wanted: list[float]) -> float:
    """How high the water stands: `wanted` in ascending order."""
    left = budget
    for index, want in enumerate(wanted):
        even = left / (len(wanted) - index)
        if want >= even:
            return even
        left -= want
    return wanted[-1]
