"""A report as a whole: well-formed, alone, safe, complete, and the same every time."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.explain.report import small

from seakeep.explain.report import render
from seakeep.explain.report.markup import VOID
from seakeep.model.proof import Estimate, Report
from seakeep.model.run import EventKind, RunEvent
from seakeep.model.scenario import Deploy, Fault, FaultKind, Scenario, Step
from seakeep.model.time import SECOND

ALL_FAULTS = tuple(
    Step(
        at=index * SECOND,
        fault=Fault(
            kind=kind,
            subject="us-east~eu-west" if kind in (FaultKind.PARTITION, FaultKind.DELAY) else "web",
            amount=0.25,
            deploy=Deploy(errors=0.2) if kind is FaultKind.DEPLOY else None,
        ),
        lasts=(0, None, 5 * SECOND)[index % 3],
    )
    for index, kind in enumerate(FaultKind)
)


class Tree(HTMLParser):
    """Fails on what is not nested well; keeps ids, links, tags and the text outside of <style>."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute twice in {tag}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.text).split())


def several(interrupted: bool = False) -> Report:
    system = small.system()
    return small.report(
        small.proof(system, small.scenario(small.LOSS), held=False),
        small.proof(system, small.scenario(name="quiet")),
        small.proof(system, small.scenario(*ALL_FAULTS, name="everything")),
        of=system,
        interrupted=interrupted,
    )


EMPTY = {
    "no scenario": Report(system=small.system(), proofs=()),
    "no run": small.report(small.proof(small.system(), small.scenario(small.LOSS), seeds=())),
    "no objective": small.report(
        small.proof(small.system(objectives=False), small.scenario(small.LOSS)),
        of=small.system(objectives=False),
    ),
    "no traffic": small.report(
        small.proof(small.system(traffic=False), small.scenario(small.LOSS)),
        of=small.system(traffic=False),
    ),
    "no fault": small.report(small.proof(small.system(), small.scenario())),
    "one seed": small.report(small.proof(small.system(), small.scenario(small.LOSS), seeds=(7,))),
    "interrupted": several(interrupted=True),
    "no service": Report(
        system=replace(
            small.system(), services={}, traffic={}, objectives=(), regions={}, links=()
        ),
        proofs=(),
    ),
}


@pytest.mark.parametrize("report", EMPTY.values(), ids=EMPTY)
def test_it_is_well_formed_whatever_is_missing(report: Report) -> None:
    html = render(report)
    tree = Tree(html)
    assert html.startswith('<!doctype html>\n<html lang="en">')
    assert "nan" not in re.findall(r"[a-z]+", html.partition("</style>")[2].lower())
    ids = [attributes["id"] for _, attributes in tree.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for tag, attributes in tree.tags if tag == "a"]
    assert {str(link).removeprefix("#") for link in links} <= set(ids)


def test_it_needs_nothing_from_elsewhere_and_no_script() -> None:
    html = render(several(), several())
    tree = Tree(html)
    loading = {"script", "link", "img", "iframe", "object", "embed", "base", "form", "video"}
    assert loading.isdisjoint(tag for tag, _ in tree.tags)
    assert re.findall(r"(?:https?:)?//[a-z]", html) == []
    assert "@import" not in html
    assert "url(" not in html
    for _, attributes in tree.tags:
        assert not any(name.startswith("on") or name == "src" for name in attributes)


def test_names_of_others_are_never_markup() -> None:
    hostile = "<script>alert('x')</script>\"&'><img src=x onerror=y>"
    system = replace(small.system(), name=hostile, revision=hostile)
    scenario = small.scenario(
        Step(at=SECOND, fault=Fault(kind=FaultKind.KILL, subject=hostile), lasts=0), name=hostile
    )
    run = small.run(system, scenario)
    event = RunEvent(at=SECOND, kind=EventKind.ACTION, subject=hostile, code=hostile, text=hostile)
    line, load = run.lines["browsers", "us-east"], run.loads["web", "us-east"]
    run = replace(
        run,
        events=(event,),
        broken=(hostile,),
        lines=run.lines | {(hostile, hostile): line},
        loads=run.loads | {("web", hostile): load},
        traffic={hostile: run.traffic["browsers"]},
        services={hostile: run.services["web"]},
    )
    proof = small.proof(system, scenario, runs=(run,))
    proof = replace(proof, verdicts=(replace(proof.verdicts[0], what=hostile),))
    html = render(Report(system=system, proofs=(proof,)))
    assert "<script" not in html
    assert "<img" not in html
    tree = Tree(html)
    assert tree.said.count(hostile) >= 8


def test_it_tells_every_verdict_and_every_fault() -> None:
    report = several()
    said = Tree(render(report)).said
    for proof in report.proofs:
        assert f"Scenario {proof.scenario.name}" in said
        for verdict in proof.verdicts:
            assert verdict.what in said
    assert "region us-east is lost, from 20s to 40s" in said
    for words in (
        "web is killed, at 0",
        "web freezes: it takes connections and answers nothing, from 1s to 1m",
        "between us-east and eu-west nothing gets through",
        "a new version of web is deployed, which fails 20% of its requests",
        "the control plane is down: no controller acts",
    ):
        assert words in said


