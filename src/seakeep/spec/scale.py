"""What the file may say of how a service scales: `services.*.scale`."""

import difflib
import re
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)

from seakeep.model.scale import (
    DOWN,
    SCALE_EVERY,
    SEASON,
    SLOTS_MAX,
    UP,
    Follow,
    Forecast,
    Hold,
    Metric,
    PolicyKind,
    Scale,
    ScalePolicy,
    ScaleRules,
    ScaleTarget,
    ScheduledBounds,
    Select,
    Survive,
)
from seakeep.model.time import HOUR, MINUTE, SECOND, Duration
from seakeep.model.units import (
    PERCENT_PATTERN,
    UnitError,
    parse_duration,
    parse_percent,
    parse_rate,
)
from seakeep.spec.fields import Fraction, Part, PositiveSpan, Span, Text, described, fault
from seakeep.spec.timezones import UnknownZone, offsets_of, zone_names

MetricName: TypeAlias = Literal["concurrency", "rate", "cpu", "memory", "latency", "queue"]
_EXAMPLES = {
    "concurrency": "8",
    "rate": "200/s",
    "cpu": "70%",
    "memory": "80%",
    "latency": "95% < 300ms",
    "queue": "2",
}
_LATENCY = re.compile(r"\s*([^<]+?)\s*<\s*(\S+)\s*")
TargetText: TypeAlias = Annotated[
    float | str,
    WithJsonSchema(
        {
            "type": ["number", "string"],
            "exclusiveMinimum": 0,
            "examples": [8, "200/s", "70%", "95% < 300ms"],
        }
    ),
]
_ON = (
    "`concurrency`: requests in flight per instance. `rate`: requests per second per instance. "
    "`cpu`, `memory`: share of what an instance asks for. `latency`: a percentile of the time "
    "that answers take. `queue`: requests per instance that wait for one."
)
_TARGET = (
    "`8` for concurrency and queue, `200/s` for rate, `70%` for cpu and memory, `95% < 300ms` "
    "for latency."
)


def read_target(metric: str, target: float | str) -> ScaleTarget:
    """What `target` means for its metric; a fault when it means nothing."""
    write = f"write target: {_EXAMPLES[metric]}"
    quantile, number = 0.0, 0.0
    try:
        if metric == "latency":
            quantile, number = _latency(target, write)
        elif metric in ("cpu", "memory"):
            if not isinstance(target, str):
                raise fault(f"must be a percentage for {metric}", write, ("target",))
            number = parse_percent(target)
        elif metric == "rate" and isinstance(target, str):
            number = parse_rate(target)
        elif isinstance(target, str):
            raise fault(f"must be a number for {metric}", write, ("target",))
        else:
            number = float(target)
    except UnitError as error:
        raise fault(f"target: {error}", error.hint, ("target",)) from None
    if number <= 0:
        raise fault("must be a number above zero", write, ("target",))
    return ScaleTarget(metric=Metric(metric), target=float(number), quantile=quantile)


def _latency(target: float | str, write: str) -> tuple[float, float]:
    match = _LATENCY.fullmatch(target) if isinstance(target, str) else None
    if match is None:
        raise fault("must be a percentile and its bound for latency", write, ("target",))
    quantile = parse_percent(match[1])
    if not 0 < quantile < 1:
        raise fault("the percentile must lie between 0% and 100%", write, ("target",))
    return quantile, float(parse_duration(match[2]))


class MetricPart(Part):
    """A metric and what each instance should have of it."""

    example = "{on: concurrency, target: 8}"

    on: MetricName = Field(description=_ON)
    target: TargetText = Field(description=_TARGET)

    @model_validator(mode="after")
    def _readable(self) -> Self:
        read_target(self.on, self.target)
        return self


def _any_percent(value: object) -> float:
    if not isinstance(value, str):
        raise fault(f"must be a percentage, not {described(value)}", "write 100%")
    try:
        return parse_percent(value) * 100
    except UnitError as error:
        raise fault(str(error), error.hint) from None


