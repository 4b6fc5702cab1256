"""How many instances: tables of single periods, stories over many."""

from dataclasses import replace

import pytest
from tests.decide.views import AT, instance, part, parts_of, view_of
from tests.world import service, system_of

from seakeep.decide.scaling import ScalingController, short_of_room
from seakeep.model.decision import Reason
from seakeep.model.observation import TrafficReading
from seakeep.model.scale import (
    DOWN,
    UP,
    Follow,
    Forecast,
    Metric,
    Scale,
    ScaleRules,
    ScaleTarget,
    ScheduledBounds,
    Select,
    Survive,
)
from seakeep.model.system import Replicas
from seakeep.model.time import DAY, HOUR, MILLISECOND, MINUTE, SECOND
from seakeep.model.view import Health, Signal

PLACES = {"us-east": {"a": 4, "b": 4}, "eu-west": {"a": 4, "b": 4}}
BOTH = {"us-east": 0.5, "eu-west": 0.5}
CONCURRENCY = ScaleTarget(metric=Metric.CONCURRENCY, target=8.0)
RATE = ScaleTarget(metric=Metric.RATE, target=50.0)
CPU = ScaleTarget(metric=Metric.CPU, target=0.7)
LATENCY = ScaleTarget(metric=Metric.LATENCY, target=300.0 * MILLISECOND, quantile=0.5)
QUEUE = ScaleTarget(metric=Metric.QUEUE, target=2.0)
EVERY = 15 * SECOND


def scaled(*metrics, least=2, most=40, regions=None, places=None, **scale):
    one = service(
        "web",
        regions or BOTH,
        replicas=least,
        scale=Scale(metrics=metrics or (CONCURRENCY,), **scale),
    )
    return system_of(places or PLACES, [replace(one, replicas=Replicas(min=least, max=most))])


def signal(**fields):
    return Signal(
        **(
            {
                "window": EVERY,
                "rate_per_s": 0.0,
                "failures_per_s": 0.0,
                "concurrency": 0.0,
                "pending": 0.0,
                "in_flight": 0,
            }
            | fields
        )
    )


class Story:
    """A controller over views made by hand: all that is wanted is there at the next look."""

    def __init__(self, system, placed=None, at=AT):
        self.system, self.at = system, at
        self.controller = ScalingController()
        self.memory = self.controller.initial()
        self.extra = {}
        self.reasons = ()
        self.look({}, placed=placed)

    @property
    def web(self):
        return self.memory.services["web"]

    def view(self, signals, placed, members, wall, parts, traffic):
        if members is None:
            count = placed if placed is not None else self.web.wanted if self.memory.services else 0
            spots = [
                f"{region}/{zone}/0"
                for region, zones in self.system.regions.items()
                for zone in zones.zones
            ]
            members = [
                instance(f"web-{n + 1}", spots[n % len(spots)], **self.extra) for n in range(count)
            ]
        view = view_of(self.system, members, at=self.at, parts=parts)
        return replace(
            view,
            signals={(region, "web"): one for region, one in signals.items()},
            wall=wall,
            traffic=traffic,
        )

    def look(self, signals, *, placed=None, members=None, wall=0, parts=None, traffic=()):
        """One step, now."""
        view = self.view(signals, placed, members, wall, parts, traffic)
        decision = self.controller.decide(self.system, view, self.memory)
        assert decision == self.controller.decide(self.system, view, self.memory)
        self.memory, self.reasons = decision.memory, decision.reasons
        return self.web.wanted

    def period(self, signals=None, *, us=0.0, eu=0.0, dt=EVERY, **other):
        """One step, a period later; `us` and `eu` are requests in flight."""
        self.at += dt
        if signals is None:
            signals = {"us-east": signal(concurrency=us), "eu-west": signal(concurrency=eu)}
        return self.look(signals, **other)

    @property
    def codes(self):
        return [reason.code for reason in self.reasons]


# --- one period ---


