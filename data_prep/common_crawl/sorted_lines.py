"""Lines of a sorted text file, local or remote: read on where the next key is near, found by bisection where not."""

from __future__ import annotations

from collections.abc import Iterator

from data_prep.common_crawl.capture import key_of
from data_prep.common_crawl.ranges import Ranges
from data_prep.errors import CorruptFile

_BLOCK = 1 << 16
_MAX_LINE = 1 << 20
_NEAR_LINES = 4096


class SortedLines:
    """A place in a file of lines sorted by their keys, bytewise.

    Attributes:
        before: the line before the place; None at the start of the file.
        line: the line at the place; None at the end of the file.

    Args:
        path: the file.
        ranges: reads it.
    """

    def __init__(self, path: str, ranges: Ranges) -> None:
        self._path, self._ranges = path, ranges
        self._size = ranges.size(path)
        self._next = self._lines(0)
        self.before: bytes | None = None
        self.line: bytes | None = next(self._next, None)

    def advance(self) -> None:
        """Go one line on.

        Raises:
            CorruptFile: the lines are not sorted.
        """
        self.before, self.line = self.line, next(self._next, None)
        if self.before is not None and self.line is not None and key_of(self.line) < key_of(self.before):
            raise CorruptFile(
                f"not sorted: {key_of(self.line)!r} follows {key_of(self.before)!r}",
                where=self._path,
                fix="sort it bytewise (LC_ALL=C sort)",
            )

    def go_to(self, key: bytes) -> None:
        """Go on to the first line whose key is not before `key`; keys must not fall from call to call."""
        for _ in range(_NEAR_LINES):
            if self.line is None or key_of(self.line) >= key:
                return
            self.advance()
        self._next = self._lines(self._bisect(key))
        self.before, self.line = None, next(self._next, None)
        while self.line is not None and key_of(self.line) < key:
            self.advance()

    def _bisect(self, key: bytes) -> int:
        """Start of a line with a smaller key, at most about a block before the first one that is not; 0 if none is."""
        low, high = 0, self._size
        while high - low > _BLOCK:
            middle = (low + high) // 2
            lines = self._lines(middle)
            start = middle + len(next(lines, b"")) + 1  # what began before the middle
            line = next(lines, None)
            if line is None or start >= high or key_of(line) >= key:
                high = middle
            else:
                low = start
        return low

    def _lines(self, start: int) -> Iterator[bytes]:
        """Lines from a byte on, without their ends."""
        rest, position = b"", start
        while position < self._size:
            data = self._ranges.read(self._path, position, _BLOCK)
            if not data:
                break
            position += len(data)
            *lines, rest = (rest + data).split(b"\n")
            yield from lines
            if len(rest) > _MAX_LINE:
                raise CorruptFile("a line of more than 1 MiB", where=self._path, fix="give a sorted CDXJ index")
        if rest:
            yield rest
