"""The disk that checkpoints lie on: room for them, and one clear line when there is none."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from data_prep.errors import UserError, full_disk

T = TypeVar("T")

FILE_BYTES = 1 << 14
"""Room that a file may take beside its content: its entry in the manifest, and what file systems round up."""


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raise unless there is room for so many bytes.

    Args:
        folder: on the file system in question.
        needed: bytes.
        what: goes there, for the error.

    Raises:
        UserError: there is less.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"not enough free space for {what}: it needs {needed:,} bytes, {free:,} are free",
            where=str(folder),
            fix="free some space, or lower checkpoint.keep_last, and run the same command again: it continues from "
            "the last checkpoint",
        )


def on_disk(folder: Path, work: Callable[[], T]) -> T:
    """Run `work`, which writes below `folder`; a full disk becomes a `UserError`.

    Libraries report it as errors of their own, which hold the system's error or its text.
    """
    try:
        return work()
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, OSError):
                clear = full_disk(cause, str(folder))
            else:
                text = os.strerror(errno.ENOSPC)
                clear = full_disk(OSError(errno.ENOSPC, text), str(folder)) if text in str(cause) else None
            if clear is not None:
                raise clear from None
            cause = cause.__cause__ or cause.__context__
        raise


def flush(path: Path) -> None:
    """fsync a file."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def new_folder(out: str) -> Path:
    """A path where a folder can be made.

    Raises:
        UserError: something is there already, other than an empty folder.
    """
    target = Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError("something is there already", where=out, fix="give a new folder")
    return target
