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


def labelled(sums: Sums) -> dict[str, float]:
    """Loss of a task per example, accuracy where classes are asked for, and language-model loss where there is one.

    Args:
        sums: `task_loss` and `examples`; perhaps `correct` and `lm_loss` (nats per token, averaged in each example).
    """
    names = {"task_loss": "loss", "correct": "accuracy", "lm_loss": "lm_loss"}
    return {shown: sums[name] / sums["examples"] for name, shown in names.items() if name in sums}
