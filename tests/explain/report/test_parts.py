"""The parts of a report: words, scales, the story, the picture of the system."""

import re
from dataclasses import replace

import numpy as np
import pytest
from tests.explain.report import small
from tests.world import service, system_of

from seakeep.explain.report import series, words
from seakeep.explain.report.faults import spans
from seakeep.explain.report.markup import tag
from seakeep.explain.report.plots import Curve, plot
from seakeep.explain.report.scales import HEIGHT, Times, linear, logarithmic, whole
from seakeep.explain.report.seeds import shown
from seakeep.explain.report.story import Phase, entries, phases, routine
from seakeep.explain.report.style import DARK, LIGHT
from seakeep.explain.report.timeline import eventful
from seakeep.explain.report.topology import layers
from seakeep.model.run import EventKind, Good, Line, Run, RunEvent
from seakeep.model.scenario import Fault, FaultKind, Step
from seakeep.model.system import Call
from seakeep.model.time import DAY, HOUR, MILLISECOND, MINUTE, SECOND


def test_text_is_escaped_and_markup_is_not() -> None:
    inner = tag("b", "a < b & c")
    assert tag("p", inner, " > ", class_="x\"'", id=None, hidden=True) == (
        '<p class="x&quot;&#x27;" hidden><b>a &lt; b &amp; c</b> &gt; </p>'
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (words.percent(0.99996), "99.99%"),
        (words.percent(1.0), "100%"),
        (words.percent(0.0), "0%"),
        (words.percent(0.000001), "< 0.01%"),
        (words.percent(float("nan")), "–"),
        (words.share(0.99899999, 0.999), "99.89%"),
        (words.share(0.99995, 0.9999), "99.995%"),
        (words.points(-0.000001, 0.999), "0.01 points"),
        (words.points(0.01, 0.99), "1 point"),
        (words.budget(37.2), "37 times"),
        (words.budget(0.004), "0.40%"),
        (words.seconds(0.3), "300ms"),
        (words.seconds(90), "1m30s"),
        (words.seconds(float("inf")), "never"),
        (words.short_seconds(0.03), "30ms"),
        (words.moment(31_240 * MILLISECOND), "31.2s"),
        (words.moment(90 * SECOND), "1m30.0s"),
        (words.moment(2 * HOUR + 5 * MINUTE), "2h05m00s"),
        (words.rate(0.1), "6 requests/min"),
        (words.listed(["a", "b", "c"]), "a, b and c"),
        (words.listed(["a", "b", "c"], 2), "a, b and 1 more"),
    ],
)
def test_words(written: str, expected: str) -> None:
    assert written == expected


@pytest.mark.parametrize(
    ("greatest", "ticks"),
    [(0, (0, 0.5)), (7, (0, 5, 10)), (100, (0, 50, 100)), (0.3, (0, 0.1, 0.2, 0.3))],
)
def test_linear_scales_end_at_a_round_number(greatest: float, ticks: tuple[float, ...]) -> None:
    assert linear(greatest, str).ticks == pytest.approx(ticks)


def test_whole_scales_have_no_halves() -> None:
    assert whole(1).ticks == (0, 1)
    assert whole(2).ticks == (0, 1, 2)


def test_logarithmic_scales_hold_what_they_are_made_for() -> None:
    scale = logarithmic(0.012, 2.5, words.short_seconds)
    assert (scale.low, scale.high) == (0.01, 3.0)
    assert scale.y(0.01) == HEIGHT
    assert scale.y(3.0) == 0
    assert scale.y(0.0001) == HEIGHT
    assert logarithmic(0.01, 0.01, str).high > 0.01


@pytest.mark.parametrize("duration", [SECOND, 90 * SECOND, HOUR, DAY, 30 * DAY, 36_500 * DAY])
def test_times_have_a_handful_of_marks(duration: int) -> None:
    ticks = Times(duration=duration).ticks
    assert 1 < len(ticks) <= 9
    assert ticks[-1] <= duration


def test_gaps_stay_gaps_and_level_stretches_cost_nothing() -> None:
    values = np.array([1.0, 1.0, 1.0, np.nan, 2.0, 1.0, np.nan, 1.0])
    curve = Curve(name="x", values=values, style="s0")
    html = plot("x", curve, xs=range(8), scale=linear(2, str), marks=[], label="x")
    assert 'd="M0,100h2M4,0l1,100M7,100h0"' in html
    stepped = Curve(name="x", values=np.array([1.0, 1.0, 2.0]), style="s0", stepped=True)
    html = plot("x", stepped, xs=range(4), scale=linear(2, str), marks=[], label="x")
    assert 'd="M0,100H2V0H3"' in html


def test_columns_add_counts_and_keep_the_worst_of_gauges() -> None:
    run = small.run(small.system(), small.scenario(small.LOSS))
    shape = series.columns(run, most=7)
    assert (shape.together, len(shape.edges)) == (9, 8)
    assert shape.edges[-1] == run.duration
    assert shape.added(np.ones(60, dtype=np.int64)).tolist() == [9] * 6 + [6]
    assert shape.added(np.ones(70, dtype=np.int64)).sum() == 60
    assert shape.added(np.ones(50, dtype=np.int64)).sum() == 50
    ready = series.ready(run.loads["web", "us-east"], shape)
    assert ready.tolist() == [2, 2, 0, 0, 0, 2, 2]


