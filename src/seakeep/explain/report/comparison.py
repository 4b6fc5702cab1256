"""Two specs under the same scenarios, side by side: what held, and every figure that both have."""

from collections.abc import Callable, Mapping, Sequence

from seakeep.explain.compare import Difference, differences
from seakeep.explain.report import verdicts, words
from seakeep.explain.report.markup import Content, Markup, tag
from seakeep.explain.report.tables import estimate, table
from seakeep.model.proof import Proof, Report, Verdict

WRITERS: Mapping[str, Callable[[float], str]] = {
    "fraction": lambda amount: words.percent(amount, 3),
    "seconds": words.precise_seconds,
    "hours": words.number,
    "count": words.number,
}
"""How a figure is written, by its unit."""


def comparison(report: Report, other: Report) -> Markup:
    """By scenario; only of scenarios that both have."""
    theirs = {proof.scenario.name: proof for proof in other.proofs}
    found = differences(report, other)
    parts = [
        _scenario(
            proof,
            theirs[proof.scenario.name],
            [one for one in found if one.scenario == proof.scenario.name],
        )
        for proof in report.proofs
        if proof.scenario.name in theirs
    ]
    return tag(
        "section",
        tag("h2", "The two specs compared"),
        tag("p", _intro(report, other)),
        parts or tag("p", "They have no scenario in common.", class_="note"),
        id="comparison",
    )


def _intro(report: Report, other: Report) -> str:
    names = f"This spec is revision {report.system.revision}, "
    names += f"the other one revision {other.system.revision}"
    if other.system.name != report.system.name:
        names += f" of {other.system.name}"
    return (
        f"{names}. Both met the same chance: equal seeds give equal requests, so that the "
        "difference is the specs' doing. It is taken seed by seed; below it stands where the true "
        "one is, with 95% confidence. The rest of this page is about this spec."
    )


def _scenario(mine: Proof, its: Proof, found: Sequence[Difference]) -> Markup:
    theirs = {verdict.what: verdict for verdict in its.verdicts}
    rows: list[tuple[Content, list[Content]]] = [
        (verdict.what, [_outcome(verdict, mine), _outcome(theirs.get(verdict.what), its), None])
        for verdict in mine.verdicts
    ]
    apart = [one for one in found if not is_alike(one)]
    rows += [(one.what, _figures(one)) for one in apart]
    alike = [one.what for one in found if is_alike(one)]
    columns = ("This spec", "The other", "Difference")
    shown = table(["Scenario ", mine.scenario.name], "Expectation or figure", columns, rows)
    if not alike:
        return shown
    return Markup(shown + tag("p", f"Alike: {words.listed(alike, 40)}.", class_="note"))


def is_alike(found: Difference) -> bool:
    """Equal, or apart by less than is written."""
    write = WRITERS[found.unit]
    by = abs(found.difference.mean)
    return by == 0 or write(by) in (write(0.0), "< 0.001", "< 0.001%")


def _outcome(verdict: Verdict | None, proof: Proof) -> Content:
    if verdict is None:
        return words.NOTHING
    by = tag("span", verdicts.gap(verdict, proof.scenario), class_="interval")
    return [verdicts.badge(verdict.held), " ", by]


def _figures(found: Difference) -> list[Content]:
    write = WRITERS[found.unit]
    return [write(found.one.mean), write(found.other.mean), _change(found, write)]


def _change(found: Difference, write: Callable[[float], str]) -> Content:
    by = estimate(found.difference, lambda amount: _signed(amount, write))
    if not found.is_certain:
        return [by, tag("span", "may be chance", class_="interval")]
    more = found.difference.mean > 0
    if found.unit in ("hours", "count"):
        return [f"{'more' if more else 'less'} ", by]
    more_is_better = found.what.endswith(": good")
    side = "better" if more is more_is_better else "worse"
    return [tag("span", f"{side} ", class_=side), by]


def _signed(amount: float, write: Callable[[float], str]) -> str:
    return f"{'-' if amount < 0 else '+'}{write(abs(amount))}"
