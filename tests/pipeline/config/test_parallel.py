from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_model import finetune_config, pretrain_config

from data_prep.errors import UserError
from pipeline.config.parallel import ParallelConfig
from pipeline.config.schema import PretrainConfig


def config(**changes: Any) -> PretrainConfig:
    return pretrain_config(Path("data"), Path("runs"), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parallel": {"pipeline": 2, "zero_stage": 0}}, "need parallel.zero_stage 1: DeepSpeed clips by a wrong"),
        ({"parallel": {"tensor": 2, "zero_stage": 0}}, "need parallel.zero_stage 1"),
        ({"parallel": {"pipeline": 2, "zero_stage": 2}}, "need parallel.zero_stage 1: stages 2 and 3 shard"),
        ({"parallel": {"tensor": 2, "zero_stage": 3}}, "need parallel.zero_stage 1: stages 2 and 3 shard"),
        ({"parallel": {"zero_stage": 0}, "precision": "bf16"}, "zero_stage 0 trains right with precision fp32 only"),
        ({"parallel": {"zero_stage": 0}, "precision": "fp16"}, "zero_stage 0 trains right with precision fp32 only"),
        ({"parallel": {"pipeline": 3}}, "model.n_layer 2 is not a multiple of parallel.pipeline 3"),
        (
            {"parallel": {"tensor": 4}, "model": {"n_head": 2, "d_model": 16}},
            "model.n_head 2 is not a multiple of parallel.tensor 4",
        ),
        (
            {"parallel": {"tensor": 2}, "model": {"n_head": 2, "d_model": 15, "d_head": 8}},
            "model.d_model 15 is not a multiple of parallel.tensor 2",
        ),
        (
            {"parallel": {"pipeline": 2}, "model": {"kind": "lstm", "n_head": 0}},
            "model.kind lstm has no pipeline or tensor parallelism",
        ),
        ({"parallel": {"activation_checkpointing": 0}}, "parallel.activation_checkpointing"),
        ({"parallel": {"timeout_minutes": 0}}, "parallel.timeout_minutes: Input should be greater than 0"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        config(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"parallel": {"zero_stage": 0}},
        {"parallel": {"pipeline": 2, "tensor": 2}, "precision": "bf16"},
        {"parallel": {"pipeline": 2}, "precision": "fp16", "loss_scale": {"static": 1024}},
        {"parallel": {"zero_stage": 3, "activation_checkpointing": 2, "compile": True}},
    ],
)
def test_what_fits_is_taken(changes: dict[str, Any]) -> None:
    assert config(**changes).parallel.zero_stage in (0, 1, 3)


def test_fine_tuning_has_no_pipeline() -> None:
    with pytest.raises(UserError, match="fine-tuning has no pipeline or tensor parallelism"):
        finetune_config(Path("c"), Path("t"), Path("r"), parallel={"pipeline": 2})


@pytest.mark.parametrize(("world", "copies"), [(4, 1), (8, 2), (12, 3)])
def test_ranks_make_whole_copies(world: int, copies: int) -> None:
    parallel = ParallelConfig(pipeline=2, tensor=2)
    assert parallel.data_parallel(world) == copies
    parallel.check_ranks("bf16", world, "cpu", 100)


@pytest.mark.parametrize(
    ("precision", "world", "device", "padded", "message"),
    [
        ("fp32", 6, "cpu", 100, "6 ranks are not a multiple of .*start a multiple of 4 ranks"),
        ("fp32", 4, "cpu", 101, "a vocabulary of 101 entries .*set model.vocab_multiple to a multiple of 2"),
        ("fp16", 4, "cpu", 100, "precision fp16 needs a GPU"),
    ],
)
def test_ranks_that_cannot_do_it(precision: Any, world: int, device: str, padded: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ParallelConfig(pipeline=2, tensor=2).check_ranks(precision, world, device, padded)


def test_fp16_on_a_gpu_is_taken() -> None:
    ParallelConfig().check_ranks("fp16", 1, "cuda", 101)
