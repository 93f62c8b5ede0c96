"""From additive sums to the metrics that people read."""

from __future__ import annotations

import math
from collections.abc import Mapping

Sums = Mapping[str, float]


def language_model(sums: Sums, tokens_per_byte: float) -> dict[str, float]:
    """Loss, perplexity and bits per byte of a language model.

    Args:
        sums: `nll` in nats and `targets`, the number of predicted tokens.
        tokens_per_byte: of the text that was predicted.
    """
    loss = sums["nll"] / sums["targets"]
    return {
        "loss": loss,
        "ppl": math.exp(min(loss, 700.0)),
        "bits_per_byte": loss / math.log(2) * tokens_per_byte,
    }


def classification(sums: Sums) -> dict[str, float]:
    """Task loss (nats per example) and accuracy.

    Args:
        sums: `task_nll`, `correct` and `examples`.
    """
    return {"loss": sums["task_nll"] / sums["examples"], "accuracy": sums["correct"] / sums["examples"]}
