"""The forms of an index, all with one method: `captures(keys)`, which wants its keys sorted."""

from __future__ import annotations

import posixpath
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from data_prep import store
from data_prep.common_crawl.capture import Capture, key_of, parse_line
from data_prep.common_crawl.columnar import ColumnarIndex
from data_prep.common_crawl.ranges import Ranges
from data_prep.common_crawl.sorted_lines import SortedLines
from data_prep.errors import CorruptFile, UserError

CLUSTER = "cluster.idx"
Damaged = Callable[[str], None]
"""Told of a line that cannot be read."""
_MAX_BLOCK = 64 << 20
_READ = 1 << 16


class Index(Protocol):
    """Where captures are found by key."""

    def captures(self, keys: Sequence[str]) -> Iterator[Capture]:
        """All captures of some keys, which are sorted and differ."""


class CdxjIndex:
    """One sorted CDXJ file, plain."""

    def __init__(self, path: str, ranges: Ranges, damaged: Damaged) -> None:
        self._path, self._ranges, self._damaged = path, ranges, damaged

    def captures(self, keys: Sequence[str]) -> Iterator[Capture]:
        """All captures of some keys, which are sorted and differ."""
        lines = SortedLines(self._path, self._ranges)
        for key in map(str.encode, keys):
            lines.go_to(key)
            while lines.line is not None and key_of(lines.line) == key:
                yield from _parsed(lines.line, self._damaged)
                lines.advance()


class GzippedCdxjIndex:
    """One sorted CDXJ file, compressed, without an index of its own: read from its start at each call."""

    def __init__(self, path: str, damaged: Damaged) -> None:
        self._path, self._damaged = path, damaged

    def captures(self, keys: Sequence[str]) -> Iterator[Capture]:
        """All captures of some keys, which are sorted and differ."""
        wanted = iter(map(str.encode, keys))
        key = next(wanted, None)
        last = b""
        for line in self._lines():
            here = key_of(line)
            if here < last:
                raise CorruptFile(f"not sorted: {here!r} follows {last!r}", where=self._path, fix="sort it bytewise")
            last = here
            while key is not None and key < here:
                key = next(wanted, None)
            if key is None:
                return
            if here == key:
                yield from _parsed(line, self._damaged)

    def _lines(self) -> Iterator[bytes]:
        rest = b""
        with store.open_read(self._path) as handle:
            member = zlib.decompressobj(wbits=31)
            while data := (member.unconsumed_tail or member.unused_data or handle.read(_READ)):
                if member.eof:
                    member = zlib.decompressobj(wbits=31)
                try:
                    *lines, rest = (rest + member.decompress(data, _READ)).split(b"\n")
                except zlib.error as error:
                    raise CorruptFile(f"gzip data is damaged ({error})", where=self._path, fix=_FIX) from None
                yield from lines
        if not member.eof:
            raise CorruptFile("ends inside a gzip member: the file is cut short", where=self._path, fix=_FIX)
        if rest:
            yield rest


class ClusterIndex:
    """`cdx-*.gz` as Common Crawl publishes them: blocks of lines, each a gzip member named by a line of `cluster.idx`.

    Reads only the blocks that may hold a key. Holds in memory two of them.

    Args:
        path: of `cluster.idx`.
        ranges: reads it and the files beside it.
        damaged: see `Damaged`.
    """

    def __init__(self, path: str, ranges: Ranges, damaged: Damaged) -> None:
        self._path, self._ranges, self._damaged = path, ranges, damaged
        self._blocks: dict[bytes, dict[bytes, list[bytes]]] = {}

    def captures(self, keys: Sequence[str]) -> Iterator[Capture]:
        """All captures of some keys, which are sorted and differ."""
        cluster = SortedLines(self._path, self._ranges)
        for key in map(str.encode, keys):
            cluster.go_to(key)
            # The last block that begins before the key may hold it, and all that begin with it.
            blocks = [] if cluster.before is None else [cluster.before]
            while cluster.line is not None and key_of(cluster.line) == key:
                blocks.append(cluster.line)
                cluster.advance()
            for block in blocks:
                for line in self._block(block).get(key, ()):
                    yield from _parsed(line, self._damaged)

    def _block(self, entry: bytes) -> dict[bytes, list[bytes]]:
        """The lines of one block by key."""
        if entry not in self._blocks:
            found: dict[bytes, list[bytes]] = {}
            for line in self._read(entry).split(b"\n"):
                if line:
                    found.setdefault(key_of(line), []).append(line)
            self._blocks = {**dict(list(self._blocks.items())[-1:]), entry: found}
        return self._blocks[entry]

    def _read(self, entry: bytes) -> bytes:
        try:
            _, name, offset, length, *_ = entry.decode("ascii").split("\t")
            start, size = int(offset), int(length)
            if posixpath.basename(name) != name or start < 0 or not 0 < size <= _MAX_BLOCK:
                raise ValueError
        except ValueError:
            raise CorruptFile(f"not a line of {CLUSTER}: {entry[:100]!r}", where=self._path, fix=_FIX) from None
        path = store.join(posixpath.dirname(self._path), name)
        member = zlib.decompressobj(wbits=31)
        try:
            data = member.decompress(self._ranges.read(path, start, size), _MAX_BLOCK)
        except zlib.error as error:
            raise CorruptFile(f"gzip data is damaged ({error})", where=f"{path}, byte {start:,}", fix=_FIX) from None
        if not member.eof:
            raise CorruptFile("a block is cut short", where=f"{path}, byte {start:,}", fix=_FIX)
        return data


_FIX = "fetch the index again"


def _parsed(line: bytes, damaged: Damaged) -> Iterator[Capture]:
    try:
        yield parse_line(line)
    except ValueError:
        damaged(line[:200].decode("ascii", "replace"))


def open_indexes(path: str, ranges: Ranges, damaged: Damaged) -> list[Index]:
    """What a path of the config stands for: see `CommonCrawlSettings.index`.

    Raises:
        UserError: it is none of the known forms.
    """
    name = posixpath.basename(path)
    if name == CLUSTER:
        return [ClusterIndex(path, ranges, damaged)]
    if name.endswith(".parquet"):
        return [ColumnarIndex([path], damaged)]
    if name.endswith(".gz"):
        return [GzippedCdxjIndex(path, damaged)]
    if name.endswith((".cdxj", ".cdx")):
        return [CdxjIndex(path, ranges, damaged)]
    cluster = store.join(path, CLUSTER)
    if ranges.exists(cluster):
        return [ClusterIndex(cluster, ranges, damaged)]
    tables = store.listing(store.join(path, "**", "*.parquet"))
    if tables:
        return [ColumnarIndex(tables, damaged)]
    files = [file for file in store.listing(path) if file.endswith((".gz", ".cdxj", ".cdx"))]
    if not files:
        raise UserError(
            f"neither {CLUSTER} nor *.parquet, *.cdxj or *.gz is there", where=path, fix="check common_crawl.index"
        )
    return [index for file in files for index in open_indexes(file, ranges, damaged)]
