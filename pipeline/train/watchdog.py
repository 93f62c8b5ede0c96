"""Ends a run that no longer moves, and says where each thread of each rank stood."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Self

from pipeline.config.health import HealthConfig
from pipeline.exit_codes import ExitCode, write_ended

STACKS = "stacks"
MARK = "hung"
"""File in the folder of the stacks that the first rank leaves which notices a hang; the others look for it."""
_DURATIONS = 64
"""Steps whose median says how long a step takes."""


def step_bound(config: HealthConfig, durations: deque[float]) -> float:
    """Seconds within which a step must end, after steps that took `durations`; the first one counts as a phase."""
    if not durations:
        return 60 * config.hang_phase_minutes
    return max(60 * config.hang_minutes, config.hang_factor * median(durations))


class Watchdog:
    """A thread of each rank that watches the rank's progress, between `with` and its end.

    When a step or a phase (validation, say) does not end within its bound, on this rank or any other, it writes the
    stacks of all threads to `stacks/rank_N.txt` and stderr, and `ended.json`, and ends the process with exit code 76.
    A rank waits for slow ones in its collectives, so that usually all ranks notice within a moment of each other.

    Args:
        run_dir: the run folder.
        rank: of this process.
        config: bounds.
        period: seconds between looks.

    Attributes:
        before_exit: called, by the thread, before the process ends.
    """

    before_exit: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, run_dir: Path, rank: int, config: HealthConfig, period: float = 1.0) -> None:
        self._run_dir, self._rank, self._config, self._period = run_dir, rank, config, period
        self._durations: deque[float] = deque(maxlen=_DURATIONS)
        self._step = 0
        self._plain = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._begin("the start", 60 * config.hang_phase_minutes)

    def __enter__(self) -> Self:
        if self._rank == 0:
            self._mark.unlink(missing_ok=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    @property
    def _mark(self) -> Path:
        return self._run_dir / STACKS / MARK

    def _begin(self, what: str, bound: float) -> None:
        self._now = (what, time.monotonic(), bound)

    def step(self, step: int) -> None:
        """An optimizer step (1, 2, ...) begins, and the one before has ended."""
        if self._plain and step == self._step + 1:
            self._durations.append(time.monotonic() - self._now[1])
        first = self._step == 0
        self._step, self._plain = step, not first
        self._begin(f"step {step}", step_bound(self._config, self._durations))

    @contextmanager
    def phase(self, what: str) -> Iterator[None]:
        """What is done inside is no step, and has a bound of its own."""
        self._begin(what, 60 * self._config.hang_phase_minutes)
        try:
            yield
        finally:
            self._plain = False  # what is left of the step is no measure of a step
            self._begin(f"step {self._step}", step_bound(self._config, self._durations))

    def _watch(self) -> None:
        looked = time.monotonic()
        while not self._over.wait(self._period):
            now = time.monotonic()
            what, since, bound = self._now
            if now - looked > 2 * self._period + 1:
                # This process did not run at all, as when it was stopped or its machine paused: it has its time again.
                self._now = (what, since + now - looked, bound)
            elif now - since > bound:
                self._end(f"{what} has not ended within {bound:,.0f} s")
            elif self._mark.exists():
                self._end(f"another rank hangs; here it is {what}, for {now - since:,.0f} s")
            looked = now

    def _end(self, reason: str) -> None:
        host = socket.gethostname()
        line = f"rank {self._rank} on {host}: {reason}"
        with contextlib.suppress(Exception):  # nothing that goes wrong here may keep a hung process alive
            folder = self._run_dir / STACKS
            folder.mkdir(exist_ok=True)
            with (folder / f"rank_{self._rank}.txt").open("w") as handle:
                handle.write(f"{line}\n\n")
                handle.flush()
                faulthandler.dump_traceback(handle)
            first = not self._mark.exists()
            self._mark.touch()
            if first:
                write_ended(self._run_dir, ExitCode.HUNG, line, self._step)
        with contextlib.suppress(Exception):
            print(f"hung: {line}; stacks in {self._run_dir / STACKS}", file=sys.stderr, flush=True)
            faulthandler.dump_traceback(sys.stderr)
        with contextlib.suppress(Exception):
            self.before_exit()
        # A launcher ends all ranks as soon as one is gone: the others still have to write their stacks.
        time.sleep(3 * self._period)
        os._exit(ExitCode.HUNG)
