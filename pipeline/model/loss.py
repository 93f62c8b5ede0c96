"""The language-model loss: the one place where hidden states become log-probabilities of tokens."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

IGNORE = -100
"""Target value of positions that are not asked."""


def head_logits(hidden: Tensor, weight: Tensor, vocab_size: int | None = None) -> Tensor:
    """[..., vocab_size] float32 logits; rows of `weight` behind the vocabulary are padding and get none."""
    return functional.linear(hidden, weight)[..., :vocab_size].float()


def _piece(
    hidden: Tensor, weight: Tensor, targets: Tensor, vocab_size: int | None, reduction: Literal["sum", "none"]
) -> Tensor:
    """Cross-entropy of [tokens, d_model] hidden states and [tokens] targets."""
    logits = head_logits(hidden, weight, vocab_size)
    return functional.cross_entropy(logits, targets, ignore_index=IGNORE, reduction=reduction)


def _nll(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    vocab_size: int | None,
    chunk: int,
    reduction: Literal["sum", "none"],
) -> Tensor:
    flat, wanted = hidden.flatten(0, 1), targets.flatten()
    if chunk <= 0 or chunk >= len(flat):
        return _piece(flat, weight, wanted, vocab_size, reduction)
    pieces = [
        # Only the hidden states are kept: the chunk's logits are computed again in the backward pass.
        checkpoint(_piece, part, weight, asked, vocab_size, reduction, use_reentrant=False, preserve_rng_state=False)
        for part, asked in zip(torch.split(flat, chunk), torch.split(wanted, chunk), strict=True)
    ]
    return torch.stack(pieces).sum() if reduction == "sum" else torch.cat(pieces)


def lm_loss(
    hidden: Tensor, weight: Tensor, targets: Tensor, vocab_size: int | None = None, chunk: int = 0
) -> tuple[Tensor, Tensor]:
    """Summed negative log-likelihood of the targets.

    Args:
        hidden: [batch, time, d_model] last hidden states.
        weight: [rows, d_model] output head, tied to the token embedding.
        targets: [batch, time] int64; `IGNORE` where nothing is asked.
        vocab_size: rows of `weight` that are tokens, all if not given; the others have zero probability.
        chunk: tokens whose logits are held at once (recomputed in the backward pass); 0 for all.

    Returns:
        (sum in nats, float32 scalar; number of asked positions, int64 scalar). The softmax is taken in float32.
    """
    return _nll(hidden, weight, targets, vocab_size, chunk, "sum"), (targets != IGNORE).sum()


def token_nll(hidden: Tensor, weight: Tensor, targets: Tensor, vocab_size: int | None = None, chunk: int = 0) -> Tensor:
    """[batch, time] float32 negative log-likelihood of each target in nats, 0 where nothing is asked; see `lm_loss`."""
    return _nll(hidden, weight, targets, vocab_size, chunk, "none").view_as(targets)
