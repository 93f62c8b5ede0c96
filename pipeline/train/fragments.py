"""What DeepSpeed keeps of the fp32 state on this rank: the one place that knows where its optimizers put it.

Each of them updates master tensors with torch's AdamW: the parameters themselves (ZeRO-0), or flat tensors in which
this rank's parts of all parameters of a group lie one behind the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
import torch.distributed as dist
from deepspeed.runtime.bf16_optimizer import BF16_Optimizer
from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler
from deepspeed.runtime.zero.stage3 import DeepSpeedZeroOptimizer_Stage3
from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer
from torch import Tensor, nn

from pipeline.checkpoint.pieces import MOMENTS, WEIGHT

_SCALER = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")
"""What of DeepSpeed's dynamic loss scaler changes as it runs."""


@dataclass(frozen=True)
class _Place:
    """Elements [start, start + numel) of a parameter, counted row by row, are at `offset` of a master tensor."""

    master: Tensor
    offset: int
    start: int
    numel: int


class _Unsharded:
    """ZeRO-0 in fp32: AdamW itself."""

    def __init__(self, optimizer: Any) -> None:
        self.adamw = optimizer
        self.masters: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]

    def place(self, parameter: nn.Parameter) -> _Place | None:
        return _Place(parameter, 0, 0, parameter.numel())

    def before_load(self) -> None:
        pass

    def after_load(self) -> None:
        pass


class _Flat:
    """ZeRO-1 and 2: a rank's masters are one range of each group's parameters."""

    def __init__(self, optimizer: Any) -> None:
        self.adamw, self._optimizer = optimizer.optimizer, optimizer
        self.masters: list[Tensor]
        if isinstance(optimizer, BF16_Optimizer):
            self.masters, groups = optimizer.fp32_groups_flat_partition, optimizer.bf16_groups
            offsets = [accumulate((p.numel() for p in group), initial=0) for group in groups]
        else:
            # Not the addresses in `_hp_mapping`: they are wrong with round_robin_gradients, which reorders a group.
            self.masters, groups = optimizer.single_partition_of_fp32_groups, optimizer.round_robin_bit16_groups
            offsets = optimizer.round_robin_bit16_offsets
        self._offsets: dict[nn.Parameter, tuple[int, int]] = {
            parameter: (number, offset)
            for number, (group, starts) in enumerate(zip(groups, offsets, strict=True))
            for parameter, offset in zip(group, starts, strict=False)
        }

    def place(self, parameter: nn.Parameter) -> _Place | None:
        group, offset = self._offsets[parameter]
        master = self.masters[group]
        first = master.numel() * dist.get_rank(group=self._optimizer.real_dp_process_group[group])
        start, end = max(offset, first), min(offset + parameter.numel(), first + master.numel())
        return _Place(master, start - first, start - offset, end - start) if start < end else None

    def before_load(self) -> None:
        pass

    def after_load(self) -> None:
        self._optimizer.update_lp_params()


class _Partitioned:
    """ZeRO-3: a rank's masters are its parts of every parameter; the last part of each is padded."""

    def __init__(self, optimizer: Any) -> None:
        self.adamw, self._optimizer = optimizer.optimizer, optimizer
        self.masters: list[Tensor] = optimizer.fp32_partitioned_groups_flat

    def place(self, parameter: nn.Parameter) -> _Place | None:
        optimizer: Any = self._optimizer
        group, offset, part = optimizer.grad_position[optimizer.get_param_id(parameter)]
        start = part * optimizer._get_param_partition_rank(parameter)
        numel = min(part, parameter.ds_numel - start)  # type: ignore[attr-defined]
        return _Place(self.masters[group], offset, start, numel) if numel > 0 else None

    def before_load(self) -> None:
        self._optimizer.checkpoint_event_prologue()  # gives gathered parameters back

    def after_load(self) -> None:
        for group in range(len(self.masters)):
            self._optimizer._reassign_or_swap_out_partitioned_parameters(group)
        self._optimizer.invalidate_secondary_tensor()
        self._optimizer.checkpoint_event_epilogue()  # gathers the small ones, which stay whole, again


@dataclass(frozen=True)
class Fragment:
    """What this rank keeps of one parameter (of its own slice of it, under tensor parallelism).

    Attributes:
        start: first element, counted row by row.
        end: behind the last.
        kinds: kind -> 1-D fp32 view of the live memory.
    """

    start: int
    end: int
    kinds: dict[str, Tensor]


class Fragments:
    """The fp32 weights, moments and counters that DeepSpeed keeps on this rank.

    Args:
        optimizer: of DeepSpeed's engine, or the AdamW it was given.

    Raises:
        TypeError: an optimizer that is not known here.
    """

    def __init__(self, optimizer: Any) -> None:
        self._scaler = getattr(optimizer, "loss_scaler", None)
        self._layout: _Unsharded | _Flat | _Partitioned
        if isinstance(optimizer, DeepSpeedZeroOptimizer_Stage3):
            self._layout = _Partitioned(optimizer)
        elif isinstance(optimizer, DeepSpeedZeroOptimizer | BF16_Optimizer):
            self._layout = _Flat(optimizer)
        elif isinstance(optimizer, torch.optim.AdamW):
            self._layout = _Unsharded(optimizer)
        else:
            raise TypeError(f"DeepSpeed trains with {type(optimizer).__name__}, whose state is not known")

    def _state(self, master: Tensor) -> dict[str, Tensor]:
        """AdamW's state of a master; made as AdamW itself would in its first step, if that is still to come."""
        state: dict[str, Tensor] = self._layout.adamw.state[master]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=master.device)
            state.update({kind: torch.zeros_like(master) for kind in MOMENTS})
        return state

    def of(self, parameter: nn.Parameter) -> Fragment | None:
        """What this rank keeps of a parameter, or None if that is nothing."""
        place = self._layout.place(parameter)
        if place is None:
            return None
        state = self._state(place.master)
        tensors = {WEIGHT: place.master, **{kind: state[kind] for kind in MOMENTS}}
        kinds = {
            kind: tensor.detach().view(-1).narrow(0, place.offset, place.numel) for kind, tensor in tensors.items()
        }
        return Fragment(place.start, place.start + place.numel, kinds)

    def scalars(self) -> dict[str, Any]:
        """`LocalState.scalars`."""
        steps = [int(self._state(master)["step"]) for master in self._layout.masters]
        dynamic = isinstance(self._scaler, DynamicLossScaler)
        scaler = {name: getattr(self._scaler, name) for name in _SCALER} if dynamic else None
        return {"adam_step": max(steps), "loss_scaler": scaler}

    @torch.no_grad()
    def begin_load(self) -> None:
        """Set everything to zero, padding included: what a broken step left there would come back through it."""
        self._layout.before_load()
        for master in self._layout.masters:
            for tensor in (master, *self._state(master).values()):
                tensor.detach().zero_()

    @torch.no_grad()
    def end_load(self, scalars: dict[str, Any]) -> None:
        """Set the counters, and make the weights of forward and backward from the masters; collective.

        Args:
            scalars: `LocalState.scalars`.
        """
        for master in self._layout.masters:
            self._state(master)["step"].fill_(scalars["adam_step"])
        if isinstance(self._scaler, DynamicLossScaler) and scalars["loss_scaler"] is not None:
            for name in _SCALER:
                setattr(self._scaler, name, scalars["loss_scaler"][name])
        self._layout.after_load()
