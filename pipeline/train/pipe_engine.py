"""A model in pipeline stages and tensor-parallel slices, with ZeRO-1 over its copies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.config.kernels import KernelConfig
from pipeline.config.schema import EngineConfig, ModelConfig
from pipeline.data.batches import Batch
from pipeline.data.order import key
from pipeline.distributed import World
from pipeline.model.stages import Stages, Topology, loss_function
from pipeline.train.deepspeed_engine import DeepSpeedEngine
from pipeline.train.engine import StepResult, add_sums, contagious
from pipeline.train.parallelize import parallelize


class PipeEngine(DeepSpeedEngine):
    """DeepSpeed's pipeline engine around the stages of a language model.

    Args:
        model: shape of the model.
        vocab_size: number of token ids.
        config: the run's configuration.
        world: this process among all.
        kernels: how the model is computed.

    Raises:
        UserError: the ranks do not make whole copies of the model.
        ValueError: heads, widths or vocabulary cannot be split over the tensor-parallel ranks.
    """

    def __init__(
        self,
        model: ModelConfig,
        vocab_size: int,
        config: EngineConfig,
        world: World,
        kernels: KernelConfig | None = None,
    ) -> None:
        self._topology = Topology(config.parallel, world.size)
        self.data_parallel_rank = self._topology.data_parallel_rank
        self.data_parallel_size = self._topology.data_parallel_size
        self._pipeline = config.parallel.pipeline
        self._nll = loss_function(model, vocab_size, self._topology.tensor, kernels)
        self._sums: dict[str, Tensor] = {}
        self._shape: torch.Size | None = None
        self._stages = Stages(model, vocab_size, self._topology, self._loss, config.run.seed, kernels)
        parallelize(self._stages, config.parallel)
        super().__init__(self._stages, config, world, self.data_parallel_size, self._topology.tensor)

    def _loss(self, outputs: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
        """Mean loss of a micro-batch, on the last stage; its sums are kept."""
        nll, count = self._nll(*outputs, targets)
        add_sums(self._sums, {"nll": nll, "targets": count})
        return contagious(nll / count.clamp(min=1))

    def _take_sums(self) -> dict[str, Tensor]:
        """What `_loss` added up; zeros on all ranks but one of each copy, so that the sum over all ranks is right."""
        sums, self._sums = self._sums, {}
        counts = self._stages.stage_id == self._pipeline - 1 and self._topology.tensor.rank == 0
        zero = torch.zeros((), dtype=torch.float64, device=self._device)
        return {name: sums[name] if counts else zero for name in ("nll", "targets")}

    def _expect(self, batch: Batch) -> None:
        """Stages tell each other the shape of what they send when it changes."""
        if batch["tokens"].shape != self._shape:
            self._shape = batch["tokens"].shape
            self._engine.reset_activation_shape()

    def train_step(self, micro_batches: Sequence[Batch], lr: float) -> StepResult:
        """One optimizer step over the micro-batches of this copy of the model."""
        loss_scale = self._begin_step(len(micro_batches), lr)
        self._expect(micro_batches[0])
        if self._pipeline > 1:
            torch.manual_seed(key(torch.initial_seed(), "stage", self._topology.stage) >> 1)
        self._engine.train_batch((batch["tokens"], batch["targets"]) for batch in micro_batches)
        return self._end_step(self._take_sums(), self._engine.get_global_grad_norm(), loss_scale)

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """This rank's share of the sums of one batch, without gradients and dropout; collective."""
        self._expect(batch)
        once = iter([(batch["tokens"], batch["targets"])])
        self._engine.eval_batch(once, reduce_output=None, bcast_loss=False, num_micro_batches=1)
        return self._take_sums()

    def _held(self) -> list[tuple[str, nn.Parameter]]:
        return list(self._stages.canonical_parameters().items())

    def _writes(self, name: str, parameter: nn.Parameter) -> bool:
        split = getattr(parameter, "split_dim", None) is not None
        return self._stages.first_holds(name) and (split or self._topology.tensor.rank == 0)
