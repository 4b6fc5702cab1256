"""What queueing theory says of the systems that the twin is tried with.

`a` is offered load (arrival rate times mean service time, in servers), `c` servers, `rho` = a / c.
Times are in whatever unit the arguments have. Sources:

- Kleinrock: Queueing Systems, Volume I, Wiley 1975 (M/M/1, M/M/c, M/M/c/K, M/G/1)
- Gross, Shortle, Thompson, Harris: Fundamentals of Queueing Theory, 4th ed., Wiley 2008
- Kelly: Reversibility and Stochastic Networks, Wiley 1979
- Nelson, Tantawi: Approximate analysis of fork/join synchronization in parallel queues,
  IEEE Trans. Computers 37(6), 1988; the case of two is exact (Flatto, Hahn 1984)
- Mitzenmacher: The power of two choices in randomized load balancing, IEEE Trans. Parallel and
  Distributed Systems 12(10), 2001
- Gast, Van Houdt: A refined mean field approximation, Proc. ACM Measurement and Analysis of
  Computing Systems 1(2), 2017
"""

import math

import numpy as np
from scipy.linalg import solve_continuous_lyapunov

# --- one queue --------------------------------------------------------------


def erlang_b(a: float, c: int) -> float:
    """Share of requests that find all servers taken, where none may wait (M/G/c/c); Kleinrock
    3.6, by the recursion over servers."""
    blocked = 1.0
    for servers in range(1, c + 1):
        blocked = a * blocked / (servers + a * blocked)
    return blocked


def erlang_c(a: float, c: int) -> float:
    """Share of requests that wait, where all may (M/M/c); Kleinrock 3.5."""
    blocked = erlang_b(a, c)
    return blocked / (1 - a / c * (1 - blocked))


def mmc_wait(a: float, c: int, service: float) -> float:
    """Mean wait of M/M/c."""
    return erlang_c(a, c) * service / (c - a)


def mmc_wait_longer(a: float, c: int, service: float, than: float) -> float:
    """Share of requests that wait longer than so (M/M/c, first come first served)."""
    return erlang_c(a, c) * math.exp(-(c - a) * than / service)


def mm1_longer(rho: float, service: float, than: float) -> float:
    """Share of requests that are in an M/M/1 queue for longer than so: exponential, too."""
    return math.exp(-(1 - rho) * than / service)


def mg1_wait(rho: float, service: float, cv: float) -> float:
    """Mean wait of M/G/1 with a service time of this coefficient of variation
    (Pollaczek-Khinchine; Kleinrock 5.68)."""
    return rho * (1 + cv * cv) / 2 * service / (1 - rho)


def lognormal_cv(p50: float, p99: float) -> float:
    sigma = math.log(p99 / p50) / 2.3263478740408408
    return math.sqrt(math.exp(sigma * sigma) - 1)


def birth_death(birth: np.ndarray, death: np.ndarray) -> np.ndarray:
    """Shares of time in states 0..n, from the rates up (states 0..n-1) and down (1..n)."""
    weights = np.concatenate(([0.0], np.cumsum(np.log(birth) - np.log(death))))
    shares = np.exp(weights - weights.max())
    return shares / shares.sum()


def mmck(a: float, c: int, room: int) -> tuple[float, float]:
    """Of M/M/c/K with K = c + room: the share that is refused, and the mean wait, in mean service
    times, of those that are not (Kleinrock 3.8; Gross and others 2.5)."""
    states = np.arange(c + room + 1)
    shares = birth_death(np.full(c + room, a), np.minimum(states[1:], c).astype(float))
    waiting = float((shares * np.maximum(states - c, 0)).sum())
    return float(shares[-1]), waiting / (a * (1 - shares[-1]))


def erlang_a(a: float, c: int, impatience: float) -> tuple[float, float]:
    """M/M/c whose requests leave the queue after an exponential time (Palm; Erlang A):
    `impatience` is mean service time over mean patience. Returns the share that leaves, and the
    mean wait, in mean service times, of all."""
    states = np.arange(c + 50 + int(40 * a) + int(2 * a / impatience))
    waiting = np.maximum(states - c, 0)
    down = np.minimum(states, c) + impatience * waiting
    shares = birth_death(np.full(states.size - 1, a), down[1:])
    queue = float((shares * waiting).sum())
    return impatience * queue / a, queue / a