@pytest.mark.parametrize(
    ("in_flight", "wanted"),
    [(32, 4), (35, 4), (36, 5), (64, 8), (96, 8), (29, 4), (0, 4)],
    ids=["just right", "within", "above", "double", "paced", "below, held", "nothing, held"],
)
def test_concurrency_from_four(in_flight, wanted):
    story = Story(scaled(), placed=4)
    assert story.period(us=in_flight / 2, eu=in_flight / 2) == wanted


@pytest.mark.parametrize(
    ("metric", "fields", "wanted"),
    [
        (RATE, {"rate_per_s": 150.0}, 6),
        (QUEUE, {"pending": 6.0}, 6),
        (LATENCY, {"latency": (0,) * 27 + (100,)}, 6),
    ],
    ids=["rate", "queue", "latency: 450 ms in the middle"],
)
def test_other_metrics_from_four(metric, fields, wanted):
    story = Story(scaled(metric), placed=4)
    both = {region: signal(**fields) for region in PLACES}
    assert story.period(both) == wanted


def test_cpu_is_read_at_the_instances():
    story = Story(scaled(CPU), placed=4)
    story.extra = {"cpu_millicores": 250.0 * 1.05}
    assert story.period() == 6


def test_several_metrics_take_the_largest():
    story = Story(scaled(CONCURRENCY, RATE), placed=4)
    both = {region: signal(concurrency=16.0, rate_per_s=150.0) for region in PLACES}
    assert story.period(both) == 6


def test_a_failed_metric_blocks_scaling_down_and_not_up():
    fast = ScaleRules(window=0, policies=DOWN.policies)
    story = Story(scaled(down=fast), placed=6)
    assert story.period({"us-east": signal(concurrency=8.0)}) == 6
    assert "scaling.held.metric" in story.codes
    assert story.period({"us-east": signal(concurrency=64.0)}) == 8
    assert story.period({}) == 8
    assert "scaling.held.blind" in story.codes
    assert story.period(us=8.0, eu=8.0) == 2


def test_a_disabled_direction_does_not_move():
    no = ScaleRules(window=0, policies=UP.policies, select=Select.DISABLED)
    story = Story(scaled(up=no), placed=4)
    assert story.period(us=100.0) == 4
    assert "scaling.limited.policy" in story.codes


def test_the_maximum_is_told():
    story = Story(scaled(most=5), placed=4)
    assert story.period(us=100.0) == 5
    assert "scaling.limited.max" in story.codes


def test_nothing_happens_between_periods():
    story = Story(scaled(), placed=4)
    story.at += 14 * SECOND
    assert story.look({region: signal(concurrency=64.0) for region in PLACES}) == 4
    assert story.memory.services["web"].next_at == AT + EVERY


def test_services_without_scale_cost_nothing():
    system = system_of(PLACES, [service("web", BOTH)])
    decision = ScalingController().decide(system, view_of(system), ScalingController().initial())
    assert decision.memory.wanted == {}
    assert decision.wake_at is None


# --- over time ---


def test_three_times_the_traffic_and_back():
    """Up by the formula at the next period; down once the window has passed, and not before."""
    story = Story(scaled(), placed=4)
    for _ in range(4):
        assert story.period(us=16.0, eu=16.0) == 4
    assert story.period(us=48.0, eu=16.0) == 8
    assert story.web.layout == {"us-east": 6, "eu-west": 2}
    for _ in range(8):
        story.period(us=48.0, eu=16.0)
    held = 0
    while story.period(us=16.0, eu=16.0) == 8:
        assert "scaling.held.stabilisation" in story.codes
        held += 1
    assert held == 19, "five minutes of fifteen seconds, and then"
    assert story.web.wanted == 4
    assert story.web.layout == {"us-east": 2, "eu-west": 2}


def test_the_need_of_a_region_moves_instances_though_the_total_stays():
    story = Story(scaled(), placed=8)
    assert story.period(us=32.0, eu=32.0) == 8
    assert story.period(us=52.0, eu=12.0) == 8
    assert story.web.layout == {"us-east": 5, "eu-west": 3}
    for _ in range(25):
        story.period(us=52.0, eu=12.0)
    assert story.web.layout == {"us-east": 6, "eu-west": 2}
    assert story.codes[-1] == "scaling.steady"


