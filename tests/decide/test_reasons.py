"""Every reason reads as a sentence, whatever its numbers."""

import re
from string import Formatter

import pytest
from tests.decide.test_plane import eventful_life

from seakeep.decide.reasons import REASONS
from seakeep.explain.wording import sentence
from seakeep.model.decision import Reason
from seakeep.model.time import SECOND

NAMES = {
    "instance": "web-7",
    "node": "us-east/a/0",
    "region": "us-east",
    "service": "web",
    "places": "us-east",
    "callers": "us-east/a",
    "role": "balancer",
    "to": "eu-west",
    "short": "memory",
    "what": "zone",
    "metric": "requests in flight per instance",
    "detail": "HTTP 503",
    "old": "3790474d8014",
    "new": "053609f2daa9",
    "by": "ann@desk",
    "superseded": "restart:web-7:0",
    "winner": "stop:web-7:0",
    "pending": "stop:web-7:0",
}
NEVER_ONE = {("health.held.backoff", "failures")}
"""The first restart is never held back."""


def placeholders(code: str) -> list[str]:
    found = (name for _, name, _, _ in Formatter().parse(REASONS[code]) if name)
    return [name for name in dict.fromkeys(found) if name != "subject"]


def filled(code: str, number: int) -> str:
    numbers = []
    for name in placeholders(code):
        if name in NAMES:
            numbers.append((name, NAMES[name]))
        elif name.endswith("_ns"):
            numbers.append((name, number * SECOND))
        else:
            numbers.append((name, 2 if (code, name) in NEVER_ONE else number))
    return sentence(Reason(code=code, subject="web", numbers=tuple(numbers)), REASONS)


@pytest.mark.parametrize("code", sorted(REASONS))
def test_one_is_not_followed_by_a_plural(code: str) -> None:
    text = filled(code, 1)
    assert not re.search(r"\b1 (?!has|is|was|does)[a-z]+s\b", text), text
    assert not re.search(r"\b1 (are|were|have|do)\b", text), text


@pytest.mark.parametrize("code", sorted(REASONS))
@pytest.mark.parametrize("number", [2, 17])
def test_many_are_not_followed_by_a_singular(code: str, number: int) -> None:
    text = filled(code, number)
    assert not re.search(rf"\b{number} (is|was|has|does|replica|instance|region|node)\b", text), (
        text
    )


def test_all_that_a_life_brings_about_is_told_in_words() -> None:
    reasons = {}
    for decision in eventful_life():
        for reason in decision.reasons:
            reasons.setdefault((reason.code, reason.subject, reason.numbers), reason)
    for reason in reasons.values():
        text = sentence(reason, REASONS)
        assert reason.code not in text, "its numbers do not fill its sentence"
        assert not re.search(r"[0-9]{7}", text), text
        assert ".local" not in text
        assert "@" not in text
    assert len({reason.code for reason in reasons.values()}) > 15


def test_clusters_are_told_by_who_calls() -> None:
    told = {
        dict(reason.numbers)["cluster"]: sentence(reason, REASONS).partition(" (")[0]
        for decision in eventful_life()
        for reason in decision.reasons
        if reason.code.startswith("traffic.endpoints") and ("region", "us-east") in reason.numbers
    }
    assert told == {
        "web": "the balancer of us-east is given web for callers in us-east",
        "web@a": "the balancer of us-east is given web for callers in us-east/a",
        "web@b": "the balancer of us-east is given web for callers in us-east/b",
        "web.local": "the gateway of us-east is given web for callers in other regions",
        "api": "the balancer of us-east is given api for callers in us-east",
        "api.local": "the gateway of us-east is given api for callers in other regions",
    }


def test_amounts_are_told_in_their_units() -> None:
    numbers = (
        ("replicas", 2),
        ("wanted", 9),
        ("short", "memory"),
        ("cpu_millicores", 500),
        ("memory_bytes", 256 << 20),
        ("nodes", 3),
        ("places", "us-east"),
    )
    text = sentence(Reason(code="placement.no_capacity", subject="web", numbers=numbers), REASONS)
    assert text == (
        "web has no place for 2 of the wanted 9: they need 500m of CPU and 256MiB of memory, and"
        " its nodes (there are 3, in us-east) have too little memory left"
    )