def impatient_clients(a: float, c: int, impatience: float) -> float:
    """The share of clients that go away unanswered where they do so whether they wait or are
    served, and what they asked for is given up: the same chain, with n leaving of n there."""
    states = np.arange(c + 50 + int(40 * a) + int(2 * a / impatience))
    down = np.minimum(states, c) + impatience * states
    shares = birth_death(np.full(states.size - 1, a), down[1:])
    return impatience * float((shares * states).sum()) / a


# --- several queues ---------------------------------------------------------


def fork_join_of_two(rho: float, service: float) -> float:
    """Mean time until both parts are done of a request whose two parts each go to an M/M/1 queue
    at once; the two have the same service time."""
    return (12 - rho) / 8 * service / (1 - rho)


def visits_time(rates: list[float], service: float, visits: list[float]) -> float:
    """Mean time in a network of M/M/1 queues, one behind the other in any fixed order, each
    visited so often (Jackson; Kelly for fixed routes). `rates`: arrivals at each per time."""
    return sum(n * service / (1 - rate * service) for n, rate in zip(visits, rates, strict=True))


# --- balancing --------------------------------------------------------------


def two_choices_time(rho: float, queues: int) -> float:
    """Mean time in the system, in mean service times, when each request joins the shorter of two
    M/M/1 queues drawn at random, each of all of them.

    Mitzenmacher's fixed point for infinitely many, and the term in 1/`queues` of Gast and Van
    Houdt. x[i] is the share of queues with more than i requests; an arrival raises x[i] at the rate
    rho (x[i-1]^2 - x[i]^2), a departure lowers it at x[i] - x[i+1]."""
    size = 30
    x = rho ** (2.0 ** np.arange(1, size + 1) - 1)
    before, after = np.concatenate(([1.0], x[:-1])), np.concatenate((x[1:], [0.0]))
    drift = np.diag(-2 * rho * x - 1) + np.diag(np.ones(size - 1), 1)
    drift += np.diag(2 * rho * x[:-1], -1)
    noise = np.diag(rho * (before**2 - x**2) + (x - after))
    spread = solve_continuous_lyapunov(drift, -noise)
    curved = rho * (np.concatenate(([0.0], np.diag(spread)[:-1])) - np.diag(spread))
    correction = np.linalg.solve(drift, -curved)
    return float((x.sum() + correction.sum() / queues) / rho)


def random_time(rho: float) -> float:
    """The same where each request joins a queue drawn at random: M/M/1."""
    return 1 / (1 - rho)


def turns_time(rho: float, queues: int) -> float:
    """The same where queues get requests in turn, so that Erlang(`queues`) times lie between two of
    one queue's: GI/M/1, whose root is found by iteration (Kleinrock 6.3)."""
    root = 0.5
    for _ in range(10_000):
        root = (queues * rho / (queues * rho + 1 - root)) ** queues
    return 1 / (1 - root)


# --- tries ------------------------------------------------------------------


def mean_tries(p: float, retries: int) -> float:
    """When each try fails with probability `p` and is sent again up to so often."""
    return (1 - p ** (retries + 1)) / (1 - p)


def hedged_time(service: float, after: float, window: float) -> float:
    """Mean time to the first answer of two tries with exponential times and no queue. The second
    is sent when the first has taken `after` and then a back-off, even over `window`; the first
    goes on. (Without memory, what is left of the first when it is late is as long as a new one.)"""
    late = math.exp(-after / service)
    alone = (1 - math.exp(-window / service)) * service / window if window else 1.0
    return service * (1 - late) + late * service * (1 - alone / 2)


def hedged_longer(service: float, after: float, window: float, than: float) -> float:
    """The share of requests that take longer than so, at least after + window."""
    begun = (math.exp(window / service) - 1) * service / window if window else 1.0
    return math.exp(-(2 * than - after) / service) * begun
