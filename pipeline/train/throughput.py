"""How fast a run is: units per second, model FLOPs utilisation, waiting for data, memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from pipeline.config.gpus import peak_flops
from pipeline.config.schema import LogConfig
from pipeline.distributed import World

T = TypeVar("T")


@dataclass(frozen=True)
class Peak:
    """What MFU is a share of.

    Attributes:
        flops: FLOP/s of one device.
        source: where the figure is from.
    """

    flops: float
    source: str


def peak_of(config: LogConfig, precision: str, device_name: str | None) -> Peak | None:
    """The peak of a device, or None if it is not known.

    Args:
        config: may give it.
        precision: of the run; the known peaks are those of bf16 and fp16.
        device_name: of the GPU; None on a CPU.
    """
    if config.peak_flops is not None:
        return Peak(config.peak_flops, "log.peak_flops")
    if device_name is None or precision == "fp32":
        return None
    found = peak_flops(device_name)
    return Peak(found, f"{device_name}, dense {precision}") if found is not None else None


def mfu(flops_per_unit: Mapping[str, float], units_per_s: float, peak: float) -> dict[str, float]:
    """Convention -> share of the peak.

    Args:
        flops_per_unit: convention -> FLOPs of forward and backward pass for one unit; recomputation does not count
            (PaLM, appendix B).
        units_per_s: of all devices.
        peak: FLOP/s of all devices together.
    """
    return {name: flops * units_per_s / peak for name, flops in flops_per_unit.items()}


class Meter:
    """Measures between log lines.

    Args:
        world: this process among all.
        peak: of one device.
        flops_per_unit: convention -> FLOPs of forward and backward pass for one unit.
    """

    def __init__(self, world: World, peak: Peak | None, flops_per_unit: Mapping[str, float]) -> None:
        self._world, self._flops = world, flops_per_unit
        self._peak = peak.flops * world.size if peak is not None else None
        self._cuda = world.device.type == "cuda"
        self.begin(0)

    def begin(self, consumed: int) -> None:
        """Start to measure at so many units."""
        self._since, self._consumed, self._waited = time.perf_counter(), consumed, 0.0
        if self._cuda:
            torch.cuda.reset_peak_memory_stats(self._world.device)

    def waiting_for(self, batches: Iterable[T]) -> Iterator[T]:
        """The same items; the time until each is there counts as waiting for data."""
        items = iter(batches)
        while True:
            start = time.perf_counter()
            item = next(items, None)
            self._waited += time.perf_counter() - start
            if item is None:
                return
            yield item

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done inside is no part of training: its time does not count."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._since += time.perf_counter() - start

    @property
    def waited(self) -> float:
        """Share of the time since the last `lap` or `begin` in which this rank waited for batches."""
        return self._waited / max(time.perf_counter() - self._since, 1e-9)

    def lap(self, unit: str, consumed: int) -> dict[str, float]:
        """Figures since the last call or `begin`; collective. The caller has waited for the device.

        Returns:
            `<unit>_per_s` of all ranks together; `mfu` by each convention, if there is a peak; `data_wait`, the share
            of the time that the slowest rank waited for batches; `memory_gib` of the rank that has most, the peak that
            was allocated on a GPU, or the peak of the process's resident memory on a CPU.
        """
        seconds = max(time.perf_counter() - self._since, 1e-9)
        worst = torch.tensor([self._waited / seconds, self._memory()], dtype=torch.float64, device=self._world.device)
        dist.all_reduce(worst, op=dist.ReduceOp.MAX)
        wait, memory = worst.tolist()
        rate = (consumed - self._consumed) / seconds
        found = {f"{unit}_per_s": rate, "data_wait": wait, "memory_gib": memory}
        if self._peak is not None:
            found |= mfu(self._flops, rate, self._peak)
        self.begin(consumed)
        return found

    def _memory(self) -> float:
        if self._cuda:
            return torch.cuda.max_memory_allocated(self._world.device) / 2**30
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
