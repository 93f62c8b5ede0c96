"""Decompressed bytes of a file or of a range of it, into a buffer of the caller: .zst, .xz, .bz2, .gz or plain.

Memory does not depend on the file, nor on how far its bytes expand: a decompressor is never asked for more than fits
into the buffer. A file that ends inside a compressed frame is an error: the decompressors of Python end quietly there.
"""

from __future__ import annotations

import bz2
import lzma
import posixpath
import re
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, NoReturn, Protocol

import zstandard

from data_prep import store
from data_prep.errors import CorruptFile, UserError
from data_prep.zst_frames import BadFraming, CutShort, Frame, frame_starts

_READ = 1 << 16
_MAX_WINDOW = 2**31
"""The window of the published dumps (`zstd --long=31`)."""
_MAX_DICTIONARY = 2**31
"""Of xz; its highest setting, -9, takes 64 MiB."""
_ERRORS = (zstandard.ZstdError, lzma.LZMAError, zlib.error, OSError, EOFError, BadFraming)
# The magic of a stream and of its first block: ten bytes that compressed data does not hold by chance.
_BZ2_STREAM = re.compile(rb"BZh[1-9]1AY&SY")
_BZ2_STREAM_BYTES = 10


class Source(Protocol):
    """Where decompressed bytes come from."""

    def fill(self, view: memoryview) -> int:
        """Write bytes to the start of `view`; returns how many, 0 at the end of the range.

        Raises:
            UserError: the file is not what its ending says.
            CorruptFile: it is cut short or damaged; names the byte.
        """


def open_range(path: str, handle: IO[bytes], start: int, end: int) -> Source:
    """The bytes that the range [start, end) of a file stands for.

    Args:
        path: its ending says how it is compressed.
        handle: the open file.
        start: of the range, one that `borders` gives.
        end: likewise, or the length of the file.
    """
    kind = posixpath.splitext(path)[1]
    if kind == ".zst":
        return _Zstandard(path, handle, start, end)
    if kind in _FORMATS:
        return _Streams(path, handle, start, end, *_FORMATS[kind])
    return _Plain(handle, start, end)


def borders(path: str, handle: IO[bytes], step: int) -> Iterator[int]:
    """Where a file can be cut into ranges that are read without what is before them, in order.

    A plain file: every `step` bytes. Zstandard: between two frames (pzstd and the seekable format write many; the
    published dumps are one). bzip2: between two streams (pbzip2). gzip and xz: nowhere. A damaged file gives the
    borders before the damage: who reads it will say what is wrong.
    """
    kind = posixpath.splitext(path)[1]
    if kind == ".zst":
        try:
            yield from frame_starts(handle)
        except (BadFraming, CutShort):
            return
    elif kind == ".bz2":
        handle.seek(0)
        offset, data = 0, b""
        while more := handle.read(1 << 20):
            data += more
            yield from (offset + found.start() for found in _BZ2_STREAM.finditer(data))
            offset += max(len(data) - _BZ2_STREAM_BYTES + 1, 0)
            data = data[-(_BZ2_STREAM_BYTES - 1) :]
    elif kind not in _FORMATS:
        yield from range(0, store.size(path), step)


class _Plain:
    def __init__(self, handle: IO[bytes], start: int, end: int) -> None:
        handle.seek(start)
        self._handle, self._left = handle, end - start

    def fill(self, view: memoryview) -> int:
        data = self._handle.read(min(len(view), self._left))
        view[: len(data)] = data
        self._left -= len(data)
        return len(data)


class _Zstandard:
    def __init__(self, path: str, handle: IO[bytes], start: int, end: int) -> None:
        handle.seek(start)
        self._path, self._handle, self._start, self._end = path, handle, start, end
        self._decompressor: Any = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
        self._reader: Any = None

    def fill(self, view: memoryview) -> int:
        try:
            while True:
                if self._reader is None and not self._next_frame():
                    return 0
                if filled := int(self._reader.readinto(view)):
                    return filled
                self._reader = None
        except CutShort:
            _cut_short(self._path, self._handle, "Zstandard")
        except _ERRORS as error:
            _damaged(self._path, self._handle, "Zstandard", error)

    def _next_frame(self) -> bool:
        while (at := self._handle.tell()) < self._end or at == 0:
            try:
                frame = Frame(self._handle)
            except BadFraming:
                if at == 0:
                    _other_format(self._path, "Zstandard")
                raise
            if not frame.exists:
                raise CutShort
            if not frame.skippable:
                self._reader = self._decompressor.stream_reader(frame, closefd=False)
                return True
            frame.skip()
        return False


class _Decompressor(Protocol):
    """What the libraries have in common: one stream (member) at a time."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib's decompressor with the manners of those of bz2 and lzma."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        block = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self.needs_input = not self._zlib.unconsumed_tail and len(block) < max_length
        return block


_FORMATS: dict[str, tuple[str, bytes, Callable[[], _Decompressor]]] = {
    ".xz": ("xz", b"\xfd7zXZ\x00", lambda: lzma.LZMADecompressor(memlimit=_MAX_DICTIONARY)),
    ".bz2": ("bzip2", b"BZh", bz2.BZ2Decompressor),
    ".gz": ("gzip", b"\x1f\x8b", _Gzip),
}


class _Streams:
    def __init__(
        self,
        path: str,
        handle: IO[bytes],
        start: int,
        end: int,
        name: str,
        magic: bytes,
        new: Callable[[], _Decompressor],
    ) -> None:
        handle.seek(start)
        self._path, self._handle, self._end = path, handle, end
        self._name, self._magic, self._new = name, magic, new
        self._decompressor: _Decompressor | None = None
        self._data = b""
        self._first = True

    def fill(self, view: memoryview) -> int:
        try:
            while True:
                if self._decompressor is None and not self._next_stream():
                    return 0
                assert self._decompressor is not None
                if self._decompressor.needs_input and not self._data:
                    self._data = self._read()
                    if not self._data:
                        _cut_short(self._path, self._handle, self._name)
                block = self._decompressor.decompress(self._data, len(view))
                self._data = b""
                if self._decompressor.eof:
                    self._data, self._decompressor = self._decompressor.unused_data, None
                if block:
                    view[: len(block)] = block
                    return len(block)
        except _ERRORS as error:
            _damaged(self._path, self._handle, self._name, error)

    def _next_stream(self) -> bool:
        # Zeros pad xz files, and gzip files on tape.
        while not (data := self._data.lstrip(b"\0")) and (more := self._read()):
            self._data = more
        self._data = data
        if self._first:
            if not data:
                _cut_short(self._path, self._handle, self._name)
            if len(data) >= len(self._magic) and not data.startswith(self._magic):
                _other_format(self._path, self._name)
            self._first = False
        if data:
            self._decompressor = self._new()
        return bool(data)

    def _read(self) -> bytes:
        return self._handle.read(min(_READ, max(self._end - self._handle.tell(), 0)))


def _where(path: str, handle: IO[bytes]) -> str:
    return f"{path}, byte {handle.tell():,}"


def _cut_short(path: str, handle: IO[bytes], name: str) -> NoReturn:
    raise CorruptFile(
        f"ends in the middle of its {name} data: the file is cut short",
        where=_where(path, handle),
        fix="fetch or make the file again",
    )


def _damaged(path: str, handle: IO[bytes], name: str, error: Exception) -> NoReturn:
    raise CorruptFile(
        f"{name} data is damaged ({error})", where=_where(path, handle), fix="fetch or make the file again"
    ) from None


def _other_format(path: str, name: str) -> NoReturn:
    raise UserError(f"not a {name} file, whatever its name says", where=path, fix="check where it came from")
