"""What the benchmarks share: medians of alternating repeats, peak memory, the table."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

REPEATS = 7


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured of ours and of the floor or peer, and their ratio."""

    name: str
    ours: str
    peer: str
    ratio: str
    notes: str


def alternate(
    *functions: Callable[[], Any], repeats: int = REPEATS, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Median seconds of each function by a clock; they take turns, so that a busy moment hits all alike."""
    seconds: list[list[float]] = [[] for _ in functions]
    for function in functions:
        function()  # caches, lazy imports
    for _ in range(repeats):
        for times, function in zip(seconds, functions, strict=True):
            start = clock()
            function()
            times.append(clock() - start)
    return [statistics.median(times) for times in seconds]


def peak_mib(function: Callable[..., Any], *args: Any) -> float:
    """Peak resident memory in MiB of a fresh process that runs an importable function once."""
    mine, theirs = multiprocessing.get_context("spawn").Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_measured, args=(theirs, function, args))
    process.start()
    theirs.close()
    peak: float = mine.recv()
    process.join()
    return peak


def _measured(pipe: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    function(*args)
    # Not ru_maxrss: a process that was forked and then executed starts with the peak of its parent.
    (peak,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line[:6] == "VmHWM:"]
    pipe.send(int(peak) / 1024)
