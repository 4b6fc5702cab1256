"""What is refused so that the rest is served well, as the file says it: limits and shedding."""

from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from seakeep.model.limits import LimitPer, LimitScope, Priority, RateLimit, Shed
from seakeep.model.units import DURATION_PATTERN, RATE_PATTERN
from seakeep.spec.fields import Header, OrShort, Part, PositiveRate, PositiveSpan, fault


class LimitPart(Part):
    """A bound on requests: a token bucket at the edge of every region. What is beyond it is
    answered 429 with Retry-After. Several may be given as a list; all hold."""

    example = "500/s or {rate: 500/s, burst: 100}"

    short_schema: ClassVar[dict[str, Any] | None] = {
        "type": "string",
        "pattern": RATE_PATTERN,
        "examples": ["500/s", "10/min"],
    }

    rate: PositiveRate = Field(description="Requests let through: `500/s`.")
    burst: int | None = Field(
        default=None,
        ge=1,
        le=10**9,
        description="Let through at once. Default: one second's worth.",
    )
    per: Literal["all", "client", "header"] = Field(
        default="all",
        description="`all`: one bucket for everybody. `client`: one for each client, by its "
        "address (of an IPv6 address the first 64 bits). `header`: one for each value of `header`. "
        "Default all.",
    )
    header: Header | None = Field(
        default=None,
        description="One bucket for each value of this header, such as `x-api-key`; requests "
        "without it have one by their address. Whoever can make up values gets a bucket for each.",
    )
    scope: Literal["region", "system"] = Field(
        default="region",
        description="`region`: the rate holds in each region. `system`: in all of them together; "
        "it is divided by demand, again and again. Default region.",
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"rate": value}
        if isinstance(value, dict) and "header" in value and "per" not in value:
            return {**value, "per": "header"}
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.per == "header" and self.header is None:
            raise fault("does not say which header", "write header: x-api-key", ("per",))
        if self.header is not None and self.per != "header":
            message = f"header is not used by per: {self.per}"
            raise fault(message, "write per: header, or remove header", ("header",))
        if self.scope == "system" and self.per != "all":
            raise fault(
                "only a limit for all can be shared by the regions",
                "remove scope: each client comes in by one region, whose bucket it has",
                ("scope",),
            )
        return self

    def limit(self) -> RateLimit:
        burst = self.burst if self.burst is not None else max(1, round(self.rate))
        return RateLimit(
            rate_per_s=self.rate,
            burst=burst,
            per=LimitPer(self.per),
            header=self.header,
            scope=LimitScope(self.scope),
        )


def one_or_more(value: Any) -> Any:
    """A lone mapping as the list that it is the only item of."""
    return [value] if isinstance(value, dict) else value


def _one_or_more_limits(value: Any) -> Any:
    return value if isinstance(value, list) or value is None else [value]


Limits: TypeAlias = Annotated[
    list[LimitPart], BeforeValidator(_one_or_more_limits), OrShort(lambda long: dict(long["items"]))
]

PriorityName: TypeAlias = Literal["critical", "normal", "sheddable"]


class ShedPart(Part):
    """What to refuse while the service is saturated, so that the rest is served in time: answered
    503 with Retry-After, sheddable requests first, critical ones never."""

    example = "100ms or {latency: 100ms, header: x-priority}"

    short_schema: ClassVar[dict[str, Any] | None] = {
        "type": "string",
        "pattern": DURATION_PATTERN,
        "examples": ["100ms", "1s"],
    }

    latency: PositiveSpan = Field(
        description="The median time to an answer when the service is well, waiting included. "
        "While it takes longer, fewer sheddable requests are let in at once; from twice as long "
        "on, fewer normal ones."
    )
    header: Header | None = Field(
        default=None,
        description="A header whose value is a request's priority: critical, normal or sheddable. "
        "Whoever can send it can make all critical, so let only what you trust. Default: the "
        "`priority` of the route holds.",
    )

    at_least: int = Field(
        default=10,
        ge=1,
        le=500,
        description="Requests of each priority that each edge lets in at once however late answers "
        "are, and where it begins after a start. Default 10.",
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        return {"latency": value} if isinstance(value, str) else value

    def shed(self) -> Shed:
        return Shed(latency=self.latency, header=self.header, at_least=self.at_least)


def priority(name: PriorityName) -> Priority:
    return Priority(name)
