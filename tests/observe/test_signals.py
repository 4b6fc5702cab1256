"""Counters that grow, go back and stop, and what is made of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.decide.views import part
from tests.world import service, system_of

from seakeep.model.codec import decode, encode
from seakeep.model.observation import TrafficReading
from seakeep.model.scale import Metric, Scale, ScaleTarget
from seakeep.model.time import SECOND
from seakeep.observe.signals import MARKS_PER_WINDOW, Watch, watched

WINDOW = 10 * SECOND
KEY = ("us-east", "web")
SYSTEM = system_of(
    {"us-east": {"a": 1}},
    [
        service(
            "web",
            {"us-east": 1.0},
            scale=Scale(metrics=(ScaleTarget(metric=Metric.RATE, target=5.0),), every=WINDOW),
        ),
        service("plain", {"us-east": 1.0}),
    ],
)
EDGE = {"edge:us-east": part("edge:us-east")}


def reading(**fields):
    base = {"region": "us-east", "service": "web", "requests": 0, "failures": 0, "retries": 0}
    return TrafficReading(**(base | {"in_flight": 0} | fields))


class Meter:
    """What is watched, look by look."""

    def __init__(self):
        self.watches = {}
        self.at = 100 * SECOND

    def look(self, *readings, dt=SECOND, parts=EDGE, silent=None):
        self.at += dt
        signals, self.watches = watched(
            SYSTEM, self.at, readings, parts, silent or {}, self.watches
        )
        return signals.get(KEY)


def test_rates_are_those_of_the_last_window():
    meter = Meter()
    for second in range(11):
        signal = meter.look(reading(requests=20 * second, failures=second))
    assert (signal.rate_per_s, signal.failures_per_s) == (20.0, 1.0)
    for second in range(1, 14):
        signal = meter.look(reading(requests=200 + 50 * second, failures=10))
    assert (signal.rate_per_s, signal.failures_per_s) == (50.0, 0.0)
    assert WINDOW <= signal.window < WINDOW * (1 + 1 / MARKS_PER_WINDOW) + SECOND


def test_nothing_is_said_before_half_a_window_is_known():
    meter = Meter()
    told = [meter.look(reading(requests=second)) is not None for second in range(8)]
    assert told == [False] * 5 + [True] * 3


def test_gauges_are_weighed_by_time():
    meter = Meter()
    meter.look(reading(in_flight=10))
    meter.look(reading(in_flight=0, pending=3), dt=3 * SECOND)
    signal = meter.look(reading(in_flight=7), dt=3 * SECOND)
    assert signal.concurrency == 5.0
    assert signal.pending == 1.5
    assert signal.in_flight == 7


@pytest.mark.parametrize("by", ["count", "restart"])
def test_a_balancer_that_was_started_again_counts_anew(by):
    meter = Meter()
    for second in range(11):
        meter.look(reading(requests=1000 + 10 * second, latency=(0, 10 * second)))
    parts = EDGE if by == "count" else {"edge:us-east": part("edge:us-east", restarts=1)}
    start = 30 if by == "count" else 2000
    signal = meter.look(reading(requests=start, latency=(0, 10)), parts=parts)
    window_s = signal.window / SECOND
    before = 10 * round(window_s - 1)
    assert signal.rate_per_s == pytest.approx((before + start) / window_s)
    assert signal.latency == (0, before + 10)


def test_a_metric_that_stops_is_absent_and_not_nothing():
    meter = Meter()
    for second in range(11):
        meter.look(reading(requests=second))
    assert meter.look() is None, "the balancer tells nothing"
    for second in range(11):
        meter.look(reading(requests=second))
    assert meter.look(reading(requests=12), silent={"edge:us-east": 0}) is None
    assert meter.watches == {}, "and what it told before is of no use any more"
    down = {"edge:us-east": part("edge:us-east", running=False)}
    assert meter.look(reading(requests=12), parts=down) is None
    assert meter.look(reading(requests=12), parts={}) is None


def test_only_services_that_scale_are_watched():
    meter = Meter()
    meter.look(reading(service="plain", requests=5), reading(service="gone"))
    assert meter.watches == {}


@given(
    st.lists(
        st.tuples(
            st.integers(1, 8),
            st.integers(0, 500),
            st.integers(0, 30),
            st.lists(st.integers(0, 9), max_size=4).map(tuple),
        ),
        max_size=60,
    )
)
def test_no_history_makes_it_negative_or_large(history):
    meter = Meter()
    for seconds, requests, in_flight, latency in history:
        signal = meter.look(
            reading(requests=requests, in_flight=in_flight, latency=latency), dt=seconds * SECOND
        )
        watch = meter.watches[KEY]
        assert decode(Watch, encode(watch)) == watch
        assert len(watch.marks) <= MARKS_PER_WINDOW + 2
        if signal is not None:
            assert signal.rate_per_s >= 0
            assert 0 <= signal.concurrency <= 30
            assert all(count >= 0 for count in signal.latency)
