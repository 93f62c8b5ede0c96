"""A plain module under ZeRO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config.schema import EngineConfig
from pipeline.data.batches import Batch
from pipeline.distributed import World
from pipeline.train.deepspeed_engine import DeepSpeedEngine
from pipeline.train.engine import StepResult, add_sums, contagious
from pipeline.train.layer_norms import layer_norms
from pipeline.train.parallelize import parallelize


class ZeroEngine(DeepSpeedEngine):
    """DeepSpeed with ZeRO 0, 1, 2 or 3 around a plain module; every rank is a data-parallel rank.

    Args:
        module: fp32 module, equal on every rank; its `forward(**batch)` returns `loss` (to differentiate) and additive
            sums.
        config: the run's configuration.
        world: this process among all.

    Raises:
        UserError: the module has no blocks to recompute or compile as configured.
    """

    def __init__(self, module: nn.Module, config: EngineConfig, world: World) -> None:
        self.data_parallel_rank, self.data_parallel_size = world.rank, world.size
        self.watch_layers = False
        parallelize(module, config.parallel)
        super().__init__(module, config, world, world.size)

    def train_step(self, micro_batches: Sequence[Batch], lr: float) -> StepResult:
        """One optimizer step over this rank's micro-batches."""
        self._engine.train()
        loss_scale = self._begin_step(len(micro_batches), lr)
        sums: dict[str, Tensor] = {}
        norm: Any = None
        by_layer: dict[str, Tensor] = {}
        for number, batch in enumerate(micro_batches):
            last = number == len(micro_batches) - 1
            # DeepSpeed's own boundary is a running modulo that drifts; it is told at every micro-batch instead.
            self._engine.set_gradient_accumulation_boundary(last)
            out: dict[str, Tensor] = self._engine(**self._to_device(batch))
            self._engine.backward(contagious(out["loss"]))
            add_sums(sums, out)
            if last and self._zero_stage == 0:
                # Without ZeRO, DeepSpeed clips but does not say the norm.
                norm = torch.nn.utils.get_total_norm([p.grad for p in self._parameters() if p.grad is not None])
                # What ZeRO does by itself: the fused kernel leaves out an update that is marked, on the device.
                self._engine.optimizer.found_inf = (~torch.isfinite(norm)).float()
            if last and self.watch_layers:
                by_layer = layer_norms(self._engine.module, loss_scale)
            self._engine.step()
        norm = self._engine.get_global_grad_norm() if norm is None else norm
        return replace(self._end_step(sums, norm, loss_scale), layer_norms=by_layer)

    def _parameters(self) -> list[nn.Parameter]:
        return list(self._engine.module.parameters())

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """Sums of one batch, without gradients and dropout."""
        self._engine.eval()
        sums: dict[str, Tensor] = {}
        add_sums(sums, self._engine(**self._to_device(batch)))
        return sums

    @torch.no_grad()
    def next_logits(self, tokens: Tensor, last: Tensor) -> Tensor:
        """[n, time] token ids, [n] position of each row's last -> [n, vocab_size] logits on the CPU; collective."""
        self._engine.eval()
        logits: Tensor = self._engine(tokens=tokens.to(self._device), last=last.to(self._device))["logits"]
        return logits.cpu()

    def _held(self) -> list[tuple[str, nn.Parameter]]:
        return list(self._engine.module.named_parameters())

    def _writes(self, name: str, parameter: nn.Parameter) -> bool:
        return self._zero_stage > 0 or self.data_parallel_rank == 0
