"""Curves of experiments (layers transferred, label budget, ...) from the files of their folders."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from data_prep.errors import CorruptFile
from pipeline.experiments.run import CHILDREN, SETTINGS
from pipeline.report.plots import Plot, Reference, Series
from pipeline.report.runs import RunView
from pipeline.report.scores import is_share


@dataclass(frozen=True)
class _Child:
    arm: str
    at: float
    label: str
    value: float | None
    floor: float | None


def experiment_plot(run: RunView) -> Plot | None:
    """The experiment's metric along its axis: medians, with bands from the least to the greatest of the seeds.

    Returns:
        None for an experiment without an axis, or without two complete points of an arm.

    Raises:
        CorruptFile: a file of the experiment is damaged.
    """
    if SETTINGS not in run.files or CHILDREN not in run.files:
        return None
    try:
        settings = yaml.safe_load(run.files[SETTINGS])
        axis, metric = settings["axis"], settings["metric"]
        if axis is None:
            return None
        children = _children(run.files[CHILDREN], metric, settings["floor"])
        name, log_x = axis["name"], axis["scale"] == "log"
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise CorruptFile(
            f"not the files of an experiment ({error!r})", where=f"run {run.name}", fix="run the experiment again"
        ) from None
    lines = []
    for number, arm in enumerate(dict.fromkeys(child.arm for child in children)):
        own = [child for child in children if child.arm == arm and child.value is not None]
        line = _line(arm, own, number)
        if line is not None:
            lines.append(line)
    if not lines:
        return None
    floors = {child.floor for child in children if child.floor is not None}
    floor_name = str(settings["floor"]).rpartition("/")[2].replace("majority", "most frequent label")
    y_label = metric.replace("/", " ")
    return Plot(
        f"{y_label} against {name}",
        name,
        y_label,
        lines,
        [Reference(floor_name, floor) for floor in floors] if len(floors) == 1 else [],
        percent=is_share(metric.rpartition("/")[2]),
        log_x=log_x,
        ticks={child.at: child.label for child in children},
        note=f"Median over the seeds; bands from the least to the greatest. {_complete(children)}",
    )


def _children(text: str, metric: str, floor: str | None) -> list[_Child]:
    """Those on the axis."""
    rows = [row for row in csv.DictReader(io.StringIO(text)) if row["at"] != ""]

    def number(row: dict[str, str], key: str | None) -> float | None:
        return float(row[key]) if key is not None and row.get(key) and row["complete"] == "1" else None

    return [_Child(row["arm"], float(row["at"]), row["label"], number(row, metric), number(row, floor)) for row in rows]


def _line(arm: str, children: Sequence[_Child], number: int) -> Series | None:
    by_place: dict[float, list[float]] = {}
    for child in children:
        if child.value is not None:
            by_place.setdefault(child.at, []).append(child.value)
    if len(by_place) < 2:
        return None
    places = sorted(by_place)
    points = [(at, statistics.median(by_place[at])) for at in places]
    return Series(arm, points, number, band=[(min(by_place[at]), max(by_place[at])) for at in places])


def _complete(children: Sequence[_Child]) -> str:
    done = sum(child.value is not None for child in children)
    return "" if done == len(children) else f"{done} of {len(children)} runs are complete."
