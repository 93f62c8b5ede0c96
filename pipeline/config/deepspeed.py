"""DeepSpeed's configuration: what the schema owns, what is passed on, and the check of what the engine runs with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from data_prep.configfile import merge
from pipeline.config.train import whole_micro_batches

if TYPE_CHECKING:
    from pipeline.config.schema import EngineConfig

OWNED_KEYS = {
    "train_batch_size": "train.global_batch",
    "train_micro_batch_size_per_gpu": "train.micro_batch",
    "gradient_accumulation_steps": "train.global_batch and train.micro_batch (it follows from them)",
    "optimizer": "optimizer",
    "scheduler": "schedule",
    "gradient_clipping": "optimizer.grad_clip",
    "fp16": "precision",
    "bf16": "precision",
    "torch_autocast": "precision",
    "data_types": "precision",
    "steps_per_print": "train.log_every",
    "zero_optimization.stage": "parallel.zero_stage",
    "zero_allow_untested_optimizer": "optimizer",
}
"""DeepSpeed key -> the field of our schema that decides it."""

REDUCE_BUCKET = 500_000_000
"""Gradient elements that are reduced at once, if a rank has so many; DeepSpeed's default."""


def _has(block: Mapping[str, Any], dotted: str) -> bool:
    head, _, rest = dotted.partition(".")
    if head not in block:
        return False
    return not rest or (isinstance(block[head], Mapping) and _has(block[head], rest))


def check_owned_keys(block: Mapping[str, Any]) -> None:
    """Raise `ValueError` if the `deepspeed:` block sets a key that the schema owns."""
    for key, field in OWNED_KEYS.items():
        if _has(block, key):
            raise ValueError(f"deepspeed.{key} is decided by {field}: set it there and remove it from deepspeed")


def check_offload(block: Mapping[str, Any]) -> None:
    """Raise `ValueError` if the `deepspeed:` block takes state to where checkpoints do not find it."""
    zero = block.get("zero_optimization")
    zero = zero if isinstance(zero, Mapping) else {}
    for name in ("offload_optimizer", "offload_param"):
        target = zero.get(name)
        if isinstance(target, Mapping) and (target.get("device") == "nvme" or target.get("ratio", 1) != 1):
            raise ValueError(
                f"deepspeed.zero_optimization.{name} must keep all of it on one device, cpu: checkpoints do not reach "
                "what lies on NVMe, or what is offloaded in part"
            )
    for name in ("offload_optimizer.super_offload", "zenflow"):
        if _has(zero, name):
            raise ValueError(f"deepspeed.zero_optimization.{name} keeps state where checkpoints do not reach it")


def accumulation_steps(config: EngineConfig, data_parallel: int) -> int:
    """Micro-batches per rank and optimizer step.

    Raises:
        UserError: the global batch cannot be cut into whole micro-batches.
    """
    return whole_micro_batches(config.train.global_batch, config.train.micro_batch, data_parallel, "config")


