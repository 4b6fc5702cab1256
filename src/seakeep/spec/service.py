"""What the file may say of a service: the pydantic models of one entry of `services`.

The JSON Schema, and with it the completion in editors and the reference of the docs, is made
from the descriptions here.
"""

import re
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    WithJsonSchema,
    model_validator,
)

from seakeep.model.time import SECOND, Duration
from seakeep.spec.fields import (
    Command,
    Cpu,
    Fraction,
    Memory,
    Name,
    Part,
    PositiveSpan,
    Share,
    Span,
    SpanOrNone,
    Text,
    UrlPath,
    fault,
)
from seakeep.spec.limits import Limits, ShedPart
from seakeep.spec.rollout import RolloutPart, knows_weights
from seakeep.spec.routing import BalancePart, BreakerPart, Port, RetriesPart, RoutePart
from seakeep.spec.scale import ScalePart
from seakeep.spec.work import WorkPart


class ResourcesPart(Part):
    """What one instance asks of its node."""

    example = "{cpu: 250m, memory: 128MiB}"

    cpu: Cpu = Field(
        default=100, description="Cores (`0.5`) or thousandths (`250m`). Default 100m."
    )
    memory: Memory = Field(default=128 * 2**20, description="`128MiB`, `1GB`. Default 128MiB.")


class ReplicasPart(Part):
    """How many instances there are. A bare number sets both bounds."""

    example = "3 or {min: 2, max: 10}"

    short_schema: ClassVar[dict[str, Any] | None] = {
        "type": "integer",
        "minimum": 0,
        "maximum": 10_000,
    }

    min: int = Field(ge=0, le=10_000, description="Never fewer, by Seakeep's own doing.")
    max: int = Field(ge=0, le=10_000, description="Never more, beyond a rollout's surge.")

    @classmethod
    def expand(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return {"min": value, "max": value}
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            message = f"min {self.min} is more than max {self.max}"
            raise fault(message, "swap them, or raise max", ("min",))
        return self


def _region_shares(value: Any) -> Any:
    if value == "even":
        return {}
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return dict.fromkeys(value, "even")
    return value


class SpreadPart(Part):
    """Where replicas go."""

    example = "{regions: {us-east: 60%, eu-west: 40%}}"

    regions: Annotated[
        dict[Name, Share],
        BeforeValidator(_region_shares),
        WithJsonSchema(
            {
                "anyOf": [
                    {"const": "even"},
                    {"type": "array", "items": {"type": "string"}, "minItems": 1},
                    {
                        "type": "object",
                        "additionalProperties": {
                            "type": "string",
                            "pattern": r"^even$|^[0-9]+(\.[0-9]+)?\s?%$",
                        },
                    },
                ]
            }
        ),
    ] = Field(
        default={},
        description="Share by region: `{us-east: 60%, eu-west: 40%}`, adding up to 100%. "
        "`even` as a share is an equal part of what the others leave; 0% takes overflow only; "
        "a region that is not named gets nothing. A list spreads evenly over its regions. "
        "Default `even`: all regions alike.",
    )
    standby: dict[Name, Fraction] = Field(
        default={},
        description="Active-passive: what stands by, warm, in regions that are not among "
        "`regions`, as a share of the wanted number, rounded up: `{eu-west: 20%}`. It gets no "
        "calls while an active region can serve; when none can it gets all of the wanted number, "
        "and the calls. `0%` stands by cold. Default: none; all regions are active.",
    )
    failback: Span = Field(
        default=30 * SECOND,
        description="After such a takeover the active regions get the calls back when they have "
        "had all that is wanted ready for this long. Default 30s.",
    )
    zones: Literal["even", "any"] = Field(
        default="even",
        description="`even`: zones of a region differ by one replica at most. `any`: wherever "
        "there is room. Default even.",
    )
    node_anti_affinity: int = Field(
        default=100,
        ge=0,
        le=100,
        description="Weight of keeping replicas on different nodes: 0 packs, 100 spreads "
        "(Kubernetes preferredDuringScheduling). Default 100.",
    )


class ProbePart(Part):
    """One question about an instance's health: exactly one of http, tcp, exec and grpc."""

    example = "{http: /ready}"

    http: UrlPath | None = Field(
        default=None, description="Healthy when GET of this path answers 200-399."
    )
    tcp: Literal[True] | None = Field(
        default=None, description="Healthy when the port accepts a connection."
    )
    exec: Command | None = Field(
        default=None, description="Healthy when the command, run beside the instance, exits 0."
    )
    grpc: Text | None = Field(
        default=None, description="Healthy when grpc.health.v1 answers SERVING for this service."
    )
    every: PositiveSpan = Field(default=SECOND, description="Time between checks. Default 1s.")
    timeout: PositiveSpan | None = Field(
        default=None, description="A check that takes longer fails. Default: `every`, 1s at most."
    )
    failures: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Failures in a row that count as failed. Default 3; 30 for startup.",
    )
    successes: int = Field(
        default=1,
        ge=1,
        le=1_000_000,
        description="Successes in a row that count as passed. Default 1.",
    )
    delay: Span = Field(
        default=0, description="Wait after the start before the first check. Default 0."
    )

    @model_validator(mode="after")
    def _one_check(self) -> Self:
        kinds = ("http", "tcp", "exec", "grpc")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            what = " and ".join(given) if given else "nothing to check"
            raise fault(
                f"a probe has exactly one check, this has {what}",
                "write one of http: /ready, tcp: true, exec: [cmd], grpc: service",
                (given[1],) if given else (),
            )
        return self


