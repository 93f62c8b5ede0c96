"""The engine: what the trainer knows of DeepSpeed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.runtime.checkpoint_engine import TorchCheckpointEngine
from deepspeed.utils import safe_get_full_fp32_param
from torch import Tensor, nn

from data_prep.errors import CorruptFile
from pipeline.config.deepspeed import deepspeed_config, read_back
from pipeline.config.schema import EngineConfig, OptimizerConfig
from pipeline.data.batches import Batch
from pipeline.distributed import World

_TAG = "shards"


@dataclass(frozen=True)
class StepResult:
    """Outcome of one optimizer step.

    Attributes:
        sums: additive results of all micro-batches of this rank (for example `nll` and `targets`), on the device.
        grad_norm: global gradient norm before clipping; inf or nan if a gradient is not finite.
    """

    sums: dict[str, Tensor]
    grad_norm: float


class Engine(Protocol):
    """Runs a module whose `forward(**batch)` returns `loss` (to differentiate) and additive sums."""

    data_parallel_rank: int
    data_parallel_size: int

    def train_step(self, micro_batches: Sequence[Batch], lr: float) -> StepResult:
        """One optimizer step over this rank's micro-batches."""

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """Sums of one batch, without gradients and dropout."""

    def canonical_weights(self) -> dict[str, Tensor]:
        """Parameter name -> full fp32 tensor on the CPU; collective, complete on rank 0 and empty elsewhere."""

    def save_native(self, folder: Path) -> None:
        """Write this rank's shards; collective."""

    def load_native(self, folder: Path) -> None:
        """Read this rank's shards written under the same topology; collective."""


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


class ZeroEngine:
    """DeepSpeed with ZeRO 1, 2 or 3 around a plain module.

    Args:
        module: fp32 module, equal on every rank.
        config: the run's configuration.
        world: this process among all.
    """

    def __init__(self, module: nn.Module, config: EngineConfig, world: World) -> None:
        self.data_parallel_rank, self.data_parallel_size = world.rank, world.size
        self._device = world.device
        self._is_main = world.is_main
        module.to(world.device)
        optimizer = make_optimizer(module, config.optimizer)
        self._engine, *_ = deepspeed.initialize(
            model=module, optimizer=optimizer, config=deepspeed_config(config, world.size), dist_init_required=False
        )
        read_back(self._engine, config, world.size)
        self._writer = self._engine.checkpoint_engine = _DeferredErrors()
        # Rank 0 would write it into every checkpoint; the canonical weights make it needless.
        self._engine._copy_recovery_script = lambda _folder: None

    def _to_device(self, batch: Batch) -> Batch:
        return {name: tensor.to(self._device, non_blocking=True) for name, tensor in batch.items()}

    def train_step(self, micro_batches: Sequence[Batch], lr: float) -> StepResult:
        """One optimizer step over this rank's micro-batches."""
        self._engine.train()
        for group in self._engine.optimizer.param_groups:
            group["lr"] = lr
        sums: dict[str, Tensor] = {}
        for number, batch in enumerate(micro_batches):
            # DeepSpeed's own boundary is a running modulo that drifts; it is told at every micro-batch instead.
            self._engine.set_gradient_accumulation_boundary(number == len(micro_batches) - 1)
            out: dict[str, Tensor] = self._engine(**self._to_device(batch))
            self._engine.backward(out["loss"])
            _add(sums, out)
            self._engine.step()
        return StepResult(sums, float(self._engine.get_global_grad_norm()))

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """Sums of one batch, without gradients and dropout."""
        self._engine.eval()
        sums: dict[str, Tensor] = {}
        _add(sums, self._engine(**self._to_device(batch)))
        return sums

    def canonical_weights(self) -> dict[str, Tensor]:
        """Parameter name -> full fp32 tensor on the CPU; collective, complete on rank 0 and empty elsewhere."""
        weights: dict[str, Tensor] = {}
        for name, parameter in self._engine.module.named_parameters():
            full = safe_get_full_fp32_param(parameter)
            if full is None:
                raise RuntimeError(f"DeepSpeed gives no fp32 value of {name}")
            if self._is_main:
                weights[name] = full.detach().float().cpu().clone().view(_full_shape(parameter))
        return weights

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


def _full_shape(parameter: nn.Parameter) -> torch.Size:
    # A ZeRO-3 parameter is empty between uses and remembers its shape here.
    shape: torch.Size = getattr(parameter, "ds_shape", parameter.shape)
    return shape


def _add(sums: dict[str, Tensor], out: Mapping[str, Tensor]) -> None:
    for name, value in out.items():
        if name != "loss":
            value = value.detach().double()
            sums[name] = sums[name] + value if name in sums else value


def reduce_sums(sums: Mapping[str, Tensor]) -> dict[str, float]:
    """Add up over all ranks; collective. Every rank must hold the same names."""
    names = sorted(sums)
    stacked = torch.stack([sums[name].double() for name in names])
    dist.all_reduce(stacked)
    return dict(zip(names, stacked.tolist(), strict=True))
