"""Parameter and FLOP counts by formula."""

from __future__ import annotations

from typing import Literal

from pipeline.config.model import ModelConfig


def parameter_count(config: ModelConfig, vocab_size: int) -> int:
    """Number of parameters of a model with biases and a tied head; padded rows of the embedding do not count.

    GPT, with inner = n_head x d_head and d = d_model: a block has 4 d inner + 3 inner + d (attention), 8 d^2 + 5 d
    (feed-forward) and 4 d (norms). LSTM: a layer of u units on an input of i has 4 u (i + u) + 8 u, the projection
    u d + d.
    """
    d = config.d_model
    if config.kind == "lstm":
        u = config.lstm_units
        layers = sum(4 * u * ((u if index else d) + u) + 8 * u for index in range(config.n_layer))
        return vocab_size * d + layers + (u * d + d if u != d else 0)
    inner = config.n_head * config.head_width
    block = 4 * d * inner + 3 * inner + d + 8 * d * d + 5 * d + 4 * d
    final = 2 * d if config.norm == "pre" else 0
    return vocab_size * d + config.sequence_length * d + config.n_layer * block + final


def flops_per_token(config: ModelConfig, vocab_size: int, convention: Literal["causal", "full"] = "causal") -> int:
    """FLOPs of a forward and backward pass per token, as MFU figures count them.

    "causal" (llm.c): 6 N + 6 L inner T, since a position attends to half of the window on average; "full" (PaLM B,
    nanoGPT): 6 N + 12 L inner T. N counts all parameters, inner = n_head x d_head. Both count banded layers as dense
    ones, so that figures of models with and without bands compare.
    """
    inner = config.n_head * config.head_width
    attention = (6 if convention == "causal" else 12) * config.n_layer * inner * config.sequence_length
    return 6 * parameter_count(config, vocab_size) + attention
