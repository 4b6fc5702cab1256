"""Whatever is in a file, `load` gives a system or a SpecError: never another exception."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from seakeep.cli.init import starter
from seakeep.spec import Loaded, SpecError, load
from seakeep.spec.document import Document

STARTER = starter()["seakeep.yaml"]
WORDS = sorted(
    {
        *Document.model_fields,
        *("run", "zones", "nodes", "at", "from", "to", "rate", "shape", "step", "probes", "http"),
        *("readiness", "routes", "path", "headers", "port", "calls", "spread", "steps", "lose"),
        *("kill", "partition", "for", "duration", "work", "time", "env", "x-a", "<<", "web", "a"),
        *("us-east~eu-west", "1s", "99%", "5/s", "64MiB", "even", "web-1", "a/b", "a/b/0", "/"),
        *("concurrency", "queue", "cpu", "start", "pauses", "every", "warmup", "factor", "leak"),
        *("sessions", "pages", "think", "patience", "log", "surge", "breaker", "requests", "hedge"),
        *("errors", "loss", "link", "outage", "deploy", "control", "down", "dns", "stale"),
        *("expect", "budget", "network", "latency", "jitter", "bandwidth", "per_request"),
        *("gamma(mean=1ms", "cv=2)", "hdr(seakeep.yaml)", "1Gbps", "none", "calls", "retries"),
        *("lognormal(p50=1ms, p99=2ms)", "95% < 3ms", "{", "&", "*", "on", "null", "~", "0x1"),
    }
)
SCALARS = (
    st.sampled_from(WORDS)
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=12)
)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5)
    ),
    max_leaves=25,
)


def outcome(content: bytes) -> Loaded | SpecError:
    """What loading a file with this content comes to; any other exception fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seakeep.yaml"
        path.write_bytes(content)
        try:
            return load(path)
        except SpecError as caught:
            error = caught
    for problem in error.problems:
        assert problem.line >= 1
        assert problem.column >= 1
        assert problem.message.isprintable()
        assert problem.hint.isprintable()
    places = [(str(p.file), p.line, p.column) for p in error.problems]
    assert places == sorted(places)
    return error


@given(st.binary(max_size=300))
def test_any_bytes(content: bytes) -> None:
    outcome(content)


@given(st.text(alphabet="abcxy:-,[]{}&*!|>'\"%@`#?~ \n\t0123456789<=/.", max_size=120))
def test_any_punctuation(text: str) -> None:
    outcome(text.encode())


@settings(max_examples=120)
@given(st.dictionaries(st.sampled_from(WORDS), TREES, max_size=9))
def test_any_structure(tree: dict[str, object]) -> None:
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        YAML(typ="safe").dump(tree, file)
        file.seek(0)
        outcome(file.read().encode())


@settings(max_examples=120)
@given(st.data())
def test_a_mutated_starter(data: st.DataObject) -> None:
    """Cut, repeat or replace pieces of a good spec: the neighbourhood of what people write."""
    text = STARTER
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 40)))
        kind = data.draw(st.sampled_from(("cut", "repeat", "replace", "value")))
        piece = {
            "cut": "",
            "repeat": text[start:end] * 2,
            "replace": data.draw(st.text(alphabet="abz019:-,[]{}&*'\"% \n", max_size=8)),
            "value": f" {data.draw(st.sampled_from(WORDS))} ",
        }[kind]
        text = text[:start] + piece + text[end:]
    outcome(text.encode())


@settings(max_examples=60)
@given(st.data())
def test_a_starter_with_other_values_in_its_places(data: st.DataObject) -> None:
    tree = YAML(typ="safe").load(STARTER)
    for _ in range(data.draw(st.integers(1, 3))):
        holder = tree
        while True:
            keys = sorted(holder) if isinstance(holder, dict) else list(range(len(holder)))
            key = data.draw(st.sampled_from(keys))
            inner = holder[key]
            if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
                holder[key] = data.draw(TREES)
                break
            holder = inner
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        YAML(typ="safe").dump(tree, file)
        file.seek(0)
        outcome(file.read().encode())


def test_the_starter_itself_is_good() -> None:
    assert isinstance(outcome(STARTER.encode()), Loaded)
