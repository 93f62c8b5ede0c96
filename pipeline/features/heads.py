"""Models on top of fixed features: linear ones of scikit-learn, and an MLP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config.features import FeatureHeadConfig
from pipeline.config.task_data import Target
from pipeline.features.examples import Matrix

Labels = npt.NDArray[np.int64] | npt.NDArray[np.float32]
RowScores = npt.NDArray[np.float64]
Predict = Callable[[Matrix], RowScores]
"""[rows, features] -> [rows, classes] log-probabilities, or [rows, 1] scores."""
_ITERATIONS = 2000


@dataclass(frozen=True)
class Fitted:
    """A trained head.

    Attributes:
        predict: gives the scores of rows.
        chosen: what was chosen by validation: `strength`, or `epoch`.
    """

    predict: Predict
    chosen: dict[str, float]


def fit(
    settings: FeatureHeadConfig,
    features: Matrix,
    labels: Labels,
    target: Target,
    classes: int,
    seed: int,
    value: Callable[[Predict], float],
) -> Fitted:
    """Train a head.

    Args:
        settings: which, and how.
        features: [rows, features] of the training rows.
        labels: [rows] class numbers, or numbers to predict.
        target: which of the two.
        classes: number of classes.
        seed: of the MLP's weights, order and dropout.
        value: of a head on validation, the higher the better; of equal ones the first is taken.
    """
    scale = Scale(features)
    candidates = (_linear if settings.kind == "linear" else _mlp)(
        settings, scale(features), labels, target, classes, seed
    )
    best: tuple[float, Fitted] | None = None
    for predict, chosen in candidates:
        head = Fitted(partial(_scaled, scale, predict), chosen)
        found = value(head.predict)
        if best is None or found > best[0]:
            best = found, head
    assert best is not None
    return best[1]


def _scaled(scale: Scale, predict: Predict, features: Matrix) -> RowScores:
    return predict(scale(features))


class Scale:
    """Dense features less their mean over their standard deviation in training; sparse ones stay as they are."""

    def __init__(self, features: Matrix) -> None:
        self._mean: Any = None
        if isinstance(features, np.ndarray):
            self._mean = features.mean(0)
            deviation = features.std(0)
            self._deviation = np.where(deviation > 0, deviation, 1.0)

    def __call__(self, features: Matrix) -> Matrix:
        """The same rows."""
        return features if self._mean is None else (features - self._mean) / self._deviation


Candidates = Iterator[tuple[Predict, dict[str, float]]]


def _linear(
    settings: FeatureHeadConfig, features: Matrix, labels: Labels, target: Target, classes: int, seed: int
) -> Candidates:
    """Logistic or ridge regression for each strength."""
    from sklearn.linear_model import LogisticRegression, Ridge

    for strength in settings.strengths:
        if target == "score":
            ridge = Ridge(alpha=1 / strength).fit(features, labels)
            yield partial(_ridge_scores, ridge), {"strength": strength}
        else:
            logistic = LogisticRegression(C=strength, max_iter=_ITERATIONS).fit(features, labels)
            yield partial(_log_probabilities, logistic, classes), {"strength": strength}


def _ridge_scores(model: Any, features: Matrix) -> RowScores:
    found: RowScores = np.asarray(model.predict(features), np.float64)[:, None]
    return found


def _log_probabilities(model: Any, classes: int, features: Matrix) -> RowScores:
    """Of all classes; one that training did not show has the probability 0."""
    found = np.full((features.shape[0], classes), -np.inf)
    found[:, model.classes_] = model.predict_log_proba(features)
    return found


def _mlp(
    settings: FeatureHeadConfig, features: Matrix, labels: Labels, target: Target, classes: int, seed: int
) -> Candidates:
    """One hidden layer, after each epoch."""
    import torch
    from torch import nn
    from torch.nn import functional

    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # of weights and dropout, which take no generator
        model = nn.Sequential(
            nn.Linear(features.shape[1], settings.units),
            nn.GELU(),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.units, 1 if target == "score" else classes),
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
        inputs = torch.from_numpy(np.asarray(features, np.float32))
        # As the features, so that the learning rate fits whatever the scale of the scores is.
        mean, deviation = (labels.mean(), labels.std() or 1.0) if target == "score" else (0.0, 1.0)
        wanted = torch.from_numpy((labels - mean) / deviation if target == "score" else labels)
        for epoch in range(settings.epochs):
            model.train()
            for rows in torch.split(torch.randperm(len(inputs), generator=generator), settings.batch):
                out = model(inputs[rows])
                if target == "score":
                    loss = functional.mse_loss(out[:, 0], wanted[rows])
                else:
                    loss = functional.cross_entropy(out, wanted[rows])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            yield partial(_mlp_scores, deepcopy(model).eval(), target, mean, deviation), {"epoch": float(epoch + 1)}


def _mlp_scores(model: Any, target: Target, mean: float, deviation: float, features: Matrix) -> RowScores:
    import torch

    with torch.no_grad():
        out = model(torch.from_numpy(np.asarray(features, np.float32)))
        scores = out * deviation + mean if target == "score" else out.log_softmax(1)
        found: RowScores = scores.double().numpy()
    return found
