"""Scores over the number of solved examples, with the band of the seeds (GPT-3, figure 1.2)."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.evaluate.panels import Panel
from pipeline.evaluate.suite.scores import Score

PLOT = "shots.png"


def shot_curves(scores: Sequence[Score]) -> list[Panel]:
    """A curve for each task's own metric that has two or more numbers of solved examples.

    The mean over seeds; the band is from the least to the greatest of several seeds, of one seed its 95 % interval.
    """
    found: dict[tuple[str, str], dict[int, list[Score]]] = {}
    for score in scores:
        shots = score.definition.get("shots")
        if score.main and shots is not None:
            found.setdefault((score.task, score.metric), {}).setdefault(shots, []).append(score)
    return [_panel(f"{task}: {metric}", by_shots) for (task, metric), by_shots in found.items() if len(by_shots) > 1]


def _panel(title: str, by_shots: dict[int, list[Score]]) -> Panel:
    shots = sorted(by_shots)
    values = {count: [one.estimate.value for one in by_shots[count]] for count in shots}
    ends = {
        count: (min(values[count]), max(values[count]))
        if len(values[count]) > 1
        else (by_shots[count][0].estimate.low, by_shots[count][0].estimate.high)
        for count in shots
    }
    return Panel(
        title,
        shots,
        [sum(values[count]) / len(values[count]) for count in shots],
        [ends[count][0] for count in shots],
        [ends[count][1] for count in shots],
        by_shots[shots[0]][0].floors.get("chance"),
    )
