"""The system's DNS zone, and by what its answers choose a region, as the file says it."""

import re
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from seakeep.model.time import DAY, SECOND, Duration
from seakeep.spec.fields import Name, Part, PositiveRate, Share, Span, Text, fault
from seakeep.spec.geo import Coordinates, Prefix

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_ZONE = re.compile(rf"{_LABEL}(\.{_LABEL})*")


def _zone(value: str) -> str:
    lower = value.lower().removesuffix(".")
    if len(lower) > 200 or not _ZONE.fullmatch(lower):
        raise fault(f"'{value[:60]}' is not the name of a zone", "write shop.example")
    return lower


def _whole_seconds(value: Duration) -> Duration:
    if value % SECOND:
        raise fault("is not in whole seconds, which is all that DNS can say", "write 5s")
    if value > 7 * DAY:
        raise fault("is longer than a week", "clients would keep to a lost region; write 5s")
    return value


WholeSeconds = Annotated[Span, AfterValidator(_whole_seconds)]


class SteerPart(Part):
    """By what DNS chooses the region that a client is sent to, among those that can serve."""

    example = "latency, geo, {weighted: {us-east: 70%, eu-west: 30%}} or {failover: [us-east]}"

    short_schema: ClassVar[dict[str, Any] | None] = {
        "enum": ["latency", "geo", "weighted", "failover"]
    }

    latency: bool | None = Field(default=None, description="The shortest way: the default.")
    geo: bool | None = Field(default=None, description="The nearest on the globe.")
    weighted: dict[Name, Share] | None = Field(
        default=None,
        description="By shares, whoever asks: `{us-east: 70%, eu-west: 30%}`. A bare `weighted` "
        "is even shares. A region with 0%, or not named, is answered only when no other can serve.",
    )
    failover: list[Name] | None = Field(
        default=None,
        description="The first that can serve: `[us-east, eu-west]`. Regions that are not named "
        "are never answered. A bare `failover` is the order of the file.",
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        long: dict[str, Any] = {"latency": True, "geo": True, "weighted": {}, "failover": []}
        if value not in long:
            raise fault(f"'{value[:40]}' is no way to steer", f"write {cls.example}")
        return {value: long[value]}

    @model_validator(mode="after")
    def _one(self) -> Self:
        ways = ("latency", "geo", "weighted", "failover")
        given = [way for way in ways if getattr(self, way) not in (None, False)]
        if len(given) != 1:
            raise fault("steering is exactly one of latency, geo, weighted and failover")
        order = self.failover or []
        twice = next((i for i, name in enumerate(order) if name in order[:i]), None)
        if twice is not None:
            raise fault(f"{order[twice]} is named twice", "remove one", ("failover", twice))
        return self


class DnsHealthPart(Part):
    """How soon a region leaves the answers, and how late it is back."""

    example = "{fall: 1s, rise: 5s}"

    fall: Span = Field(
        default=SECOND,
        description="A region that cannot serve a host for this long is out. Default 1s.",
    )
    rise: Span = Field(
        default=5 * SECOND,
        description="One that can serve again is in after this long without a break; twice as "
        "long each time that it soon falls again, up to eight times. Default 5s.",
    )


class DnsPart(Part):
    """The system's DNS zone. In every region a server at 127.R.0.53 answers for the hosts of
    routes within it. A bare name is the zone."""

    example = "{zone: shop.example}"

    short_schema: ClassVar[dict[str, Any] | None] = {"type": "string"}

    zone: Annotated[str, AfterValidator(_zone), WithJsonSchema({"type": "string"})] = Field(
        description="Its name: `shop.example`. Hosts of routes are answered when they are in it."
    )
    port: Annotated[int, Field(ge=1, le=65535)] = Field(
        default=5300, description="UDP and TCP port of the servers. Default 5300."
    )
    ttl: WholeSeconds = Field(
        default=5 * SECOND,
        description="How long resolvers may keep an answer: clients of a lost region stay with "
        "it for so long. Default 5s.",
    )
    negative_ttl: WholeSeconds = Field(
        default=5 * SECOND,
        description="How long they may keep that a name does not exist. Default 5s.",
    )
    places: dict[Prefix, Coordinates] = Field(
        default={},
        description="Where clients are, by network: `{198.51.100.0/24: [40.7, -74.0]}`. The "
        "longest prefix holds. Subnets of traffic sources are known without it.",
    )
    database: Text | None = Field(
        default=None,
        description="A MaxMind DB file (GeoLite2-City.mmdb, say) that tells where all other "
        "clients are, relative to the spec. Default: they are where the server is that they ask.",
    )
    health: DnsHealthPart = Field(
        default=DnsHealthPart(), description="How soon a region is out, and how late in again."
    )
    rate_limit: PositiveRate | None = Field(
        default=None,
        description="Answers that one client network (/24, /56) gets over UDP; of those beyond "
        "it every second asks to come by TCP, the others are dropped. Default: no limit.",
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        return {"zone": value} if isinstance(value, str) else value
