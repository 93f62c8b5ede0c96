"""The engine: what the trainer knows of DeepSpeed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.checkpoint.pieces import LocalState
from pipeline.data.batches import Batch

if TYPE_CHECKING:
    from pipeline.checkpoint.reader import StateReader


@dataclass(frozen=True)
class StepResult:
    """Outcome of one optimizer step.

    Attributes:
        sums: this rank's share of the additive results of all micro-batches (for example `nll` and `targets`), float64
            scalars on the device; `reduce_sums` makes the whole of them.
        grad_norm: global gradient norm before clipping, float64 scalar on the device; not finite if a gradient is not.
        skipped: whether fp16 gradients overflowed and the update was left out; the loss scale is lowered then.
        loss_scale: by which the loss was multiplied; 1 in fp32 and bf16.
        layer_norms: layer -> the part of `grad_norm` that is its own; empty unless a `LayerWatcher` was asked.
    """

    sums: dict[str, Tensor]
    grad_norm: Tensor
    skipped: bool = False
    loss_scale: float = 1.0
    layer_norms: dict[str, Tensor] = field(default_factory=dict)


class Engine(Protocol):
    """Trains a language model or another module on batches.

    Every method is called by all ranks together, with the same number of micro-batches. Ranks of the same
    `data_parallel_rank` hold parts of one copy of the model: they give the same batches, and set the same seed
    (`torch.manual_seed`) before a step, from which the engine derives what dropout needs on each of them.

    Attributes:
        data_parallel_rank: number of this rank's copy of the model.
        data_parallel_size: number of copies.
    """

    data_parallel_rank: int
    data_parallel_size: int

    def train_step(self, micro_batches: Sequence[Batch], lr: float) -> StepResult:
        """One optimizer step; an update whose loss or gradient norm is not finite anywhere is left out everywhere.

        The gradient is the mean over micro-batches and data-parallel ranks of each micro-batch's mean loss: the mean
        over all tokens, as micro-batches ask for equally many.

        Args:
            micro_batches: of this data-parallel rank, `train.micro_batch` samples each. How many there are may change
                from step to step, as in a batch ramp.
            lr: learning rate of this step.
        """

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """This rank's share of the sums of one batch of any size, without gradients and dropout."""

    def local_state(self) -> LocalState:
        """What this rank alone keeps of weights and moments, as views of live memory.

        Every element is in the state of exactly one rank: of copies (whole under ZeRO-0, replicated under tensor
        parallelism, tied on two stages) the first holder's counts.
        """

    def load_state(self, reader: StateReader) -> None:
        """Take weights, moments and counters from a checkpoint written under any topology.

        Before the first step or after any: nothing is left of what was there.

        Raises:
            CorruptFile: what is needed is not there (on every rank).
        """


def contagious(loss: Tensor) -> Tensor:
    """The same loss; if it is not finite, it makes every gradient so, and with it the norm that all ranks share.

    An infinite loss can have finite gradients, and only one rank knows it.
    """
    return loss * torch.where(torch.isfinite(loss.detach()), 1.0, math.nan).to(loss.dtype)


def add_sums(sums: dict[str, Tensor], out: Mapping[str, Tensor]) -> None:
    """Add what a micro-batch gave, except its `loss`, to `sums`, in float64."""
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
