"""The runs of a scenario side by side, and which of them is shown."""

from collections.abc import Sequence

from seakeep.explain.judge import describe
from seakeep.explain.report import words
from seakeep.explain.report.markup import Markup, tag
from seakeep.explain.report.tables import table as figures
from seakeep.model.proof import Proof
from seakeep.model.run import Run
from seakeep.model.system import Objective, System


def shown(system: System, proof: Proof) -> Run:
    """The median run: as many did worse as did better."""
    ranked = sorted(proof.runs, key=lambda run: (_badness(system.objectives, run), run.seed))
    return ranked[(len(ranked) - 1) // 2]


def _badness(objectives: Sequence[Objective], run: Run) -> tuple[float, float]:
    """How far it is from what is promised: bad requests, in multiples of those that may be; then
    the share of requests that were not answered well."""
    worst = 0.0
    for objective, good in zip(objectives, run.objectives, strict=False):
        total = int(good.total.sum())
        if total:
            bad = 1 - int(good.good.sum()) / total
            worst = max(worst, bad / max(1 - objective.target, 1e-9))
    return worst, _error_share(run)


def _error_share(run: Run) -> float:
    flows = run.traffic.values()
    ended = sum(flow.requests - flow.in_flight for flow in flows)
    bad = sum(flow.failed + flow.rejected + flow.timed_out for flow in flows)
    return bad / ended if ended else 0.0


def which(proof: Proof, run: Run) -> str:
    """Says which run the story and the pictures show."""
    if len(proof.runs) == 1:
        return f"This is the run with seed {run.seed}, the only one."
    return f"This is the run with seed {run.seed}, the median of {len(proof.runs)} runs."


def table(system: System, proof: Proof, run: Run) -> Markup:
    """Every run's figures; of a single one there is nothing to compare."""
    if len(proof.runs) < 2:
        return Markup()
    columns = ["Requests", "In error", *map(describe, system.objectives), "Events"]
    rows = [
        (f"{one.seed} (shown below)" if one is run else str(one.seed), _cells(system, one))
        for one in proof.runs
    ]
    return tag(
        "details",
        tag("summary", f"All {len(proof.runs)} runs, by seed"),
        figures(None, "Seed", columns, rows),
        class_="opens-in-print",
    )


def _cells(system: System, run: Run) -> list[str]:
    requests = sum(flow.requests for flow in run.traffic.values())
    cells = [f"{requests:,}", words.percent(_error_share(run))]
    for index, objective in enumerate(system.objectives):
        good = run.objectives[index] if index < len(run.objectives) else None
        total = 0 if good is None else int(good.total.sum())
        if good is None or not total:
            cells.append(words.NOTHING)
        else:
            cells.append(words.share(int(good.good.sum()) / total, objective.target))
    return [*cells, f"{len(run.events):,}"]
