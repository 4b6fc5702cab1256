"""Random numbers and the few functions they need, the same to the last bit on every machine.

What must live here: everything in a run whose last bit could depend on a machine. Streams are
counter-based, Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as
1, 2, 3; SC 2011), each with a key of its own: a part that draws more or less leaves the others'
draws alone. Logarithm and exponential are fdlibm's (Sun Microsystems, 1993), and the samplers are
ziggurats (Marsaglia, Tsang: The ziggurat method for generating random variables; J. Stat. Software
5(8), 2000): additions, multiplications, divisions and shifts only, which IEEE 754 rounds in one
way. Numba contracts no multiply-add unless told to.

A draw takes 64 bits. A ziggurat needs 8 of them to choose a layer and gets 53 for where in it,
so that values differ by less than a nanosecond up to a mean of days; a second ziggurat of 32 bits
would save about 1 ns, and have 24. Streams make eight draws at a time, which a compiler turns into
vector instructions.

Functions take the whole table of streams and an index `s`, as the kernel holds them.
"""

import hashlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numba.core.errors import NumbaExperimentalFeatureWarning
from numpy.typing import NDArray

from seakeep.model.hdr import BITS_MAX
from seakeep.model.work import Z99, Distribution

compiled = njit(cache=True, error_model="numpy")
inlined = njit(cache=True, error_model="numpy", inline="always")
"""Where the call itself would cost more than the work, or hide it from the vectoriser."""

# Tables that NumPy made and those that the kernel found in memory have records of two types but one
# layout: the code for either does for both, which Numba remarks on while it compiles.
warnings.filterwarnings(
    "ignore", message="(?s).*considered a subtype", category=NumbaExperimentalFeatureWarning
)

# --- streams ----------------------------------------------------------------

BLOCKS = 4
DRAWS = 2 * BLOCKS
"""Draws of 64 bits that one filling of a stream's buffer makes."""

STREAM = np.dtype(
    [
        ("buffer", np.uint64, (DRAWS,)),
        ("used", np.int64),
        ("counter", np.uint64),
        ("key", np.uint32, (2,)),
    ],
    align=True,
)


def stream_table(seed: int, names: Sequence[str]) -> NDArray[Any]:
    """One stream a name, dtype STREAM, at its beginning. The key is a hash of seed and name."""
    table = np.zeros(len(names), dtype=STREAM)
    table["used"] = DRAWS
    for index, name in enumerate(names):
        digest = hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()
        table["key"][index] = np.frombuffer(digest, dtype="<u4")
    return table


_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


@inlined
def philox(a: Any, b: Any, c: Any, d: Any, key: Any, other: Any) -> Any:
    """Ten rounds over a counter of four words of 32 bits, with a key of two; each a uint64."""
    for _ in range(10):
        high, low = a * _M0, c * _M1
        a, b, c, d = (low >> _HALF) ^ b ^ key, low & _LOW, (high >> _HALF) ^ d ^ other, high & _LOW
        key, other = (key + _W0) & _LOW, (other + _W1) & _LOW
    return a, b, c, d


@compiled
def _fill(stream: Any) -> None:
    """Philox of BLOCKS counters in a row. Of counter `i`'s four words, the first two are draw
    `i`, the other two draw `BLOCKS + i`, low word first."""
    buffer, counter = stream.buffer, stream.counter
    key, other, none = np.uint64(stream.key[0]), np.uint64(stream.key[1]), np.uint64(0)
    for i in range(BLOCKS):
        at = counter + np.uint64(i)
        a, b, c, d = philox(at & _LOW, at >> _HALF, none, none, key, other)
        buffer[i] = a | (b << _HALF)
        buffer[BLOCKS + i] = c | (d << _HALF)
    stream.counter = counter + np.uint64(BLOCKS)
    stream.used = 0


@compiled
def _bits(stream: Any) -> np.uint64:
    used = stream.used
    if used == DRAWS:
        _fill(stream)
        used = 0
    stream.used = used + 1
    return stream.buffer[used]