def test_by_the_shares_when_told_so():
    story = Story(scaled(follow=Follow.SPREAD), placed=4)
    story.period(us=64.0)
    assert (story.web.wanted, story.web.layout) == (8, {})


def test_callers_where_it_may_not_be_count_for_the_nearest():
    places = {**PLACES, "ap-south": {"a": 1}}
    story = Story(scaled(places=places), placed=2)
    story.period(
        {
            "us-east": signal(),
            "eu-west": signal(concurrency=8.0),
            "ap-south": signal(concurrency=40.0),
        }
    )
    assert story.web.layout == {"us-east": 1, "eu-west": 5}


def test_a_new_seakeep_keeps_what_it_finds():
    story = Story(scaled(), placed=12)
    assert story.web.wanted == 12
    assert "scaling.adopted" in story.codes
    for _ in range(19):
        assert story.period(us=4.0, eu=4.0) == 12
    assert story.period(us=4.0, eu=4.0) == 2


def test_what_was_started_since_was_not_wanted_before():
    """A replacement stands beside what it replaces for a while: that is no reason to want more."""
    story = Story(scaled(), placed=2)
    story.at += SECOND
    moving = [
        instance("web-1", "us-east/a/0"),
        instance("web-2", "eu-west/a/0"),
        instance("web-3", "us-east/b/0", created_at=story.at),
    ]
    assert story.look({}, members=moving) == 2
    assert "scaling.adopted" not in story.codes


# --- loss ---


@pytest.mark.parametrize(
    ("survive", "layout"),
    [
        (Survive.ZONE, {"us-east": 8, "eu-west": 4}),
        (Survive.REGION, {"us-east": 6, "eu-west": 6}),
    ],
)
def test_what_is_left_suffices(survive, layout):
    """Six carry the load, four of them for callers of us-east."""
    story = Story(scaled(survive=survive), placed=2)
    story.period(us=32.0, eu=16.0)
    story.period(us=32.0, eu=16.0)
    assert story.web.current == 6
    assert story.web.layout == layout
    assert "scaling.survive" in story.codes
    for _ in range(30):
        story.period(us=32.0, eu=16.0)
    assert (story.web.current, story.web.layout) == (6, layout)


def test_no_room_for_a_loss_is_told():
    story = Story(scaled(survive=Survive.REGION, most=8), placed=2)
    story.period(us=32.0, eu=16.0)
    story.period(us=32.0, eu=16.0)
    assert story.web.wanted == 8
    assert "scaling.limited.survive" in story.codes


def test_a_new_seakeep_does_not_hold_twice():
    story = Story(scaled(survive=Survive.REGION), placed=12)
    assert (story.web.wanted, story.web.current) == (12, 6)


# --- to nothing and back ---


def test_asleep_after_its_idle_time_and_woken_by_the_first_request():
    story = Story(scaled(least=0, idle=MINUTE), placed=2)
    for _ in range(3):
        assert story.period() >= 1
    assert story.period() == 0
    assert "scaling.idle" in story.codes
    assert story.period() == 0
    story.at += SECOND
    waiting = TrafficReading(
        region="eu-west", service="web", requests=0, failures=0, retries=0, in_flight=1
    )
    assert story.look({}, traffic=(waiting,)) == 1
    assert "scaling.wake" in story.codes
    assert story.web.layout == {"us-east": 0, "eu-west": 1}
    assert story.period() == 1


def test_a_silent_balancer_keeps_it_awake():
    story = Story(scaled(least=0, idle=MINUTE), placed=1)
    for _ in range(8):
        assert story.period({"us-east": signal()}) == 1


# --- schedules ---

NOON = 20_000 * DAY + 12 * HOUR
"""2024-10-04, a Friday."""


