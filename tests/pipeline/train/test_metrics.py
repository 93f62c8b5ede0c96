import math

import pytest

from pipeline.train.metrics import labelled, language_model


def test_language_model_metrics() -> None:
    # 8 tokens of 2 bits each on text with 0.25 tokens a byte: half a bit a byte.
    found = language_model({"nll": 16 * math.log(2), "targets": 8}, 0.25)
    assert found == pytest.approx({"loss": 2 * math.log(2), "ppl": 4.0, "bits_per_byte": 0.5})


def test_a_huge_loss_does_not_overflow() -> None:
    assert math.isfinite(language_model({"nll": 1e6, "targets": 1}, 1.0)["ppl"])


def test_metrics_of_labelled_examples() -> None:
    sums = {"task_loss": 6.0, "correct": 3, "examples": 4, "lm_loss": 10.0}
    assert labelled(sums) == {"loss": 1.5, "accuracy": 0.75, "lm_loss": 2.5}
    assert labelled({"task_loss": 6.0, "examples": 4}) == {"loss": 1.5}
