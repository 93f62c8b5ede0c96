"""Where an export goes: files that appear whole, and how far it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from data_prep import store
from data_prep.manifest import FileRef
from data_prep.progress import ProgressBar
from data_prep.shards import Tokens

_PIECE = 4 << 20
"""Tokens written at a time."""


class _Hashed:
    """A file that is hashed while it is written: what went to an object store need not be read back."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle, self.sha256, self.bytes = handle, hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._handle.write(data)
        self.sha256.update(data)
        self.bytes += len(data)


class Target:
    """The folder of an export.

    Args:
        folder: any path or URL.
        bar: told the bytes of tokens that were handed out.

    Attributes:
        files: what was written, paths relative to the folder.
    """

    def __init__(self, folder: str, bar: ProgressBar) -> None:
        self.folder, self._bar = folder, bar
        self.files: list[FileRef] = []

    @contextmanager
    def file(self, name: str) -> Iterator[_Hashed]:
        """A new file that appears only when the block ends without an error."""
        with store.atomic_write(store.join(self.folder, name)) as handle:
            hashed = _Hashed(handle)
            yield hashed
        self.files.append(FileRef(name, hashed.sha256.hexdigest(), hashed.bytes))

    def pieces(self, tokens: Tokens) -> Iterator[Tokens]:
        """Tokens a few million at a time, counted as done when the next are asked for."""
        for start in range(0, len(tokens), _PIECE):
            part = tokens[start : start + _PIECE]
            yield part
            self._bar.update(self._bar.done + part.nbytes)
