"""The frames of a Zstandard file (RFC 8878 3.1): where they begin, and the bytes of one.

The decompressors do not say where a frame ended, nor that a file stops inside one; the framing itself says both, and
costs three bytes of reading for each block of up to 128 KiB of content.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"
"""Bytes 1-3 of a skippable frame; byte 0 is 0x50-0x5f."""
_DICTIONARY_BYTES = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)
_RLE, _RESERVED = 1, 3


class BadFraming(ValueError):
    """The bytes are not Zstandard frames."""


class CutShort(ValueError):
    """The file ends inside a frame."""


def is_frame(start: bytes) -> bool:
    """Whether a frame can begin with these four bytes."""
    return start == MAGIC or (start[1:] == _SKIPPABLE and start[0] & 0xF0 == 0x50)


class Frame:
    """One frame as a file to read from: it ends where the frame ends.

    Args:
        handle: a binary file that stands at the start of a frame, or at the end of the file.

    Raises:
        BadFraming: no frame begins here.
        CutShort: (also by `read`) the file ends inside the frame.
    """

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self._start = handle.read(4)
        self.exists = bool(self._start)
        """False at the end of the file."""
        self.skippable = self.exists and self._start != MAGIC
        self._pieces = self._skippable() if self.skippable else self._blocks()
        if self.exists:
            if len(self._start) < 4:
                raise CutShort
            if not is_frame(self._start):
                raise BadFraming("no frame begins here")

    def read(self, size: int = -1) -> bytes:
        """The next piece, of any length whatever `size` asks for; empty at the end of the frame."""
        return next(self._pieces, b"")

    def skip(self) -> None:
        """Go on to the end of the frame without reading its content."""
        for _ in self._skippable(seek=True) if self.skippable else self._blocks(seek=True):
            pass

    def _exactly(self, size: int) -> bytes:
        data = self._handle.read(size)
        if len(data) < size:
            raise CutShort
        return data

    def _content(self, size: int, seek: bool) -> bytes:
        if not seek:
            return self._exactly(size)
        if size:
            self._handle.seek(size - 1, 1)
            self._exactly(1)  # seeking beyond the end says nothing
        return b""

    def _skippable(self, seek: bool = False) -> Iterator[bytes]:
        size = int.from_bytes(self._exactly(4), "little")
        self._handle.seek(max(size - 1, 0), 1)
        self._exactly(min(size, 1))
        yield from ()

    def _blocks(self, seek: bool = False) -> Iterator[bytes]:
        descriptor = self._exactly(1)
        flags = descriptor[0]
        single_segment = flags >> 5 & 1
        content_size = _CONTENT_SIZE_BYTES[flags >> 6] or single_segment
        header = self._exactly((1 - single_segment) + _DICTIONARY_BYTES[flags & 3] + content_size)
        yield self._start + descriptor + header
        last = False
        while not last:
            head = self._exactly(3)
            number = int.from_bytes(head, "little")
            last, kind, size = bool(number & 1), number >> 1 & 3, number >> 3
            if kind == _RESERVED:
                raise BadFraming("a block of a kind that does not exist")
            yield head + self._content(1 if kind == _RLE else size, seek)
        if flags >> 2 & 1:
            yield self._exactly(4)


def frame_starts(handle: IO[bytes]) -> Iterator[int]:
    """Offsets at which the frames of a file begin, in order, and last the length of the file.

    Raises:
        BadFraming, CutShort: as `Frame`.
    """
    handle.seek(0)
    while True:
        yield handle.tell()
        frame = Frame(handle)
        if not frame.exists:
            return
        frame.skip()
