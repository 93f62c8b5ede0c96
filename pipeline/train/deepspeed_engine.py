"""What both engines do with DeepSpeed: start it, set the learning rate, read its norm, save and load its shards."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed.runtime.checkpoint_engine import TorchCheckpointEngine
from torch import Tensor, nn

from data_prep.errors import CorruptFile
from pipeline.config.deepspeed import deepspeed_config, read_back
from pipeline.config.schema import EngineConfig, OptimizerConfig
from pipeline.data.batches import Batch
from pipeline.distributed import World
from pipeline.train.engine import StepResult

_TAG = "shards"


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two AdamW groups: tensors of two and more dimensions decay, gains and biases do not (GPT-1's released code)."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def make_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW with the fused kernel; its learning rate is set before every step."""
    groups = parameter_groups(module, config.weight_decay)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


class _DeferredErrors(TorchCheckpointEngine):  # type: ignore[misc]
    """Writes DeepSpeed's files and keeps the first error for later.

    An error raised while DeepSpeed saves would leave the other ranks waiting in the barriers of its `save_checkpoint`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None

    def save(self, state_dict: Any, path: str) -> None:
        """Write one file."""
        try:
            with Path(path).open("wb") as handle:
                torch.save(state_dict, handle)
        except Exception as error:
            self.error = self.error or error

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a folder."""
        try:
            super().makedirs(path, exist_ok)
        except OSError as error:
            self.error = self.error or error


class DeepSpeedEngine:
    """DeepSpeed around a module, with client AdamW and every setting checked.

    Args:
        module: fp32 module or `PipelineModule`.
        config: the run's configuration.
        world: this process among all.
        data_parallel: number of copies of the model.
    """

    def __init__(self, module: nn.Module, config: EngineConfig, world: World, data_parallel: int) -> None:
        self._device, self._is_main = world.device, world.is_main
        self._fp16 = config.precision == "fp16"
        self._zero_stage = config.parallel.zero_stage
        self._samples_per_pass = config.train.micro_batch * data_parallel
        module.to(world.device)
        settings = deepspeed_config(config, data_parallel)
        optimizer = make_optimizer(module, config.optimizer)
        self._engine, *_ = deepspeed.initialize(
            model=module, optimizer=optimizer, config=settings, dist_init_required=False
        )
        read_back(self._engine, settings)
        self._writer = self._engine.checkpoint_engine = _DeferredErrors()
        # Rank 0 would write it into every checkpoint; the canonical weights make it needless.
        self._engine._copy_recovery_script = lambda _folder: None

    def _begin_step(self, micro_batches: int, lr: float) -> float:
        """Set learning rate and accumulation of the next step; returns its loss scale."""
        if micro_batches != self._engine.gradient_accumulation_steps():
            self._engine.set_train_batch_size(micro_batches * self._samples_per_pass)
        for group in self._engine.optimizer.param_groups:
            group["lr"] = lr
        return float(self._engine.optimizer.loss_scale) if self._fp16 else 1.0

    def _end_step(self, sums: dict[str, Tensor], norm: Any, loss_scale: float) -> StepResult:
        # DeepSpeed leaves out a bf16 update of a gradient that is not finite, too: there it is an error, not a routine.
        skipped = self._fp16 and not self._engine.was_step_applied()
        value = torch.as_tensor(math.inf if skipped else norm, dtype=torch.float64, device=self._device)
        return StepResult(sums, value, skipped, loss_scale)

    def _to_device(self, batch: Batch) -> Batch:
        return {name: tensor.to(self._device, non_blocking=True) for name, tensor in batch.items()}

    def save_native(self, folder: Path) -> None:
        """Write this rank's shards; collective."""
        self._writer.error = None
        self._engine.save_checkpoint(str(folder), tag=_TAG, client_state={}, save_latest=False)
        if self._writer.error is not None:
            raise self._writer.error

    def load_native(self, folder: Path) -> None:
        """Read this rank's shards written under the same topology; collective.

        Raises:
            CorruptFile: DeepSpeed finds nothing to load there.
        """
        path, _ = self._engine.load_checkpoint(str(folder), tag=_TAG)
        if path is None:
            raise CorruptFile("DeepSpeed finds no state to load", where=str(folder), fix="use an older checkpoint")
