"""Errors that are the user's to mend: one clear line, exit code 2, no traceback."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class UserError(Exception):
    """Something the user gave (file, setting, folder) cannot be used as it is.

    Args:
        what: what is wrong.
        where: the file, field, line or byte that shows it.
        fix: what to do about it.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(what, where, fix)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        text = f"{text}; {self.fix}" if self.fix else text
        return " ".join(text.split())

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments: the default reduction would lose `where` and `fix` between processes.
        return (_rebuild, (type(self), self.what, self.where, self.fix))


def _rebuild(kind: type[UserError], what: str, where: str, fix: str) -> UserError:
    return kind(what, where=where, fix=fix)


class CorruptFile(UserError):
    """A file whose bytes are cut short, damaged or not what their manifest says."""


def full_disk(error: OSError, path: str) -> UserError | None:
    """The one clear line for an exhausted disk or quota, or None for any other `OSError`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"no space left on the device ({error.strerror})",
            where=path,
            fix="free some space and run the same command again: it continues from what is complete",
        )
    return None


_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.EISDIR}


@contextmanager
def to_write_in(folder: str) -> Iterator[None]:
    """Turn a refusal of the file system, while a folder for results is made or claimed, into a `UserError`.

    Args:
        folder: as the user named it.

    Raises:
        UserError: it cannot be made or written; the disk may also be full.
    """
    try:
        yield
    except OSError as error:
        clear = full_disk(error, folder)
        if clear is None and error.errno in _UNWRITABLE:
            clear = UserError(
                f"no folder to write in ({error.strerror})", where=folder, fix="give another, or the right to write"
            )
        if clear is None:
            raise
        raise clear from None


@contextmanager
def exit_on_user_error(speak: bool = True) -> Iterator[None]:
    """Turn a `UserError` into one line on stderr and exit code 2, Ctrl-C into exit code 130.

    Args:
        speak: False keeps silent, for the ranks of a job that all raise the error of one.
    """

    def tell(line: str) -> None:
        if speak:
            print(line, file=sys.stderr, flush=True)

    try:
        yield
    except UserError as error:
        tell(f"error: {error}")
        sys.exit(EXIT_BAD_INPUT)
    except OSError as error:
        clear = full_disk(error, str(error.filename or ""))
        if clear is None:
            raise
        tell(f"error: {clear}")
        sys.exit(EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        tell("interrupted: run the same command again to continue")
        sys.exit(EXIT_INTERRUPTED)
