"""How a training run ends: one exit code a kind of end, and `ended.json` in the run folder, which says the same.

Launchers change the codes of their ranks (`torchrun` makes 1 of all of them): scripts that decide whether to start a
run again read `ended.json`, and the code where there is none. A run that was killed from outside leaves none.
"""

from __future__ import annotations

import time
from enum import IntEnum
from pathlib import Path
from typing import Any

from data_prep import store
from data_prep.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, CorruptFile, UserError

ENDED = "ended.json"


class ExitCode(IntEnum):
    """Exit codes of training commands; 75 is EX_TEMPFAIL of sysexits.h: not done, worth another try."""

    FINISHED = 0
    DEFECT = 1
    BAD_INPUT = EXIT_BAD_INPUT
    DIVERGED = 3
    POISON_STEP = 4
    STOPPED = 75
    HUNG = 76
    INTERRUPTED = EXIT_INTERRUPTED


MEANING = {
    ExitCode.FINISHED: "finished",
    ExitCode.DEFECT: "a defect of the program, or a lost rank",
    ExitCode.BAD_INPUT: "bad input or settings",
    ExitCode.DIVERGED: "diverged, and the roll-backs are used up: do not requeue",
    ExitCode.POISON_STEP: "the same step failed twice: do not requeue",
    ExitCode.STOPPED: "stopped early behind a checkpoint (signal, stop file, time budget): requeue",
    ExitCode.HUNG: "hung, no step within the bound: requeue",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
}
EPILOG = "Exit codes: " + "; ".join(f"{code.value} {meaning}" for code, meaning in MEANING.items()) + "."


class RunEnd(Exception):
    """A run ends before its last step, on every rank alike, and it is neither the user's mistake nor a defect.

    Args:
        code: how.
        reason: one line for people.
    """

    def __init__(self, code: ExitCode, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason

    def __str__(self) -> str:
        return self.reason


def end_of(error: BaseException) -> tuple[ExitCode, str]:
    """(code, reason) of a run that ends with an error."""
    if isinstance(error, RunEnd):
        return error.code, error.reason
    if isinstance(error, UserError):
        return ExitCode.BAD_INPUT, str(error)
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED, "interrupted"
    return ExitCode.DEFECT, f"{type(error).__name__}: {error}".strip()


def write_ended(run_dir: Path, code: ExitCode, reason: str, step: int) -> None:
    """Record how a run ended, `{code, name, reason, step, time}` (unix seconds), replacing the file atomically."""
    body = {"code": int(code), "name": code.name, "reason": reason, "step": step, "time": time.time()}
    store.write_json(str(run_dir / ENDED), body)


def read_ended(run_dir: Path) -> dict[str, Any] | None:
    """What `write_ended` recorded; None if there is nothing whole."""
    path = run_dir / ENDED
    if not path.exists():
        return None
    try:
        body = store.read_json(str(path))
    except CorruptFile:
        return None
    return body if isinstance(body, dict) else None
