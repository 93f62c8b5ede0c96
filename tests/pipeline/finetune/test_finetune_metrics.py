import numpy as np
import pytest
import torch
from torch.nn import functional

from pipeline.finetune.metrics import log_probabilities, measure

SCORES = np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0], [0.0, 2.0], [0.5, 0.0], [0.0, 3.0]])
LABELS = np.array([0, 1, 1, 1, 0, 1])


def test_the_metrics_of_a_split_by_hand() -> None:
    """Predictions 0 1 0 1 0 1 against 0 1 1 1 0 1: 3 true positives, 1 false negative, 2 true negatives."""
    found = measure(SCORES, LABELS, "label", ("accuracy", "f1", "matthews"))
    expected = functional.cross_entropy(torch.tensor(SCORES), torch.tensor(LABELS))
    assert found == {
        "loss": pytest.approx(float(expected)),
        "accuracy": pytest.approx(5 / 6),
        "f1": pytest.approx(2 * 3 / (2 * 3 + 1)),  # of class 0 it would be 4 / 5
        "matthews": pytest.approx((3 * 2 - 0) / (3 * 4 * 2 * 3) ** 0.5),
    }


def test_f1_of_more_than_two_classes_is_the_mean_over_them() -> None:
    scores = np.eye(3)[[0, 1, 1, 0]]
    assert measure(scores, np.array([0, 1, 0, 0]), "label", ("f1",))["f1"] == pytest.approx((0.8 + 2 / 3) / 2)


def test_scores_are_correlated() -> None:
    scores, labels = np.array([[1.0], [2.0], [4.0], [3.0]]), np.array([0.0, 1.0, 2.0, 5.0], np.float32)
    found = measure(scores, labels, "score", ("pearson", "spearman"))
    assert found["loss"] == pytest.approx((1 + 1 + 4 + 4) / 4)
    assert found["pearson"] == pytest.approx(np.corrcoef(scores[:, 0], labels)[0, 1])
    assert found["spearman"] == pytest.approx(0.8)


def test_a_constant_has_no_correlation() -> None:
    same = np.ones((3, 1))
    found = measure(same, np.array([0.0, 1.0, 2.0], np.float32), "score", ("pearson", "spearman"))
    assert (found["pearson"], found["spearman"]) == (0, 0)
    one_class = np.array([[1.0, 0.0]] * 3)
    found = measure(one_class, np.array([0, 1, 1]), "label", ("f1", "matthews"))
    assert (found["f1"], found["matthews"]) == (0, 0)


def test_candidates_that_are_none_have_no_probability() -> None:
    found = np.exp(log_probabilities(np.array([[1.0, 1.0, -np.inf], [0.0, 0.0, 0.0]])))
    assert found == pytest.approx(np.array([[0.5, 0.5, 0], [1 / 3] * 3]))
