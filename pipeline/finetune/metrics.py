"""Metrics over the whole of a split, from the scores of all its examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.config.task_data import Target
from pipeline.finetune.scores import Scores
from pipeline.finetune.task import Task

Labels = npt.NDArray[np.int64] | npt.NDArray[np.float32]
Values = npt.NDArray[np.float64] | npt.NDArray[np.int64]


def _accuracy(labels: Labels, predicted: Values, classes: int) -> float:
    return float(np.mean(labels == predicted))


def _f1(labels: Labels, predicted: Values, classes: int) -> float:
    """Of class 1 where there are two (GLUE), else the mean over the classes."""
    from sklearn.metrics import f1_score

    average = "binary" if classes == 2 else "macro"
    return float(f1_score(labels, predicted, average=average, zero_division=0))


def _matthews(labels: Labels, predicted: Values, classes: int) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(labels, predicted))


def _pearson(labels: Labels, predicted: Values, classes: int) -> float:
    from scipy.stats import pearsonr

    return float(pearsonr(labels.astype(np.float64), predicted).statistic) if _both_vary(labels, predicted) else 0.0


def _spearman(labels: Labels, predicted: Values, classes: int) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(labels, predicted).statistic) if _both_vary(labels, predicted) else 0.0


def _both_vary(labels: Labels, predicted: Values) -> bool:
    return len(labels) > 1 and len(np.unique(labels)) > 1 and len(np.unique(predicted)) > 1


METRICS: Mapping[str, Callable[[Labels, Values, int], float]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "matthews": _matthews,
    "pearson": _pearson,
    "spearman": _spearman,
}
"""Name -> (labels, predictions, number of classes) -> value, the higher the better.

Where one side is constant, a correlation is 0.
"""


def predictions(scores: Scores, target: Target) -> Values:
    """[n] class numbers (or positions of candidates), or predicted scores."""
    return scores[:, 0] if target == "score" else scores.argmax(1)


def log_probabilities(scores: Scores) -> Scores:
    """[n, classes] natural logarithms of the softmax over each row."""
    shifted: Scores = scores - scores.max(1, keepdims=True)
    result: Scores = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return result


def mean_loss(scores: Scores, labels: Labels, target: Target) -> float:
    """Mean task loss: cross-entropy in nats, or squared error."""
    if target == "score":
        return float(np.mean((scores[:, 0] - labels) ** 2))
    return float(-log_probabilities(scores)[np.arange(len(labels)), labels.astype(np.int64)].mean())


def measure(scores: Scores, labels: Labels, target: Target, names: Sequence[str]) -> dict[str, float]:
    """`loss` and the named metrics.

    Args:
        scores: [n, classes or candidates], or [n, 1].
        labels: [n].
        target: what was asked for.
        names: of `METRICS`.
    """
    predicted, classes = predictions(scores, target), scores.shape[1]
    found = {name: METRICS[name](labels, predicted, classes) for name in names}
    return {"loss": mean_loss(scores, labels, target), **found}


def with_floors(task: Task, name: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics of a split and, where an accuracy is among them, what it is to be seen against.

    Args:
        task: whose split it is.
        name: of the split.
        metrics: of `measure`.

    Returns:
        With `stderr`, the standard error sqrt(p (1 - p) / n) of the accuracy p, and `majority`, the accuracy of the
        most frequent label.
    """
    if "accuracy" not in metrics:
        return dict(metrics)
    accuracy = metrics["accuracy"]
    spread = math.sqrt(accuracy * (1 - accuracy) / len(task.splits[name]))
    return {**metrics, "stderr": spread, "majority": task.majority(name)}
