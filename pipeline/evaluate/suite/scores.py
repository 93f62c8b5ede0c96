"""A score and all that makes it what it is."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.config.evaluate_suite import Reference
from pipeline.evaluate.statistics import Estimate

SHARES = ("accuracy", "exact", "squad", "rouge")
"""What the names of metrics begin with that are shares, shown in percent."""
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_./-]+")


@dataclass(frozen=True)
class Score:
    """One number of the result.

    Attributes:
        task: name of the task.
        variant: what tells it from other scores of the same task and metric, such as "5-shot" or "stride-512"; "" if
            there is one only.
        metric: such as "ppl_word" or "accuracy".
        estimate: value, standard error, interval, number of examples.
        definition: how it was made: task version, unit, window, stride, de-tokeniser, normalisation, shots, seed, ...
        floors: what needs no model: `chance`, `majority`.
        references: published numbers of this metric.
        main: whether it is the task's own metric; the others say more about it.
    """

    task: str
    variant: str
    metric: str
    estimate: Estimate
    definition: Mapping[str, Any]
    floors: Mapping[str, float] = field(default_factory=dict)
    references: Sequence[Reference] = ()
    main: bool = True

    @property
    def key(self) -> str:
        """Name of the metric in MLflow."""
        parts = [self.task, self.variant, self.metric] if self.variant else [self.task, self.metric]
        return "/".join(_NOT_IN_A_NAME.sub("_", part) for part in parts)

    def as_data(self) -> dict[str, Any]:
        """For `result.json`; what is not a number there is null."""
        estimate = self.estimate
        return {
            "key": self.key,
            "task": self.task,
            "variant": self.variant,
            "metric": self.metric,
            "main": self.main,
            "value": _finite(estimate.value),
            "stderr": _finite(estimate.stderr),
            "interval_95": [_finite(estimate.low), _finite(estimate.high)],
            "examples": estimate.n,
            "floors": dict(self.floors),
            "references": [one.model_dump(mode="json", exclude_defaults=True) for one in self.references],
            "definition": dict(self.definition),
        }

    def as_metrics(self) -> dict[str, float]:
        """For MLflow: the value, and its standard error where there is one."""
        found = {self.key: self.estimate.value}
        if math.isfinite(self.estimate.stderr):
            found[f"{self.key}_stderr"] = self.estimate.stderr
        return found


@dataclass
class TaskResult:
    """What scoring a task gives.

    Attributes:
        scores: its numbers.
        examples: what each example got, one row for each and variant; `id`, `variant` and `correct` or `value` are
            what tests between runs need.
    """

    scores: list[Score] = field(default_factory=list)
    examples: list[dict[str, Any]] = field(default_factory=list)


def referenced(references: Sequence[Reference], metric: str, shots: int | None = None) -> tuple[Reference, ...]:
    """The published numbers of a metric; with `shots`, those of as many, or of 2 and more if there are 2 and more."""

    def like(one: Reference) -> bool:
        return one.shots is None or (shots is not None and min(one.shots, 2) == min(shots, 2))

    return tuple(one for one in references if one.metric == metric and like(one))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
