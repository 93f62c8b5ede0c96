"""What a failed task leaves behind, until it succeeds: `failed/NNNNN.json` in its stage's folder.

    {"task": 3, "error": "<one line>", "log": "<path>", "kind": "...", "user": {"what", "where", "fix"} or null}

`kind`: `input` (a `UserError`, whose parts are in `user`), `died` (the process that ran it was killed), `memory` (an
allocation failed), `defect` (anything else).
"""

from __future__ import annotations

import contextlib
from typing import Any

from data_prep import store
from data_prep.errors import CorruptFile, UserError

FAILED = "failed"
LOGS = "logs"


class WorkerDied(Exception):
    """A task ended the process that ran it, again and again.

    Args:
        task: its number.
        how: what was seen of it.
    """

    def __init__(self, task: int, how: str) -> None:
        super().__init__(task, how)
        self.task, self.how = task, how

    def __str__(self) -> str:
        return f"task {self.task} {self.how}"


def path_of(folder: str, task: int) -> str:
    """Where a stage's task says why it failed."""
    return store.join(folder, FAILED, f"{task:05d}.json")


def log_of(folder: str, task: int) -> str:
    """The log of a task, with the traceback of what stopped it."""
    return store.join(folder, LOGS, "logs", f"task_{task:05d}.log")


def save(folder: str, task: int, error: Exception, log: str | None = None) -> None:
    """Write the record of a failure; what stops the writing must not hide the failure itself."""
    with contextlib.suppress(OSError, UserError):
        record = {"task": task, "error": one_line(error), "log": log or log_of(folder, task), **_parts(error)}
        store.write_json(path_of(folder, task), record)


def load(folder: str, task: int) -> Exception | None:
    """The error that a task recorded, in as far as JSON holds it; None if there is none."""
    path = path_of(folder, task)
    try:
        record = store.read_json(path)
        if record["kind"] == "input":
            return UserError(**record["user"])
        if record["kind"] == "died":
            return WorkerDied(task, record["error"].removeprefix(f"task {task} "))
        return (MemoryError if record["kind"] == "memory" else RuntimeError)(record["error"])
    except FileNotFoundError:
        return None
    except (CorruptFile, KeyError, TypeError):
        return RuntimeError(f"{path} says why, but cannot be read")


def forget(folder: str, task: int) -> None:
    """Remove the record of a task that succeeded, or is to be tried again."""
    store.remove_file(path_of(folder, task))


def one_line(error: Exception) -> str:
    """What went wrong, without line breaks."""
    if isinstance(error, (UserError, WorkerDied)):
        return str(error)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _parts(error: Exception) -> dict[str, Any]:
    if isinstance(error, UserError):
        return {"kind": "input", "user": {"what": error.what, "where": error.where, "fix": error.fix}}
    kind = "died" if isinstance(error, WorkerDied) else "memory" if isinstance(error, MemoryError) else "defect"
    return {"kind": kind, "user": None}
