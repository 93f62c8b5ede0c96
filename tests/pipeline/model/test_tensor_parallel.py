from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from harness import ranks
from small_model import random_tokens
from torch import Tensor, nn
from torch.nn import functional

from pipeline import distributed
from pipeline.model.loss import IGNORE, lm_loss
from pipeline.model.tensor_parallel import (
    ColumnLinear,
    RowLinear,
    TensorGroup,
    VocabEmbedding,
    split_lm_loss,
    split_rng,
    take_slice,
)

WIDTH, INNER, ROWS, VOCAB = 6, 8, 12, 10
Values = dict[str, np.ndarray]  # type: ignore[type-arg]


def _draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _targets() -> Tensor:
    targets = random_tokens((3, 5), VOCAB, seed=4)
    targets[0, :2] = IGNORE
    return targets


def _whole() -> Values:
    """Embedding -> linear -> GELU -> linear -> loss under the embedding, in one process."""
    embedding, head_in = nn.Parameter(_draw(ROWS, WIDTH, seed=0)), _draw(3, 5, WIDTH, seed=9)
    first, second = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
    _set(first, 1), _set(second, 2)
    hidden = functional.embedding(random_tokens((3, 5), VOCAB), embedding) + head_in
    hidden.retain_grad()
    out = second(functional.gelu(first(hidden)))
    nll, count = lm_loss(out, embedding, _targets(), VOCAB)
    nll.backward()
    return _values(hidden, out, nll, count, embedding, first, second)


def _set(layer: nn.Module, seed: int) -> None:
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.copy_(_draw(*parameter.shape, seed=10 * seed + number))


def _values(
    hidden: Tensor, out: Tensor, nll: Tensor, count: Tensor, embedding: Tensor, first: nn.Module, second: nn.Module
) -> Values:
    grads = {"embedding": embedding.grad, "hidden": hidden.grad}
    grads |= {f"first.{name}": p.grad for name, p in first.named_parameters()}
    grads |= {f"second.{name}": p.grad for name, p in second.named_parameters()}
    tensors = {"out": out, "nll": nll, "count": count, **{f"d {name}": grad for name, grad in grads.items()}}
    return {name: value.detach().numpy() for name, value in tensors.items() if value is not None}


def _split(chunk: int) -> tuple[Values, dict[str, Any]]:
    """The same, split over these ranks; gradients gathered."""
    world = distributed.init()
    group = TensorGroup(dist.group.WORLD, world.rank, world.size)  # type: ignore[arg-type]
    embed = VocabEmbedding(group, ROWS, WIDTH)
    first, second = ColumnLinear(group, WIDTH, INNER), RowLinear(group, INNER, WIDTH)
    whole_first, whole_second = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
    _set(whole_first, 1), _set(whole_second, 2)
    pairs = [(first, whole_first.named_parameters()), (second, whole_second.named_parameters())]
    pairs.append((embed, iter([("weight", _draw(ROWS, WIDTH, seed=0))])))
    with torch.no_grad():
        for layer, values in pairs:
            for name, value in values:
                parameter = layer.get_parameter(name)
                parameter.copy_(take_slice(value, parameter, group))
    hidden = embed(random_tokens((3, 5), VOCAB)) + _draw(3, 5, WIDTH, seed=9)
    hidden.retain_grad()
    out = second(functional.gelu(first(hidden)))
    nll, count = split_lm_loss(group, out, embed.weight, _targets(), VOCAB, chunk)
    nll.backward()
    marks = {}
    for prefix, layer in (("embedding", embed), ("first", first), ("second", second)):
        for name, parameter in layer.named_parameters():
            dim = getattr(parameter, "split_dim", None)
            marks[f"{prefix}.{name}"] = (dim, getattr(parameter, "model_parallel", False))
            if dim is not None:
                slices = [torch.empty_like(parameter) for _ in range(world.size)]
                assert parameter.grad is not None
                dist.all_gather(slices, parameter.grad.contiguous())
                parameter.grad = None
                parameter.data = torch.cat(slices, dim)
                parameter.grad = torch.cat(slices, dim)
    return _values(hidden, out, nll, count, embed.weight, first, second), marks


@pytest.mark.parametrize("chunk", [0, 4])
def test_split_layers_and_loss_equal_the_whole_ones(chunk: int) -> None:
    expected = _whole()
    for found, marks in ranks(2, _split, chunk):
        assert set(found) == set(expected)
        assert found["count"] == expected["count"] == 13
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=2e-6, err_msg=name)
        # Slices count in DeepSpeed's gradient norm on every rank; what all ranks hold counts once.
        assert marks == {
            "embedding.weight": (0, True),
            "first.weight": (0, True),
            "first.bias": (0, True),
            "second.weight": (1, True),
            "second.bias": (None, False),
        }
    assert not expected["d embedding"][VOCAB:].any()


def _random() -> tuple[list[float], list[float], list[float]]:
    world = distributed.init()
    torch.manual_seed(3)
    before = torch.rand(3).tolist()
    state = torch.get_rng_state()
    with split_rng(world.rank):
        inside = torch.rand(3).tolist()
    after = torch.rand(3).tolist()
    torch.set_rng_state(state)  # as a recomputed block does
    with split_rng(world.rank):
        assert torch.rand(3).tolist() == inside
    return before, inside, after


def test_random_numbers_differ_between_ranks_only_where_activations_are_split() -> None:
    (before, inside, after), (other_before, other_inside, other_after) = ranks(2, _random)
    assert (before, after) == (other_before, other_after)
    assert inside != other_inside
    assert after != before


def test_what_cannot_be_dealt_out_evenly_is_refused() -> None:
    group = TensorGroup(None, 0, 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="an output width of 6 cannot be split over 4 ranks"):
        ColumnLinear(group, 4, 6)
    with pytest.raises(ValueError, match="an input width of 6 cannot be split over 4 ranks"):
        RowLinear(group, 6, 4)
    with pytest.raises(ValueError, match="a vocabulary of 10 cannot be split over 4 ranks"):
        VocabEmbedding(group, 10, 4)
