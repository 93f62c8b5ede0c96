"""Differences between evaluation runs on the same examples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

from pipeline.evaluate.statistics import CONFIDENCE
from pipeline.evaluate.suite.compare import EXAMPLES, compare
from pipeline.report.runs import RunView
from pipeline.report.scores import Scored
from pipeline.report.table import NONE, Table


@dataclass(frozen=True)
class Difference:
    """One task of two runs.

    Attributes:
        run: the run.
        baseline: what it is compared with.
        task: name.
        variant: of the task.
        found: what the paired test says (`pipeline.evaluate.suite.compare`), or `not_compared`.
        low: lower end of the 95 % interval of the difference, after Student; nan where all pairs differ by the same.
        high: upper end.
        adjusted: p value, adjusted for all tests of the page (Benjamini and Hochberg 1995); nan if there was none.
    """

    run: RunView
    baseline: RunView
    task: str
    variant: str
    found: Mapping[str, Any]
    low: float = math.nan
    high: float = math.nan
    adjusted: float = math.nan

    @property
    def compared(self) -> bool:
        """Whether there was a test."""
        return "not_compared" not in self.found


def differences(scored: Mapping[str, Scored], runs: Sequence[RunView]) -> list[Difference]:
    """Every run against the first, of those whose examples lie on this machine; the surest differences first.

    What the first has not scored is left out.

    Args:
        scored: by run id.
        runs: evaluation runs; the first with examples is the baseline.
    """
    present = [
        run for run in runs if run.folder and (Path(run.folder) / EXAMPLES).is_dir() and scored[run.run_id].suite
    ]
    found = [
        _difference(run, present[0], row)
        for run in present[1:]
        for row in compare(run.folder, scored[run.run_id].suite, present[0].folder)
        if row["task"] in scored[present[0].run_id].suite["sets"]
    ]
    tests = [number for number, one in enumerate(found) if one.compared]
    if tests:
        adjusted = stats.false_discovery_control([found[number].found["p_value"] for number in tests])
        for number, p_value in zip(tests, adjusted, strict=True):
            found[number] = Difference(**{**vars(found[number]), "adjusted": float(p_value)})
    return sorted(found, key=lambda one: one.found.get("p_value", math.inf))


def _difference(run: RunView, baseline: RunView, row: Mapping[str, Any]) -> Difference:
    plain = Difference(run, baseline, row["task"], row.get("variant", ""), row)
    if not plain.compared or row["n"] < 2 or not row["stderr"]:
        return plain
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, row["n"] - 1)) * row["stderr"]
    return Difference(
        run, baseline, plain.task, plain.variant, row, row["difference"] - reach, row["difference"] + reach
    )


def paired_table(found: Sequence[Difference]) -> Table:
    """Differences with interval and p values; what could not be compared says why."""
    rows = []
    for one in found:
        name = [one.run.name, one.task, one.variant or NONE]
        if not one.compared:
            rows.append([*name, *[NONE] * 7, one.found["not_compared"]])
            continue
        row, share = one.found, one.found["of"] == "accuracy"
        unit, digits = (100, 1) if share else (1, 4)
        figures = [f"{unit * value:+.{digits}f}" for value in (one.low, one.high)]
        rows.append(
            [
                *name,
                row["of"],
                f"{unit * row['difference']:+.{digits}f}{' points' if share else ''}",
                f"{figures[0]} to {figures[1]}" if math.isfinite(one.low) else NONE,
                *(p_value(value) for value in (row["p_value"], one.adjusted)),
                f"{row['better']:,} / {row['worse']:,}",
                f"{row['n']:,}",
                row["test"],
            ]
        )
    baseline = found[0].baseline.name if found else ""
    columns = ["run", "task", "variant", "of", "difference", "95 % interval", "p", "p adjusted"]
    note = (
        f"Each run minus {baseline}, on the same examples: accuracy in percentage points, other values in "
        "their own unit. p adjusted: for all rows together (Benjamini-Hochberg)."
    )
    return Table(
        f"Paired differences from {baseline}", [*columns, "better / worse", "examples", "test"], rows, note, left=4
    )


def p_value(value: float) -> str:
    """Three digits, or that it is smaller."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