def hours(**fields):
    return ScheduledBounds(
        **(
            {
                "days": (0, 1, 2, 3, 4),
                "start": 8 * HOUR,
                "end": 18 * HOUR,
                "zone": "UTC",
                "offsets": (),
            }
            | fields
        )
    )


def test_scheduled_hours():
    story = Story(scaled(schedule=(hours(min=12),)), placed=2)
    assert story.period(us=1.0, wall=NOON) == 6, "paced, as everything"
    assert story.period(us=1.0, wall=NOON + EVERY) == 12
    assert "scaling.schedule" in story.codes
    story.at += 6 * HOUR - 3 * EVERY
    lead = NOON - AT
    assert story.period(us=1.0, wall=story.at + lead - EVERY) == 12
    for _ in range(19):
        assert story.period(us=1.0, wall=story.at + lead) == 12
        assert "scaling.schedule" not in story.codes
    assert story.period(us=1.0, wall=story.at + lead) == 2


def test_scheduled_maximum():
    story = Story(scaled(schedule=(hours(max=3),)), placed=2)
    assert story.period(us=80.0, wall=NOON) == 3
    assert "scaling.schedule.max" in story.codes


def test_a_clock_that_jumps_to_and_fro_moves_nothing():
    story = Story(scaled(schedule=(hours(min=12),)), placed=2)
    night = NOON + 12 * HOUR - AT
    story.period(us=1.0, wall=story.at + night)
    for count in range(40):
        jump = -12 * HOUR if count % 2 else 0
        assert story.period(us=1.0, wall=story.at + night + jump) == 2
        assert ("scaling.clock" in story.codes) == bool(count % 2)


def test_a_clock_that_was_set_is_believed_in_the_end():
    story = Story(scaled(schedule=(hours(min=12),)), placed=2)
    night = NOON + 12 * HOUR - AT
    story.period(us=1.0, wall=story.at + night)
    for _ in range(12):
        story.period(us=1.0, wall=story.at + night - 12 * HOUR)
    assert story.web.wanted == 12


# --- forecasts ---


def test_what_recurs_is_there_before_it_comes():
    """A peak of twelve at one hour in four; on the third round it is prepared for."""
    forecast = Forecast(season=4 * HOUR, slot=HOUR, ahead=10 * MINUTE)
    quick = ScaleRules(window=MINUTE, policies=DOWN.policies)
    story = Story(scaled(forecast=forecast, down=quick, every=MINUTE), placed=2)
    early = []
    for minute in range(12 * 60):
        story.at += MINUTE
        peak = 96.0 if minute // 60 % 4 == 3 else 8.0
        both = {region: signal(concurrency=peak / 2) for region in PLACES}
        story.look(both, wall=NOON + minute * MINUTE)
        if minute // 60 % 4 == 2 and minute % 60 == 59:
            early.append(story.web.wanted)
        if peak > 8 and minute % 60 > 5:
            assert story.web.wanted >= 12
        assert len(story.web.forecast.peaks) <= 4
    assert early == [2, 12, 12]


# --- telling ---


def test_no_room_is_told_of_what_was_scaled():
    story = Story(scaled(), placed=4)
    numbers = (("replicas", 2), ("wanted", 9), ("short", "cpu"))
    of = [
        Reason(code="placement.no_capacity", subject=name, numbers=numbers)
        for name in ("web", "other")
    ]
    (told,) = short_of_room(story.memory, of)
    assert (told.code, told.subject) == ("scaling.limited.capacity", "web")


def test_unready_and_unknown_instances_count_as_upstream_counts_them():
    """Two at full load, one that starts and one that is silent: nothing is done."""
    story = Story(scaled(CPU), placed=4)
    busy = {"cpu_millicores": 250.0}
    members = [
        instance("web-1", "us-east/a/0", **busy),
        instance("web-2", "us-east/b/0", **busy),
        instance("web-3", "eu-west/a/0", Health.STARTING, started_at=story.at),
        instance("web-4", "eu-west/b/0", Health.UNKNOWN, last_word=Health.READY),
    ]
    assert story.period({}, members=members, parts=[*parts_of(story.system), part("edge:x")]) == 4
