"""How requests find an instance, as the file says it: routes, balancing, retries."""

import re
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from seakeep.spec.dns import SteerPart
from seakeep.spec.fields import (
    Fraction,
    Header,
    Part,
    PositiveSpan,
    Span,
    UrlPath,
    fault,
)
from seakeep.spec.limits import Limits, PriorityName

Port: TypeAlias = Annotated[int, Field(ge=1, le=65535)]

_HOST = re.compile(
    r"\*|(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)


def _host(value: str) -> str:
    lower = value.lower()
    if len(lower) > 253 or not _HOST.fullmatch(lower):
        raise fault(
            f"'{value[:60]}' is not a host", "write shop.example, *.shop.example or * (quoted)"
        )
    return lower


def _header_value(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise fault("holds characters that a header may not", "use printable ASCII")
    return value


_header_schema = WithJsonSchema({"type": ["string", "number", "boolean", "null"]})


class RoutePart(Part):
    """What the edge sends to the service. The longest path wins, then the most headers."""

    example = "{path: /}"

    host: Annotated[str, AfterValidator(_host)] = Field(
        default="*", description="`shop.example`, `*.shop.example`. Default `*`: any."
    )
    path: UrlPath = Field(
        default="/", description="Prefix, matched on whole path segments. Default `/`: all."
    )
    headers: dict[Header, Annotated[str, AfterValidator(_header_value), _header_schema]] = Field(
        default={}, description="Headers whose values must match exactly: `{x-canary: 1}`."
    )
    port: Port | None = Field(
        default=None, description="The edge's port for a tcp service; tcp routes have nothing else."
    )
    limit: Limits = Field(
        default=[], description="Bounds on requests by this route, beside those of the service."
    )
    priority: PriorityName = Field(
        default="normal",
        description="How long its requests go on being served while the service is saturated (see "
        "`shed`): `sheddable` ones are refused first, `critical` ones never. Default normal.",
    )
    steer: SteerPart | None = Field(
        default=None,
        description="How DNS chooses a region for the host: `latency` (default), `geo`, "
        "`{weighted: {us-east: 70%, eu-west: 30%}}`, `{failover: [us-east, eu-west]}`.",
    )


BalanceName: TypeAlias = Literal[
    "round_robin", "least_request", "random", "ring_hash", "maglev", "load_aware"
]


class BalancePart(Part):
    """How balancers pick an instance. A bare name is the policy."""

    example = "least_request or {policy: ring_hash, header: x-user}"

    short_schema: ClassVar[dict[str, Any] | None] = {
        "enum": ["round_robin", "least_request", "random", "ring_hash", "maglev", "load_aware"]
    }

    policy: BalanceName = Field(
        default="least_request",
        description="`ring_hash` and `maglev` keep a client at one instance, by `header` or by "
        "its address; `load_aware` weighs by the CPU left. Default least_request.",
    )
    header: Header | None = Field(default=None, description="Key of ring_hash and maglev.")
    prefer: Literal["zone", "region"] = Field(
        default="region", description="Where calls stay while they can. Default region."
    )
    slow_start: Span = Field(
        default=0, description="A new instance's share grows over this time. Default 0: at once."
    )
    panic: Fraction = Field(
        default=0.5,
        description="Below this healthy share health is ignored and all instances serve, as "
        "in Envoy. Default 50%; 0% never.",
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        return {"policy": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _hashes(self) -> Self:
        if self.header is not None and self.policy not in ("ring_hash", "maglev"):
            raise fault(
                f"header is not used by {self.policy}",
                "write policy: ring_hash or maglev, or remove header",
                ("header",),
            )
        return self


def _method(value: str) -> str:
    if not re.fullmatch(r"[A-Z]{1,20}", value):
        raise fault(f"'{value[:20]}' is not a method", f"write {value.upper()[:20]}")
    return value


class RetriesPart(Part):
    """Retries of calls that failed before an answer began. A bare number sets the attempts."""

    example = "2 or {attempts: 2, budget: 20%}"

    short_schema: ClassVar[dict[str, Any] | None] = {"type": "integer", "minimum": 0, "maximum": 10}

    attempts: int = Field(
        default=2, ge=0, le=10, description="Retries after the first try. Default 2; 0 for none."
    )
    budget: Fraction = Field(
        default=0.2,
        description="Retries in flight at most, of requests in flight; ten are always allowed. "
        "`100%`: no bound. Default 20%.",
    )
    per_try: PositiveSpan | None = Field(
        default=None, description="Time for one try. Default: half of the service's `timeout`."
    )
    hedge: bool = Field(
        default=False,
        description="Whether a try that has taken `per_try` goes on while the next is sent beside "
        "it; the first answer counts. Default false: it is given up.",
    )
    on: Literal["gateway", "5xx"] = Field(
        default="gateway",
        description="What is sent again. `gateway`: what got no answer, and 502, 503 and 504. "
        "`5xx`: 500 too, which the next instance may answer as well, where it is a bug. Default "
        "gateway.",
    )
    methods: list[Annotated[str, AfterValidator(_method)]] = Field(
        default=["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"],
        description="Methods that may be sent twice. Default: the idempotent ones of RFC 9110.",
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return {"attempts": value}
        return value

    @model_validator(mode="after")
    def _hedges(self) -> Self:
        if self.hedge and self.per_try is None:
            raise fault("nothing says when the next try is sent", "add per_try: 100ms", ("hedge",))
        if self.hedge and self.attempts == 0:
            raise fault("there is no next try to send", "write attempts: 1", ("hedge",))
        return self


class BreakerPart(Part):
    """Bounds on what one balancer has under way to the service; what is beyond is answered 503.
    There is a balancer in every region, and with `balance.prefer: zone` one for each zone."""

    example = "{requests: 100, pending: 50}"

    requests: int | None = Field(
        default=None,
        ge=1,
        le=10**9,
        description="Requests at once (of a tcp service, connections): `100`. Default: no bound.",
    )
    pending: int | None = Field(
        default=None,
        ge=1,
        le=10**9,
        description="Requests at once that wait for a connection to be made: `50`. Default: no "
        "bound.",
    )
