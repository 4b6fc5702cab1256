"""What the twin is to know of a service's instances, as the file says it: one `work`."""

from typing import Annotated

from pydantic import Field

from seakeep.spec.distributions import WITH_SPLIT_CALLS, TimeDistribution
from seakeep.spec.fields import Cpu, Fraction, Memory, Part, PositiveSpan


class WarmupPart(Part):
    """A new process is slow at first."""

    example = "{factor: 3, for: 30s}"

    factor: Annotated[float, Field(ge=1, le=1e6)] = Field(
        description="How many times slower it is when it starts: `3`."
    )
    lasts: PositiveSpan = Field(
        alias="for", description="How long it takes, falling evenly, until it is up to speed."
    )


class PausesPart(Part):
    """Stops of a whole instance, such as those of a garbage collector."""

    model_config = WITH_SPLIT_CALLS

    example = "{every: 10s, time: 50ms}"

    every: TimeDistribution = Field(
        description="From the end of one to the beginning of the next: `exponential(mean=10s)`."
    )
    time: TimeDistribution = Field(description="How long one lasts: `50ms`.")


class WorkPart(Part):
    """How the twin (`seakeep simulate`) models an instance. Nothing here changes what `seakeep up`
    runs, except that `concurrency` tells scaling what a queue is."""

    model_config = WITH_SPLIT_CALLS

    example = "{time: 12ms, concurrency: 4}"

    time: TimeDistribution = Field(
        description="Time that one request takes, its calls not included: "
        "`lognormal(p50=12ms, p99=60ms)`, `exponential(mean=10ms)`, `erlang(mean=10ms, k=3)`, "
        "`gamma(mean=10ms, cv=2)`, `pareto(min=5ms, alpha=2.5)`; a bare duration is constant; "
        "`hdr(results.hlog)` is what `seakeep load --hdr results.hlog` measured (nanoseconds)."
    )
    concurrency: int = Field(
        default=1,
        ge=1,
        le=1_000_000,
        description="Requests worked on at once. One that waits for its calls counts. Default 1.",
    )
    queue: int | None = Field(
        default=None,
        ge=0,
        le=10**9,
        description="Requests that may wait; what is beyond is refused with 503. Default: no "
        "bound.",
    )
    queue_timeout: TimeDistribution | None = Field(
        default=None,
        description="How long a request may wait; then it is refused with 503: `200ms`, "
        "`exponential(mean=50ms)`. Default: no bound.",
    )
    cancel: bool = Field(
        default=False,
        description="Whether a request that nobody waits for any more is given up. Default false: "
        "the instance does not notice, and works for nothing.",
    )
    errors: Fraction = Field(
        default=0.0,
        description="Requests that are answered with 500: `0.1%`; balancers send them again where "
        "`retries` has `on: 5xx`. Default none.",
    )
    cpu: Cpu | None = Field(
        default=None,
        description="Cores that each request takes while it is worked on: `0.5` or `500m`. When a "
        "node's requests want more than it has, all of them slow down. Default: CPU is no bound.",
    )
    start: TimeDistribution | None = Field(
        default=None,
        description="From the start of the process until it is ready: the cold start. Default 1s.",
    )
    warmup: WarmupPart | None = Field(
        default=None, description="How slow a new process is. Default: none the slower."
    )
    pauses: PausesPart | None = Field(
        default=None, description="Stops, as for garbage collection. Default: none."
    )
    leak: Memory | None = Field(
        default=None,
        description="Memory that every request leaves behind: `2kB`. At `resources.memory` the "
        "process is killed. Default: none.",
    )
    response: Memory | None = Field(
        default=None,
        description="Size of an answer, for links with a bandwidth: `30kB`. Default: nothing.",
    )
