"""Causal self-attention, dense or banded."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config.schema import ModelConfig


def band_mask(time: int, width: int, device: torch.device) -> Tensor:
    """[time, time] bool: query i sees keys max(0, i - width + 1) .. i."""
    distance = torch.arange(time, device=device)[:, None] - torch.arange(time, device=device)[None, :]
    return (distance >= 0) & (distance < width)


class SelfAttention(nn.Module):
    """Multi-head causal self-attention.

    The fused projection is ordered per head, (head, {query, key, value}, width), so that a tensor-parallel split is a
    slice. With `attention: alternating`, blocks of odd index are locally banded (GPT-3 2.1).

    Args:
        config: the shape.
        index: number of the block.
    """

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        self.n_head, self.d_head = config.n_head, config.head_width
        inner = self.n_head * self.d_head
        banded = config.attention == "alternating" and index % 2 == 1
        self.band_width = config.band_width if banded else None
        self.p_dropout = config.dropout
        self.c_attn = nn.Linear(config.d_model, 3 * inner)
        self.c_proj = nn.Linear(inner, config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, time, d_model] -> the same shape."""
        batch, time, _ = hidden.shape
        fused = self.c_attn(hidden).view(batch, time, self.n_head, 3, self.d_head)
        query, key, value = (part.transpose(1, 2) for part in fused.unbind(3))
        banded = self.band_width is not None and self.band_width < time
        mixed = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=band_mask(time, self.band_width or time, hidden.device) if banded else None,
            dropout_p=self.p_dropout if self.training else 0.0,
            is_causal=not banded,
        )
        out: Tensor = self.dropout(self.c_proj(mixed.transpose(1, 2).reshape(batch, time, -1)))
        return out
