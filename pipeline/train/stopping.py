"""What asks a run to stop early: a signal, the stop file, the end of its time.

A request is only noted; the ranks agree on it in the status of a step, so that all stop behind the same one.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from data_prep.errors import UserError
from pipeline.config.health import HealthConfig

STOP_FILE = "stop"
REASONS = ("SIGTERM", "SIGUSR1", "SIGINT", "stop file", "time budget")
"""What a run can be stopped by; a signal by its name."""
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
_SAME_PRESS_SECONDS = 2.0
"""A launcher passes on the Ctrl-C that the terminal has sent to its ranks already: that is no second one."""
_LOOK_SECONDS = 1.0
"""Between looks at the stop file, which may lie on a slow file system."""


def deadline(config: HealthConfig, env: Mapping[str, str], started: float) -> float | None:
    """Unix time at which a run should begin to stop; None for never.

    Args:
        config: gives the budget and the margin before the end of a Slurm job.
        env: environment variables.
        started: unix time at which the run began.

    Raises:
        UserError: the Slurm job leaves no time before its margin: each start would stop at its first step.
    """
    ends = []
    if config.time_budget_minutes is not None:
        ends.append(started + 60 * config.time_budget_minutes)
    job_end = env.get("SLURM_JOB_END_TIME", "")
    if job_end.isdigit():
        margin, left = config.stop_margin_minutes, (int(job_end) - started) / 60
        if left <= margin:
            raise UserError(
                f"the job ends in {left:.1f} minutes, and the run {margin:g} minutes before",
                where="health.stop_margin_minutes",
                fix="give the job more time (sbatch --time), or set a smaller margin",
            )
        ends.append(int(job_end) - 60 * margin)
    return min(ends, default=None)


def check_no_stop_file(run_dir: Path) -> None:
    """Raise `UserError` if the stop file is still there: a run that is to stop does not begin."""
    path = run_dir / STOP_FILE
    if path.exists():
        raise UserError("the stop file is there: this run is to stop", where=str(path), fix="remove it to go on")


class StopRequests:
    """Notes what asks this process to stop, between `with` and its end; for the main thread.

    The first SIGINT is such a request; a second one raises `KeyboardInterrupt`.

    Args:
        run_dir: the run folder, in which the stop file is looked for.
        until: unix time at which the time is up.
        looks: whether this process looks at file and clock; one of a job does.
    """

    def __init__(self, run_dir: Path, until: float | None, looks: bool) -> None:
        self._path, self._until, self._looks = run_dir / STOP_FILE, until, looks
        self._noted: set[str] = set()
        self._interrupted = self._looked = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        now = time.monotonic()
        if name == "SIGINT":
            if name in self._noted and now - self._interrupted > _SAME_PRESS_SECONDS:
                raise KeyboardInterrupt
            self._interrupted = now
        self._noted.add(name)

    def flags(self) -> list[bool]:
        """Whether this process was asked to stop, for each of `REASONS`; what was asked once stays asked."""
        now = time.time()
        if self._looks and (now < self._looked or now - self._looked >= _LOOK_SECONDS):
            self._looked = now
            if os.path.lexists(self._path):
                self._noted.add("stop file")
            if self._until is not None and now >= self._until:
                self._noted.add("time budget")
        return [reason in self._noted for reason in REASONS]
