"""Reads of byte ranges from any file system, repeated a bounded number of times where it fails for now."""

from __future__ import annotations

import time

from data_prep import store
from data_prep.errors import UserError

try:
    from aiohttp import ClientError
except ImportError:  # only what goes over HTTP raises it, and that needs it
    ClientError = ConnectionError  # type: ignore[assignment,misc]

_LONGEST_WAIT = 120.0
_NOT_SATISFIABLE = 416


class Ranges:
    """Reads parts of files; may be shared by threads.

    Args:
        retries: how often a failed read is repeated.
    """

    def __init__(self, retries: int) -> None:
        self._retries = retries

    def size(self, path: str) -> int:
        """Length of a file in bytes.

        Raises:
            UserError: as `read`.
        """
        return int(self._tried(path, 0, None))

    def read(self, path: str, start: int, length: int) -> bytes:
        """Up to `length` bytes from byte `start`; fewer only where the file ends.

        Raises:
            UserError: no such file, its server gives no parts of files, or it cannot be read after all retries.
        """
        data = self._tried(path, start, start + length)
        assert isinstance(data, bytes)
        if len(data) > length:
            raise UserError(
                "the server ignores byte ranges", where=path, fix="give a server that knows them, or a copy"
            )
        return data

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        try:
            self.size(path)
        except _Missing:
            return False
        return True

    def _tried(self, path: str, start: int, end: int | None) -> bytes | int:
        fs, inner = store.filesystem(path)
        for attempt in range(self._retries + 1):
            try:
                if end is None:
                    return int(fs.size(inner) or 0)
                data: bytes = fs.cat_file(inner, start=start, end=end)
                return data
            except FileNotFoundError:
                raise _Missing(
                    "no such file", where=path, fix="check common_crawl.index and common_crawl.data"
                ) from None
            except (OSError, ClientError, TimeoutError) as error:
                if getattr(error, "status", None) == _NOT_SATISFIABLE:
                    return b""  # the file ends before
                if attempt == self._retries:
                    raise UserError(
                        f"cannot be read, tried {attempt + 1} times ({type(error).__name__}: {error})",
                        where=path,
                        fix="check address and access, or run the same command again later: it continues",
                    ) from None
                time.sleep(_wait(error, attempt))
        raise AssertionError("unreachable")


class _Missing(UserError):
    """No such file."""


def _wait(error: BaseException, attempt: int) -> float:
    """Seconds until the next attempt: what the server asks for, else 1, 2, 4, ..."""
    asked = str((getattr(error, "headers", None) or {}).get("Retry-After", ""))
    return min(float(asked) if asked.isdecimal() else 2.0**attempt, _LONGEST_WAIT)
