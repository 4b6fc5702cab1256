"""Draining as operators see it: what a drain would do, whether it may be ordered, how far it is."""

from collections.abc import Iterable, Mapping
from typing import Any

from seakeep.decide.drain_effect import DrainEffect, effect_of_drain
from seakeep.decide.draining import FORCE
from seakeep.decide.reasons import REASONS
from seakeep.explain.wording import sentence
from seakeep.model.decision import Reason
from seakeep.model.order import Order, OrderKind
from seakeep.model.system import System
from seakeep.model.view import View
from seakeep.runtime.control import ControlError

PHASES: Mapping[str, str] = {
    "drain.building": "building",
    "drain.nowhere": "building",
    "drain.leaving": "leaving",
    "drain.held.requests": "leaving",
    "drain.emptying": "emptying",
    "drain.done": "done",
    "drain.returning": "returning",
    "drain.returned": "returning",
}


def check_drain(
    system: System, view: View, region: str, argument: str, standing: Iterable[Order]
) -> DrainEffect:
    """The effect of draining a region beside the standing orders. Raises ControlError when
    nothing could take over from it, unless the order is forced."""
    if argument not in ("", FORCE):
        raise ControlError(f"a drain has no {argument[:40]!r}", f"it is plain, or {FORCE!r}")
    drained = frozenset(order.subject for order in standing if order.kind is OrderKind.DRAIN)
    effect = effect_of_drain(system, view, region, drained - {region})
    if argument == FORCE:
        return effect
    if effect.nowhere:
        others = "no other region" + (" that is not drained" if drained - {region} else "")
        raise ControlError(
            f"{region} cannot be drained: {_listed(effect.nowhere)} may be in {others}",
            "give their spread another region, or undrain one; with --force they stop being served",
        )
    if effect.dead:
        raise ControlError(
            f"{region} cannot be drained: it is the last that can serve {_listed(effect.dead)};"
            f" nothing runs in {_listed(effect.lost)}",
            "wait until another region is back; with --force they stop being served",
        )
    return effect


def warnings(effect: DrainEffect) -> list[str]:
    """What a drain that may be ordered would do to capacity, in sentences."""
    said = []
    if effect.lost:
        said.append(f"nothing runs in {_listed(effect.lost)}: its capacity is missing already")
    said += [sentence(reason, REASONS) for reason in effect.short]
    if effect.short:
        said.append("until there is room, what has no place elsewhere serves on where it is")
    return said


def drains_of(reasons: Iterable[Reason]) -> dict[str, dict[str, Any]]:
    """By region: {"phase", "says"}, of a step's reasons. Phases: building, leaving, emptying,
    done, returning."""
    found: dict[str, dict[str, Any]] = {}
    for reason in reasons:
        phase = PHASES.get(reason.code)
        if phase is not None:
            one = found.setdefault(reason.subject, {"phase": phase, "says": []})
            one["says"].append(sentence(reason, REASONS))
    return found


def _listed(names: Iterable[str]) -> str:
    *rest, last = list(names) or ["nothing"]
    return f"{', '.join(rest)} and {last}" if rest else last
