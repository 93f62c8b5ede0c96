from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from pipeline.config.features import FeatureHeadConfig
from pipeline.features.heads import Fitted, Predict, fit


def xor(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels that no line divides; the features have another mean and scale than 0 and 1."""
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (rows, 2))
    noise = np.random.default_rng(seed + 1).normal(0, 0.2, (rows, 2))
    return (100 + 30 * (signs + noise)).astype(np.float32), (signs[:, 0] * signs[:, 1] > 0).astype(np.int64)


def fitted(settings: FeatureHeadConfig, features: np.ndarray, labels: np.ndarray, classes: int = 2) -> Fitted:
    def value(predict: Predict) -> float:
        return float((predict(features).argmax(1) == labels).mean())

    return fit(settings, features, labels, "label", classes, 3, value)


def test_an_mlp_learns_what_a_linear_model_cannot() -> None:
    features, labels = xor(200, 0)
    fresh, wanted = xor(200, 9)
    found = {}
    for kind in ("linear", "mlp"):
        head = fitted(FeatureHeadConfig(kind=kind, epochs=10, units=32), features, labels)
        scores = head.predict(fresh)
        np.testing.assert_allclose(np.exp(scores).sum(1), 1, rtol=1e-5)
        found[kind] = (scores.argmax(1) == wanted).mean()
    assert found["linear"] < 0.7
    assert found["mlp"] > 0.95


def test_a_seed_gives_the_same_mlp() -> None:
    features, labels = xor(60, 0)
    settings = FeatureHeadConfig(kind="mlp", epochs=2, units=8)
    one, other = (fitted(settings, features, labels).predict(features) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_the_strength_is_chosen_by_the_value_that_is_given() -> None:
    features, labels = xor(60, 0)
    asked: list[float] = []

    def value(predict: Predict) -> float:
        asked.append(float(np.abs(predict(features)[:, 0] - np.log(0.5)).max()))
        return -asked[-1]  # the nearest to knowing nothing: the strongest penalty

    head = fit(FeatureHeadConfig(strengths=(10.0, 1e-6, 1.0)), features, labels, "label", 2, 0, value)
    assert head.chosen == {"strength": 1e-6}
    assert len(asked) == 3


def test_a_score_is_predicted_and_a_class_without_examples_has_no_probability() -> None:
    features = np.linspace(0, 1, 50, dtype=np.float32)[:, None]
    wanted = (300 * features[:, 0] + 100).astype(np.float32)
    for kind, near in (("linear", 1.0), ("mlp", 30.0)):
        head = fit(
            FeatureHeadConfig(kind=kind, strengths=(1e3,), units=16, lr=0.02),
            features,
            wanted,
            "score",
            0,
            0,
            lambda predict: -float(np.abs(predict(features)[:, 0] - wanted).max()),
        )
        assert head.predict(features).shape == (50, 1)
        assert np.abs(head.predict(features)[:, 0] - wanted).max() < near
    table = sparse.csr_array(np.eye(4, dtype=np.float32))
    scores = fitted(FeatureHeadConfig(), table, np.array([0, 2, 0, 2]), 3).predict(table)
    assert scores[:, 1] == pytest.approx(-np.inf)
    assert scores.argmax(1).tolist() == [0, 2, 0, 2]
