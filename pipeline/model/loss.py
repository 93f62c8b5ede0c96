"""The language-model loss: the one place where hidden states become log-probabilities of tokens."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

IGNORE = -100
"""Target value of positions that are not asked."""


def lm_loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Summed negative log-likelihood of the targets.

    Args:
        hidden: [batch, time, d_model] last hidden states.
        weight: [vocab_size, d_model] output head, tied to the token embedding.
        targets: [batch, time] int64; `IGNORE` where nothing is asked.

    Returns:
        (sum in nats, float32 scalar; number of asked positions, int64 scalar). The softmax is taken in float32.
    """
    logits = functional.linear(hidden, weight).float()
    nll = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="sum")
    return nll, (targets != IGNORE).sum()


def token_nll(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """[batch, time] float32 negative log-likelihood of each target in nats, 0 where nothing is asked."""
    logits = functional.linear(hidden, weight).float()
    nll = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="none")
    return nll.view_as(targets)
