"""The one small all-reduce of a step: sums, gradient norm, and what any rank has to say to all.

Its result is read one step later, when it has long arrived, so that nothing waits for it: neither the host for the
device, nor a rank for another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.distributed import World
from pipeline.train.engine import StepResult
from pipeline.train.feed import StepInput


@dataclass(frozen=True)
class StepStatus:
    """What all ranks together know of a step, equal on each.

    Attributes:
        read: what the step was.
        result: as this rank's engine gave it.
        sums: additive results over all ranks, by name.
        grad_norm: as rank 0 knows it.
        flags: how many ranks raised each flag.
    """

    read: StepInput
    result: StepResult
    sums: dict[str, float]
    grad_norm: float
    flags: tuple[int, ...]


@dataclass(frozen=True)
class _Sent:
    read: StepInput
    result: StepResult
    names: list[str]
    values: Tensor
    arrived: Any


class StatusExchange:
    """Sends the status of each step and gives it back when it is wanted; every rank calls both at the same steps.

    Args:
        world: this process among all.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._cuda = world.device.type == "cuda"
        self._side = torch.cuda.Stream(world.device) if self._cuda else None  # type: ignore[no-untyped-call]
        self._sent: deque[_Sent] = deque()

    def send(self, read: StepInput, result: StepResult, flags: Sequence[bool]) -> None:
        """Begin to tell all ranks of a step.

        Args:
            read: what the step was.
            result: of the step.
            flags: of this rank; every rank gives as many.
        """
        names = sorted(result.sums)
        norm = result.grad_norm if self._world.is_main else torch.zeros_like(result.grad_norm)
        numbers = torch.stack([*(result.sums[name].double() for name in names), norm.double()])
        raised = torch.tensor(flags, dtype=torch.float64).to(self._world.device, non_blocking=True)
        values = torch.cat([numbers, raised])
        arrived: Any = dist.all_reduce(values, async_op=True)
        if self._side is not None:
            # On a stream of its own: a copy on the training's would wait for the next step's kernels.
            with torch.cuda.stream(self._side):
                arrived.wait()
                values.record_stream(self._side)
                values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)
                arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
                arrived.record(self._side)
        self._sent.append(_Sent(read, result, names, values, arrived))

    def receive(self, everything: bool) -> list[StepStatus]:
        """The statuses that are outstanding, oldest first.

        Args:
            everything: also that of the last step, for which this may wait.
        """
        found = []
        while len(self._sent) > (0 if everything else 1):
            sent = self._sent.popleft()
            sent.arrived.synchronize() if self._cuda else sent.arrived.wait()
            *sums, norm = sent.values[: len(sent.names) + 1].tolist()
            flags = tuple(int(count) for count in sent.values[len(sent.names) + 1 :].tolist())
            found.append(StepStatus(sent.read, sent.result, dict(zip(sent.names, sums, strict=True)), norm, flags))
        return found

    def forget(self) -> None:
        """Wait for what is outstanding and drop it: the run goes back."""
        self.receive(everything=True)
