"""A model in pipeline stages and tensor-parallel slices, with ZeRO-1 over its copies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from deepspeed.utils import safe_get_full_fp32_param
from torch import Tensor

from pipeline.config.kernels import KernelConfig
from pipeline.config.schema import EngineConfig, ModelConfig
from pipeline.data.batches import Batch
from pipeline.data.order import key
from pipeline.distributed import World
from pipeline.model.parts import canonical_rows
from pipeline.model.stages import Stages, Topology, loss_function
from pipeline.train.deepspeed_engine import DeepSpeedEngine
from pipeline.train.engine import StepResult, add_sums
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
        super().__init__(self._stages, config, world, self.data_parallel_size)

    def _loss(self, outputs: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
        """Mean loss of a micro-batch, on the last stage; its sums are kept."""
        nll, count = self._nll(*outputs, targets)
        add_sums(self._sums, {"nll": nll, "targets": count})
        return nll / count.clamp(min=1)

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

    @torch.no_grad()
    def canonical_weights(self) -> dict[str, Tensor]:
        """Parameter name -> full fp32 tensor on the CPU; collective, complete on rank 0 and empty elsewhere."""
        topology = self._topology
        rank = dist.get_rank()
        sends = rank == topology.first_of_stage(topology.stage)
        mine = {}
        for name, parameter in self._stages.canonical_parameters().items():
            part = safe_get_full_fp32_param(parameter)
            if part is None:
                raise RuntimeError(f"DeepSpeed gives no fp32 value of {name}")
            whole = self._gather(part.detach().float(), getattr(parameter, "split_dim", None))
            if sends:
                rows = canonical_rows(parameter)
                mine[name] = whole[:rows].cpu().clone()
        shapes: list[dict[str, torch.Size]] = [{} for _ in range(dist.get_world_size())]
        dist.all_gather_object(shapes, {name: value.shape for name, value in mine.items()})
        if rank != 0:
            for value in mine.values():
                dist.send(value.to(self._device), 0)
            return {}
        for stage in range(1, self._pipeline):
            source = topology.first_of_stage(stage)
            for name, shape in shapes[source].items():
                value = torch.empty(shape, dtype=torch.float32, device=self._device)
                dist.recv(value, source)
                mine[name] = value.cpu()
        return mine

    def _gather(self, part: Tensor, dim: int | None) -> Tensor:
        """The whole of a parameter of which each tensor-parallel rank holds a slice."""
        ranks = self._topology.tensor
        if dim is None or ranks.size == 1:
            return part
        slices = [torch.empty_like(part) for _ in range(ranks.size)]
        dist.all_gather(slices, part.contiguous(), group=ranks.group)
        return torch.cat(slices, dim)
