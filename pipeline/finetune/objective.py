"""What fine-tuning minimises: L3 = L2 + lambda L1 of GPT-1 3.2."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.config.task_data import Target


def task_loss(scores: Tensor, labels: Tensor, target: Target) -> Tensor:
    """[n] float32 loss of each example: cross-entropy in nats, or squared error of a score.

    Args:
        scores: [n, classes or candidates] float32, -inf for a candidate that is none; [n, 1] for a score.
        labels: [n] int64, or float32 for a score.
        target: what is asked for.
    """
    if target == "score":
        return (scores[:, 0] - labels).square()
    return functional.cross_entropy(scores, labels, reduction="none")


def combine(task: Tensor, language: Tensor | None, aux_lm: float) -> dict[str, Tensor]:
    """Loss of a micro-batch and the sums behind it.

    Args:
        task: [n] loss of each example.
        language: summed language-model loss: over the examples, of each the mean over its tokens (nats); None without.
        aux_lm: lambda.

    Returns:
        `loss`, to be differentiated; sums `task_loss`, `examples` and, with a language model, `lm_loss`.
    """
    examples = len(task)
    out = {
        "loss": task.sum() / examples,
        "task_loss": task.sum().detach(),
        "examples": torch.tensor(examples, device=task.device),
    }
    if language is not None:
        out["loss"] = out["loss"] + aux_lm * language / examples
        out["lm_loss"] = language.detach()
    return out
