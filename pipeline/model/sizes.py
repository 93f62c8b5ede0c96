"""Parameter and FLOP counts by formula."""

from __future__ import annotations

from pipeline.config.schema import ModelConfig


def parameter_count(config: ModelConfig, vocab_size: int) -> int:
    """Number of parameters of a GPT with biases, learned positions and a tied head.

    With inner = n_head x d_head and d = d_model, a block has 4 d inner + 3 inner + d (attention), 8 d^2 + 5 d
    (feed-forward) and 4 d (norms).
    """
    d, inner = config.d_model, config.n_head * config.head_width
    block = 4 * d * inner + 3 * inner + d + 8 * d * d + 5 * d + 4 * d
    final = 2 * d if config.norm == "pre" else 0
    return vocab_size * d + config.sequence_length * d + config.n_layer * block + final


def flops_per_token(config: ModelConfig, vocab_size: int) -> int:
    """FLOPs of a forward and backward pass per token, causal convention: 6 N + 6 L inner T.

    N counts all parameters; positions that attend only backwards halve the attention term.
    """
    inner = config.n_head * config.head_width
    attention = 6 * config.n_layer * inner * config.sequence_length
    return 6 * parameter_count(config, vocab_size) + attention