def deepspeed_config(config: EngineConfig, data_parallel: int, parameters: int) -> dict[str, Any]:
    """DeepSpeed's configuration with every key that touches the numbers set explicitly.

    Args:
        config: the run's configuration.
        data_parallel: number of data-parallel ranks.
        parameters: that this rank computes with.
    """
    scale = config.loss_scale
    owned: dict[str, Any] = {
        "train_batch_size": config.train.global_batch,
        "train_micro_batch_size_per_gpu": config.train.micro_batch,
        "gradient_accumulation_steps": accumulation_steps(config, data_parallel),
        "gradient_clipping": config.optimizer.grad_clip,
        "fp16": {
            "enabled": config.precision == "fp16",
            "auto_cast": False,
            "loss_scale": scale.static,
            "initial_scale_power": scale.initial_power,
            "loss_scale_window": scale.window,
            "hysteresis": scale.hysteresis,
            "consecutive_hysteresis": False,
            "min_loss_scale": scale.minimum,
            "fp16_master_weights_and_grads": False,
        },
        "bf16": {
            "enabled": config.precision == "bf16",
            "check_grad_overflow": True,  # else ZeRO-2 does not leave out an update that is not finite
            "immediate_grad_update": False,
            "bf16_master_weights_and_grads": False,
            "bf16_optimizer_states": False,
        },
        "torch_autocast": {"enabled": False},
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": config.precision,
        "prescale_gradients": False,
        "gradient_predivide_factor": 1.0,
        "zero_optimization": {
            "stage": config.parallel.zero_stage,
            # Overlap has corrupted gradients in several DeepSpeed releases; correctness is the default.
            "overlap_comm": False,
            "contiguous_gradients": True,
            "reduce_scatter": True,
            # The buffer is allocated anew for every step: what no gradient fills costs memory, and on a CPU a buffer
            # beyond what the allocator keeps has to be paged in each time.
            "reduce_bucket_size": min(REDUCE_BUCKET, parameters),
            "round_robin_gradients": False,
        },
        "pipeline": {
            "activation_checkpoint_interval": 0,  # ours, per block, does it
            "use_reentrant": False,
            "pipe_partitioned": False,
            "grad_partitioned": False,
        },
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "wall_clock_breakdown": False,
        "steps_per_print": 1 << 62,
    }
    return merge(owned, dict(config.deepspeed))


_LONG = {"fp32": "torch.float32", "bf16": "torch.bfloat16", "fp16": "torch.float16"}


def read_back(engine: Any, settings: Mapping[str, Any]) -> None:
    """Compare what the engine says it runs with against what it was given, for every key that touches the numbers.

    Args:
        engine: what `deepspeed.initialize` returned.
        settings: the configuration it was given, of `deepspeed_config`.

    Raises:
        RuntimeError: DeepSpeed runs with another value than the one it was given.
    """
    zero, fp16, bf16, pipe = (settings[key] for key in ("zero_optimization", "fp16", "bf16", "pipeline"))
    ran = engine._config
    expected = {
        "train_batch_size": (engine.train_batch_size(), settings["train_batch_size"]),
        "train_micro_batch_size_per_gpu": (
            engine.train_micro_batch_size_per_gpu(),
            settings["train_micro_batch_size_per_gpu"],
        ),
        "gradient_accumulation_steps": (
            engine.gradient_accumulation_steps(),
            settings["gradient_accumulation_steps"],
        ),
        "gradient_clipping": (engine.gradient_clipping(), settings["gradient_clipping"]),
        "grad_accum_dtype": (str(engine.get_data_types()[1]), _LONG[settings["data_types"]["grad_accum_dtype"]]),
        "communication_data_type": (str(engine.communication_data_type), _LONG[settings["communication_data_type"]]),
        "prescale_gradients": (not engine.postscale_gradients(), settings["prescale_gradients"]),
        "gradient_predivide_factor": (engine.gradient_predivide_factor(), settings["gradient_predivide_factor"]),
        "torch_autocast": (bool(engine.torch_autocast_enabled()), settings["torch_autocast"]["enabled"]),
        "zero stage": (int(engine.zero_optimization_stage()), zero["stage"]),
        **{
            f"zero {key}": (getattr(ran.zero_config, key), zero[key])
            for key in ("overlap_comm", "contiguous_gradients", "reduce_scatter", "round_robin_gradients")
        },
        **{f"fp16 {key}": (getattr(ran.float16_config, key), value) for key, value in fp16.items()},
        **{f"bf16 {key}": (getattr(ran.bfloat16_config, key), value) for key, value in bf16.items()},
        **{f"pipeline {key}": (ran.pipeline[key], value) for key, value in pipe.items()},
    }
    wrong = [f"{key} is {found}, not {wanted}" for key, (found, wanted) in expected.items() if found != wanted]
    if wrong:
        raise RuntimeError("DeepSpeed does not run with the settings it was given: " + "; ".join(wrong))