@compiled
def _uniform(stream: Any) -> float:
    return (np.float64(np.int64(_bits(stream) >> np.uint64(12))) + 0.5) * 2.0**-52


@compiled
def bits(streams: Any, s: int) -> np.uint64:
    """The next 64 of a stream, uint64."""
    return _bits(streams[s])


@compiled
def uniform(streams: Any, s: int) -> float:
    """In (0, 1), neither end: 52 bits, and a half."""
    return _uniform(streams[s])


@compiled
def below(streams: Any, s: int, n: int) -> int:
    """A whole number 0 <= x < n, n < 2^31. No x is more than n / 2^32 likelier than another."""
    return int(((_bits(streams[s]) >> _HALF) * np.uint64(n)) >> _HALF)


# --- logarithm and exponential ----------------------------------------------

_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10


@compiled
def log(x: float) -> float:
    """Natural, of a positive normal number; fdlibm's e_log.c, within 1 ulp."""
    whole = np.float64(x).view(np.int64)
    exponent = (whole >> 52) - 1023
    mantissa = whole & 0xFFFFFFFFFFFFF
    carry = (mantissa + 0x95F6400000000) & 0x10000000000000  # so that 1 + f is near 1
    f = np.int64(mantissa | (carry ^ 0x3FF0000000000000)).view(np.float64) - 1.0
    k = np.float64(exponent + (carry >> 52))
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    odd = w * (
        3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01)
    )
    even = z * (
        6.666666666666735130e-01
        + w
        * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01))
    )
    half = 0.5 * f * f
    return k * _LN2_HIGH - ((half - (s * (half + odd + even) + k * _LN2_LOW)) - f)


@compiled
def exp(x: float) -> float:
    """fdlibm's e_exp.c, within 1 ulp. Nothing is less than 1e-300 but 0."""
    if x > 709.0:
        return np.inf
    if x < -690.0:
        return 0.0
    k = np.int64(x * 1.44269504088896338700 + (0.5 if x >= 0.0 else -0.5))
    high = x - np.float64(k) * _LN2_HIGH
    low = np.float64(k) * _LN2_LOW
    r = high - low
    t = r * r
    c = r - t * (
        1.66666666666666019037e-01
        + t
        * (
            -2.77777777770155933842e-03
            + t
            * (
                6.61375632143793436117e-05
                + t * (-1.65339022054652515390e-06 + t * 4.13813679705723846039e-08)
            )
        )
    )
    y = 1.0 - ((low - (r * c) / (2.0 - c)) - high)
    return y * np.int64((k + 1023) << 52).view(np.float64)


# --- exponential and normal draws -------------------------------------------
#
# A ziggurat: 256 layers of equal area under a falling density; layer 0 is the base, with the tail.
# EDGE[i] is where layer i ends, DENSITY[i] the density there; WIDTH[i] turns 53 bits into a place.

LAYERS = 256
_EXPONENTIAL_TAIL, _EXPONENTIAL_AREA = 7.69711747013104972, 3.949659822581572e-3
_NORMAL_TAIL, _NORMAL_AREA = 3.6541528853610088, 4.92867323399e-3
_log, _exp = log.py_func, exp.py_func


def _exponential_layers() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    edge = np.zeros(LAYERS + 1)
    edge[0] = _EXPONENTIAL_AREA / _exp(np.float64(-_EXPONENTIAL_TAIL))
    edge[1] = _EXPONENTIAL_TAIL
    for i in range(2, LAYERS):
        edge[i] = -_log(_EXPONENTIAL_AREA / edge[i - 1] + _exp(-edge[i - 1]))
    return edge, np.array([_exp(-x) for x in edge])


