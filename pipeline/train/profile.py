"""A window of steps under torch's profiler, and the history of the CUDA allocator over it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch.profiler import ProfilerActivity, profile

from pipeline.config.schema import ProfileConfig
from pipeline.distributed import World

FOLDER = "profile"
_HISTORY = 200_000
"""Allocations that a memory snapshot goes back."""


class ProfileWindow:
    """Profiles the configured steps of rank 0; tells the others nothing and costs them nothing.

    `profile/steps_A-B.json` opens in a browser's trace viewer (Perfetto), `profile/memory_A-B.pickle` in torch's
    memory_viz. A run that ends or fails inside the window writes what it has.

    Args:
        config: which steps; None for none.
        run_dir: the run folder.
        world: this process among all.
        say: prints a line.
    """

    def __init__(self, config: ProfileConfig | None, run_dir: Path, world: World, say: Callable[[str], None]) -> None:
        self._config = config if world.is_main else None
        self._folder, self._cuda, self._say = run_dir / FOLDER, world.device.type == "cuda", say
        self._profiler: profile | None = None
        self._first = self._last = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write()

    def before(self, step: int) -> None:
        """Call before each optimizer step (1, 2, ...)."""
        config = self._config
        if config is None or self._profiler is not None or not config.start < step <= config.start + config.steps:
            return
        self._first = step
        if config.memory and self._cuda:
            torch.cuda.memory._record_memory_history(max_entries=_HISTORY)
        elif config.memory:
            self._say("profile.memory: there is no GPU, the trace tells the memory of operations instead")
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._cuda else [])]
        self._profiler = profile(activities=activities, record_shapes=True, profile_memory=config.memory)
        self._profiler.start()

    def after(self, step: int) -> None:
        """Call after each optimizer step."""
        self._last = step
        if self._config is not None and step >= self._config.start + self._config.steps:
            self._write()

    def _write(self) -> None:
        profiler, self._profiler = self._profiler, None
        if profiler is None or self._config is None:
            return
        profiler.stop()
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{self._first}-{max(self._first, self._last)}"
        trace = self._folder / f"steps_{name}.json"
        profiler.export_chrome_trace(str(trace))
        self._say(f"profile of steps {name}: {trace}")
        if self._config.memory and self._cuda:
            snapshot = self._folder / f"memory_{name}.pickle"
            torch.cuda.memory._dump_snapshot(str(snapshot))  # type: ignore[no-untyped-call]
            torch.cuda.memory._record_memory_history(enabled=None)
            self._say(f"memory of steps {name}: {snapshot}")
