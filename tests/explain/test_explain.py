"""Sentences, timelines and incidents of a journal."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.runtime.journals import eventful

from seakeep.decide.reasons import REASONS
from seakeep.explain import clock_time, dated, duration, incidents, sentence, timeline
from seakeep.model.decision import Reason
from seakeep.model.observation import Observation, Outcome, OutcomeStatus
from seakeep.model.record import Missing, Noted, Opened, Record, Stepped
from seakeep.model.time import HOUR, MICROSECOND, MILLISECOND, MINUTE, SECOND
from seakeep.runtime.reading import read
from seakeep.runtime.replay import views

TEMPLATES = {
    "health.held": "{subject} waits {delay_ns}, until {until_ns}",
    "plain": "{subject} is fine",
    "broken": "{subject} {nothing} {0}",
    "spec": "{ratio} of {bytes}",
}


def reason(code: str, subject: str = "web-1", **numbers: int | float | str) -> Reason:
    return Reason(code=code, subject=subject, numbers=tuple(numbers.items()))


def test_sentences() -> None:
    held = reason("health.held", delay_ns=1_500_000_000, until_ns=90 * SECOND)
    assert sentence(held, TEMPLATES) == "web-1 waits 1.50s, until T+1m30s"
    assert sentence(held, TEMPLATES, wall_offset=0) == "web-1 waits 1.50s, until 00:01:30.000"
    assert sentence(reason("spec", ratio=0.123456789, bytes=10**7), TEMPLATES) == (
        "0.123457 of 10000000"
    )


def test_no_reason_is_unreadable() -> None:
    assert sentence(reason("new.code", a=1, b="x"), TEMPLATES) == "web-1: new.code (a 1, b x)"
    assert sentence(reason("broken", a=1), TEMPLATES) == "web-1: broken (a 1)"
    assert sentence(reason("bare"), {}) == "web-1: bare"
    assert sentence(reason("plain", "{0.__class__}"), TEMPLATES) == "{0.__class__} is fine"


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0s"),
        (15 * MICROSECOND, "15us"),
        (300 * MILLISECOND, "300ms"),
        (999_499_999, "999ms"),
        (999_600_000, "1.00s"),
        (1_250 * MILLISECOND, "1.25s"),
        (12_340 * MILLISECOND, "12.3s"),
        (59_960 * MILLISECOND, "1m00s"),
        (250 * SECOND, "4m10s"),
        (HOUR - MILLISECOND, "1h00m"),
        (2 * HOUR + 5 * MINUTE, "2h05m"),
        (-3 * SECOND, "-3.00s"),
    ],
)
def test_durations(ns: int, text: str) -> None:
    assert duration(ns) == text


def test_times() -> None:
    assert dated(1_770_120_184_250_000_000) == "2026-02-03 12:03:04.250Z"
    assert clock_time(4, 1_770_120_184_250_000_000) == "12:03:04.250"
    assert dated(10**30) == "1970-01-01 00:00:00.000Z"


OPENED = Opened(n=1, at=0, wall_offset=0, epoch=1, system="shop", format=1, version="1")


def step(second: int, *reasons: Reason, outcomes: tuple[Outcome, ...] = ()) -> Stepped:
    return Stepped(
        n=second,
        observation=Observation(seq=second, at=second * SECOND, outcomes=outcomes),
        actions=(),
        reasons=reasons,
        wake_at=None,
        digest="",
    )


def test_what_stands_is_one_line() -> None:
    fine, held = reason("plain"), reason("health.held", delay_ns=SECOND, until_ns=0)
    acted = replace(reason("plain", "web-2"), action="start/web-2")
    records: list[Record] = [
        OPENED,
        step(1, fine),
        step(2, fine, held),
        step(3, fine, acted),
        step(4, acted),
        step(5, fine),
        Missing(n=6, at=None, count=3, why="disk full"),
        Noted(n=9, at=6 * SECOND, what="fault.kill", text="kill web-1"),
        step(7, fine),
    ]
    lines = timeline(records, TEMPLATES)
    assert [str(line).partition("  ") for line in lines] == [
        ("1970-01-01 00:00:00.000Z", "  ", "Seakeep 1 takes shop over, epoch 1"),
        ("1970-01-01 00:00:01.000Z", "  ", "web-1 is fine (x3, until 00:00:03.000)"),
        ("1970-01-01 00:00:02.000Z", "  ", "web-1 waits 1.00s, until 00:00:00.000"),
        ("1970-01-01 00:00:03.000Z", "  ", "web-2 is fine"),
        ("1970-01-01 00:00:04.000Z", "  ", "web-2 is fine"),
        ("1970-01-01 00:00:05.000Z", "  ", "web-1 is fine"),
        ("1970-01-01 00:00:05.000Z", "  ", "the journal lacks 3 records here: disk full"),
        ("1970-01-01 00:00:06.000Z", "  ", "fault.kill: kill web-1"),
        ("1970-01-01 00:00:07.000Z", "  ", "web-1 is fine"),
    ]


def test_outcomes_that_went_wrong_are_told() -> None:
    outcomes = tuple(
        Outcome(action=f"start/{status}", status=status, at=1, detail="why")
        for status in OutcomeStatus
    )
    texts = [line.text for line in timeline([step(1, outcomes=outcomes)], TEMPLATES)]
    assert texts == ["start/refused refused: why", "start/failed failed: why"]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    folder = tmp_path_factory.mktemp("journal")
    eventful(folder)
    return list(read(folder))


def test_the_story_of_everything(records: list[Record]) -> None:
    lines = timeline(records, REASONS)
    assert [line.at for line in lines] == sorted(line.at for line in lines)
    # Every code has its sentence: no line falls back to the plain listing.
    assert not [line.text for line in lines if f": {line.code}" in line.text]
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z  ", str(line)) for line in lines)
    codes = [line.code for line in lines]
    assert codes.count("supervisor.started") == 2
    assert codes.count("spec.changed") == 1
    assert "health.restart.exited" in codes
    settled = [line for line in lines if line.code == "placement.settled"]
    assert max(line.count for line in settled) > 10
    assert len(lines) < 250


@pytest.mark.parametrize(
    ("subject", "told", "untold"),
    [
        ("web-1", "web-1 is restarted", "web-4 starts"),
        ("us-east/a", "node:us-east/a/0 is started", "node:eu-west/a/0 is started"),
        ("eu-west", "edge:eu-west is started", "edge:us-east is started"),
        ("web", "web has all that it wants, 6", "link:us-east is started"),
        ("link:us-east", "link:us-east is started", "web-1 starts"),
    ],
)
def test_the_story_of_one(records: list[Record], subject: str, told: str, untold: str) -> None:
    everything = "\n".join(line.text for line in timeline(records, REASONS))
    assert untold in everything
    story = "\n".join(line.text for line in timeline(records, REASONS, subject))
    assert told in story
    assert untold not in story


def test_incidents(records: list[Record]) -> None:
    found = incidents(views(records))
    faults = {one.text: one.at for one in records if isinstance(one, Noted)}
    assert list(faults) == ["kill web-1", "lose us-east/a", "restore us-east/a", "hang web-3"]
    services = [one for one in found if one.subject == "web"]
    killed, lost, hung = services
    for one, fault in ((killed, "kill web-1"), (lost, "lose us-east/a"), (hung, "hang web-3")):
        assert one.began_at == faults[fault]
        assert one.began_at <= one.detected_at
        assert one.acted_at is not None
        assert one.recovered_at is not None
        assert one.detected_at <= one.acted_at <= one.recovered_at
        assert one.to_recover is not None
        assert 0 < one.to_recover < 20 * SECOND
    assert (killed.lowest, killed.wanted) == (5, 6)
    assert "web-1" in killed.detail
    assert "SIGKILL" in killed.detail
    assert (lost.lowest, lost.wanted) == (4, 6)
    assert (hung.lowest, hung.wanted) == (7, 8)
    nodes = [one.subject for one in found if one.subject.startswith("node:")]
    assert nodes == ["node:us-east/a/0", "node:us-east/a/1"]


def test_an_incident_that_is_not_over(records: list[Record]) -> None:
    hurt = next(
        index
        for index, one in enumerate(records)
        if isinstance(one, Noted) and one.text == "kill web-1"
    )
    found = incidents(views(records[: hurt + 2]))
    assert [(one.subject, one.recovered_at) for one in found] == [("web", None)]
    assert found[0].to_recover is None


def test_a_calm_journal_has_none(records: list[Record], tmp_path: Path) -> None:
    first_fault = next(index for index, one in enumerate(records) if isinstance(one, Noted))
    assert incidents(views(records[:first_fault])) == []
