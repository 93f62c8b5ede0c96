import math
from typing import Any

import pytest
import torch
from small_model import model_config
from torch import Tensor

from pipeline.model.attention import SelfAttention, band_mask


def attention(index: int = 0, **changes: Any) -> SelfAttention:
    torch.manual_seed(0)
    return SelfAttention(model_config(**changes), index).eval()


def by_hand(module: SelfAttention, hidden: Tensor, width: int) -> Tensor:
    """Each head and query with plain loops."""
    batch, time, _ = hidden.shape
    heads, size = module.n_head, module.d_head
    fused = hidden @ module.c_attn.weight.T + module.c_attn.bias
    mixed = torch.zeros(batch, time, heads * size)
    for head in range(heads):
        first = head * 3 * size  # per head: query, key, value
        query, key, value = (fused[..., first + k * size : first + (k + 1) * size] for k in range(3))
        for i in range(time):
            seen = slice(max(0, i - width + 1), i + 1)
            scores = (key[:, seen] * query[:, i : i + 1]).sum(-1) / math.sqrt(size)
            mixed[:, i, head * size : (head + 1) * size] = (scores.softmax(-1)[..., None] * value[:, seen]).sum(1)
    return mixed @ module.c_proj.weight.T + module.c_proj.bias


HIDDEN = torch.randn(2, 11, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("d_head", [None, 5])
def test_dense_attention_is_the_textbook_computation(d_head: int | None) -> None:
    module = attention(d_head=d_head)
    torch.testing.assert_close(module(HIDDEN), by_hand(module, HIDDEN, 1000))


@pytest.mark.parametrize("width", [1, 3, 11, 50])
def test_odd_blocks_of_alternating_attention_see_a_band(width: int) -> None:
    module = attention(1, attention="alternating", band_width=width)
    torch.testing.assert_close(module(HIDDEN), by_hand(module, HIDDEN, width))


def test_even_blocks_of_alternating_attention_are_dense() -> None:
    module = attention(2, attention="alternating", band_width=3)
    torch.testing.assert_close(module(HIDDEN), by_hand(module, HIDDEN, 1000))


def test_band_mask() -> None:
    assert band_mask(4, 2, torch.device("cpu")).int().tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 1, 1],
    ]


def test_attention_dropout_only_in_training() -> None:
    module = attention(dropout=0.5)
    assert torch.equal(module(HIDDEN), module(HIDDEN))
    module.train()
    assert not torch.equal(module(HIDDEN), module(HIDDEN))
