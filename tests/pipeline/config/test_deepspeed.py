from pathlib import Path
from typing import Any

import pytest
from small_model import pretrain_config

from data_prep.errors import UserError
from pipeline.config.deepspeed import OWNED_KEYS, accumulation_steps, deepspeed_config, read_back
from pipeline.config.schema import PretrainConfig


def config(**changes: Any) -> PretrainConfig:
    return pretrain_config(Path("data"), Path("runs"), **changes)


def nested(dotted: str) -> dict[str, Any]:
    value: Any = 1
    for key in reversed(dotted.split(".")):
        value = {key: value}
    return value  # type: ignore[no-any-return]


@pytest.mark.parametrize("key", OWNED_KEYS)
def test_a_key_of_the_schema_in_the_deepspeed_block_names_the_field(key: str) -> None:
    with pytest.raises(UserError) as caught:
        config(deepspeed=nested(key))
    assert f"deepspeed.{key} is decided by {OWNED_KEYS[key]}" in str(caught.value)


@pytest.mark.parametrize("field", [field.split(" ")[0] for field in OWNED_KEYS.values()])
def test_the_fields_that_are_named_exist(field: str) -> None:
    node: Any = config()
    for part in field.split("."):
        node = getattr(node, part)


def test_other_keys_are_carried_verbatim() -> None:
    block = {"zero_optimization": {"reduce_bucket_size": 12345}, "comms_logger": {"enabled": True}}
    found = deepspeed_config(config(deepspeed=block, parallel={"zero_stage": 2}), 2)
    assert found["zero_optimization"]["reduce_bucket_size"] == 12345
    assert found["zero_optimization"]["stage"] == 2
    assert found["comms_logger"] == {"enabled": True}


def test_batch_precision_and_clipping_follow_the_schema() -> None:
    found = deepspeed_config(config(precision="bf16", optimizer={"lr": 1e-3, "grad_clip": 0.25}), 2)
    assert found["train_batch_size"] == 12
    assert found["train_micro_batch_size_per_gpu"] == 2
    assert found["gradient_accumulation_steps"] == 3
    assert found["gradient_clipping"] == 0.25
    assert found["bf16"]["enabled"] is True
    assert found["fp16"]["enabled"] is False
    assert found["data_types"]["grad_accum_dtype"] == "fp32"


def test_a_batch_that_cannot_be_cut_says_what_would_fit() -> None:
    assert accumulation_steps(config(), 3) == 2
    with pytest.raises(
        UserError, match=r"global_batch 12 is not a multiple of .*micro_batch 2 x 4.*use a multiple of 8"
    ):
        accumulation_steps(config(), 4)


class FakeEngine:
    """Answers as a DeepSpeed engine does."""

    def __init__(self, **answers: Any) -> None:
        self._answers = {
            "train_batch_size": 12,
            "train_micro_batch_size_per_gpu": 2,
            "gradient_accumulation_steps": 3,
            "gradient_clipping": 1.0,
            "zero_optimization_stage": 1,
            "bfloat16_enabled": False,
            "fp16_enabled": False,
            **answers,
        }

    def __getattr__(self, name: str) -> Any:
        return lambda: self._answers[name]


def test_an_engine_that_does_as_it_was_told_passes() -> None:
    read_back(FakeEngine(), config(), 2)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("train_batch_size", 24, "train_batch_size is 24, not 12"),
        ("train_micro_batch_size_per_gpu", 1, "train_micro_batch_size_per_gpu is 1, not 2"),
        ("gradient_accumulation_steps", 1, "gradient_accumulation_steps is 1, not 3"),
        ("gradient_clipping", 0.0, "gradient_clipping is 0.0, not 1.0"),
        ("zero_optimization_stage", 0, "zero stage is 0, not 1"),
        ("bfloat16_enabled", True, "bf16 is True, not False"),
        ("fp16_enabled", True, "fp16 is True, not False"),
    ],
)
def test_an_engine_that_runs_with_another_value_is_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        read_back(FakeEngine(**{name: value}), config(), 2)
