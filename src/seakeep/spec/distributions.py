"""Distributions of durations as people write them: `lognormal(p50=12ms, p99=60ms)`, a bare
duration, or `hdr(results.hlog)` for what was measured."""

import re
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, ConfigDict, WithJsonSchema

from seakeep.model import units
from seakeep.model.work import Distribution
from seakeep.spec.fields import described, fault

DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "constant": ("value",),
    "exponential": ("mean",),
    "erlang": ("mean", "k"),
    "lognormal": ("p50", "p99"),
    "gamma": ("mean", "cv"),
    "pareto": ("min", "alpha"),
}
"""By name: its parameters. `k`, `cv` (standard deviation over mean) and `alpha` are numbers,
the others durations."""

WITH_SPLIT_CALLS = ConfigDict(
    json_schema_extra={"patternProperties": {r"^[a-z0-9]+ *=[^()]*\)?$": {"type": "null"}}}
)
"""Configuration of a part with a distribution: between braces YAML splits one at its commas (see
`seakeep.spec.nodes`), and an editor is not to complain of the pieces."""

_BARE = ("k", "cv", "alpha")
_CALL = re.compile(r"([a-z]+)\s*\(([^()]*)\)")
_FILE = re.compile(r"([^,]+?)\s*(?:,\s*tag\s*=\s*([^,]+?)\s*)?")
_FORMS = ", ".join(
    [
        *(f"{n}({', '.join(p + '=…' for p in ps)})" for n, ps in DISTRIBUTIONS.items()),
        "hdr(results.hlog)",
    ]
)


@dataclass(frozen=True, slots=True)
class HdrFile:
    """A distribution that is in an HdrHistogram log."""

    path: str
    """Relative to the spec's folder."""
    tag: str | None = None
    """Only of the lines with this tag; None: of all."""


def read_distribution(text: str) -> Distribution | HdrFile:
    """`lognormal(p50=12ms, p99=60ms)`; a bare duration is `constant`. Durations become
    nanoseconds."""
    match = _CALL.fullmatch(text.strip())
    if match is None:
        try:
            value = float(units.parse_duration(text))
        except units.UnitError:
            raise fault(f"'{text[:60]}' is not a distribution", f"write one of {_FORMS}") from None
        return Distribution(name="constant", parameters=(("value", value),))
    name, inner = match.groups()
    if name == "hdr":
        return _hdr_file(inner.strip())
    if name not in DISTRIBUTIONS:
        raise fault(f"'{name}' is not a distribution known here", f"write one of {_FORMS}")
    wanted = DISTRIBUTIONS[name]
    form = f"write {name}({', '.join(p + '=…' for p in wanted)})"
    given: dict[str, float] = {}
    for part in inner.split(","):
        key, equals, amount = (s.strip() for s in part.partition("="))
        if not equals or key not in wanted or key in given:
            raise fault(f"{name} has no parameter '{part.strip()[:40]}'", form)
        given[key] = _parameter(key, amount)
    if missing := [p for p in wanted if p not in given]:
        raise fault(f"{name} lacks {', '.join(missing)}", form)
    _consistent(name, given)
    return Distribution(name=name, parameters=tuple((p, given[p]) for p in wanted))


def _hdr_file(inner: str) -> HdrFile:
    match = _FILE.fullmatch(inner)
    if match is None or "\0" in inner:
        raise fault(
            f"'hdr({inner[:60]})' does not name a file",
            "write hdr(results.hlog), or hdr(results.hlog, tag=browsers) for one traffic source",
        )
    return HdrFile(match[1], match[2])


def _parameter(key: str, amount: str) -> float:
    if key not in _BARE:
        try:
            return float(units.parse_duration(amount))
        except units.UnitError as error:
            raise fault(f"{key}: {error}", error.hint) from None
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", amount):
        raise fault(f"{key} must be a number", f"write {key}=2")
    return float(amount)


def _consistent(name: str, given: dict[str, float]) -> None:
    for key, value in given.items():
        if value <= 0 and (name, key) != ("constant", "value"):
            raise fault(f"{key} must be more than zero")
    if name == "lognormal" and given["p99"] <= given["p50"]:
        raise fault("p99 must be more than p50", "the 99th percentile lies above the median")
    if name == "erlang" and given["k"] != int(given["k"]):
        raise fault("k must be a whole number", "it counts exponential stages")
    if name == "pareto" and given["alpha"] <= 1:
        raise fault("alpha must be more than 1", "at 1 and below the mean is infinite")


def _distribution(value: object) -> Distribution | HdrFile:
    if not isinstance(value, str):
        raise fault(f"must be a distribution, not {described(value)}", f"write one of {_FORMS}")
    return read_distribution(value)


TimeDistribution: TypeAlias = Annotated[
    Distribution | HdrFile,
    BeforeValidator(_distribution),
    WithJsonSchema(
        {
            "type": "string",
            "examples": ["lognormal(p50=12ms, p99=60ms)", "exponential(mean=10ms)", "10ms"],
        }
    ),
]
