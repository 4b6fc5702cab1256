"""Is the new version worse than the old one? Compared side by side, over the same time.

*Errors.* The lower bound of the difference of two proportions by Newcombe's hybrid of Wilson
score intervals (R. G. Newcombe, "Interval estimation for the difference between independent
proportions", Statistics in Medicine 17, 1998, method 10). The new version is worse when even that
bound lies above the margin of the spec.

*Latency.* Confidence bounds of a quantile by order statistics (W. J. Conover, Practical
Nonparametric Statistics, 3rd ed., section 3.2, normal approximation of the binomial ranks), which
take nothing for granted about the distribution: worse when the lower bound of the new version's
median or 95th percentile lies above the upper bound of the old one's, and the margin, and
`SLOWER_MIN` beyond it. Histograms are merged over regions first; a bound that falls into a bucket
is taken at that bucket's edge, against the verdict.

The comparison is made again with every reading, for as long as the rollout takes, and a test that
is made often finds something too often. So it is made at z = 3.29 (one-sided 0.0005), beyond a
margin, and after a minimum of requests; tests/decide/test_rollout_verdict.py measures what is left.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, sqrt

from seakeep.model.decision import Number
from seakeep.model.histogram import BOUNDS, Counts, merged, percentile
from seakeep.model.observation import RevisionReading
from seakeep.model.rolling import Comparison
from seakeep.model.time import MILLISECOND, Duration

Z = 3.29
QUANTILES = (0.5, 0.95)
SLOWER_MIN: Duration = 5 * MILLISECOND
"""Times come in whole milliseconds, and nobody minds less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one version answered, in all regions."""

    requests: int = 0
    failures: int = 0
    latency: Counts = ()

    @property
    def error_rate(self) -> float:
        return self.failures / self.requests if self.requests else 0.0


NOTHING = Side()


def side_of(
    readings: Iterable[RevisionReading], before: Iterable[RevisionReading], revision: str
) -> Side:
    """The sum over regions since the readings `before`."""
    earlier = {(one.region, one.revision): one for one in before}
    requests = failures = 0
    latencies: list[Counts] = []
    for one in readings:
        if one.revision != revision:
            continue
        base = earlier.get((one.region, one.revision))
        if base is None or base.requests > one.requests:  # counted anew
            requests, failures = requests + one.requests, failures + one.failures
            latencies.append(one.latency)
            continue
        requests += one.requests - base.requests
        failures += one.failures - base.failures
        latencies.append(
            tuple(max(0, n - m) for n, m in zip(one.latency, base.latency, strict=False))
        )
    return Side(requests=requests, failures=failures, latency=merged(latencies))


def worse(old: Side, new: Side, bounds: Comparison) -> tuple[str, dict[str, Number]] | None:
    """(`errors` or `latency`, the figures) when the new version is worse; else None."""
    if not bounds.requests or min(old.requests, new.requests) < bounds.requests:
        return None
    if difference_low(old, new) > bounds.errors:
        return "errors", {
            "new_percent": round(new.error_rate * 100, 2),
            "old_percent": round(old.error_rate * 100, 2),
            "requests": new.requests,
        }
    if min(sum(old.latency), sum(new.latency)) < bounds.requests:
        return None
    for quantile in QUANTILES:
        low, high = quantile_low(new.latency, quantile), quantile_high(old.latency, quantile)
        if low > high * (1 + bounds.slower) + SLOWER_MIN:
            return "latency", {
                "quantile_percent": round(quantile * 100),
                "new_ns": round(percentile(new.latency, quantile) or 0),
                "old_ns": round(percentile(old.latency, quantile) or 0),
                "requests": new.requests,
            }
    return None


def difference_low(old: Side, new: Side) -> float:
    """Lower bound of how much higher the new version's error rate is."""
    p_old, p_new = old.error_rate, new.error_rate
    high_old = wilson(old.failures, old.requests)[1]
    low_new = wilson(new.failures, new.requests)[0]
    return p_new - p_old - sqrt((p_new - low_new) ** 2 + (high_old - p_old) ** 2)


def wilson(successes: int, trials: int, z: float = Z) -> tuple[float, float]:
    """Wilson's score interval of a proportion; `trials` above zero."""
    p = successes / trials
    centre = p + z * z / (2 * trials)
    spread = z * sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def quantile_low(counts: Counts, quantile: float) -> Duration:
    """Lower bound, ns: the lower edge of the bucket of its lowest rank."""
    total = sum(counts)
    rank = floor(total * quantile - Z * sqrt(total * quantile * (1 - quantile)))
    return _edge(counts, rank, low=True) if rank >= 1 else 0


def quantile_high(counts: Counts, quantile: float) -> Duration:
    """Upper bound, ns: the upper edge of the bucket of its highest rank."""
    total = sum(counts)
    rank = ceil(total * quantile + Z * sqrt(total * quantile * (1 - quantile))) + 1
    return _edge(counts, min(rank, total), low=False) if rank <= total else BOUNDS[-1]


def _edge(counts: Counts, rank: int, *, low: bool) -> Duration:
    below = 0
    for index, count in enumerate(counts):
        below += count
        if below >= rank:
            return (BOUNDS[index - 1] if index else 0) if low else BOUNDS[index]
    return BOUNDS[-1]
