"""Lines of a dump file or of a range of it: .zst (with the 2 GiB window of the published dumps), .xz, .bz2, .gz, plain.

Memory: the decompressor's window (up to 2 GiB for Zstandard as published, 64 MiB for xz) and a buffer of 1 MiB or, if
that is more, twice the longest line (at most `MAX_LINE`); nothing that grows with the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import IO, Self

from data_prep import store
from data_prep.decompress import borders, open_range
from data_prep.errors import CorruptFile, UserError

_BLOCK = 1 << 20
MAX_LINE = 64 << 20
"""Longest line accepted, in bytes; a longer one means that the file has no lines."""


def byte_ranges(path: str, size: int, task_bytes: int) -> list[tuple[int, int]]:
    """Cuts a dump into ranges for `DumpReader`, of `task_bytes` or more where the file can be cut.

    What can be cut: plain files anywhere; Zstandard files of several frames (pzstd, the seekable format) between
    frames; bzip2 files of several streams (pbzip2) between streams. Anything else is one range, also the published
    dumps, which are one frame each. Depends on the file alone.

    Args:
        path: the file.
        size: its length in bytes.
        task_bytes: least length of a range but the last, in bytes of the file as it is.
    """
    cuts = [0]
    if size > task_bytes:
        with store.open_read(path) as handle:
            for border in borders(path, handle, task_bytes):
                if border - cuts[-1] >= task_bytes and size - border > 0:
                    cuts.append(border)
    return list(zip(cuts, [*cuts[1:], size], strict=True))


class DumpReader:
    """The lines of one dump file, or those that begin in a range of it.

    A range has the lines that begin after its first byte, up to the one that begins where the next range does; the
    first range also has the file's first line. So ranges that follow each other have each line once.

    Args:
        path: the file; its ending says how it is compressed.
        start: of the range, as `byte_ranges` gives it.
        end: likewise; None for the end of the file.

    Attributes:
        bytes_total: length of the range in the file as it is.
        is_whole: whether the range is the whole file.

    Raises:
        UserError: no such file, or it is not what its ending says.
        CorruptFile: it is cut short or damaged; names the byte.
    """

    def __init__(self, path: str, start: int = 0, end: int | None = None) -> None:
        self.path = path
        try:
            self._handle: IO[bytes] = store.open_read(path)
            self._size = store.size(path)
        except FileNotFoundError:
            raise UserError("no such file", where=path, fix="check the path") from None
        self._start, self._end = start, self._size if end is None else end
        self.bytes_total = self._end - start
        self.is_whole = self.bytes_total == self._size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.close()

    @property
    def bytes_read(self) -> int:
        """How far the range is read, in bytes of the file as it is."""
        return min(self._handle.tell() - self._start, self.bytes_total)

    def __iter__(self) -> Iterator[bytes]:
        """Lines without the newline; empty ones are left out."""
        for block in self.blocks():
            yield from filter(None, bytes(block).split(b"\n"))

    def blocks(self) -> Iterator[memoryview]:
        """Whole lines, many at a time, with their newlines (the last line of the file may have none).

        What is yielded lies in a buffer that the next block overwrites.
        """
        source = open_range(self.path, self._handle, self._start, self._end)
        buffer = bytearray(_BLOCK)
        view = memoryview(buffer)
        used = 0
        begun = self._start == 0
        in_tail = False
        while True:
            if used == len(buffer):
                buffer = self._longer(buffer)
                view = memoryview(buffer)
            filled = source.fill(view[used:])
            if not filled:
                if in_tail or not begun or self._end >= self._size:
                    break
                # The line that begins in this range, or right behind it, ends in the next one.
                in_tail = True
                source = open_range(self.path, self._handle, self._end, self._size)
                continue
            end = used + filled
            if in_tail:
                line_end = buffer.find(b"\n", used, end) + 1
                used = line_end or end
                if line_end:
                    break
                continue
            cut = buffer.rfind(b"\n", used, end) + 1
            if not cut:
                used = end
                continue
            first = 0 if begun else buffer.find(b"\n", 0, cut) + 1
            begun = True
            if first < cut:
                yield view[first:cut]
            used = end - cut
            buffer[:used] = buffer[cut:end]
        if used and begun:
            yield view[:used]

    def _longer(self, buffer: bytearray) -> bytearray:
        if len(buffer) >= MAX_LINE:
            raise CorruptFile(
                f"a line of more than {MAX_LINE >> 20} MiB",
                where=f"{self.path}, byte {self._handle.tell():,}",
                fix="fetch or make the file again",
            )
        return buffer + bytes(len(buffer))
