"""How fast the error budget burns: bad requests since the beginning, as a share of all that may
be bad."""

import numpy as np

from seakeep.explain.judge import describe
from seakeep.explain.report import series, words
from seakeep.explain.report.markup import Markup, tag
from seakeep.explain.report.plots import Curve
from seakeep.explain.report.scales import linear
from seakeep.explain.report.series import Floats
from seakeep.explain.report.timeline import Stage
from seakeep.model.run import Run
from seakeep.model.system import Objective
from seakeep.model.time import SECOND


def burn(on: Stage) -> Markup:
    """A plot for each objective; above its line at 100% the objective is broken."""
    plots = [
        _plot(on, index, objective)
        for index, objective in enumerate(on.system.objectives)
        if index < len(on.run.objectives) and on.run.objectives[index].total.sum()
    ]
    if not plots:
        return tag("p", "No objective has requests to count in this scenario.", class_="note")
    return Markup("".join((tag("p", _allowance(on)), *plots)))


def _plot(on: Stage, index: int, objective: Objective) -> Markup:
    values = _spent(on, on.run, index)
    band = on.over_runs(lambda run: _spent(on, run, index))
    hint = f"{words.budget(float(values[-1]))} by the end"
    curve = Curve(name="bad so far", values=values, style="s0", band=band, hint=hint)
    greatest = max(series.highest(values), 0.0 if band is None else series.highest(band[1]))
    return on.plot(
        [
            "Bad requests so far, of those that ",
            tag("b", describe(objective)),
            f" allows: {hint}",
        ],
        curve,
        scale=linear(max(1.0, greatest), lambda share: f"{share * 100:,.4g}%"),
        label=f"Error budget of {describe(objective)} spent over time: {hint}",
        limit=1.0,
        limit_name="all that are allowed",
    )


def _spent(on: Stage, run: Run, index: int) -> Floats:
    objective, good = on.system.objectives[index], run.objectives[index]
    share = on.proof.scenario.budget
    allowed = (1 - objective.target) * float(good.total.sum())
    if share is not None:
        allowed *= share * objective.window / max(run.duration, SECOND)
    spent = series.spent(good, allowed, on.shape)
    return np.where(np.isfinite(spent), spent, np.nan)


def _allowance(on: Stage) -> str:
    share = on.proof.scenario.budget
    if share is None:
        return (
            "How many requests have been bad since the beginning, out of as many as the objective "
            "allows in a time as long as the scenario. Above 100% it is broken."
        )
    return (
        "How many requests have been bad since the beginning, out of as many as the scenario may "
        f"use up: {words.percent(share, 0)} of the objective's error budget over its whole window. "
        "Above 100% it is broken."
    )
