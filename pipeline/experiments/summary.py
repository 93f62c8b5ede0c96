"""What came out of an experiment: median and range over the seeds, as rows, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.experiments.plan import Child, label_of

_SHARES = ("accuracy", "f1", "majority", "stderr")
"""Metrics that are shown as percentages."""


@dataclass(frozen=True)
class Outcome:
    """A child that is complete."""

    child: Child
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Spread:
    """A metric over the seeds.

    Attributes:
        values: in the order of the seeds.
    """

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Middle value; of an even number the mean of the two in the middle."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """Smallest value."""
        return min(self.values)

    @property
    def high(self) -> float:
        """Largest value."""
        return max(self.values)


@dataclass(frozen=True)
class Row:
    """One arm at one point.

    Attributes:
        arm: its name.
        at: place on the axis; None for an arm that is run once for each seed.
        label: of the point.
        spreads: by metric, those that at least one seed has.
        seeds: complete children.
        of: children in all.
    """

    arm: str
    at: float | None
    label: str
    spreads: Mapping[str, Spread]
    seeds: int
    of: int


def summarize(children: Sequence[Child], outcomes: Mapping[str, Outcome], metrics: Sequence[str]) -> list[Row]:
    """Rows in the order of the arms, and of the points within each.

    Args:
        children: all of the experiment.
        outcomes: of those that are complete, by name.
        metrics: to be summarized.
    """
    arms = list(dict.fromkeys(child.arm.name for child in children))
    places = sorted({child.point.at for child in children if child.point is not None})
    rows = []
    for arm in arms:
        for at in (None, *places):
            own = [
                one
                for one in children
                if one.arm.name == arm and (one.point.at if one.point is not None else None) == at
            ]
            if not own:
                continue
            done = [outcomes[one.name] for one in own if one.name in outcomes]
            spreads = {}
            for metric in metrics:
                values = tuple(one.metrics[metric] for one in done if metric in one.metrics)
                if values:
                    spreads[metric] = Spread(values)
            point = own[0].point
            rows.append(Row(arm, at, label_of(point) if point is not None else "", spreads, len(done), len(own)))
    return rows


def figure(metric: str, value: float) -> str:
    """A value as it is shown: shares in percent, all else with four digits."""
    return f"{100 * value:.1f}" if metric.rpartition("/")[2] in _SHARES else f"{value:.4g}"


def markdown(title: str, axis: str | None, rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """A table: median over the seeds, in brackets the smallest and the largest value."""
    percent = [metric.rpartition("/")[2] in _SHARES for metric in metrics]
    columns = ["", *([axis] if axis is not None else [])]
    columns += [f"{metric}, %" if share else metric for metric, share in zip(metrics, percent, strict=True)]
    lines = [[*columns, "seeds"], ["---", *["---:"] * len(columns)]]
    for row in rows:
        cells = [row.arm, *([row.label] if axis is not None else [])]
        for metric in metrics:
            spread = row.spreads.get(metric)
            cells.append(_cell(metric, spread) if spread is not None else "")
        lines.append([*cells, str(row.seeds) if row.seeds == row.of else f"{row.seeds} of {row.of}"])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{title}\n\n{table}\n\nMedian over the seeds; in brackets the smallest and the largest value.\n"


def _cell(metric: str, spread: Spread) -> str:
    middle = figure(metric, spread.median)
    if len(spread.values) == 1:
        return middle
    return f"{middle} ({figure(metric, spread.low)} to {figure(metric, spread.high)})"


def to_csv(children: Sequence[Child], outcomes: Mapping[str, Outcome]) -> str:
    """One line a child, complete or not, with all its metrics."""
    names = sorted({metric for one in outcomes.values() for metric in one.metrics})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["arm", "at", "label", "seed", "run", "complete", *names])
    for child in children:
        outcome = outcomes.get(child.name)
        at, label = (child.point.at, label_of(child.point)) if child.point is not None else ("", "")
        values = [outcome.metrics.get(name, "") if outcome is not None else "" for name in names]
        writer.writerow([child.arm.name, at, label, child.seed, child.name, int(outcome is not None), *values])
    return out.getvalue()


def finals(rows: Sequence[Row]) -> dict[str, float]:
    """Metrics of the parent run: `<arm>/<point>/<metric>/<median, min or max>`."""
    found = {}
    for row in rows:
        where = "/".join(part for part in (row.arm, row.label) if part)
        for metric, spread in row.spreads.items():
            for name, value in (("median", spread.median), ("min", spread.low), ("max", spread.high)):
                found[f"{where}/{metric}/{name}"] = value
    return found
