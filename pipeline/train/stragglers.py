"""Which ranks slow the others down.

In synchronous training every step takes as long on every rank, since each waits for the slowest: step times name
nobody. So each rank is measured where it waits for nobody: a fixed piece of work on its own device (matrix products, on
an otherwise idle device), and the time that its own loader let it wait. The first sees a device that is throttled, worn
or shared with other jobs; the second a slow disk or file system. Neither sees a slow link of the network, nor work that
the model deals out unevenly.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
import torch.distributed as dist

from pipeline.distributed import World

_REPEATS = 5
"""Times that the work is done; the fastest counts, so that a moment's disturbance does not."""
_CPU_SIZE, _GPU_SIZE = 192, 4096


@dataclass(frozen=True)
class Slow:
    """A rank that slows the others down.

    Attributes:
        rank: which.
        ratio: time of the fixed work by the median's, or 1 plus the share of time that it waits for data more than
            the median.
        waits: whether it is the data that it waits for.
    """

    rank: int
    ratio: float
    waits: bool


def find_slow(work: Sequence[float], waits: Sequence[float], bound: float) -> tuple[float, list[Slow]]:
    """(worst ratio, ranks beyond the bound, by rank).

    Args:
        work: seconds of each rank for the fixed work.
        waits: share of its time that each rank waited for data.
        bound: ratio from which a rank is slow.
    """
    usual_work, usual_wait = median(work), median(waits)
    found = []
    worst = 1.0
    for rank, (seconds, wait) in enumerate(zip(work, waits, strict=True)):
        by_work, by_wait = seconds / usual_work, 1 + wait - usual_wait
        ratio = max(by_work, by_wait)
        worst = max(worst, ratio)
        if ratio > bound:
            found.append(Slow(rank, ratio, by_wait > by_work))
    return worst, found


class StragglerReport:
    """Measures all ranks at once; every rank holds one.

    Args:
        world: this process among all.
        bound: ratio from which a rank is slow.
    """

    def __init__(self, world: World, bound: float) -> None:
        self._world, self._bound = world, bound
        size = _GPU_SIZE if world.device.type == "cuda" else _CPU_SIZE
        self._matrix = torch.ones(size, size, device=world.device)
        hosts: list[str] = [""] * world.size
        dist.all_gather_object(hosts, socket.gethostname())
        self._hosts = hosts
        self._before: set[int] = set()
        self._work()  # what a first time costs

    def _work(self) -> float:
        """Seconds for the fixed work, the fastest of some."""
        times = []
        for _ in range(_REPEATS):
            begin = time.perf_counter()
            torch.mm(self._matrix, self._matrix)
            if self._world.device.type == "cuda":
                torch.cuda.synchronize(self._world.device)
            times.append(time.perf_counter() - begin)
        return min(times)

    def look(self, wait: float) -> tuple[float, str | None]:
        """(worst ratio, a line on the slow ranks); collective. The caller has waited for the device.

        A rank is named that was slow the last time, too.

        Args:
            wait: share of this rank's time in which it waited for data.
        """
        mine = torch.tensor([self._work(), wait], dtype=torch.float64, device=self._world.device)
        everyone = [torch.empty_like(mine) for _ in range(self._world.size)]
        dist.all_gather(everyone, mine)
        work, waits = zip(*(one.tolist() for one in everyone), strict=True)
        worst, slow = find_slow(work, waits, self._bound)
        named = [one for one in slow if one.rank in self._before]
        self._before = {one.rank for one in slow}
        if not named:
            return worst, None
        told = ", ".join(
            f"rank {one.rank} on {self._hosts[one.rank]} ({one.ratio:.2f}x{', waits for data' if one.waits else ''})"
            for one in named
        )
        return worst, f"slower than {self._bound:g}x the median: {told}"
