"""Who sends requests, as the file says it: one entry of `traffic`."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from seakeep.model.time import DAY
from seakeep.model.units import UnitError, parse_duration
from seakeep.spec.distributions import WITH_SPLIT_CALLS, TimeDistribution
from seakeep.spec.fields import (
    Fraction,
    Name,
    Part,
    PositiveRate,
    PositiveSpan,
    Rate,
    Span,
    Text,
    UrlPath,
    fault,
)
from seakeep.spec.geo import Coordinates, Prefix


class DiurnalPart(Part):
    """A wave around the rate."""

    example = "{period: 1d, amplitude: 50%}"

    period: PositiveSpan = Field(default=DAY, description="Of one wave. Default 1d.")
    amplitude: Fraction = Field(
        default=0.5, description="How far the rate swings, of the mean. Default 50%."
    )


class ShapeSurgePart(Part):
    """A time with more traffic."""

    example = "{at: 2m, for: 1m, factor: 3}"

    at: Span = Field(description="When it begins, since the start of the traffic.")
    lasts: PositiveSpan = Field(alias="for", description="How long it lasts.")
    factor: Annotated[float, Field(gt=0, le=1e6)] = Field(
        description="Times the source's rate: `3`."
    )


_SHAPES = ("poisson", "constant", "diurnal", "step", "surge", "log")
_LONG_FORMS = {
    "step": "{step: {30s: 300/s, 60s: 100/s}}",
    "surge": "{surge: {at: 2m, for: 1m, factor: 3}}",
    "log": "{log: access.log}",
}


class ShapePart(Part):
    """How arrivals are spread over time. A bare name takes its defaults."""

    example = "poisson, constant, diurnal or {step: {30s: 300/s}}"

    short_schema: ClassVar[dict[str, Any] | None] = {"enum": ["poisson", "constant", "diurnal"]}

    poisson: Literal[True] | None = Field(
        default=None, description="Independent arrivals: the default."
    )
    constant: Literal[True] | None = Field(default=None, description="Evenly spaced arrivals.")
    diurnal: DiurnalPart | None = Field(
        default=None, description="Poisson, in a wave like a day's."
    )
    step: dict[Text, Rate] | None = Field(
        default=None,
        description="Poisson, at another rate from each time on: `{30s: 300/s, 60s: 100/s}`. "
        "Until the first the source's rate holds.",
    )
    surge: ShapeSurgePart | None = Field(
        default=None,
        description="Poisson, with more for a time: `{at: 2m, for: 1m, factor: 3}`. To try a "
        "system with a surge that its traffic does not have every day, write it as a step of a "
        "scenario.",
    )
    log: Text | None = Field(
        default=None,
        description="As in an access log, in any format that `seakeep load --replay` reads: "
        "`{log: access.log}`, relative to the spec's folder. The twin's alone. The log has its "
        "own rate, so the source has none.",
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value in _LONG_FORMS:
                raise fault(f"{value} needs to be told more", f"write {_LONG_FORMS[value]}")
            if value not in ("poisson", "constant", "diurnal"):
                raise fault(
                    f"'{value[:40]}' is not a shape",
                    "write poisson, constant, diurnal or {step: {30s: 300/s}}",
                )
            return {value: {} if value == "diurnal" else True}
        return value

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [kind for kind in _SHAPES if getattr(self, kind) is not None]
        if len(given) != 1:
            raise fault(f"a shape is exactly one of {', '.join(_SHAPES[:-1])} and {_SHAPES[-1]}")
        self.times()
        return self

    def times(self) -> tuple[tuple[int, float], ...]:
        """The steps as (nanoseconds since the start, requests/s)."""
        steps: list[tuple[int, float]] = []
        for text, rate in (self.step or {}).items():
            try:
                at = parse_duration(text)
            except UnitError as error:
                raise fault(str(error), error.hint, ("step", text)) from None
            if steps and at <= steps[-1][0]:
                raise fault(
                    f"{text} does not come after the step before it",
                    "times count from the start of the traffic, in rising order",
                    ("step", text),
                )
            steps.append((at, rate))
        if self.step is not None and not steps:
            raise fault("is empty", "write {30s: 300/s}", ("step",))
        return tuple(steps)


class SessionsPart(Part):
    """Clients that come to stay."""

    model_config = WITH_SPLIT_CALLS

    example = "{pages: 5, think: exponential(mean=20s), resources: 10}"

    pages: Annotated[float, Field(ge=1, le=1e6)] = Field(
        description="Page loads of one session, on average (geometric): `5`."
    )
    think: TimeDistribution = Field(
        description="From the end of one page load to the next: `exponential(mean=20s)`."
    )
    resources: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="Further requests of each page load, sent together when the page itself has "
        "come. Default 0.",
    )


class TrafficPart(Part):
    """Clients in one place that send requests to one service."""

    model_config = WITH_SPLIT_CALLS

    example = "{from: [40.7, -74.0], to: web, rate: 120/s}"

    origin: Coordinates | None = Field(
        default=None,
        alias="from",
        description="Where they are: [latitude, longitude] in degrees. Default: nowhere; they come "
        "to the edge that DNS says, or else to that of the first region by name, in the twin "
        "without a network between, and to a service that needs no routes.",
    )
    to: Name = Field(description="The service.")
    rate: PositiveRate | None = Field(
        default=None,
        description="Requests per time, or with `sessions` those: `120/s`, `10/min`.",
    )
    shape: ShapePart = Field(
        default=ShapePart(poisson=True),
        description="`poisson` (default), `constant`, `diurnal`, `{step: {30s: 300/s}}`, "
        "`{surge: {at: 2m, for: 1m, factor: 3}}`, `{log: access.log}`.",
    )
    path: UrlPath = Field(default="/", description="What they ask for. Default `/`.")
    prefix: Prefix | None = Field(
        default=None,
        description="Their subnet, which DNS servers are told and know the place of. Default: the "
        "first source has 198.18.0.0/24, the second 198.18.1.0/24, and so on (RFC 2544).",
    )
    sessions: SessionsPart | None = Field(
        default=None,
        description="Each client loads several pages, one after the other. The twin's alone: "
        "`seakeep load` refuses such a source. Default: one request each.",
    )
    patience: TimeDistribution | None = Field(
        default=None,
        description="How long a client waits for an answer before it goes away: "
        "`exponential(mean=5s)`. The twin's alone; `seakeep load` has --timeout. Default: as long "
        "as it takes.",
    )

    @model_validator(mode="after")
    def _has_a_rate(self) -> Self:
        if self.shape.log is None and self.rate is None:
            raise fault("'rate' is missing", "write rate: 100/s")
        if self.shape.log is not None and self.rate is not None:
            raise fault("the log has its own rate", "remove rate, or the log", ("rate",))
        if self.shape.log is not None and self.sessions is not None:
            raise fault(
                "the log says when each request comes", "remove sessions, or the log", ("sessions",)
            )
        return self
