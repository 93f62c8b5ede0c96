from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_state import weights_of
from harness import ranks
from hypothesis import given
from hypothesis import strategies as st
from small_model import model_config, pretrain_config, random_tokens

from pipeline import distributed
from pipeline.model.gpt import layout
from pipeline.model.init import initial_value
from pipeline.model.stages import stage_bounds
from pipeline.train.pipe_engine import PipeEngine

VOCAB = 60


@given(st.integers(1, 6), st.integers(1, 5), st.sampled_from(["pre", "post"]))
def test_every_stage_has_equally_many_blocks(stages: int, each: int, norm: str) -> None:
    names = [layer.name for layer in layout(model_config(n_layer=stages * each, norm=norm), VOCAB)]
    bounds = stage_bounds(names, stages)
    parts = [names[start:stop] for start, stop in pairwise(bounds)]
    assert [name for part in parts for name in part] == names
    assert [sum(name.startswith("transformer.h.") for name in part) for part in parts] == [each] * stages
    assert all(part[0].startswith("transformer.h.") for part in parts[1:])


def _engine(pipeline: int, tensor: int, **model: Any) -> PipeEngine:
    config = pretrain_config(
        Path("d"),
        Path("r"),
        model=model_config(**model).model_dump(),
        parallel={"pipeline": pipeline, "tensor": tensor},
        train={"global_batch": 4, "micro_batch": 2},
    )
    return PipeEngine(config.model, VOCAB, config, distributed.init())


def _batches() -> list[dict[str, torch.Tensor]]:
    return [
        {"tokens": random_tokens((2, 16), VOCAB, i), "targets": random_tokens((2, 16), VOCAB, 9 + i)} for i in (0, 1)
    ]


def _tied() -> dict[str, Any]:
    engine = _engine(2, 1)
    for step in range(3):
        engine.train_step(_batches(), 0.01 * (step + 1))
    tied = engine._stages.tied_modules["embedding"].layer.weight
    kept = [piece.name for piece, _ in engine.local_state().pieces]
    return {"kept": kept, "tied": tied.detach().numpy(), "held": list(engine._stages.canonical_parameters())}


def test_both_copies_of_the_tied_weight_stay_equal_and_one_is_canonical() -> None:
    first, last = ranks(2, _tied)
    assert (first["tied"] == last["tied"]).all()
    assert {"transformer.wte.weight"} == set(first["held"]) & set(last["held"])
    assert first["kept"] == first["held"]
    assert {*last["kept"], "transformer.wte.weight"} == set(last["held"])
    assert "transformer.wte.weight" not in last["kept"]


def _initial(pipeline: int, tensor: int) -> dict[str, Any]:
    engine = _engine(pipeline, tensor, vocab_multiple=8)
    return weights_of(engine)


@pytest.mark.parametrize(("pipeline", "tensor"), [(2, 1), (1, 2)])
def test_initial_weights_follow_from_seed_and_name_alone(pipeline: int, tensor: int) -> None:
    found, _ = ranks(2, _initial, pipeline, tensor)
    for name, value in found.items():
        expected = initial_value(name, value.shape, model_config(), 7)
        assert torch.equal(torch.from_numpy(value), expected), name
    assert found["transformer.wte.weight"].shape == (VOCAB, 16)  # without padding


def _dropout(pipeline: int, tensor: int) -> list[float]:
    """Losses of two steps under the same seed and one under another, without learning."""
    engine = _engine(pipeline, tensor, dropout=0.5)
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(float(engine.train_step(_batches(), 0.0).sums["nll"]))
    state = torch.rand(1).item()
    return [*losses, state]


def test_dropout_follows_the_seed_and_leaves_replicated_activations_equal() -> None:
    first, second = ranks(2, _dropout, 1, 2)
    assert first[0] == first[1] != first[2]
    assert second[:3] == [0.0, 0.0, 0.0]  # its share: the first rank counts for both
    assert first[3] == second[3]  # the common stream went on the same on both ranks
    _, last = ranks(2, _dropout, 2, 1)
    assert last[0] == last[1] != last[2]
