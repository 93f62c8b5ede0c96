"""An archive's bytes as one plain stream that complains where compressed data is cut short or damaged."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from typing import IO, Any, ClassVar, NoReturn, Protocol

import zstandard

Fail = Callable[[str, int], NoReturn]
"""Raises `CorruptFile`: what is wrong, and at which byte of the file."""

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP_MEMBER = b"\x1f\x8b\x08"
_READ = 1 << 16
_SEARCH = 1 << 18
_ZSTD_DICTIONARY = b"\x5d\x2a\x4d\x18"
_MAX_DICTIONARY = 64 << 20
_MAX_WINDOW = 1 << 27
_ZSTD_READ = 1 << 10


class Stream(Protocol):
    """What the readers of records need."""

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; b"" at the end of the file."""

    def tell(self) -> int:
        """Position in the plain stream."""

    def origin(self, position: int) -> int:
        """Where a position of the stream is found again; positions must not fall from call to call."""


class PlainFile:
    """A file that is not compressed."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; b"" at the end of the file."""
        return self._handle.read(size)

    def tell(self) -> int:
        """Position in the file."""
        return self._handle.tell()

    def origin(self, position: int) -> int:
        """The position itself."""
        return position


class _Members:
    """A file of many compressed members as one stream.

    Args:
        handle: the file, at its start.
        fail: called where a member is cut short or damaged.
    """

    _kind: ClassVar[str]
    _error: ClassVar[type[Exception]]

    def __init__(self, handle: IO[bytes], fail: Fail) -> None:
        self._handle, self._fail = handle, fail
        self._raw, self._raw_at = b"", 0
        self._member: Any = None
        self._produced = 0
        self._starts: deque[tuple[int, int]] = deque()

    def _begin(self) -> Any:
        """A decompressor for one member, with the interface of zlib's."""
        raise NotImplementedError

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; b"" at the end of the file."""
        while True:
            if not self._raw:
                self._raw = self._handle.read(_READ)
            if not self._raw:
                if self._member is not None:
                    self._fail(f"ends inside a {self._kind}: the file is cut short", self._starts[-1][1])
                return b""
            if self._member is None:
                # Zeros may pad the end of a file.
                padding = len(self._raw) - len(self._raw.lstrip(b"\0"))
                self._raw, self._raw_at = self._raw[padding:], self._raw_at + padding
                if not self._raw:
                    continue
                self._member = self._begin()
                self._starts.append((self._produced, self._raw_at))
            before = len(self._raw)
            try:
                data: bytes = self._member.decompress(self._raw, size if size > 0 else _READ)
            except self._error as error:
                self._fail(f"a {self._kind} is damaged ({error})", self._starts[-1][1])
            if self._member.eof:
                self._raw, self._member = self._member.unused_data, None
            else:
                self._raw = self._member.unconsumed_tail
            self._raw_at += before - len(self._raw)
            self._produced += len(data)
            if data:
                return data

    def tell(self) -> int:
        """Position in the plain stream."""
        return self._produced

    def origin(self, position: int) -> int:
        """Byte of the file where the member starts that holds `position`; positions must not fall."""
        while len(self._starts) > 1 and self._starts[1][0] <= position:
            self._starts.popleft()
        return self._starts[0][1]


class GzipMembers(_Members):
    """A gzip file of many members, which can be read from the middle."""

    _kind, _error = "gzip member", zlib.error

    def _begin(self) -> Any:
        return zlib.decompressobj(wbits=31)

    def skip_to(self, start: int, end: int | None, begins_record: Callable[[bytes], bool]) -> bool:
        """Go to the first member at or after byte `start` that begins with a record; False if none is before `end`."""
        position = start
        while end is None or position < end:
            self._handle.seek(position)
            window = self._handle.read(_SEARCH)
            if len(window) < len(_GZIP_MEMBER):
                return False
            at = window.find(_GZIP_MEMBER)
            if at < 0:
                position += len(window) - len(_GZIP_MEMBER) + 1
                continue
            position += at
            self._handle.seek(position)
            if begins_record(first_bytes(self._handle.read(_READ))):
                self._handle.seek(position)
                self._raw_at = position
                return end is None or position < end
            position += 1
        return False


class ZstdFrames(_Members):
    """A zstd file of many frames, as `.warc.zst`: the dictionary may stand in a skippable frame at the start.

    Format: IIPC "Zstandard Compression for WARC Files" 1.0. Frames with a window over 128 MiB are refused, which bounds
    memory.
    """

    _kind, _error = "zstd frame", zstandard.ZstdError

    def __init__(self, handle: IO[bytes], fail: Fail) -> None:
        super().__init__(handle, fail)
        self._decompressor = zstandard.ZstdDecompressor(dict_data=self._dictionary(), max_window_size=_MAX_WINDOW)
        self._ready, self._given = b"", 0

    def _begin(self) -> Any:
        return _ZstdFrame(self._decompressor)

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; b"" at the end of the file."""
        if self._given == len(self._ready):
            self._ready, self._given = super().read(size), 0
        data = self._ready[self._given : self._given + size if size > 0 else None]
        self._given += len(data)
        return data

    def tell(self) -> int:
        """Position in the plain stream."""
        return super().tell() - len(self._ready) + self._given

    def _dictionary(self) -> zstandard.ZstdCompressionDict | None:
        head = self._handle.read(8)
        if not head.startswith(_ZSTD_DICTIONARY):
            self._handle.seek(0)
            return None
        length = int.from_bytes(head[4:], "little")
        data = self._handle.read(min(length, _MAX_DICTIONARY + 1))
        if len(data) < length:
            self._fail("the dictionary is cut short or longer than 64 MiB", 0)
        self._raw_at = 8 + length
        try:
            if data.startswith(ZSTD):
                reader = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(data)
                data = reader.read(_MAX_DICTIONARY)
            return zstandard.ZstdCompressionDict(data)
        except (zstandard.ZstdError, MemoryError, ValueError) as error:
            self._fail(f"the dictionary is damaged ({error})", 0)


class _ZstdFrame:
    """zlib's interface to one frame; takes little at a time, as zstandard does not bound what comes out."""

    def __init__(self, decompressor: zstandard.ZstdDecompressor) -> None:
        self._frame = decompressor.decompressobj()
        self.eof = False
        self.unused_data = self.unconsumed_tail = b""

    def decompress(self, data: bytes, size: int) -> bytes:
        """What the first bytes of `data` give: at most about 32 MiB, usually a few KiB."""
        taken, self.unconsumed_tail = data[:_ZSTD_READ], data[_ZSTD_READ:]
        found = self._frame.decompress(taken)
        self.eof = self._frame.eof
        self.unused_data = self._frame.unused_data + self.unconsumed_tail
        return found


def first_bytes(head: bytes, size: int = 4096) -> bytes:
    """The first bytes of the content of a file or gzip member, given its own first ones; b"" if they are damaged."""
    if not head.startswith(GZIP):
        return head[:size]
    try:
        return zlib.decompressobj(wbits=31).decompress(head, size)
    except zlib.error:
        return b""
