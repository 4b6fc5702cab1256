"""The options of `seakeep load`: what they are called, and what they come to."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from seakeep.cli import output
from seakeep.cli.project import parsed
from seakeep.load.resolve import Overstay
from seakeep.model import units
from seakeep.model.time import SECOND, Duration

DURATION_DEFAULT: Duration = 30 * SECOND
RATE_MAX_PER_S = 1e6

DurationText = Annotated[
    str | None, typer.Option(help="How long, as 30s or 5m; 30s, or a replay to its end.")
]
RateText = Annotated[str | None, typer.Option(help="Requests of each source (or URL), as 200/s.")]
Sources = Annotated[list[str] | None, typer.Option(help="Only this traffic source; repeatable.")]
Urls = Annotated[
    list[str] | None, typer.Option(help="Load this URL, without a running system; repeatable.")
]
Replay = Annotated[
    Path | None,
    typer.Option(help="Replay an access log: Apache, NGINX or JSON lines; may be gzip."),
]
SpeedText = Annotated[str, typer.Option(help="Of the replay: 2x is twice as fast.")]
MethodsText = Annotated[
    str, typer.Option(help="Methods to replay, without bodies; others are counted.")
]
FactorText = Annotated[str, typer.Option(help="Multiply every rate by this.")]
Seed = Annotated[
    int | None, typer.Option(help="Of the arrivals; the same seed, the same arrivals.")
]
TimeoutText = Annotated[str, typer.Option(help="Of one request.")]
JsonPath = Annotated[
    str | None, typer.Option("--json", help="Write the JSON document here; - is stdout.")
]
HdrPath = Annotated[
    Path | None, typer.Option(help="Write an HdrHistogram log, one line per second and source.")
]
FailAbove = Annotated[
    str | None, typer.Option(help="Exit with 1 when more of the requests failed, as 0.1%.")
]
AllowRemote = Annotated[
    bool, typer.Option("--allow-remote", help="Allow targets beyond this machine.")
]
NoDns = Annotated[bool, typer.Option("--no-dns", help="Go to the nearest edge, whatever DNS says.")]
OverstayText = Annotated[
    str, typer.Option(help="Share of clients that keep DNS answers too long, as real ones do.")
]
OverstayFactor = Annotated[str, typer.Option(help="How many TTLs those keep them.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The options, parsed."""

    spec: Path
    duration: Duration | None
    """None: to the end of the log."""
    rate_per_s: float | None
    sources: tuple[str, ...]
    urls: tuple[str, ...]
    replay: Path | None
    speed: float
    factor: float
    methods: tuple[str, ...]
    seed: int
    timeout: Duration
    fail_above: float | None
    """A fraction of the requests."""
    allow_remote: bool
    no_dns: bool
    overstay: Overstay


def duration_of(text: str | None, replay: Path | None) -> Duration | None:
    if text is not None:
        return positive(text, "--duration")
    return DURATION_DEFAULT if replay is None else None


def rate_of(text: str | None) -> float | None:
    """Requests per second."""
    return None if text is None else parsed(units.parse_rate, text, "--rate")


def share_of(text: str | None) -> float | None:
    share = None if text is None else parsed(units.parse_percent, text, "--fail-above")
    if share is not None and share > 1:
        output.fail(f"--fail-above: {text} is more than all requests", hint="write 0.1%")
    return share


def overstay_of(share: str, factor: str) -> Overstay:
    fraction = parsed(units.parse_percent, share, "--overstay")
    if fraction > 1:
        output.fail(f"--overstay: {share} is more than all clients", hint="write 5%")
    times = factor_of(factor, "--overstay-factor")
    if times < 1:
        output.fail(f"--overstay-factor: {factor} is less than the TTL", hint="write 3x")
    return Overstay(share=fraction, factor=times)


def seed_of(seed: int | None) -> int:
    """The seed that was given, or one that is easy to repeat."""
    return secrets.randbelow(1_000_000) if seed is None else seed


def positive(text: str, option: str) -> Duration:
    amount = parsed(units.parse_duration, text, option)
    if amount <= 0:
        output.fail(f"{option}: {text} is not above zero", hint="write 30s")
    return amount


def factor_of(text: str, option: str) -> float:
    """`2x`, `0.5x` or plain `2`."""
    try:
        factor = float(text.strip().removesuffix("x"))
    except ValueError:
        factor = 0.0
    if not 1e-6 <= factor <= 1e6:
        output.fail(f"{option}: {text!r} is not a factor", hint="write 2x or 0.5x")
    return factor


def methods_of(text: str) -> tuple[str, ...]:
    methods = tuple(part.strip().upper() for part in text.split(",") if part.strip())
    odd = [method for method in methods if not method.isalpha() or method == "CONNECT"]
    if odd or not methods:
        output.fail(
            f"--methods: {text!r} is not a list of methods that can be replayed",
            hint="write GET,HEAD,POST",
        )
    return methods


def refuse_nonsense(wish: Wish) -> None:
    """Options that would silently do nothing together."""
    if wish.replay is not None and (wish.rate_per_s is not None or wish.factor != 1):
        output.fail(
            "a replay has its own timing: --rate and --factor do not go with --replay",
            hint="make it faster or slower with --speed 2x",
        )
    if wish.replay is None and wish.speed != 1:
        output.fail("--speed goes with --replay", hint="use --factor to raise rates")
    if wish.urls and wish.sources:
        output.fail(
            "--source chooses from the spec, --url does without it", hint="give one of them"
        )
    if wish.rate_per_s is not None and not 0 < wish.rate_per_s * wish.factor <= RATE_MAX_PER_S:
        output.fail("--rate is zero or beyond any machine", hint="write 200/s")
