"""The scores of suites side by side: a row a task, a column a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.report.runs import RunView
from pipeline.report.scores import Key, Scored, averaged, is_share
from pipeline.report.table import NONE, Table, percent


def scores_table(runs: Sequence[RunView], scored: Mapping[str, Scored]) -> Table:
    """Each task's own metrics, the mean over seeds.

    Args:
        runs: evaluation runs; those without a suite have no column.
        scored: by run id.
    """
    own = {run.run_id: averaged(scored[run.run_id].scores) for run in runs}
    shown = [run for run in runs if own[run.run_id]]
    keys: dict[Key, None] = {}
    for run in shown:
        keys |= dict.fromkeys(own[run.run_id])
    rows = []
    for key in keys:
        task, condition, metric = key
        found = [own[run.run_id].get(key) for run in shown]
        chance = next((one.chance for one in found if one is not None and one.chance is not None), None)
        cells = [NONE if one is None else value(metric, one.value) for one in found]
        rows.append([task, condition or NONE, metric, *cells, NONE if chance is None else value(metric, chance)])
    note = "The mean over the seeds of the solved examples."
    if limits := [f"{run.name} ({limit})" for run in shown if (limit := scored[run.run_id].suite.get("limit"))]:
        note += f" Limited to so many examples of each set, so no results: {', '.join(limits)}."
    columns = ["task", "condition", "metric", *(run.name for run in shown), "chance"]
    return Table("Scores of the suites", columns, rows, note, left=3)


def value(metric: str, number: float) -> str:
    """As papers print it."""
    if is_share(metric):
        return percent(number)
    return f"{number:,.2f}" if abs(number) < 1e6 else f"{number:.2e}"
