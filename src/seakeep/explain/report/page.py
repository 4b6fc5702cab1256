"""A report as one HTML file that needs nothing else: no network, no script.

A pure function of what was found out: the same report gives the same bytes.
"""

from collections.abc import Sequence

from seakeep.explain.report import budget, seeds, sentences, verdicts, words
from seakeep.explain.report.comparison import comparison
from seakeep.explain.report.distributions import distributions
from seakeep.explain.report.faults import spans
from seakeep.explain.report.glossary import MADE_BY, glossary
from seakeep.explain.report.markup import Markup, raw, tag
from seakeep.explain.report.story import story
from seakeep.explain.report.style import STYLE
from seakeep.explain.report.timeline import stage, timeline
from seakeep.explain.report.topology import topology
from seakeep.model.proof import Proof, Report
from seakeep.model.run import Run
from seakeep.model.units import format_duration

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Nothing may be loaded, and no script runs, whatever stands in the file."""


def render(report: Report, other: Report | None = None) -> str:
    """The whole file. `other` is what the same scenarios gave with another spec: then the two are
    compared, and the rest is about `report`."""
    title = f"{report.system.name}: does it hold?"
    sections = [
        _overview(report),
        comparison(report, other) if other is not None else None,
        topology(report.system),
        [_scenario(report, index, proof) for index, proof in enumerate(report.proofs)],
        glossary(),
    ]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        tag("title", title),
        tag("style", raw(STYLE)),
    )
    body = tag(
        "body",
        tag("header", _title(report), _lead(report)),
        tag("main", sections),
        tag("footer", tag("p", MADE_BY, f" Spec revision {report.system.revision}.")),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


# --- the beginning ------------------------------------------------------------------


def _title(report: Report) -> Markup:
    return tag("h1", f"{report.system.name}: does it hold?")


def _lead(report: Report) -> Markup:
    broken = [proof.scenario.name for proof in report.proofs if not proof.held]
    many = len(report.proofs)
    if not many:
        said = "No scenario was run to its end, so nothing is known."
    elif broken:
        some = "It" if many == 1 else f"{len(broken)} of {many} scenarios"
        said = f"{'It breaks' if many == 1 else some + ' break' + 's' * (len(broken) == 1)}"
        said += f": {words.listed(broken)}." if many > 1 else " what was promised."
    elif any(not proof.runs for proof in report.proofs):
        said = "Not all was run to its end; what was run holds."
    else:
        said = (
            "Yes: every scenario holds." if many > 1 else "Yes: everything that was promised holds."
        )
    lead = tag("p", said, class_=f"headline {_kind(report)}")
    stopped = (
        tag(
            "p",
            "The simulation was interrupted: some runs are missing.",
            class_="alarm",
            role="note",
        )
        if report.interrupted
        else None
    )
    return Markup(lead + (stopped or "") + tag("p", _method(report)))


def _kind(report: Report) -> str:
    """A class of the page's style; of what is not known, none."""
    if not report.held:
        return "broken"
    return "held" if report.proofs and all(proof.runs for proof in report.proofs) else ""


def _method(report: Report) -> str:
    seeds_of = sorted({run.seed for proof in report.proofs for run in proof.runs})
    if not seeds_of:
        return ""
    each = " each" if len(report.proofs) > 1 else ""
    often = (
        f"once, with seed {seeds_of[0]}"
        if len(seeds_of) == 1
        else f"{len(seeds_of)} times{each}, with other chance every time (seeds "
        f"{words.listed([str(seed) for seed in seeds_of], 8)})"
    )
    scenarios = words.counted(len(report.proofs), "scenario")
    return (
        f"Seakeep ran {report.system.name} in a simulator under {scenarios}, {often}, with the "
        "same controllers that run it for real. Times count from the beginning of a scenario."
    )


def _overview(report: Report) -> Markup | None:
    """All scenarios in a table that leads to each, when there are several."""
    if len(report.proofs) < 2:
        return None
    names = ("Scenario", "Outcome", "What came of it")
    rows = [
        tag(
            "tr",
            tag("th", tag("a", proof.scenario.name, href=f"#{_id(index)}"), scope="row"),
            tag("td", verdicts.badge(proof.held) if proof.runs else "not run"),
            tag("td", sentences.shortly(proof)),
        )
        for index, proof in enumerate(report.proofs)
    ]
    table = tag(
        "table",
        tag("thead", tag("tr", [tag("th", name, scope="col") for name in names])),
        tag("tbody", rows),
    )
    links = tag(
        "p",
        "Also: ",
        tag("a", "the system", href="#system"),
        ", ",
        tag("a", "words", href="#words"),
        ".",
    )
    return tag(
        "nav",
        tag("h2", "Contents"),
        tag("div", table, class_="scroll"),
        links,
        aria_label="Contents",
    )


# --- one scenario --------------------------------------------------------------------


def _id(index: int) -> str:
    return f"scenario-{index + 1}"


def _scenario(report: Report, index: int, proof: Proof) -> Markup:
    head = tag(
        "h2", f"Scenario {proof.scenario.name}", verdicts.badge(proof.held) if proof.runs else None
    )
    parts: Sequence[Markup | None] = [
        head,
        sentences.headline(proof),
        verdicts.invariants(proof.runs),
        _done(proof),
    ]
    if proof.runs:
        run = seeds.shown(report.system, proof)
        parts = [*parts, *_of_runs(report, proof, run)]
    return tag("section", parts, class_="scenario", id=_id(index))


def _of_runs(report: Report, proof: Proof, run: Run) -> list[Markup]:
    on = stage(report.system, proof, run)
    return [
        verdicts.table(proof),
        verdicts.key_figures(proof),
        seeds.table(report.system, proof, run),
        tag("h3", "What happened, and why"),
        tag("p", seeds.which(proof, run), class_="note"),
        story(on),
        tag("h3", "Over time"),
        tag("p", _reading(proof, run), class_="note"),
        timeline(on),
        tag("h3", "Error budget"),
        budget.burn(on),
        tag("h3", "How long requests took"),
        tag("p", f"All {words.counted(len(proof.runs), 'run')} together.", class_="note"),
        distributions(proof),
        verdicts.services(proof),
        tag("h3", "Run it again"),
        _again(proof, run),
    ]


def _reading(proof: Proof, run: Run) -> str:
    """How to read the pictures."""
    said = seeds.which(proof, run)
    if len(proof.runs) > 1:
        said += f" Pale bands around lines: the range of all {len(proof.runs)}."
    if spans(proof.scenario):
        said += " Stripes across all pictures: while a fault lasts."
    return said


def _done(proof: Proof) -> Markup:
    scenario = proof.scenario
    faults = spans(scenario)
    length = f"It lasts {format_duration(scenario.duration)}"
    if scenario.warmup:
        length += f", after {format_duration(scenario.warmup)} of traffic that do not count"
    if not faults:
        return tag("p", f"{length}. Nothing is broken on purpose.")
    items = [tag("li", f"{span.words}, {span.when}") for span in faults]
    return Markup(
        tag("p", f"{length}. What is done to the system:") + tag("ol", items, class_="faults")
    )


def _again(proof: Proof, run: Run) -> Markup:
    command = f"seakeep simulate --scenario {proof.scenario.name} --seed {run.seed} --seeds 1"
    said = "In the folder of the spec; the same seed gives the same run, to the last bit:"
    return Markup(tag("p", said) + tag("pre", tag("code", command)))
