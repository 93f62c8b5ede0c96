"""Cuts a sample out of raw input: whole lines of dumps, whole records of archives, in the format of the original."""

from __future__ import annotations

import bz2
import gzip
import lzma
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard

from data_prep import store
from data_prep.dumps import DumpReader
from data_prep.warc import read_records

_MOST_FILES = 8
_COPY = 1 << 20
_PACKERS: dict[str, Callable[[IO[bytes]], Any]] = {
    ".zst": lambda handle: zstandard.ZstdCompressor().stream_writer(handle, closefd=False),
    ".xz": lambda handle: lzma.LZMAFile(handle, "wb", preset=1),  # noqa: SIM115 - closed by the caller
    ".bz2": lambda handle: bz2.BZ2File(handle, "wb"),
    ".gz": lambda handle: gzip.GzipFile(fileobj=handle, mode="wb"),
}


@dataclass(frozen=True)
class InputSample:
    """A sample of the files of one input.

    Attributes:
        paths: files of the sample; an original that fits whole is named itself.
        files: number of all files.
        bytes: of all files.
        sampled: bytes of the originals that the sample stands for.
    """

    paths: tuple[str, ...]
    files: int
    bytes: int
    sampled: int

    @property
    def factor(self) -> float:
        """How much larger all of it is than the sample."""
        return self.bytes / self.sampled if self.sampled else 0.0

    @property
    def whole(self) -> bool:
        """Whether the sample is all of it."""
        return self.sampled == self.bytes


def cut_dump(path: str, target: str, length: int) -> int:
    """Write the lines at the start of a dump, about `length` bytes of the file as it is; returns how many it read.

    Raises:
        UserError: not what its ending says.
        CorruptFile: damaged.
    """
    packer = _PACKERS.get(posixpath.splitext(path)[1])
    with Path(target).open("wb") as handle, DumpReader(path) as dump:
        out = packer(handle) if packer else handle
        for line in dump:
            out.write(line + b"\n")
            if dump.bytes_read >= length:
                break
        if packer:
            out.close()
        return dump.bytes_read


def cut_archive(path: str, target: str, length: int) -> int:
    """Copy the records at the start of an archive, about `length` bytes of the file as it is; returns how many.

    Raises:
        UserError: not an archive.
        CorruptFile: damaged.
    """
    end = store.size(path)
    for record in read_records(path):
        if record.offset >= length:
            end = record.offset
            break
    left = end
    with store.open_read(path) as source, Path(target).open("wb") as out:
        while left and (block := source.read(min(_COPY, left))):
            out.write(block)
            left -= len(block)
    return end


def sample(paths: Sequence[str], folder: Path, length: int, cut: Callable[[str, str, int], int]) -> InputSample:
    """Take about `length` bytes from the starts of up to eight files that lie evenly among all.

    Args:
        paths: all files.
        folder: where what is cut is written.
        length: bytes, of the files as they are.
        cut: `cut_dump` or `cut_archive`.
    """
    sizes = [store.size(path) for path in paths]
    total = sum(sizes)
    if total <= length:
        return InputSample(tuple(paths), len(paths), total, total)
    count = min(_MOST_FILES, len(paths))
    chosen = [i * len(paths) // count for i in range(count)]
    found, sampled = [], 0
    folder.mkdir(parents=True, exist_ok=True)
    for place, i in enumerate(chosen):
        share = max(1, (length - sampled) // (count - place))
        if sizes[i] <= share:
            found.append(paths[i])
            sampled += sizes[i]
            continue
        target = folder / f"{place}-{posixpath.basename(paths[i])}"
        sampled += min(cut(paths[i], str(target), share), sizes[i])
        found.append(str(target))
    return InputSample(tuple(found), len(paths), total, sampled)