def test_it_says_in_words_what_broke_and_by_how_much() -> None:
    said = Tree(render(several())).said
    assert "1 of 3 scenarios breaks: region-loss." in said
    assert (
        "Broken. web promises that 99.9% of requests are answered without an error; on average "
        "98.67% were, and the worst run (seed 1) was 1.24 points short." in said
    )
    held = Tree(render(small.report())).said
    assert "Yes: everything that was promised holds." in held
    assert "Both expectations are met in each of 3 runs." in held


def test_it_says_which_run_is_shown_and_how_to_run_it_again() -> None:
    said = Tree(render(small.report())).said
    assert "This is the run with seed 2, the median of 3 runs." in said
    assert "seakeep simulate --scenario region-loss --seed 2" in said


def test_what_is_missing_is_said() -> None:
    said = {name: Tree(render(report)).said for name, report in EMPTY.items()}
    assert "No scenario was run to its end" in said["no scenario"]
    assert "No run of this scenario has ended" in said["no run"]
    assert "Nothing was expected of this scenario" in said["no objective"]
    assert "No traffic source sends requests" in said["no traffic"]
    assert "Nothing is broken on purpose." in said["no fault"]
    assert "how much is luck is not known" in said["one seed"]
    assert "The simulation was interrupted" in said["interrupted"]


def test_broken_invariants_are_an_alarm() -> None:
    system = small.system()
    run = replace(small.run(system, small.scenario()), broken=("web fell below its minimum",))
    html = render(small.report(small.proof(system, small.scenario(), runs=(run,)), of=system))
    said = Tree(html).said
    assert "seed 1: web fell below its minimum" in said
    assert "Something happened that must never happen, in 1 run." in said


def test_two_specs_are_compared() -> None:
    system = small.system()
    hurt = small.report(small.proof(system, small.scenario(small.LOSS), held=False), of=system)
    whole = tuple(small.run(system, small.scenario(), seed) for seed in (1, 2, 3))
    fine = small.report(small.proof(system, small.scenario(), runs=whole), of=system)
    said = Tree(render(hurt, fine)).said
    assert "The two specs compared" in said
    assert "✗ broken 1.24 points short ✓ held 0.03 points to spare" in said
    assert "web availability 99.9%: good 85.257% 100% worse -14.743%" in said
    assert "Alike: browsers p50, browsers p99, web instance-hours and catalog" in said
    assert "better +14.743%" in Tree(render(fine, hurt)).said
    assert "no scenario in common" in Tree(render(hurt, replace(fine, proofs=()))).said


def test_a_scenario_that_may_use_up_some_budget_is_told_so() -> None:
    system, scenario = small.system(), small.scenario(small.LOSS, budget=0.05)
    proof = small.proof(system, scenario)
    verdict = replace(proof.verdicts[0], target=0.9784123456789, margin=0.003)
    nobody = replace(proof.verdicts[1], measured=Estimate(mean=1.0, runs=0), budget=None)
    proof = replace(proof, verdicts=(verdict, nobody), recover=Estimate(mean=21.0, runs=1))
    said = Tree(render(small.report(proof, of=system))).said
    assert (
        "web promises that 99.9% of requests are answered without an error, and may spend 5% of "
        "its error budget for 30d here; on average 99.94% were, and the worst run (seed 1) spent "
        "0.04%." in said
    )
    assert "at most 5% of its budget" in said
    assert "at 0.86% of the budget it may use, seed 1" in said
    assert "no requests" in said
    assert "21.0s in 1 of 3 runs" in said
    assert "5% of the objective's error budget" in said


def test_the_same_report_gives_the_same_bytes() -> None:
    program = (
        "from tests.explain.report.test_page import several\n"
        "from seakeep.explain.report import render\n"
        "import sys; sys.stdout.reconfigure(encoding='utf-8'); print(render(several(), several()))"
    )
    root = Path(__file__).resolve().parents[3]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            cwd=root,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_every_picture_has_words_for_those_who_do_not_see_it() -> None:
    tree = Tree(render(several()))
    pictures = [attributes for tag, attributes in tree.tags if tag == "svg"]
    assert pictures
    for attributes in pictures:
        assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"


def test_a_long_run_with_many_events_stays_small() -> None:
    system = small.system()
    scenario = Scenario(name="day", duration=86_400 * SECOND)
    run = small.run(system, scenario)
    events = tuple(
        RunEvent(
            at=index * SECOND,
            kind=EventKind.ACTION,
            subject=f"web-{index}",
            code=f"code.{index % 60}",
            text=f"web-{index} is restarted: its liveness probe fails",
        )
        for index in range(20_000)
    )
    run = replace(run, events=events)
    html = render(small.report(small.proof(system, scenario, runs=(run,)), of=system))
    assert len(html) < 500_000
    assert "18,500 later events left out here" in Tree(html).said
