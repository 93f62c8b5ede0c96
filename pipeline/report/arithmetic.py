"""Arithmetic as a heat map: tasks by models and solved examples (GPT-3, figure 3.10 and table 3.9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.report.runs import RunView
from pipeline.report.scores import Scored, averaged
from pipeline.report.table import Table, percent

_WORD = "arithmetic"


@dataclass(frozen=True)
class HeatMap:
    """Shares by row and column.

    Attributes:
        title: above it.
        rows: names.
        columns: (group, name) from left to right; columns of a group stand side by side.
        values: (row, column) -> share from 0 to 1; None where nothing was measured.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[tuple[str, str]]
    values: Sequence[Sequence[float | None]]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """(group, columns) from left to right."""
        found: dict[str, int] = {}
        for group, _ in self.columns:
            found[group] = found.get(group, 0) + 1
        return list(found.items())

    @property
    def table(self) -> Table:
        """The same in figures."""
        columns = ["task", *(f"{group} {name}" for group, name in self.columns)]
        rows = [[row, *map(percent, cells)] for row, cells in zip(self.rows, self.values, strict=True)]
        return Table(self.title, columns, rows)


def arithmetic(scored: Mapping[str, Scored], runs: Sequence[RunView]) -> HeatMap | None:
    """The tasks whose title calls them arithmetic; None if no run has scored any.

    Args:
        scored: by run id.
        runs: evaluation runs.
    """
    rows: list[str] = []
    columns: list[tuple[str, str]] = []
    values: dict[tuple[str, tuple[str, str]], float] = {}
    for run in runs:
        one = scored[run.run_id]
        tasks = [name for name, about in one.suite.get("sets", {}).items() if _WORD in about.get("title", "").lower()]
        rows += [name for name in tasks if name not in rows]
        for (task, condition, _), score in averaged(one.scores).items():
            if task in tasks:
                columns.append((run.name, condition))
                values[task, columns[-1]] = score.value
    columns = list(dict.fromkeys(columns))
    if not columns:
        return None
    cells = [[values.get((row, column)) for column in columns] for row in rows]
    return HeatMap("Arithmetic: share of right answers", rows, columns, cells)
