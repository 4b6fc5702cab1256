"""Faults and when they strike, as the file says it: one entry of `scenarios`."""

import re
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from seakeep.spec.fields import Fraction, Name, Part, PositiveSpan, Span, Text, fault

PAIR = re.compile(r"([a-z][a-z0-9-]*)([~>])([a-z][a-z0-9-]*)")


def _link_pair(value: str) -> str:
    match = PAIR.fullmatch(value)
    if match is None or match[2] != "~" or match[1] == match[3]:
        raise fault(f"'{value[:80]}' is not a pair of regions", "write us-east~eu-west")
    return f"{match[1]}~{match[3]}"


def _fault_pair(value: str) -> str:
    match = PAIR.fullmatch(value)
    if match is None or match[1] == match[3]:
        raise fault(
            f"'{value[:80]}' is not a pair of regions",
            "write us-east~eu-west for both ways, us-east>eu-west for one",
        )
    one, way, other = match.groups()
    return f"{min(one, other)}~{max(one, other)}" if way == "~" else f"{one}>{other}"


_PAIR_PATTERN = r"^[a-z][a-z0-9-]*~[a-z][a-z0-9-]*$"
_FAULT_PAIR_PATTERN = r"^[a-z][a-z0-9-]*[~>][a-z][a-z0-9-]*$"
LinkPair: TypeAlias = Annotated[
    str,
    AfterValidator(_link_pair),
    WithJsonSchema({"type": "string", "pattern": _PAIR_PATTERN}),
]
FaultPair: TypeAlias = Annotated[
    str,
    AfterValidator(_fault_pair),
    WithJsonSchema(
        {"type": "string", "pattern": _FAULT_PAIR_PATTERN, "examples": ["us-east~eu-west"]}
    ),
]


