"""Scores of a suite, read back from the `result.json` of an evaluation run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from data_prep.errors import CorruptFile
from pipeline.config.evaluate_suite import Reference
from pipeline.evaluate.statistics import Estimate
from pipeline.evaluate.suite.scores import SHARES, Score
from pipeline.report.runs import RunView
from pipeline.runs import RESULT


@dataclass(frozen=True)
class Scored:
    """What an evaluation run found.

    Attributes:
        suite: what `result.json` says of the suite; empty without one.
        scores: of the suite.
        curve: (tokens trained on, scores) of each checkpoint, if several were evaluated.
    """

    suite: Mapping[str, Any]
    scores: Sequence[Score]
    curve: Sequence[tuple[int, Sequence[Score]]]


def scored(run: RunView) -> Scored:
    """The scores of a run; none if it has not been completed.

    Raises:
        CorruptFile: its `result.json` is damaged.
    """
    if RESULT not in run.files:
        return Scored({}, (), ())
    try:
        result = orjson.loads(run.files[RESULT])
        suite = result.get("suite", {})
        curve = [(int(point["tokens"]), [_score(one) for one in point["scores"]]) for point in result.get("curve", [])]
        return Scored(suite, [_score(one) for one in suite.get("scores", [])], curve)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CorruptFile(
            f"not the result of an evaluation ({error!r})", where=f"run {run.name}, {RESULT}", fix="evaluate again"
        ) from None


def _score(data: Mapping[str, Any]) -> Score:
    value, stderr, low, high = (
        math.nan if number is None else float(number)
        for number in (data["value"], data["stderr"], *data["interval_95"])
    )
    return Score(
        task=data["task"],
        variant=data["variant"],
        metric=data["metric"],
        estimate=Estimate(value, stderr, low, high, int(data["examples"])),
        definition=data["definition"],
        floors=data["floors"],
        references=tuple(Reference.model_validate(one) for one in data["references"]),
        main=data["main"],
    )


def is_share(metric: str) -> bool:
    """Whether a metric is a share, shown in percent."""
    return metric.startswith(SHARES)


def shots(score: Score) -> int | None:
    """How many solved examples stood before each; None for a task that is not prompted."""
    found = score.definition.get("shots")
    return None if found is None else int(found)


def condition(score: Score) -> str:
    """How a task was asked, the same for all seeds: "0-shot", or the variant."""
    count = shots(score)
    return score.variant if count is None else f"{count}-shot"


@dataclass(frozen=True)
class Averaged:
    """A score over the seeds of its solved examples.

    Attributes:
        value: mean.
        seeds: how many.
        low: of several seeds the least, of one the lower end of its 95 % interval.
        high: likewise.
        chance: what needs no model, if known.
        references: published numbers.
    """

    value: float
    seeds: int
    low: float
    high: float
    chance: float | None
    references: Sequence[Reference]


Key = tuple[str, str, str]
"""(task, condition, metric)."""


def averaged(scores: Sequence[Score]) -> dict[Key, Averaged]:
    """Each task's own metrics, the mean over seeds; what is no number is left out."""
    groups: dict[Key, list[Score]] = {}
    for score in scores:
        if score.main and math.isfinite(score.estimate.value):
            groups.setdefault((score.task, condition(score), score.metric), []).append(score)
    return {key: _average(group) for key, group in groups.items()}


def _average(group: Sequence[Score]) -> Averaged:
    values = [one.estimate.value for one in group]
    ends = (min(values), max(values)) if len(group) > 1 else (group[0].estimate.low, group[0].estimate.high)
    mean = sum(values) / len(values)
    low, high = (end if math.isfinite(end) else mean for end in ends)
    return Averaged(mean, len(group), low, high, group[0].floors.get("chance"), group[0].references)


def band(points: Sequence[Averaged]) -> list[tuple[float, float]]:
    """(low, high) along a line: the range of the seeds if any point has several, else the 95 % intervals."""
    several = any(one.seeds > 1 for one in points)
    return [(one.value, one.value) if several and one.seeds == 1 else (one.low, one.high) for one in points]
