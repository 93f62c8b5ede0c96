import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from small_model import model_config
from torch import Tensor

from data_prep.errors import UserError
from pipeline.config.kernels import KernelConfig
from pipeline.model import attention as module_under_test
from pipeline.model.attention import SelfAttention, attend, band_mask, flex_band, uses_flex
from pipeline.model.parts import PLAIN, Parts


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


def test_the_band_mask_is_built_once() -> None:
    cpu = torch.device("cpu")
    assert band_mask(9, 4, cpu) is band_mask(9, 4, cpu)
    with torch.inference_mode():
        first = band_mask(9, 5, cpu)
    assert not first.is_inference()  # could not be kept for gradients


def test_causal_attention_takes_no_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast kernels know causal attention, and a mask would keep them from being chosen."""
    given: list[dict[str, Any]] = []
    original = torch.nn.functional.scaled_dot_product_attention

    def spy(*args: Tensor, **options: Any) -> Tensor:
        given.append(options)
        return original(*args, **options)

    monkeypatch.setattr(module_under_test.functional, "scaled_dot_product_attention", spy)
    attention()(HIDDEN)
    attention(1, attention="alternating", band_width=11)(HIDDEN)
    for options in given:
        assert options["is_causal"]
        assert options.get("attn_mask") is None
    assert len(given) == 2


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("width", [1, 7, 64])
def test_flex_attention_of_a_band_equals_the_mask(width: int) -> None:
    query, key, value = torch.randn(3, 2, 3, 150, 16, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(flex_band(query, key, value, width), attend(query, key, value, width))


def test_flex_attention_is_for_cuda_without_dropout() -> None:
    assert uses_flex(torch.device("cuda"), 0.0, 64)
    assert not uses_flex(torch.device("cuda"), 0.1, 64)
    assert not uses_flex(torch.device("cuda"), 0.0, 8)
    assert not uses_flex(torch.device("cpu"), 0.0, 64)


@pytest.mark.parametrize("kernel", ["auto", "flash", "math"])
def test_kernels_agree(kernel: Any) -> None:
    module = SelfAttention(model_config(), 0, kernels=KernelConfig(attention=kernel)).eval()
    module.load_state_dict(attention().state_dict())
    torch.testing.assert_close(module(HIDDEN), attention()(HIDDEN))


def test_a_kernel_that_cannot_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"kernels\.attention.*cudnn does not work with torch\.float32.*use auto"):
        SelfAttention(model_config(), 0, kernels=KernelConfig(attention="cudnn"))(HIDDEN)


def test_a_rank_holds_a_slice_of_whole_heads() -> None:
    """Heads are in order in the fused projection: two halves of it, computed apart, add up to the whole."""
    whole = attention(n_head=4, d_head=5)
    total = whole.c_proj.bias.detach()
    for rank in range(2):
        half = Parts(
            column=lambda i, o: torch.nn.Linear(i, o // 2), row=lambda i, o: torch.nn.Linear(i // 2, o), split=2
        )
        part = SelfAttention(model_config(n_head=4, d_head=5), 0, half).eval()
        assert part.n_head == 2
        with torch.no_grad():
            part.c_attn.weight.copy_(whole.c_attn.weight.chunk(2)[rank])
            part.c_attn.bias.copy_(whole.c_attn.bias.chunk(2)[rank])
            part.c_proj.weight.copy_(whole.c_proj.weight.chunk(2, 1)[rank])
            part.c_proj.bias.zero_()
        total = total + part(HIDDEN)
    torch.testing.assert_close(total, whole(HIDDEN))
    assert PLAIN.split == 1
    with pytest.raises(ValueError, match="3 heads cannot be split over 2 ranks"):
        SelfAttention(model_config(n_head=3, d_head=4), 0, half)


def test_random_numbers_of_attention_weights_come_from_the_parts() -> None:
    entered: list[str] = []

    @contextmanager
    def split_rng() -> Iterator[None]:
        entered.append("in")
        yield
        entered.append("out")

    module = SelfAttention(model_config(), 0, Parts(split_rng=split_rng))
    module(HIDDEN)
    assert entered == ["in", "out"]


@pytest.mark.parametrize("width", [None, 1, 3, 40])
def test_documents_and_a_band_are_one_explicit_mask(width: int | None) -> None:
    query, key, value = torch.randn(3, 2, 3, 11, 4, generator=torch.Generator().manual_seed(3))
    documents = torch.tensor([[0] * 5 + [1] * 6, [0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3]])
    mask = torch.zeros(2, 1, 11, 11, dtype=torch.bool)
    for row in range(2):
        for i in range(11):
            for j in range(max(0, i - (width or 11) + 1), i + 1):
                mask[row, 0, i, j] = documents[row, i] == documents[row, j]
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(attend(query, key, value, width, documents), expected)
