"""Random numbers of the twin against what is published, and their distributions against SciPy's.

Every test against chance has a fixed seed, and would fail for one seed in a million.
"""

import hashlib
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from numba import njit
from scipy import stats

from seakeep.engines.twin import numbers
from seakeep.model.work import Distribution, mean_of

SAMPLES = 200_000
FALSE_ALARM = 1e-6
POINTS = ((0.25, 1e6), (0.5, 2e6), (0.9, 2.5e6), (1.0, 9e6))


def distribution(name: str, **parameters: float) -> Distribution:
    return Distribution(name=name, parameters=tuple(parameters.items()))


@njit
def _draws(streams, s, table, row, out):
    for i in range(out.size):
        out[i] = numbers.draw(streams, s, table, row)


@njit
def _each(function, streams, s, out):
    for i in range(out.size):
        out[i] = function(streams, s)


def drawn(one: Distribution, seed: int = 1, samples: int = SAMPLES) -> np.ndarray:
    out = np.empty(samples)
    _draws(numbers.stream_table(seed, ["it"]), 0, numbers.table_of([one]), 0, out)
    return out


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        (
            [0xFFFFFFFF] * 4,
            [0xFFFFFFFF] * 2,
            [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        ),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_published_answers(counter, key, answer):
    """Random123 1.14, tests/kat_vectors: philox4x32 10."""
    assert list(numbers.philox(*(np.uint64(word) for word in counter + key))) == answer


def test_a_stream_is_philox_of_a_counter():
    streams = numbers.stream_table(7, ["a", "b"])
    key = [np.uint64(word) for word in streams["key"][1]]
    got = [numbers.bits(streams, 1) for _ in range(2 * numbers.DRAWS)]
    for i in range(numbers.BLOCKS):
        for round_ in range(2):
            at = np.uint64(round_ * numbers.BLOCKS + i)
            a, b, c, d = numbers.philox(at, *(np.uint64(0),) * 3, *key)
            first = round_ * numbers.DRAWS + i
            assert got[first] == a + (b << 32)
            assert got[first + numbers.BLOCKS] == c + (d << 32)
    assert streams["used"][0] == numbers.DRAWS, "another stream has not moved"


def test_streams_go_by_seed_and_name_alone():
    one = numbers.stream_table(3, ["a", "b"])
    other = numbers.stream_table(3, ["new", "b"])
    assert (one["key"][1] == other["key"][1]).all()
    keys = {
        tuple(key) for seed in range(50) for key in numbers.stream_table(seed, ["a", "b"])["key"]
    }
    assert len(keys) == 100


@pytest.mark.parametrize(
    ("one", "law"),
    [
        (distribution("exponential", mean=1e6), stats.expon(scale=1e6)),
        (distribution("erlang", mean=1e6, k=3.0), stats.gamma(3, scale=1e6 / 3)),
        (distribution("erlang", mean=1e6, k=40.0), stats.gamma(40, scale=1e6 / 40)),
        (
            distribution("lognormal", p50=1e6, p99=6e6),
            stats.lognorm(math.log(6) / stats.norm.ppf(0.99), scale=1e6),
        ),
        (distribution("gamma", mean=1e6, cv=2.0), stats.gamma(0.25, scale=4e6)),
        (distribution("gamma", mean=1e6, cv=0.5), stats.gamma(4, scale=2.5e5)),
        (distribution("pareto", min=1e6, alpha=2.5), stats.pareto(2.5, scale=1e6)),
    ],
    ids=lambda one: one.name if isinstance(one, Distribution) else "",
)
def test_draws_follow_the_law(one, law):
    assert stats.kstest(drawn(one), law.cdf).pvalue > FALSE_ALARM
    assert mean_of(one) == pytest.approx(law.mean(), rel=1e-9)


def test_an_empirical_law_is_straight_between_its_points():
    one = Distribution(name="empirical", points=POINTS)
    values = drawn(one)
    atom = (values == 1e6).mean()
    assert abs(atom - 0.25) < 4.9 * math.sqrt(0.25 * 0.75 / SAMPLES)
    fractions, durations = zip(*POINTS, strict=True)
    above = values[values > 1e6]
    cdf = lambda x: (np.interp(x, durations, fractions) - 0.25) / 0.75  # noqa: E731
    assert stats.kstest(above, cdf).pvalue > FALSE_ALARM
    error = values.std() / math.sqrt(SAMPLES)
    assert abs(values.mean() - mean_of(one)) < 4.9 * error


def test_a_constant_is_one_and_no_duration_is_without_end():
    assert set(drawn(distribution("constant", value=5e6), samples=10)) == {5e6}
    far = drawn(distribution("pareto", min=1e15, alpha=1.01), samples=1000)
    assert far.max() == numbers.LONGEST_NS


def test_a_name_that_is_no_distribution_is_refused():
    for function in (mean_of, lambda one: numbers.table_of([one])):
        with pytest.raises(ValueError, match="cauchy"):
            function(distribution("cauchy"))


@pytest.mark.parametrize(
    ("function", "law"),
    [
        (numbers.uniform, stats.uniform()),
        (numbers.exponential, stats.expon()),
        (numbers.normal, stats.norm()),
    ],
)
def test_ziggurats_hold_in_the_body_and_far_out(function, law):
    samples = 4_000_000
    out = np.empty(samples)
    _each(function, numbers.stream_table(2, ["it"]), 0, out)
    assert stats.kstest(out[:SAMPLES], law.cdf).pvalue > FALSE_ALARM
    # Equally likely cells, and then what only the tails give.
    edges = law.ppf(np.linspace(0, 1, 1001))
    counts = np.histogram(out, edges)[0]
    assert stats.chisquare(counts).pvalue > FALSE_ALARM
    far = law.isf(1e-5)
    seen = int((out > far).sum())
    assert stats.binomtest(seen, samples, 1e-5).pvalue > FALSE_ALARM


def test_neighbouring_draws_and_streams_are_not_alike():
    streams = numbers.stream_table(5, ["a", "b"])
    a, b = np.empty(SAMPLES), np.empty(SAMPLES)
    _each(numbers.uniform, streams, 0, a)
    _each(numbers.uniform, streams, 1, b)
    bound = 4.9 / math.sqrt(SAMPLES)
    for x, y in ((a, b), (a[1:], a[:-1]), (a[4:], a[:-4])):
        assert abs(np.corrcoef(x, y)[0, 1]) < bound


def test_below_is_even():
    streams = numbers.stream_table(4, ["it"])
    counts = np.bincount([numbers.below(streams, 0, 7) for _ in range(70_000)], minlength=7)
    assert len(counts) == 7
    assert stats.chisquare(counts).pvalue > FALSE_ALARM


def _ulps(got: float, right: float) -> float:
    return abs(got - right) / math.ulp(right)


def test_log_and_exp_are_those_of_the_textbook():
    """Within 1 ulp of the platform's, which itself is within 1 of the truth."""
    rng = np.random.default_rng(1)
    for x in np.concatenate([rng.uniform(0, 3, 20_000), np.exp(rng.uniform(-690, 690, 20_000))]):
        assert _ulps(numbers.log(x), math.log(x)) <= 1
    for x in np.concatenate([rng.uniform(-2, 2, 20_000), rng.uniform(-690, 709, 20_000)]):
        assert _ulps(numbers.exp(x), math.exp(x)) <= 1
    assert numbers.log(1.0) == 0.0
    assert (numbers.exp(0.0), numbers.exp(-800.0), numbers.exp(800.0)) == (1.0, 0.0, math.inf)


def fingerprint() -> str:
    """Of a thousand draws of every law, and of the ziggurats' tables."""
    laws = [
        distribution("exponential", mean=1e6),
        distribution("erlang", mean=1e6, k=3.0),
        distribution("lognormal", p50=1e6, p99=6e6),
        distribution("gamma", mean=1e6, cv=2.0),
        distribution("pareto", min=1e6, alpha=2.5),
        Distribution(name="empirical", points=POINTS),
    ]
    digest = hashlib.sha256()
    for seed, law in enumerate(laws):
        digest.update(drawn(law, seed, samples=1000).astype("<f8").tobytes())
    for table in (numbers._E_EDGE, numbers._E_DENSITY, numbers._N_EDGE, numbers._N_DENSITY):
        digest.update(table.astype("<f8").tobytes())
    return digest.hexdigest()


def test_bits_are_the_same_everywhere():
    """Under another PYTHONHASHSEED, and as they were where this was written."""
    program = "from tests.engines.twin.test_numbers import fingerprint; print(fingerprint())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == fingerprint()
    assert fingerprint() == "6a55e97e6e0a0789d95ace9103ce1d6fe4a955a74e64937ddc60268af02f2863"