class LosePart(Part):
    """The place that goes dark: one of region, zone and node."""

    example = "{zone: us-east/a}"

    region: Text | None = Field(default=None, description="`us-east`.")
    zone: Text | None = Field(default=None, description="`us-east/a`.")
    node: Text | None = Field(default=None, description="`us-east/a/0`: the first node of zone a.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(v is not None for v in (self.region, self.zone, self.node)) != 1:
            raise fault("lose takes exactly one of region, zone and node", "{zone: us-east/a}")
        return self


class SlowPart(Part):
    """A service or instance that gets less CPU."""

    example = "{service: web, cpu: 20%}"

    service: Text = Field(description="A service, or one instance such as `web-3`.")
    cpu: Fraction = Field(description="The share of its CPU that is left: `20%`.")


class DelayPart(Part):
    """A link that takes longer."""

    example = "{link: us-east~eu-west, by: 200ms}"

    link: FaultPair = Field(description="`us-east~eu-west`, or `us-east>eu-west` for one way.")
    by: PositiveSpan = Field(description="Added to every message, one way: `200ms`.")


class SurgePart(Part):
    """A traffic source that sends more."""

    example = "{traffic: browsers, factor: 3}"

    traffic: Name = Field(description="The traffic source.")
    factor: Annotated[float, Field(gt=0, le=1e6)] = Field(description="Times its rate: `3`.")


class ErrorsPart(Part):
    """A service or instance that answers some of its requests with 500."""

    example = "{service: web, rate: 5%}"

    service: Text = Field(description="A service, or one instance such as `web-3`.")
    rate: Fraction = Field(description="The share of its requests: `5%`.")


class LossPart(Part):
    """A link that loses messages, which are sent again."""

    example = "{link: us-east~eu-west, rate: 2%}"

    link: FaultPair = Field(description="`us-east~eu-west`, or `us-east>eu-west` for one way.")
    rate: Fraction = Field(description="The share of messages: `2%`.")


class DeployPart(Part):
    """A new version of a service, rolled out as its `rollout` says, and what is wrong with it. A
    bare name is a version with nothing wrong."""

    example = "web or {service: web, errors: 5%, slower: 2}"

    short_schema: ClassVar[dict[str, Any] | None] = {"type": "string"}

    service: Name = Field(description="The service.")
    errors: Fraction = Field(
        default=0.0, description="Requests that it answers with 500: `5%`. Default none."
    )
    slower: Annotated[float, Field(gt=0, le=1e6)] = Field(
        default=1.0, description="Its work's time, times that of the old version: `2`. Default 1."
    )
    ready: bool = Field(default=True, description="Whether it ever becomes ready. Default true.")

    @classmethod
    def expand(cls, value: Any) -> Any:
        return {"service": value} if isinstance(value, str) else value


FAULT_KEYS = (
    *("lose", "kill", "freeze", "slow", "partition", "delay", "surge"),
    *("errors", "loss", "outage", "deploy", "control", "dns"),
)


class StepPart(Part):
    """One fault: when, what, for how long."""

    example = "{at: 30s, kill: web}"

    at: Span = Field(description="Since the start of the scenario, the warm-up not included.")
    lasts: PositiveSpan | None = Field(
        default=None, alias="for", description="How long. Default: to the end of the scenario."
    )
    lose: LosePart | None = Field(default=None, description="A region, zone or node goes dark.")
    kill: Text | None = Field(
        default=None,
        description="SIGKILL to an instance (`web-3`), or to one of a service (`web`).",
    )
    freeze: Text | None = Field(default=None, description="SIGSTOP, in the same way.")
    slow: SlowPart | None = Field(default=None, description="Less CPU.")
    partition: FaultPair | None = Field(
        default=None,
        description="No messages: `us-east~eu-west`, or `us-east>eu-west` for one way.",
    )
    delay: DelayPart | None = Field(default=None, description="A link takes longer.")
    surge: SurgePart | None = Field(default=None, description="More traffic.")
    errors: ErrorsPart | None = Field(
        default=None, description="Requests answered with 500. The twin's alone, as is the rest."
    )
    loss: LossPart | None = Field(default=None, description="A link loses messages.")
    outage: Name | None = Field(
        default=None,
        description="No instance of this service answers anywhere: `catalog`.",
    )
    deploy: DeployPart | None = Field(
        default=None, description="A new version, such as a bad one: `{service: web, errors: 5%}`."
    )
    control: Literal["down"] | None = Field(
        default=None, description="`down`: no controller decides anything; what runs goes on."
    )
    dns: Literal["stale"] | None = Field(
        default=None, description="`stale`: DNS servers go on answering what they last did."
    )

    @property
    def given(self) -> list[str]:
        return [key for key in FAULT_KEYS if getattr(self, key) is not None]

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.given) != 1:
            what = " and ".join(self.given) if self.given else "none"
            raise fault(
                f"a step has exactly one fault, this has {what}",
                f"write one of {', '.join(FAULT_KEYS)}; two faults are two steps",
                (self.given[1],) if self.given else (),
            )
        if self.kill is not None and self.lasts is not None:
            raise fault(
                "kill has no length", "remove for; to stop an instance for a time, freeze", ("for",)
            )
        if self.deploy is not None and self.lasts is not None:
            raise fault(
                "deploy has no length",
                "remove for: the new version stays until the rollout or a later deploy ends it",
                ("for",),
            )
        return self


class ExpectPart(Part):
    """What must hold."""

    example = "{recovery: 60s}"

    recovery: PositiveSpan | None = Field(
        default=None,
        description="Objectives are met again within this time of the last fault's end.",
    )
    budget: Fraction | None = Field(
        default=None,
        description="The share of every objective's error budget, over its whole window, that the "
        "scenario may use up: `10%`. Default: the objectives must hold over the scenario taken by "
        "itself.",
    )


class ScenarioPart(Part):
    """Faults, one after the other, and what the system must do."""

    example = "{duration: 10m, steps: [{at: 30s, kill: web}]}"

    duration: PositiveSpan = Field(description="How long it runs, without the warm-up.")
    warmup: Span = Field(
        default=0,
        description="Time with traffic before it, for queues and instances to come to rest; "
        "nothing in it counts. Default 0.",
    )
    steps: list[StepPart] = Field(default=[], description="The faults.")
    expect: ExpectPart = Field(
        default=ExpectPart(), description="What must hold, beside the objectives."
    )
