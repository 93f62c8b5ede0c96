from pathlib import Path
from typing import Any

import pytest
from small_model import pretrain_config

from data_prep.configfile import load, read_mapping
from data_prep.errors import UserError
from pipeline.config.schema import (
    EvaluateConfig,
    FinetuneConfig,
    FinetuneScheduleConfig,
    ModelConfig,
    PretrainConfig,
    PretrainScheduleConfig,
)

CONFIGS = Path(__file__).parents[3] / "configs"
SCHEMAS = {"pretrain": PretrainConfig, "finetune": FinetuneConfig, "evaluate": EvaluateConfig}
FILES = [
    (kind, path)
    for kind in SCHEMAS
    for path in sorted((CONFIGS / kind).glob("*.yaml"))
    if not path.stem.startswith("base")  # what several files share, no run in itself
]


def config(**changes: Any) -> PretrainConfig:
    return pretrain_config(Path("data"), Path("runs"), **changes)


@pytest.mark.parametrize(("kind", "path"), FILES, ids=lambda value: getattr(value, "name", value))
def test_every_file_that_is_shipped_loads(kind: str, path: Path) -> None:
    left_out = {"pretrain": ["data.path=shards"], "finetune": ["init.checkpoint=model"]}.get(kind, [])
    if kind == "finetune" and "path" not in read_mapping(str(path))["task"]:
        left_out.append("task.root=data")
    assert load(str(path), SCHEMAS[kind], left_out).run.name


def test_every_kind_of_run_has_a_file() -> None:
    assert {kind for kind, _ in FILES} == set(SCHEMAS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"n_layers": 3}}, "unknown key model.n_layers; did you mean model.n_layer?"),
        ({"learning_rate": 1}, "unknown key learning_rate"),
        ({"train": {"micro_batch": -2}}, "train.micro_batch: Input should be greater than 0 (got -2)"),
        ({"model": {"d_model": 0}}, "model.d_model: Input should be greater than 0 (got 0)"),
        ({"model": {"n_head": 3}}, "d_model 16 is not a multiple of n_head 3: set d_head"),
        ({"optimizer": {"lr": 0.0}}, "optimizer.lr: Input should be greater than 0"),
        ({"optimizer": {"betas": [0.9, 1.0]}}, "optimizer.betas.1: Input should be less than 1"),
        ({"parallel": {"zero_stage": 4}}, "parallel.zero_stage: Input should be 0, 1, 2 or 3 (got 4)"),
        ({"precision": "fp8"}, "precision: Input should be 'fp32', 'bf16' or 'fp16' (got 'fp8')"),
        ({"run": {"name": "../elsewhere"}}, "run.name: String should match pattern"),
        ({"model": {"dropout": 1.0}}, "model.dropout: Input should be less than 1"),
    ],
)
def test_a_wrong_value_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        config(**changes)
    assert message in str(caught.value)


def test_counts_may_carry_a_unit() -> None:
    assert config(train={"tokens": "1.5M"}).train.tokens == 1_500_000


def test_head_width_may_differ_from_the_residual_stream() -> None:
    shape = {"n_layer": 1, "n_head": 3, "d_model": 16, "sequence_length": 8}
    assert ModelConfig(**shape, d_head=4).head_width == 4
    assert ModelConfig(**{**shape, "n_head": 4}).head_width == 4


def test_schedule_bounds() -> None:
    assert PretrainScheduleConfig(warmup_tokens=10).bounds(100) == (10, 100)
    assert PretrainScheduleConfig(warmup_tokens=10, decay_tokens=50).bounds(100) == (10, 50)
    assert FinetuneScheduleConfig(warmup_share=0.25).bounds(100) == (25, 100)
