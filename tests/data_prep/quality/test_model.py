from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.errors import CorruptFile
from data_prep.ngrams import word_hashes
from data_prep.quality.measure import quality_of_scores
from data_prep.quality.model import DIMENSIONS, QualityModel, features, fit


def place(word: str) -> int:
    return int(word_hashes(word, "lower")[0]) % DIMENSIONS


@given(st.lists(st.sampled_from(["a", "B", "c,", "d", "É"]), max_size=30), st.sampled_from([" ", "\n\n", "\t"]))
def test_features_count_words_whatever_their_case_and_gaps(words: list[str], gap: str) -> None:
    places, counts = features(gap.join(words))
    lower = [word.lower() for word in words]
    assert dict(zip(places.tolist(), counts.tolist(), strict=True)) == {place(w): lower.count(w) for w in set(lower)}
    assert places.tolist() == sorted(places.tolist())


def test_the_score_is_the_logistic_of_the_weighted_counts() -> None:
    weights = np.zeros(DIMENSIONS, np.float32)
    weights[place("good")], weights[place("bad")] = 0.5, -2.0
    model = QualityModel(weights, 0.25)
    assert model.score(features("good Good other")) == pytest.approx(1 / (1 + math.exp(-1.25)))
    assert model.score(features("")) == pytest.approx(1 / (1 + math.exp(-0.25)))
    assert model.score(features("bad " * 10_000)) == 0.0
    assert model.score(features("good " * 10_000)) == 1.0


def test_fitting_separates_what_words_separate_and_is_repeatable() -> None:
    rng = np.random.default_rng(0)
    rows, good = [], []
    for i in range(200):
        own = ["fine", "clear"] if i % 2 else ["buy", "cheap"]
        rows.append(features(" ".join([*rng.choice(own, 2), *(f"w{x}" for x in rng.integers(0, 50, 20))])))
        good.append(bool(i % 2))
    model = fit(rows, np.array(good), 0.01)
    assert model.score(features("a clear and fine text")) > 0.9
    assert model.score(features("buy it, it is cheap")) < 0.1
    assert fit(rows, np.array(good), 0.01).to_bytes() == model.to_bytes()
    assert np.abs(fit(rows, np.array(good), 10.0).weights).sum() < np.abs(model.weights).sum()


def test_a_saved_model_is_the_same_and_a_damaged_one_is_named() -> None:
    weights = np.random.default_rng(0).normal(size=DIMENSIONS).astype(np.float32)
    model = QualityModel(weights, -1.5)
    read = QualityModel.from_bytes(model.to_bytes(), "m")
    assert (read.weights == weights).all()
    assert read.intercept == -1.5
    for data in (b"", model.to_bytes()[:1000], QualityModel(weights[:5], 0.0).to_bytes()):
        with pytest.raises(CorruptFile, match=r"^m: not a quality model"):
            QualityModel.from_bytes(data, "m")


def test_measures_of_known_scores() -> None:
    scores = np.array([0.05, 0.15, 0.35, 0.95, 0.95, 0.99])
    good = np.array([False, False, True, True, True, False])
    found = quality_of_scores(scores, good)
    pairs = [(a, b) for a in scores[good] for b in scores[~good]]
    assert found["auc"] == pytest.approx(sum(a > b for a, b in pairs) / len(pairs))
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["log_loss"] == pytest.approx(-np.log(np.where(good, scores, 1 - scores)).mean())
    last = found["reliability"][-1]
    assert (last["from"], last["to"], last["documents"]) == (0.9, 1.0, 3)
    assert (last["mean_score"], last["share_good"]) == (pytest.approx(2.89 / 3), pytest.approx(2 / 3))
    assert sum(row["documents"] for row in found["reliability"]) == found["documents"] == 6
    assert found["calibration_error"] == pytest.approx((0.05 + 0.15 + 0.65 + 3 * abs(2.89 / 3 - 2 / 3)) / 6)
