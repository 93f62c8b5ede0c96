"""Lines of a dump file: .zst (with the 2 GiB window of the published dumps), .xz, .bz2, .gz or plain.

Constant memory at any file size. A file that ends inside a compressed frame is an error with the byte offset:
the decompressors of Python end quietly there.
"""

from __future__ import annotations

import bz2
import lzma
import posixpath
import zlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, Any, NoReturn, Protocol, Self

import zstandard

from data_prep import store
from data_prep.errors import CorruptFile, UserError

_READ = 1 << 16
MAX_LINE = 64 << 20
"""Longest line accepted, in bytes; a longer one means that the file has no lines."""
_MAX_WINDOW = 2**31


class _Decompressor(Protocol):
    """What the four libraries have in common: one frame (stream, member) at a time."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _zst() -> Any:
    return zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj()


def _gz() -> Any:
    return zlib.decompressobj(wbits=31)


_FORMATS: dict[str, tuple[str, bytes, Callable[[], Any]]] = {
    ".zst": ("Zstandard", b"\x28\xb5\x2f\xfd", _zst),
    ".xz": ("xz", b"\xfd7zXZ\x00", lzma.LZMADecompressor),
    ".bz2": ("bzip2", b"BZh", bz2.BZ2Decompressor),
    ".gz": ("gzip", b"\x1f\x8b", _gz),
}
_ERRORS = (zstandard.ZstdError, lzma.LZMAError, zlib.error, OSError, EOFError)


class DumpReader:
    """Iterates over the lines (bytes, without the newline; empty ones left out) of one dump file.

    Args:
        path: the file; its ending says how it is compressed.

    Attributes:
        bytes_read: compressed bytes read so far.
        bytes_total: length of the file.

    Raises:
        UserError: no such file, or it is not what its ending says.
        CorruptFile: it is cut short or damaged; names the byte.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.bytes_read = 0
        try:
            self._handle: IO[bytes] = store.open_read(path)
            self.bytes_total = store.size(path)
        except FileNotFoundError:
            raise UserError("no such file", where=path, fix="check the path") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.close()

    def __iter__(self) -> Iterator[bytes]:
        rest = b""
        for block in self._blocks():
            lines = block.split(b"\n")
            if len(lines) > 1:
                lines[0] = rest + lines[0]
                rest = lines.pop()
                yield from filter(None, lines)
            else:
                rest += block
                if len(rest) > MAX_LINE:
                    self._corrupt(f"a line of more than {MAX_LINE >> 20} MiB")
        if rest:
            yield rest

    def _blocks(self) -> Iterator[bytes]:
        """Decompressed bytes."""
        known = _FORMATS.get(posixpath.splitext(self.path)[1])
        if known is None:
            while data := self._read():
                yield data
            return
        name, magic, new = known
        data = self._read()
        if not data.startswith(magic) and len(data) >= len(magic):
            raise UserError(
                f"not a {name} file, whatever its name says", where=self.path, fix="check where it came from"
            )
        decompressor: _Decompressor = new()
        started = False
        while data:
            try:
                block = decompressor.decompress(data)
            except _ERRORS as error:
                self._corrupt(f"{name} data is damaged ({error})")
            started = True
            if block:
                yield block
            data = b""
            if decompressor.eof:
                # The next frame begins here; zeros pad xz files and gzip files on tape.
                data = decompressor.unused_data.lstrip(b"\0")
                decompressor, started = new(), False
            data = data or self._read()
            if not started:
                data = data.lstrip(b"\0") or self._read()
        if started or self.bytes_total == 0:
            self._corrupt(f"ends in the middle of its {name} data: the file is cut short")

    def _read(self) -> bytes:
        data = self._handle.read(_READ)
        self.bytes_read += len(data)
        return data

    def _corrupt(self, what: str) -> NoReturn:
        raise CorruptFile(what, where=f"{self.path}, byte {self.bytes_read:,}", fix="fetch or make the file again")
