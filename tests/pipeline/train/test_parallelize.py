from __future__ import annotations

from typing import Any

import pytest
import torch
from small_model import model_config, random_tokens
from torch import nn

from data_prep.errors import UserError
from pipeline.config.parallel import ParallelConfig
from pipeline.model.gpt import GPT
from pipeline.model.init import initialize
from pipeline.train.parallelize import parallelize

VOCAB = 40


def _model(**parallel: Any) -> GPT:
    config = model_config(n_layer=4, dropout=0.3)
    model = GPT(config, VOCAB)
    initialize(model, config, 3)
    parallelize(model, ParallelConfig(**parallel))
    return model


def _gradients(model: GPT) -> tuple[float, dict[str, torch.Tensor], int]:
    """(loss, gradients, tensors kept for the backward pass)."""
    kept = 0

    def pack(value: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += 1
        return value

    torch.manual_seed(5)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        out = model(random_tokens((2, 16), VOCAB), random_tokens((2, 16), VOCAB, 1))
    out["loss"].backward()
    return out["loss"].item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, kept


def test_recomputing_changes_memory_and_no_number() -> None:
    loss, gradients, kept = _gradients(_model())
    seen = {}
    for setting in ("full", "selective", 1, 2, 3):
        found_loss, found, seen[setting] = _gradients(_model(activation_checkpointing=setting))
        assert found_loss == loss
        assert all(torch.equal(found[name], gradient) for name, gradient in gradients.items())
        assert found.keys() == gradients.keys()
    assert seen["full"] == seen[1] < seen[2] < kept
    assert seen[2] == seen[3]  # of four blocks: the first and third, the first and fourth
    assert seen["full"] < seen["selective"] < kept


@pytest.mark.parametrize(("setting", "again"), [("none", [1, 1]), ("full", [2, 2]), ("selective", [1, 2])])
def test_what_is_computed_twice(setting: str, again: list[int]) -> None:
    model = _model(activation_checkpointing=setting)
    block = model.get_submodule("transformer.h.1")
    calls: list[str] = []
    for name in ("attn.c_attn", "mlp.c_fc"):
        block.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: calls.append(name))
    _gradients(model)
    assert [calls.count("attn.c_attn"), calls.count("mlp.c_fc")] == again


@pytest.mark.parametrize("parallel", [{"activation_checkpointing": "full"}, {"compile": True}])
def test_a_model_without_blocks_is_refused(parallel: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="no transformer blocks to recompute or compile"):
        parallelize(nn.Linear(2, 2), ParallelConfig(**parallel))
    parallelize(nn.Linear(2, 2), ParallelConfig())


@pytest.mark.slow
def test_compiled_blocks_give_the_same_gradients() -> None:
    """The first of two is recomputed, the other is not."""
    loss, gradients, _ = _gradients(_without_dropout())
    compiled = _without_dropout(activation_checkpointing=2, compile=True)
    assert [name for name, _ in compiled.named_parameters()] == list(gradients)
    found_loss, found, _ = _gradients(compiled)
    assert found_loss == pytest.approx(loss, abs=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def _without_dropout(**parallel: Any) -> GPT:
    config = model_config()
    model = GPT(config, VOCAB)
    initialize(model, config, 3)
    parallelize(model, ParallelConfig(**parallel))
    return model
