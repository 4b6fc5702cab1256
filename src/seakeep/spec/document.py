"""What a spec may say: the pydantic models of the whole file, one section after the other.

They hold the values of one section each; what ties sections together is checked in
`references`, and what is done with them is in `build`.
"""

import re
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from seakeep.model.time import DAY
from seakeep.model.units import DURATION_PATTERN, UnitError, parse_duration, parse_percent
from seakeep.spec.dns import DnsPart
from seakeep.spec.fields import (
    Bandwidth,
    Cpu,
    Fraction,
    Memory,
    Name,
    OrShort,
    Part,
    PositiveSpan,
    Span,
    Text,
    described,
    fault,
)
from seakeep.spec.geo import Coordinates
from seakeep.spec.routing import Port
from seakeep.spec.scenario import LinkPair, ScenarioPart
from seakeep.spec.service import ServicePart
from seakeep.spec.traffic import TrafficPart

LATER_SECTIONS = (
    "databases",
    "caches",
    "topics",
    "search",
    "alerts",
    "flags",
    "environments",
)
"""Sections of the design that this release does not read."""

# --- places -----------------------------------------------------------------


class NodesPart(Part):
    """The machines of a zone, alike. What is not given is taken from the region."""

    example = "{count: 1, cpu: 4, memory: 8GiB}"

    count: int | None = Field(default=None, ge=1, le=1000, description="How many. Default 1.")
    cpu: Cpu | None = Field(default=None, description="Cores that each offers. Default 4.")
    memory: Memory | None = Field(
        default=None, description="Memory that each offers. Default 8GiB."
    )


class ZonePart(Part):
    """A part of a region that fails on its own."""

    short_schema: ClassVar[dict[str, Any] | None] = {"type": "null"}
    example = "{nodes: {count: 2}}"

    nodes: NodesPart = Field(default=NodesPart(), description="Its machines, where they differ.")

    @classmethod
    def expand(cls, value: Any) -> Any:
        return {} if value is None else value


def _zones(value: Any) -> Any:
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        twice = next((i for i, name in enumerate(value) if name in value[:i]), None)
        if twice is not None:
            raise fault(f"zone {value[twice]} is named twice", "remove one", (twice,))
        return {name: {} for name in value}
    return value


def _some(value: dict[str, Any]) -> dict[str, Any]:
    if not value:
        raise fault("is empty", "name at least one")
    return value


class RegionPart(Part):
    """A place far from the others, made of zones."""

    example = "{zones: [a, b]}"

    zones: Annotated[
        dict[Name, ZonePart],
        AfterValidator(_some),
        BeforeValidator(_zones),
        OrShort(lambda _: {"type": "array", "items": {"type": "string"}, "minItems": 1}),
    ] = Field(description="`[a, b, c]`, or `{a: {nodes: {count: 2}}, b: {}}`.")
    nodes: NodesPart = Field(
        default=NodesPart(), description="Machines of every zone. Default: one of 4 CPUs and 8GiB."
    )
    at: Coordinates | None = Field(
        default=None,
        description="[latitude, longitude] in degrees. Latencies to other regions follow from "
        "it where `network` does not give them; without it they are 10ms.",
    )