class PolicyPart(Part):
    """How far the number of instances may change within a period: a percentage or a number."""

    example = "{percent: 100%, per: 15s}"

    percent: (
        Annotated[
            float,
            BeforeValidator(_any_percent),
            WithJsonSchema(
                {"type": "string", "pattern": PERCENT_PATTERN, "examples": ["100%", "200%"]}
            ),
        ]
        | None
    ) = Field(default=None, description="Of the instances at the start of the period: `100%`.")
    instances: int | None = Field(default=None, ge=1, le=10_000, description="So many: `4`.")
    per: PositiveSpan = Field(description="The period: `15s`, 30m at most.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.percent is None) == (self.instances is None):
            raise fault(
                "a policy is either a percentage or a number of instances",
                "write one of percent: 100% and instances: 4",
            )
        if self.percent == 0:
            raise fault("0% would allow no change", "write select: disabled", ("percent",))
        if self.per > 30 * MINUTE:
            raise fault("is more than 30m", "write 30m or less", ("per",))
        return self

    def policy(self) -> ScalePolicy:
        kind = PolicyKind.INSTANCES if self.percent is None else PolicyKind.PERCENT
        amount = self.percent if self.instances is None else float(self.instances)
        return ScalePolicy(kind=kind, amount=amount or 0.0, period=self.per)


class RulesPart(Part):
    """The pace of one direction. `disabled` alone forbids it."""

    example = "{window: 5m} or disabled"

    short_schema: ClassVar[dict[str, Any] | None] = {"const": "disabled"}

    window: Span | None = Field(
        default=None,
        description="The most cautious recommendation of this time counts. Default: up 0, down 5m.",
    )
    policies: list[PolicyPart] | None = Field(
        default=None,
        description="Bounds on the change. Default: up 100% or 4 instances per 15s, whichever "
        "is more; down 100% per 15s.",
    )
    select: Literal["max", "min", "disabled"] = Field(
        default="max",
        description="Of several policies, the one that allows the most change (`max`) or the "
        "least (`min`); `disabled`: no change. Default max.",
    )
    tolerance: Fraction | None = Field(
        default=None, description="Instead of scale's tolerance, in this direction."
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        return {"select": "disabled"} if value == "disabled" else value

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.window is not None and self.window > HOUR:
            raise fault("is more than an hour", "write 1h or less", ("window",))
        if self.policies == []:
            raise fault(
                "no policy allows no change", "write select: disabled, or a policy", ("policies",)
            )
        return self

    def rules(self, default: ScaleRules, tolerance: float) -> ScaleRules:
        return ScaleRules(
            window=default.window if self.window is None else self.window,
            policies=default.policies
            if self.policies is None
            else tuple(part.policy() for part in self.policies),
            select=Select(self.select),
            tolerance=tolerance if self.tolerance is None else self.tolerance,
        )


_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def read_days(text: str) -> tuple[int, ...]:
    """`mon-fri`, `sat,sun`, `fri-mon`, `daily`: days of the week, Monday is 0."""
    if text.strip().lower() == "daily":
        return tuple(range(7))
    days: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        for name in (first, last) if dash else (first,):
            if name not in _DAYS:
                close = difflib.get_close_matches(name[:3], _DAYS, n=1)
                hint = f"did you mean {close[0]}?" if close else "write mon-fri, sat,sun or daily"
                raise fault(f"'{name[:20]}' is not a day", hint, ("days",))
        start = _DAYS.index(first)
        span = (_DAYS.index(last) - start) % 7 if dash else 0
        days |= {(start + offset) % 7 for offset in range(span + 1)}
    return tuple(sorted(days))


def read_hour(text: str, key: str) -> Duration:
    """`08:00` as the time since midnight; `24:00` is the end of the day."""
    match = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", text.strip())
    minutes = int(match[1]) * 60 + int(match[2]) if match else -1
    if match is None or int(match[2]) > 59 or not 0 <= minutes <= 24 * 60:
        raise fault(f"'{text[:20]}' is not a time of day", 'write "08:00"', (key,))
    return minutes * MINUTE


_hour_schema = WithJsonSchema(
    {"type": "string", "pattern": "^[0-9]{1,2}:[0-9]{2}$", "examples": ["08:00", "18:30"]}
)


class SchedulePart(Part):
    """Bounds for certain hours of certain days."""

    example = '{days: mon-fri, from: "08:00", to: "18:00", zone: Europe/Dublin, min: 20}'

    days: Text = Field(
        default="daily",
        description="On which it begins: `mon-fri`, `sat,sun` or `daily`. Default daily.",
    )
    start: Annotated[Text, _hour_schema] = Field(
        alias="from", description='Time of day: `"08:00"`.'
    )
    end: Annotated[Text, _hour_schema] = Field(
        alias="to", description='`"18:00"`; not after `from`: on the next day.'
    )
    zone: Text = Field(
        default="UTC",
        description="IANA time zone whose clock counts, such as Europe/Dublin. Default UTC.",
    )
    min: int | None = Field(
        default=None, ge=0, le=10_000, description="At least so many instances meanwhile."
    )
    max: int | None = Field(
        default=None, ge=0, le=10_000, description="At most so many instances meanwhile."
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        read_days(self.days)
        read_hour(self.start, "from")
        read_hour(self.end, "to")
        try:
            offsets_of(self.zone)
        except UnknownZone:
            close = difflib.get_close_matches(self.zone, zone_names(), n=1)
            hint = f"did you mean {close[0]}?" if close else "write it as in Europe/Dublin or UTC"
            raise fault(f"'{self.zone[:60]}' is not a time zone", hint, ("zone",)) from None
        if self.min is None and self.max is None:
            raise fault("changes nothing", "write min: 20, or max, or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise fault(f"min {self.min} is more than max {self.max}", "swap them", ("min",))
        return self

    def bounds(self) -> ScheduledBounds:
        return ScheduledBounds(
            days=read_days(self.days),
            start=read_hour(self.start, "from"),
            end=read_hour(self.end, "to"),
            zone=self.zone,
            offsets=offsets_of(self.zone),
            min=self.min,
            max=self.max,
        )


class ForecastPart(Part):
    """What recurs every season is prepared for before it comes. A bare duration is the season."""

    example = "{season: 7d, ahead: 10m}"

    short_schema: ClassVar[dict[str, Any] | None] = {"type": "string"}

    season: PositiveSpan = Field(
        default=SEASON, description="After which demand recurs: `7d`, `1d`. Default 7d."
    )
    ahead: PositiveSpan = Field(
        default=10 * MINUTE,
        description="How long before its time capacity is there: longer than a start takes. "
        "Default 10m.",
    )
    slot: PositiveSpan | None = Field(
        default=None,
        description="The season is learned in pieces of this length. Default 15m, or a 24th of "
        "the season when that is shorter.",
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        return {"season": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        slot = self.slot_length()
        if self.season % slot or not 2 <= self.season // slot <= SLOTS_MAX:
            raise fault(
                f"the season must be 2 to {SLOTS_MAX} whole slots",
                "write season: 7d and slot: 15m",
                ("season",) if self.slot is None else ("slot",),
            )
        if self.ahead >= self.season:
            raise fault("is not shorter than the season", "write ahead: 10m", ("ahead",))
        return self

    def slot_length(self) -> Duration:
        return self.slot or min(15 * MINUTE, self.season // 24)


class HoldPart(Part):
    """Requests while there is no instance. A bare duration is the time."""

    example = "10s or {for: 10s, connections: 100}"

    short_schema: ClassVar[dict[str, Any] | None] = {"type": "string"}

    time: PositiveSpan = Field(
        default=10 * SECOND,
        alias="for",
        description="How long a request waits for the first instance. Default 10s.",
    )
    connections: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="So many per region; further ones are turned away at once. Default 100.",
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        return {"for": value} if isinstance(value, str) else value


class ScalePart(Part):
    """How the number of instances follows demand, between `replicas.min` and `max`: the
    Kubernetes HorizontalPodAutoscaler, and more. One metric may be written as `on` and `target`,
    a list is a list of metrics."""

    example = "{on: concurrency, target: 8}"

    on: MetricName | None = Field(default=None, description="The metric, when it is the only one.")
    target: TargetText | None = Field(default=None, description=f"Of `on`: {_TARGET}")
    metrics: list[MetricPart] = Field(
        default=[],
        description="Several: `[{on: cpu, target: 70%}, {on: rate, target: 50/s}]`. The one that "
        "wants the most instances counts; while one cannot be had nothing is scaled down.",
    )
    every: PositiveSpan = Field(
        default=SCALE_EVERY,
        description="Time between decisions, and the window that metrics are averaged over. "
        "Default 15s.",
    )
    tolerance: Fraction = Field(
        default=0.1, description="A deviation from the target that changes nothing. Default 10%."
    )
    up: RulesPart = Field(default=RulesPart(), description="The pace of scaling up.")
    down: RulesPart = Field(default=RulesPart(), description="The pace of scaling down.")
    warmup: Span = Field(
        default=5 * MINUTE,
        description="cpu only: an instance that is younger and not ready is left out of account. "
        "Default 5m.",
    )
    follow: Literal["demand", "spread"] = Field(
        default="demand",
        description="Where instances beyond the minimum go: to the regions whose callers need "
        "them, or by the shares of `spread`. Default demand.",
    )
    schedule: list[SchedulePart] = Field(
        default=[],
        description="Other bounds for certain hours. Where several hold, the largest min and the "
        "largest max count.",
    )
    forecast: ForecastPart | None = Field(
        default=None,
        description="Prepare for what recurs, such as `{season: 7d, ahead: 10m}`. Never fewer "
        "than demand wants now. Default: none.",
    )
    survive: Literal["zone", "region"] | None = Field(
        default=None,
        description="Have so many more that the loss of any one zone, or region, leaves enough.",
    )
    idle: PositiveSpan = Field(
        default=10 * MINUTE,
        description="With `replicas: {min: 0}`: this long without a request, and the last "
        "instance goes. Default 10m.",
    )
    hold: HoldPart = Field(
        default=HoldPart(),
        description="With `replicas: {min: 0}`: what happens to requests until there is an "
        "instance.",
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        return {"metrics": value} if isinstance(value, list) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: Any, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        definition = handler.resolve_ref_schema(schema := handler(core_schema))
        long = dict(definition)
        items = long["properties"]["metrics"]["items"]
        definition.clear()
        definition["anyOf"] = [{"type": "array", "minItems": 1, "items": items}, long]
        definition["description"] = long["description"]
        return schema

    @model_validator(mode="after")
    def _something(self) -> Self:
        if (self.on is None) != (self.target is None):
            missing = "target" if self.target is None else "on"
            raise fault(f"'{missing}' is missing", f"write {self.example}")
        if self.on is not None and self.target is not None:
            if self.metrics:
                raise fault("is written beside metrics", "write it as one of metrics", ("on",))
            read_target(self.on, self.target)
        elif not self.metrics and not self.schedule:
            raise fault("says nothing to scale on", f"write {self.example}")
        if self.every < SECOND:
            raise fault("is less than a second", "write 1s or more", ("every",))
        if self.forecast is not None and not self.targets():
            raise fault("has no metric to learn from", f"write {self.example}", ("forecast",))
        return self

    def targets(self) -> tuple[ScaleTarget, ...]:
        if self.on is not None and self.target is not None:
            return (read_target(self.on, self.target),)
        return tuple(read_target(part.on, part.target) for part in self.metrics)

    def scale(self) -> Scale:
        forecast = self.forecast
        return Scale(
            metrics=self.targets(),
            every=self.every,
            up=self.up.rules(UP, self.tolerance),
            down=self.down.rules(DOWN, self.tolerance),
            warmup=self.warmup,
            follow=Follow(self.follow),
            schedule=tuple(part.bounds() for part in self.schedule),
            forecast=None
            if forecast is None
            else Forecast(
                season=forecast.season, slot=forecast.slot_length(), ahead=forecast.ahead
            ),
            survive=None if self.survive is None else Survive(self.survive),
            idle=self.idle,
            hold=Hold(time=self.hold.time, connections_max=self.hold.connections),
        )