def _normal_layers() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    edge = np.zeros(LAYERS + 1)
    edge[0] = _NORMAL_AREA / _exp(np.float64(-0.5 * _NORMAL_TAIL * _NORMAL_TAIL))
    edge[1] = _NORMAL_TAIL
    for i in range(2, LAYERS):
        density = _NORMAL_AREA / edge[i - 1] + _exp(-0.5 * edge[i - 1] * edge[i - 1])
        edge[i] = np.sqrt(-2.0 * _log(density))
    return edge, np.array([_exp(-0.5 * x * x) for x in edge])


_E_EDGE, _E_DENSITY = _exponential_layers()
_N_EDGE, _N_DENSITY = _normal_layers()
_E_WIDTH, _N_WIDTH = _E_EDGE * 2.0**-53, _N_EDGE * 2.0**-53
_LAYER, _SIGN = np.uint64(LAYERS - 1), np.uint64(LAYERS)


@compiled
def _exponential(stream: Any) -> float:
    drawn = _bits(stream)
    i = drawn & _LAYER
    x = np.float64(np.int64(drawn >> np.uint64(11))) * _E_WIDTH[i]
    if x < _E_EDGE[i + np.uint64(1)]:
        return x
    return _exponential_edge(stream, i, x)


@compiled
def _exponential_edge(stream: Any, i: Any, x: float) -> float:
    """The one draw in 90 that is not well within its layer."""
    beyond = 0.0
    while x >= _E_EDGE[i + np.uint64(1)]:
        if i == 0:
            beyond += _EXPONENTIAL_TAIL  # beyond it, an exponential begins anew
        elif _between(stream, _E_DENSITY, i) < exp(-x):
            break
        drawn = _bits(stream)
        i = drawn & _LAYER
        x = np.float64(np.int64(drawn >> np.uint64(11))) * _E_WIDTH[i]
    return beyond + x


@compiled
def _normal(stream: Any) -> float:
    drawn = _bits(stream)
    i = drawn & _LAYER
    x = np.float64(np.int64(drawn >> np.uint64(11))) * _N_WIDTH[i]
    if x >= _N_EDGE[i + np.uint64(1)]:
        x = _normal_edge(stream, i, x)
    return -x if drawn & _SIGN else x


@compiled
def _normal_edge(stream: Any, i: Any, x: float) -> float:
    """Its distance from 0, for the one draw in 80 that is not well within its layer."""
    while x >= _N_EDGE[i + np.uint64(1)]:
        if i == 0:
            return _normal_tail(stream)
        if _between(stream, _N_DENSITY, i) < exp(-0.5 * x * x):
            break
        drawn = _bits(stream)
        i = drawn & _LAYER
        x = np.float64(np.int64(drawn >> np.uint64(11))) * _N_WIDTH[i]
    return x


@compiled
def _between(stream: Any, density: Any, i: Any) -> float:
    """Evenly between the densities at the two edges of a layer."""
    outer, inner = density[i], density[i + np.uint64(1)]
    return outer + (inner - outer) * _uniform(stream)


@compiled
def _normal_tail(stream: Any) -> float:
    """Beyond the last edge (Marsaglia 1964)."""
    while True:
        x = _exponential(stream) / _NORMAL_TAIL
        y = _exponential(stream)
        if y + y > x * x:
            return _NORMAL_TAIL + x


@compiled
def _gamma(stream: Any, shape: float) -> float:
    """Scale 1 (Marsaglia, Tsang: A simple method for generating gamma variables, 2000)."""
    factor = 1.0
    if shape < 1.0:
        factor = exp(-_exponential(stream) / shape)
        shape += 1.0
    d = shape - 1.0 / 3.0
    c = 1.0 / np.sqrt(9.0 * d)
    while True:
        x = _normal(stream)
        v = 1.0 + c * x
        if v <= 0.0:
            continue
        v = v * v * v
        if -_exponential(stream) < 0.5 * x * x + d - d * v + d * log(v):
            return factor * d * v


@compiled
def exponential(streams: Any, s: int) -> float:
    """Mean 1."""
    return _exponential(streams[s])


