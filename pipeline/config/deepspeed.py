"""DeepSpeed's configuration: what the schema owns, what is passed on, and the check of what the engine runs with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from data_prep.configfile import merge
from data_prep.errors import UserError

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


def accumulation_steps(config: EngineConfig, data_parallel: int) -> int:
    """Micro-batches per rank and optimizer step.

    Raises:
        UserError: the global batch cannot be cut into whole micro-batches.
    """
    train = config.train
    per_pass = train.micro_batch * data_parallel
    if train.global_batch % per_pass:
        raise UserError(
            f"train.global_batch {train.global_batch} is not a multiple of train.micro_batch {train.micro_batch} "
            f"x {data_parallel} data-parallel ranks",
            where="config",
            fix=f"use a multiple of {per_pass}, another micro_batch or another number of ranks",
        )
    return train.global_batch // per_pass


def deepspeed_config(config: EngineConfig, data_parallel: int) -> dict[str, Any]:
    """DeepSpeed's configuration with every key that touches the numbers set explicitly.

    Args:
        config: the run's configuration.
        data_parallel: number of data-parallel ranks.
    """
    bf16 = config.precision == "bf16"
    owned: dict[str, Any] = {
        "train_batch_size": config.train.global_batch,
        "train_micro_batch_size_per_gpu": config.train.micro_batch,
        "gradient_accumulation_steps": accumulation_steps(config, data_parallel),
        "gradient_clipping": config.optimizer.grad_clip,
        "fp16": {"enabled": False},
        # An overflow check would skip steps behind the trainer's back; the trainer looks at loss and norm itself.
        "bf16": {"enabled": bf16, "check_grad_overflow": False},
        "data_types": {"grad_accum_dtype": "fp32"},
        "prescale_gradients": False,
        "gradient_predivide_factor": 1.0,
        "zero_optimization": {
            "stage": config.parallel.zero_stage,
            # Overlap has corrupted gradients in several DeepSpeed releases; correctness is the default.
            "overlap_comm": False,
            "contiguous_gradients": True,
            "reduce_scatter": True,
        },
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "wall_clock_breakdown": False,
        "steps_per_print": 1 << 62,
    }
    return merge(owned, dict(config.deepspeed))


def read_back(engine: Any, config: EngineConfig, data_parallel: int) -> None:
    """Compare what the engine says it runs with against the configuration.

    Raises:
        RuntimeError: DeepSpeed runs with another value than the one it was given.
    """
    expected = {
        "train_batch_size": (engine.train_batch_size(), config.train.global_batch),
        "train_micro_batch_size_per_gpu": (engine.train_micro_batch_size_per_gpu(), config.train.micro_batch),
        "gradient_accumulation_steps": (
            engine.gradient_accumulation_steps(),
            accumulation_steps(config, data_parallel),
        ),
        "gradient_clipping": (engine.gradient_clipping(), config.optimizer.grad_clip),
        "zero stage": (engine.zero_optimization_stage(), config.parallel.zero_stage),
        "bf16": (bool(engine.bfloat16_enabled()), config.precision == "bf16"),
        "fp16": (bool(engine.fp16_enabled()), False),
    }
    wrong = [f"{key} is {found}, not {wanted}" for key, (found, wanted) in expected.items() if found != wanted]
    if wrong:
        raise RuntimeError("DeepSpeed does not run with the settings it was given: " + "; ".join(wrong))
