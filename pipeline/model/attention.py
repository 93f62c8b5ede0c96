"""Causal self-attention: dense, banded, or within documents."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from data_prep.errors import UserError
from pipeline.config.kernels import AttentionKernel, KernelConfig
from pipeline.config.model import ModelConfig
from pipeline.model.cache import Reading
from pipeline.model.parts import PLAIN, Parts

_BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}


# Inside a compiled block too the mask is built once.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
@lru_cache(maxsize=16)
def band_mask(time: int, width: int, device: torch.device) -> Tensor:
    """[time, time] bool: query i sees keys max(0, i - width + 1) .. i. Built once for each shape and device."""
    with torch.inference_mode(False):  # the first user may be an evaluation, later ones keep it for their gradients
        distance = torch.arange(time, device=device)[:, None] - torch.arange(time, device=device)[None, :]
        return (distance >= 0) & (distance < width)


def document_mask(documents: Tensor, width: int | None) -> Tensor:
    """[batch, 1, time, time] bool: query i sees keys of its own document, at most `width` back, itself included.

    Args:
        documents: [batch, time] int document numbers.
        width: of the band, or None.
    """
    time = documents.shape[1]
    same = documents[:, :, None] == documents[:, None, :]
    band: Tensor = band_mask(time, width or time, documents.device)
    return (same & band)[:, None]


def uses_flex(device: torch.device, dropout: float, d_head: int) -> bool:
    """Whether a band is computed by `flex_attention`, which skips what lies outside, and not by a mask.

    It is a CUDA kernel that torch generates; it knows no dropout and no heads narrower than 16.
    """
    return device.type == "cuda" and dropout == 0 and d_head >= 16


def _band_blocks(time: int, width: int, device: torch.device) -> BlockMask:
    def seen(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (query - key < width)

    with torch.inference_mode(False):
        return create_block_mask(seen, None, None, time, time, device)


_cached_band_blocks = lru_cache(maxsize=16)(_band_blocks)


@cache
def _compiled_flex() -> Callable[..., Tensor]:
    compiled: Callable[..., Tensor] = torch.compile(flex_attention, dynamic=False)
    return compiled


def flex_band(query: Tensor, key: Tensor, value: Tensor, width: int) -> Tensor:
    """Banded attention by `flex_attention`, compiled on CUDA and plain elsewhere; shapes as in `attend`."""
    # A compiled block traces how the mask is made and cannot look into a cache.
    make: Callable[..., BlockMask] = _band_blocks if torch.compiler.is_compiling() else _cached_band_blocks
    blocks = make(query.shape[2], width, query.device)
    kernel: Any = _compiled_flex() if query.is_cuda else flex_attention
    out: Tensor = kernel(query, key, value, block_mask=blocks)
    return out


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    width: int | None = None,
    documents: Tensor | None = None,
    dropout: float = 0.0,
    kernel: AttentionKernel = "auto",
) -> Tensor:
    """Causal attention; the one place where its kernel is chosen.

    Args:
        query: [batch, heads, time, d_head]; `key` and `value` too.
        width: tokens that a query sees, itself included; None for all before it.
        documents: [batch, time] int document numbers that attention keeps apart, or None.
        dropout: probability for attention weights.
        kernel: of attention without a mask.

    Returns:
        [batch, heads, time, d_head].

    Raises:
        UserError: the chosen kernel cannot do this dtype, shape or device.
    """
    time = query.shape[2]
    banded = width is not None and width < time
    if documents is None and not banded:
        if kernel == "auto":
            return functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        return _causal(query, key, value, dropout, kernel)
    if documents is None and width is not None:
        if uses_flex(query.device, dropout, query.shape[3]):
            return flex_band(query, key, value, width)
        mask = band_mask(time, width, query.device)
    else:
        assert documents is not None
        mask = document_mask(documents, width if banded else None)
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)


def _causal(query: Tensor, key: Tensor, value: Tensor, dropout: float, kernel: AttentionKernel) -> Tensor:
    try:
        with sdpa_kernel(_BACKENDS[kernel]):
            return functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
    except RuntimeError as error:
        if "No available kernel" not in str(error) and "No viable backend" not in str(error):
            raise
        raise UserError(
            f"the attention kernel {kernel} does not work with {query.dtype} and heads of {query.shape[3]} on "
            f"{query.device.type}",
            where="kernels.attention",
            fix="use auto",
        ) from None


class SelfAttention(nn.Module):
    """Multi-head causal self-attention.

    The fused projection is ordered per head, (head, {query, key, value}, width), so that a tensor-parallel split is a
    slice. With `attention: alternating`, blocks of odd index are locally banded (GPT-3 2.1).

    Args:
        config: the shape.
        index: number of the block.
        parts: where the matrices come from; a rank holds `n_head / parts.split` heads.
        kernels: how it is computed.

    Raises:
        ValueError: the heads cannot be divided by `parts.split`.
    """

    def __init__(
        self, config: ModelConfig, index: int, parts: Parts = PLAIN, kernels: KernelConfig | None = None
    ) -> None:
        super().__init__()
        if config.n_head % parts.split:
            raise ValueError(f"{config.n_head} heads cannot be split over {parts.split} ranks")
        self.n_head, self.d_head = config.n_head // parts.split, config.head_width
        inner = config.n_head * config.head_width
        banded = config.attention == "alternating" and index % 2 == 1
        self.band_width = config.band_width if banded else None
        self.kernel: AttentionKernel = kernels.attention if kernels is not None else "auto"
        self.p_dropout = config.dropout
        self.c_attn = parts.column(config.d_model, 3 * inner)
        self.c_proj = parts.row(inner, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self._split_rng = parts.split_rng

    def forward(self, hidden: Tensor, documents: Tensor | None = None, reading: Reading | None = None) -> Tensor:
        """[batch, time, d_model] -> the same shape.

        Args:
            hidden: the input.
            documents: [batch, time] int document numbers that attention keeps apart, or None.
            reading: the tokens before these, and the documents; None if there are none before.
        """
        batch, time, _ = hidden.shape
        fused = self.c_attn(hidden).view(batch, time, self.n_head, 3, self.d_head)
        query, key, value = (part.transpose(1, 2) for part in fused.unbind(3))
        if reading is not None:
            seen = reading.attend(self, query, key, value, self.band_width)
            if seen is not None:
                after: Tensor = self.c_proj(seen.transpose(1, 2).reshape(batch, time, -1))
                return after
        dropout = self.p_dropout if self.training else 0.0
        with self._split_rng():
            mixed = attend(query, key, value, self.band_width, documents, dropout, self.kernel)
        out: Tensor = self.dropout(self.c_proj(mixed.transpose(1, 2).reshape(batch, time, -1)))
        return out