@compiled
def normal(streams: Any, s: int) -> float:
    """Mean 0, variance 1."""
    return _normal(streams[s])


# --- distributions of durations ---------------------------------------------

CONSTANT, EXPONENTIAL, ERLANG, LOGNORMAL, GAMMA, PARETO, EMPIRICAL, POINT = range(8)
STAGES_MAX = 12
"""Of an Erlang distribution that is drawn as a sum; a longer one is drawn as a gamma."""
LONGEST_NS = 2.0**BITS_MAX

DISTRIBUTION = np.dtype(
    [
        ("kind", np.int64),
        ("a", np.float64),
        ("b", np.float64),
        ("first", np.int64),
        ("count", np.int64),
    ]
)


def table_of(distributions: Sequence[Distribution]) -> NDArray[Any]:
    """Row `i` says what `draw` must know of distribution `i`, dtype DISTRIBUTION; the points of
    the empirical ones follow after the last."""
    points = [point for one in distributions for point in one.points]
    table = np.zeros(len(distributions) + len(points), dtype=DISTRIBUTION)
    free = len(distributions)
    for row, one in enumerate(distributions):
        kind, a, b = _coded(one)
        table[row] = (kind, a, b, free, len(one.points))
        for fraction, value in one.points:
            table[free] = (POINT, fraction, value, 0, 0)
            free += 1
    return table


def _coded(one: Distribution) -> tuple[int, float, float]:
    given = dict(one.parameters)
    match one.name:
        case "constant":
            return CONSTANT, given["value"], 0.0
        case "exponential":
            return EXPONENTIAL, given["mean"], 0.0
        case "erlang":
            stages = given["k"]
            kind = ERLANG if stages <= STAGES_MAX else GAMMA
            return kind, given["mean"] / stages, stages
        case "lognormal":
            median, high = np.float64(given["p50"]), np.float64(given["p99"])
            return LOGNORMAL, float(_log(median)), float(_log(high / median) / Z99)
        case "gamma":
            square = given["cv"] * given["cv"]
            return GAMMA, given["mean"] * square, 1.0 / square
        case "pareto":
            return PARETO, given["min"], 1.0 / given["alpha"]
        case "empirical":
            return EMPIRICAL, 0.0, 0.0
        case _:
            raise ValueError(f"no distribution is called '{one.name}'")


@inlined
def draw(streams: Any, s: int, table: Any, row: int) -> float:
    """A duration, ns: 0 <= x <= LONGEST_NS."""
    if table[row].kind == EMPIRICAL:
        return _empirical(table, row, _uniform(streams[s]))
    return _drawn(streams[s], table[row])


@compiled
def _drawn(stream: Any, one: Any) -> float:
    if one.kind == CONSTANT:
        return one.a
    if one.kind == EXPONENTIAL:
        return min(one.a * _exponential(stream), LONGEST_NS)
    return min(_drawn_slowly(stream, one), LONGEST_NS)


@compiled
def _drawn_slowly(stream: Any, one: Any) -> float:
    """The less frequent ones, out of the way of the others."""
    if one.kind == ERLANG:
        total = 0.0
        for _ in range(np.int64(one.b)):
            total += _exponential(stream)
        return one.a * total
    if one.kind == LOGNORMAL:
        return exp(one.a + one.b * _normal(stream))
    if one.kind == GAMMA:
        return one.a * _gamma(stream, one.b)
    return one.a * exp(one.b * _exponential(stream))


@compiled
def _empirical(table: Any, row: int, fraction: float) -> float:
    """Straight between the points; below the first, the first."""
    low = table[row].first
    high = low + table[row].count - 1
    if fraction <= table[low].a:
        return table[low].b
    while high - low > 1:
        middle = (low + high) // 2
        if fraction <= table[middle].a:
            high = middle
        else:
            low = middle
    part = (fraction - table[low].a) / (table[high].a - table[low].a)
    return table[low].b + part * (table[high].b - table[low].b)