class ProbesPart(Part):
    """With the meaning that Kubernetes gives them. A service without probes gets a TCP
    readiness probe."""

    example = "{readiness: {http: /ready}}"

    startup: ProbePart | None = Field(
        default=None, description="Until it passes the others wait; when it fails: restart."
    )
    readiness: ProbePart | None = Field(
        default=None, description="While it fails the instance gets no traffic."
    )
    liveness: ProbePart | None = Field(default=None, description="When it fails: restart.")


def _variable(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise fault(f"'{value[:60]}' is not a variable's name", "use letters, digits and _")
    if value in ("HOST", "PORT") or value.startswith("SEAKEEP_"):
        raise fault(f"{value} is set by Seakeep", "choose another name")
    return value


Variable: TypeAlias = Annotated[str, AfterValidator(_variable), WithJsonSchema({"type": "string"})]


class CallPart(Part):
    """How a service calls another. A bare number is how often per request. That it calls is known
    to all engines; how often, and whether in parallel, to the twin alone."""

    example = "1 or {per_request: 3, parallel: true}"

    short_schema: ClassVar[dict[str, Any] | None] = {
        "type": "number",
        "minimum": 0,
        "maximum": 1_000_000,
    }

    per_request: Annotated[float, Field(ge=0, le=1_000_000)] = Field(
        default=1.0,
        description="On average: `0.1` is one call in ten requests, `2.5` two calls or three. "
        "Default 1.",
    )
    parallel: bool = Field(
        default=False,
        description="Sent together with the other parallel calls, before those that wait for one "
        "another. Default false.",
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {"per_request": value}
        return value


class ServicePart(Part):
    """One service: a program that runs as several instances."""

    example = "{run: python app.py}"

    run: Command | None = Field(
        default=None,
        description="The command, run without a shell in the spec's folder: text or a list. "
        "`${PORT}` and `${HOST}`, or any variable of the instance, may stand in it; the "
        "instance must listen at HOST:PORT. A service without it needs `work`, and is there for "
        "`seakeep simulate` alone: `seakeep up` refuses it.",
    )
    image: Text | None = Field(default=None, description="Container image, for Kubernetes.")
    port: Port = Field(
        default=8080, description="The port that an instance listens at. Default 8080."
    )
    protocol: Literal["http", "tcp"] = Field(
        default="http",
        description="`tcp`: the edge passes connections on as they are. Default http.",
    )
    env: dict[
        Variable, Annotated[Text, WithJsonSchema({"type": ["string", "number", "boolean", "null"]})]
    ] = Field(
        default={},
        description="Variables of the instance, beside HOST, PORT, SEAKEEP_SYSTEM, "
        "SEAKEEP_SERVICE, SEAKEEP_REGION, SEAKEEP_ZONE, SEAKEEP_INSTANCE and a <NAME>_URL for "
        "each service that it calls. Values are taken as they are written.",
    )
    resources: ResourcesPart = Field(
        default=ResourcesPart(),
        description="What one instance asks of its node. Default 100m CPU, 128MiB.",
    )
    replicas: ReplicasPart = Field(
        default=ReplicasPart(min=1, max=1),
        description="How many instances: `3` or `{min: 2, max: 10}`. Default 1.",
    )
    spread: SpreadPart = Field(
        default=SpreadPart(),
        description="Where replicas go. Default: evenly over regions and zones.",
    )
    scale: ScalePart | None = Field(
        default=None,
        description="How the number of instances follows demand: `{on: concurrency, target: 8}`, "
        "a list of such, or the long form. Default: always `replicas.min`.",
    )
    probes: ProbesPart = Field(
        default=ProbesPart(), description="Health checks. Default: a TCP readiness probe."
    )
    routes: list[RoutePart] = Field(
        default=[], description="What the edge sends here. Default: nothing; only services call it."
    )
    balance: BalancePart = Field(
        default=BalancePart(), description="How balancers pick an instance. Default least_request."
    )
    timeout: SpanOrNone = Field(
        default=15 * SECOND,
        description="Of a whole request, retries included. `none`: however long it takes. Default "
        "15s.",
    )
    retries: RetriesPart = Field(
        default=RetriesPart(), description="Default: 2, within a 20% budget."
    )
    limit: Limits = Field(
        default=[],
        description="Bounds on requests, such as `{rate: 500/s, per: client}`, or a list of them. "
        "They hold where requests come in: at the edge, or at the inner balancer for a service "
        "that has no routes. Default: none.",
    )
    shed: ShedPart | None = Field(
        default=None,
        description="What to refuse while it is saturated. Default: nothing.",
    )
    breaker: BreakerPart = Field(
        default=BreakerPart(),
        description="Circuit breakers: how much may be under way to it, such as "
        "`{requests: 100}`. Default: no bound.",
    )
    calls: dict[Name, CallPart] = Field(
        default={},
        description="Services that it calls, and how often per request: `{catalog: 1}`. Each "
        "gives the instance a variable: CATALOG_URL.",
    )
    work: WorkPart | None = Field(
        default=None, description="How the twin models an instance, as `{time: 12ms}`."
    )
    rollout: RolloutPart = Field(
        default=RolloutPart(),
        description="How a change takes over. Default: rolling, one above, none below.",
    )
    drain: Span = Field(
        default=2 * SECOND,
        description="Between leaving rotation and SIGTERM, for requests to finish. Default 2s.",
    )
    stop_grace: Span = Field(
        default=10 * SECOND, description="From SIGTERM to SIGKILL. Default 10s."
    )
    proxy_protocol: bool = Field(
        default=False,
        description="tcp only: hand over the client's address by PROXY protocol v2. Default false.",
    )

    @model_validator(mode="after")
    def _can_be_rolled_out(self) -> Self:
        knows_weights(self.balance.policy, self.rollout)
        return self


def probe_timeout(probe: ProbePart) -> Duration:
    """The declared timeout, or the period, 1s at most."""
    return probe.timeout if probe.timeout is not None else min(probe.every, SECOND)
