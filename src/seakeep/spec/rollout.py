"""How a changed service takes over from the old one, as the file says it."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from seakeep.model.rolling import CanaryStep, Comparison, OnFailure, Rollout, Strategy
from seakeep.model.time import SECOND
from seakeep.model.units import UnitError, format_percent, parse_percent
from seakeep.spec.fields import Fraction, Part, PositiveSpan, Span, fault


class CanaryPart(Part):
    """A step of a canary: a share of the requests, and for how long."""

    example = "{weight: 5%, for: 1m}"

    weight: Fraction = Field(
        description="The new version's share of the requests, above 0% and below 100%. It gets as "
        "many instances of the wanted as that needs, at least one."
    )
    lasts: PositiveSpan = Field(
        alias="for", description="How long, once its instances count as ready."
    )

    @model_validator(mode="after")
    def _partly(self) -> Self:
        if not 0 < self.weight < 1:
            raise fault(
                f"{format_percent(self.weight)} is no part of the requests",
                "write 5%; all of them follow after the last step",
                ("weight",),
            )
        return self


def _slower(value: object) -> object:
    """Beyond 100%, unlike other shares: twice as slow is 100% slower."""
    try:
        return parse_percent(value) if isinstance(value, str) else value
    except UnitError as error:
        raise fault(str(error), error.hint) from None


class WorsePart(Part):
    """When the new version counts as worse than the old one. Both are watched side by side, from
    the first new instance on."""

    example = "{errors: 1%, latency: 50%}"

    requests: int = Field(
        default=100,
        ge=0,
        le=10**9,
        description="Requests that either version must have had before anything is said. 0: they "
        "are not compared. Default 100.",
    )
    errors: Fraction = Field(
        default=0.01,
        description="By how many percent of all requests its failures (5xx, timeouts) may be more. "
        "Default 1%.",
    )
    latency: Annotated[
        float,
        BeforeValidator(_slower),
        WithJsonSchema({"type": "string", "examples": ["50%", "200%"]}),
    ] = Field(
        default=0.5,
        ge=0,
        le=100,
        description="By how much slower its median and its 95th percentile may be. Default 50%.",
    )


class RolloutPart(Part):
    """How a changed command, environment or size takes over."""

    example = "{surge: 1, unavailable: 0}"

    strategy: Literal["rolling", "blue-green"] = Field(
        default="rolling",
        description="`rolling`: instance by instance. `blue-green`: a whole new set beside the old "
        "one, which takes all requests at once when all of it counts as ready. Default rolling.",
    )
    surge: int = Field(
        default=1, ge=0, le=1000, description="Replicas above the wanted. Default 1."
    )
    unavailable: int = Field(default=0, ge=0, le=1000, description="Replicas below it. Default 0.")
    canary: list[CanaryPart] = Field(
        default=[],
        description="Steps before a rolling change goes on with the rest: `[{weight: 5%, for: "
        "1m}, {weight: 25%, for: 2m}]`. Default: none.",
    )
    min_ready: Span = Field(
        default=5 * SECOND,
        description="How long a new instance must be ready without a break until it counts. "
        "Default 5s.",
    )
    deadline: PositiveSpan = Field(
        default=60 * SECOND,
        description="When new instances are not ready and none has got so for this long, the new "
        "version is bad. Default 60s.",
    )
    keep: Span = Field(
        default=30 * SECOND,
        description="blue-green: how long the old set stays after the switch. Default 30s.",
    )
    on_failure: Literal["stop", "rollback"] = Field(
        default="stop",
        description="When the new version is bad. `stop`: what serves stays, and nothing new "
        "starts. `rollback`: back to the old version. Default stop.",
    )
    worse: WorsePart = Field(
        default=WorsePart(), description="When the new version counts as worse than the old one."
    )

    @model_validator(mode="after")
    def _movable(self) -> Self:
        if self.surge == 0 and self.unavailable == 0:
            raise fault("surge and unavailable are both 0: nothing could change", "write surge: 1")
        if self.strategy == "blue-green" and self.canary:
            raise fault(
                "blue-green switches at once and has no canary",
                "remove the steps, or write strategy: rolling",
                ("canary",),
            )
        if self.strategy == "rolling" and "keep" in self.model_fields_set:
            raise fault(
                "a rolling change keeps no old set",
                "remove it, or write strategy: blue-green",
                ("keep",),
            )
        if self.min_ready >= self.deadline:
            raise fault(
                "min_ready is not below deadline: no version could pass",
                "raise deadline, or lower min_ready",
                ("min_ready",),
            )
        for index, (before, step) in enumerate(zip(self.canary, self.canary[1:], strict=False), 1):
            if step.weight <= before.weight:
                raise fault(
                    f"{format_percent(step.weight)} is not more than the step before has",
                    "let the weights rise from step to step",
                    ("canary", index, "weight"),
                )
        return self

    def rollout(self) -> Rollout:
        return Rollout(
            surge=self.surge,
            unavailable=self.unavailable,
            strategy=Strategy(self.strategy),
            canary=tuple(CanaryStep(weight=one.weight, lasts=one.lasts) for one in self.canary),
            min_ready=self.min_ready,
            deadline=self.deadline,
            keep=self.keep,
            on_failure=OnFailure(self.on_failure),
            compare=Comparison(
                requests=self.worse.requests, errors=self.worse.errors, slower=self.worse.latency
            ),
        )


def knows_weights(policy: str, part: Any) -> None:
    """A canary needs a policy of balancing that knows weights. Raises what `fault` makes."""
    if part.canary and policy == "random":
        raise fault(
            "balance: random knows no weights, and a canary needs them",
            "balance by least_request or round_robin",
            ("rollout", "canary"),
        )
