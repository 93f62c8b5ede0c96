import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_model import pretrain_config

from data_prep.errors import UserError
from pipeline.config.deepspeed import OWNED_KEYS, REDUCE_BUCKET, accumulation_steps, deepspeed_config, read_back
from pipeline.config.schema import PretrainConfig

PARAMETERS = 1000


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
    found = deepspeed_config(config(deepspeed=block, parallel={"zero_stage": 2}), 2, PARAMETERS)
    assert found["zero_optimization"]["reduce_bucket_size"] == 12345
    assert found["zero_optimization"]["stage"] == 2
    assert found["comms_logger"] == {"enabled": True}


@pytest.mark.parametrize(("parameters", "bucket"), [(1000, 1000), (10**9, REDUCE_BUCKET)])
def test_the_reduction_buffer_is_no_larger_than_the_model(parameters: int, bucket: int) -> None:
    assert deepspeed_config(config(), 2, parameters)["zero_optimization"]["reduce_bucket_size"] == bucket


def test_batch_precision_and_clipping_follow_the_schema() -> None:
    found = deepspeed_config(config(precision="bf16", optimizer={"lr": 1e-3, "grad_clip": 0.25}), 2, PARAMETERS)
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
    """Answers as a DeepSpeed engine that was given a configuration does."""

    def __init__(self, given: dict[str, Any]) -> None:
        fields = {
            "zero_config": given["zero_optimization"],
            "float16_config": given["fp16"],
            "bfloat16_config": given["bf16"],
        }
        self._config = SimpleNamespace(
            pipeline=dict(given["pipeline"]), **{name: SimpleNamespace(**block) for name, block in fields.items()}
        )
        self.communication_data_type = DTYPES[given["communication_data_type"]]
        self.answers = {
            **{key: given[key] for key in GETTERS},
            "get_data_types": ("torch.float32", DTYPES[given["data_types"]["grad_accum_dtype"]]),
            "postscale_gradients": not given["prescale_gradients"],
            "torch_autocast_enabled": given["torch_autocast"]["enabled"],
            "zero_optimization_stage": given["zero_optimization"]["stage"],
        }

    def __getattr__(self, name: str) -> Any:
        return lambda: self.answers[name]


DTYPES = {"fp32": "torch.float32", "bf16": "torch.bfloat16", "fp16": "torch.float16"}
GETTERS = (
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "gradient_clipping",
    "gradient_predivide_factor",
)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_an_engine_that_does_as_it_was_told_passes(precision: str) -> None:
    given = deepspeed_config(config(precision=precision), 2, PARAMETERS)
    read_back(FakeEngine(given), given)


def _leaves(block: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in block.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key)


NO_NUMERICS = {
    ("zero_allow_untested_optimizer",),
    ("zero_force_ds_cpu_optimizer",),
    ("wall_clock_breakdown",),
    ("steps_per_print",),
    ("zero_optimization", "reduce_bucket_size"),
}
GIVEN = deepspeed_config(config(), 2, PARAMETERS)


@pytest.mark.parametrize("path", sorted(set(_leaves(GIVEN)) - NO_NUMERICS), ids=".".join)
def test_an_engine_that_runs_with_another_value_of_any_key_is_refused(path: tuple[str, ...]) -> None:
    other = copy.deepcopy(GIVEN)
    *folders, last = path
    block = other
    for key in folders:
        block = block[key]
    value = block[last]
    block[last] = "bf16" if value == "fp32" else (not value if isinstance(value, bool) else value + 1)
    with pytest.raises(RuntimeError, match=f"{last.removesuffix('_enabled')}|stage|torch_autocast.* is .*, not "):
        read_back(FakeEngine(other), GIVEN)


def test_what_the_block_adds_is_read_back_too() -> None:
    given = deepspeed_config(config(deepspeed={"zero_optimization": {"overlap_comm": True}}), 2, PARAMETERS)
    assert given["zero_optimization"]["overlap_comm"] is True
    with pytest.raises(RuntimeError, match="zero overlap_comm is False, not True"):
        read_back(FakeEngine(GIVEN), given)


def test_fp16_scales_the_loss_as_the_schema_says() -> None:
    scale = {"static": 0, "initial_power": 12, "window": 50, "hysteresis": 3, "minimum": 2}
    found = deepspeed_config(config(precision="fp16", loss_scale=scale), 2, PARAMETERS)
    assert found["fp16"] == {
        "enabled": True,
        "auto_cast": False,
        "loss_scale": 0,
        "initial_scale_power": 12,
        "loss_scale_window": 50,
        "hysteresis": 3,
        "consecutive_hysteresis": False,
        "min_loss_scale": 2,
        "fp16_master_weights_and_grads": False,
    }
    assert found["bf16"]["enabled"] is False
    assert found["communication_data_type"] == "fp16"


@pytest.mark.parametrize(
    ("zero", "field"),
    [
        ({"offload_optimizer": {"device": "nvme", "nvme_path": "/disk"}}, "offload_optimizer"),
        ({"offload_param": {"device": "nvme", "nvme_path": "/disk"}}, "offload_param"),
        ({"offload_optimizer": {"device": "cpu", "ratio": 0.5}}, "offload_optimizer"),
        ({"offload_optimizer": {"device": "cpu", "super_offload": True}}, "offload_optimizer.super_offload"),
        ({"zenflow": {"topk_ratio": 0.1}}, "zenflow"),
    ],
)
def test_state_that_no_checkpoint_could_hold_is_refused(zero: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError) as caught:
        config(deepspeed={"zero_optimization": zero}, parallel={"zero_stage": 3})
    assert f"deepspeed.zero_optimization.{field} " in str(caught.value)