def test_what_clients_met() -> None:
    run = small.run(small.system(), small.scenario(small.LOSS))
    shape = series.columns(run)
    east = series.met(run, "us-east", shape)
    assert east.rate_per_s.tolist() == [51.0] * 60
    assert east.failed[19] == 0
    assert east.failed[20] == pytest.approx(45 / 51)
    nobody = series.met(replace(run, lines={("x", "y"): _nothing(run)}), None, shape)
    assert np.isnan(nobody.p99_s).all()
    assert np.isnan(nobody.bad).all()


def _nothing(run: Run) -> Line:
    line = run.lines["browsers", "us-east"]
    return replace(line, ok=line.ok * 0, failed=line.failed * 0, latency=line.latency * 0)


def test_the_story_goes_by_the_phases_of_the_faults() -> None:
    kill = Step(at=50 * SECOND, fault=Fault(kind=FaultKind.KILL, subject="web-1"), lasts=0)
    scenario = small.scenario(small.LOSS, kill)
    run = small.run(small.system(), scenario)
    told = phases(run, spans(scenario))
    assert [(phase.begins // SECOND, phase.title) for phase in told] == [
        (0, "Before the first fault"),
        (20, "Region us-east is lost"),
        (40, "Between faults"),
        (50, "web-1 is killed"),
    ]
    assert sum(len(phase.events) for phase in told) == len(run.events)


def test_many_events_of_a_kind_are_one_line() -> None:
    scenario = small.scenario(small.LOSS)
    told = phases(small.run(small.system(), scenario), spans(scenario))[1]
    lines = entries(told)
    assert [(line.kind, line.count) for line in lines] == [
        (EventKind.FAULT, 1),
        (EventKind.EJECT, 40),
        (EventKind.ACTION, 1),
    ]
    assert lines[1].subjects[:2] == ("web-0", "web-1")


def test_what_is_a_matter_of_course_is_one_line() -> None:
    pushes = tuple(
        RunEvent(
            at=index, kind=EventKind.ACTION, subject=name, code="traffic.endpoints", text="given"
        )
        for index, name in enumerate(("web", "web", "catalog"))
    )
    starts = tuple(
        RunEvent(at=9, kind=EventKind.ACTION, subject=name, code="start", text="starts")
        for name in ("web", "web", "web", "catalog")
    )
    phase = Phase(title="", begins=0, ends=10, events=pushes + starts)
    assert routine(phase) == "balancers were given new endpoints (3)"
    assert [line.subjects for line in entries(phase)] == [("web (3)", "catalog (1)")]


def test_who_is_called_stands_to_the_right_of_who_calls() -> None:
    def calls(*names: str) -> tuple[Call, ...]:
        return tuple(Call(service=name, per_request=1) for name in names)

    def system(**called: tuple[Call, ...]) -> list[list[str]]:
        services = [service(name, {"r": 1.0}, calls=to) for name, to in called.items()]
        return layers(system_of({"r": {"a": 1}}, services))

    assert system(web=calls("cart", "stock"), cart=calls("stock"), stock=()) == [
        ["web"],
        ["cart"],
        ["stock"],
    ]
    circle = system(a=calls("b"), b=calls("c"), c=calls("a"))
    assert sorted(name for layer in circle for name in layer) == ["a", "b", "c"]


def test_of_many_services_the_eventful_ones_are_drawn() -> None:
    system, scenario = small.system(), small.scenario(small.LOSS)
    run = small.run(system, scenario)
    still = small.run(system, small.scenario())
    quiet = {key: still.loads[key] for key in run.loads if key[0] == "web"}
    run = replace(run, loads=run.loads | quiet)
    assert eventful(run, system, most=1) == ["catalog"]
    assert eventful(run, system) == ["web", "catalog"]


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_lines_stand_out_from_what_is_behind_them(colours: str) -> None:
    """By WCAG 2.2: 4.5 to 1."""
    by_name = dict(re.findall(r"--([\w-]+):(#\w+)", colours))
    pairs = [(name, back) for name in INKS for back in ("bg", "raised")]
    pairs += [(name, f"{name}-bg") for name in ("held", "broken")]
    for front, back in pairs:
        assert _contrast(by_name[front], by_name[back]) >= 4.5, (front, back)


INKS = ("ink", "muted", "link", "fault-edge", "limit", "c0", "c1", "c2", "c3", "c4", "c5")


def _contrast(one: str, other: str) -> float:
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_median_run_is_shown() -> None:
    system, scenario = small.system(), small.scenario()
    runs = []
    for seed, bad in ((1, 9), (2, 0), (3, 5)):
        run = small.run(system, scenario, seed)
        good = run.objectives[0]
        worse = Good(good=good.total - bad, total=good.total)
        runs.append(replace(run, objectives=(worse, worse)))
    assert shown(system, small.proof(system, scenario, runs=tuple(runs))).seed == 3