class LinkPart(Part):
    """The network between two regions. A bare duration is its latency."""

    example = "38ms or {latency: 38ms, loss: 0.1%}"

    short_schema: ClassVar[dict[str, Any] | None] = {
        "type": ["string", "integer"],
        "pattern": DURATION_PATTERN,
        "minimum": 0,
        "maximum": 0,
        "examples": ["38ms"],
    }

    latency: Span | None = Field(
        default=None, description="One way: `38ms`. Default: it follows the distance."
    )
    jitter: Span = Field(
        default=0,
        description="What is added to each message, on average (exponentially distributed): "
        "`5ms`. The twin's alone, as is the rest. Default 0.",
    )
    loss: Fraction = Field(
        default=0.0, description="Messages that are lost, and sent again: `0.1%`. Default none."
    )
    bandwidth: Bandwidth | None = Field(
        default=None, description="Each way: `1Gbps`, `100Mbps`. Default: without a bound."
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        return {"latency": value} if isinstance(value, str | int | float) else value


class EdgePart(Part):
    """Where clients come in."""

    example = "{port: 8080}"

    port: Port = Field(default=8080, description="The port of every region's edge. Default 8080.")
    trusted_hops: int = Field(
        default=0,
        ge=0,
        le=16,
        description="How many proxies of your own stand before the edge. With 1 or more, a client "
        "is the one that the outermost of them names in x-forwarded-for; what clients themselves "
        "write there is never believed. Default 0: a client is who connects.",
    )


# --- objectives -----------------------------------------------------------

_LATENCY = re.compile(r"([^<]*)<([^<=]*)")


def _latency(value: object) -> tuple[float, int]:
    hint = "write the share of requests and the bound: 95% < 300ms"
    if not isinstance(value, str):
        raise fault(f"must be text, not {described(value)}", hint)
    match = _LATENCY.fullmatch(value)
    if match is None:
        raise fault(f"'{value[:60]}' is not a latency objective", hint)
    try:
        target = parse_percent(match[1].strip())
        threshold = parse_duration(match[2].strip())
    except UnitError as error:
        raise fault(str(error), hint) from None
    if threshold == 0:
        raise fault("no request takes less than 0", hint)
    return (_target(target), threshold)


def _target(value: float) -> float:
    if not 0 < value < 1:
        raise fault(
            "the target must lie between 0% and 100%",
            "100% leaves no room for a single failure; write 99.9% or 99.99%",
        )
    return value


class ObjectivePart(Part):
    """An SLO: the share of requests that is good over a window. Either availability or
    latency."""

    example = "{service: web, availability: 99.9%}"

    service: Name = Field(description="The service.")
    availability: Annotated[Fraction, AfterValidator(_target)] | None = Field(
        default=None, description="The share of requests that do not fail: `99.9%`."
    )
    latency: (
        Annotated[
            tuple[float, int],
            BeforeValidator(_latency),
            WithJsonSchema(
                {
                    "type": "string",
                    "pattern": r"^\s*[0-9.]+\s*%\s*<\s*[0-9.]+[a-z0-9.]+\s*$",
                    "examples": ["95% < 300ms"],
                }
            ),
        ]
        | None
    ) = Field(default=None, description="The share that is faster than a bound: `95% < 300ms`.")
    window: PositiveSpan = Field(
        default=30 * DAY, description="The rolling window that it counts over. Default 30d."
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.availability is None) == (self.latency is None):
            raise fault(
                "an objective is either availability or latency",
                "write one of availability: 99.9% and latency: 95% < 300ms",
            )
        return self


# --- the whole --------------------------------------------------------------


class Document(Part):
    """A Seakeep spec: a system that runs in several regions."""

    system: Name = Field(description="The system's name.")
    include: Annotated[
        list[Text],
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string"},
                    {"type": "array", "items": {"type": "string"}},
                    {"type": "null"},
                ]
            }
        ),
    ] = Field(
        default=[],
        description="Further files, relative to this one: `[services/*.yaml]`. Sections are "
        "joined; a name may be defined once.",
    )
    regions: Annotated[dict[Name, RegionPart], AfterValidator(_some)] = Field(
        description="Regions and their zones."
    )
    network: dict[LinkPair, LinkPart] = Field(
        default={},
        description="One-way latency between regions: `us-east~eu-west: 38ms`, or more of a link. "
        "Pairs that are not named follow the distance between the regions' coordinates.",
    )
    edge: EdgePart = Field(
        default=EdgePart(), description="Where clients come in: the edge of every region."
    )
    dns: DnsPart | None = Field(
        default=None,
        description="The system's DNS zone: a server in every region answers for the hosts of "
        "routes, with an edge that can serve. Default: no DNS.",
    )
    services: Annotated[dict[Name, ServicePart], AfterValidator(_some)] = Field(
        description="The programs that make up the system."
    )
    traffic: dict[Name, TrafficPart] = Field(default={}, description="Who sends requests.")
    objectives: list[ObjectivePart] = Field(
        default=[], description="What the system must keep (SLOs)."
    )
    scenarios: dict[Name, ScenarioPart] = Field(default={}, description="Faults to try it with.")
