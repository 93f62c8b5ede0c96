"""What both engines do with DeepSpeed: start it, set the learning rate, read its norm, give and take its state."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import deepspeed
import torch
from torch import Tensor, nn

from pipeline.checkpoint.pieces import LocalState, Piece, cut
from pipeline.config.deepspeed import deepspeed_config, read_back
from pipeline.config.schema import EngineConfig, OptimizerConfig
from pipeline.data.batches import Batch
from pipeline.distributed import World, together
from pipeline.model.parts import canonical_rows
from pipeline.model.tensor_parallel import TensorGroup
from pipeline.train.engine import StepResult
from pipeline.train.fragments import Fragment, Fragments

if TYPE_CHECKING:
    from pipeline.checkpoint.reader import StateReader


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


class DeepSpeedEngine:
    """DeepSpeed around a module, with client AdamW and every setting checked.

    Args:
        module: fp32 module or `PipelineModule`.
        config: the run's configuration.
        world: this process among all.
        data_parallel: number of copies of the model.
        ranks: that share its matrices, if they are split.
    """

    def __init__(
        self,
        module: nn.Module,
        config: EngineConfig,
        world: World,
        data_parallel: int,
        ranks: TensorGroup | None = None,
    ) -> None:
        self._device, self._ranks = world.device, ranks
        self._fp16 = config.precision == "fp16"
        self._zero_stage = config.parallel.zero_stage
        self._samples_per_pass = config.train.micro_batch * data_parallel
        module.to(world.device)
        settings = deepspeed_config(config, data_parallel, sum(p.numel() for p in module.parameters()))
        optimizer = make_optimizer(module, config.optimizer)
        self._engine, *_ = deepspeed.initialize(
            model=module, optimizer=optimizer, config=settings, dist_init_required=False
        )
        read_back(self._engine, settings)
        self._fragments = Fragments(self._engine.optimizer)

    def _begin_step(self, micro_batches: int, lr: float) -> float:
        """Set learning rate and accumulation of the next step; returns its loss scale."""
        if micro_batches != self._engine.gradient_accumulation_steps():
            self._engine.set_train_batch_size(micro_batches * self._samples_per_pass)
        for group in self._engine.optimizer.param_groups:
            group["lr"] = lr
        return float(self._engine.optimizer.loss_scale) if self._fp16 else 1.0

    def _end_step(self, sums: dict[str, Tensor], norm: Any, loss_scale: float) -> StepResult:
        # DeepSpeed leaves out any update of a gradient that is not finite; in fp16 alone that can be a routine.
        skipped = self._fp16 and not self._engine.was_step_applied()
        value = torch.as_tensor(math.inf if skipped else norm, dtype=torch.float64, device=self._device)
        return StepResult(sums, value, skipped, loss_scale)

    def _to_device(self, batch: Batch) -> Batch:
        return {name: tensor.to(self._device, non_blocking=True) for name, tensor in batch.items()}

    def _held(self) -> list[tuple[str, nn.Parameter]]:
        """(canonical name, this rank's slice of the parameter) of all that this rank computes with."""
        raise NotImplementedError

    def _writes(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether this rank writes what it keeps of a parameter, rather than another that keeps the same."""
        raise NotImplementedError

    def _piece(self, name: str, parameter: nn.Parameter, fragment: Fragment) -> Piece | None:
        # A ZeRO-3 parameter is empty between uses and remembers its shape here.
        shape = list(getattr(parameter, "ds_shape", parameter.shape))
        box = [(0, size) for size in shape]
        dim: int | None = getattr(parameter, "split_dim", None)
        if dim is not None and self._ranks is not None:
            shape[dim] *= self._ranks.size
            part = self._ranks.slice_of(shape[dim], f"a dimension of {name},")
            box[dim] = (part.start, part.stop)
        return cut(name, shape, tuple(box), fragment.start, fragment.end, canonical_rows(parameter))

    def _pieces(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> list[tuple[Piece, dict[str, Tensor]]]:
        pieces = []
        for name, parameter in parameters:
            fragment = self._fragments.of(parameter)
            piece = self._piece(name, parameter, fragment) if fragment is not None else None
            if fragment is not None and piece is not None:
                pieces.append((piece, {kind: view[: piece.numel] for kind, view in fragment.kinds.items()}))
        return pieces

    def local_state(self) -> LocalState:
        """What this rank alone keeps of weights and moments, as views of live memory."""
        written = [(name, parameter) for name, parameter in self._held() if self._writes(name, parameter)]
        return LocalState(self._pieces(written), self._fragments.scalars())

    def load_state(self, reader: StateReader) -> None:
        """Take weights, moments and counters from a checkpoint written under any topology; collective.

        Raises:
            CorruptFile: what is needed is not there (on every rank).
        """

        def fill() -> None:
            self._fragments.begin_load()
            for piece, kinds in self._pieces(self._held()):
                for kind, view in kinds.items():
                    reader.fill(piece, kind, view)

        together(fill)
        self._fragments.end_load(reader.scalars)
