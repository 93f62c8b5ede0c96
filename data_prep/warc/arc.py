"""Records of ARC files, versions 1 and 2 (Internet Archive, "ARC File Format", 1996), which fastwarc does not read.

A record is a line of fields separated by spaces, then as many bytes as its last field says, then an empty line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from data_prep.warc.record import Record
from data_prep.warc.streams import Fail, Stream

_READ = 1 << 16
_MAX_LINE = 1 << 16
# URLs and media types may hold spaces; address and date between them do not.
_RECORD = re.compile(
    rb"(?P<url>[A-Za-z][A-Za-z0-9+.-]*:.*) (?P<ip>[0-9A-Fa-f.:]+|-) (?P<date>[0-9]{8,17}) "
    rb"(?P<rest>.* )?(?P<length>[0-9]{1,15})"
)


def begins_arc(content: bytes) -> bool:
    """Whether bytes are the start of an ARC record."""
    line, newline, _ = content.partition(b"\n")
    return line.startswith(b"filedesc:") or (bool(newline) and _RECORD.fullmatch(line.rstrip(b"\r")) is not None)


def arc_records(stream: Stream, fail: Fail, end: int | None) -> Iterator[Record]:
    """The records of an ARC stream, each checked for completeness when the next is asked for.

    Args:
        stream: at the start of a record.
        fail: see `Fail`.
        end: byte of the file at or after which no record is given.
    """
    lines = _Lines(stream)
    while True:
        position = lines.position
        line = lines.line()
        if not line:
            return
        if not line.strip(b"\r\n"):
            continue
        offset = stream.origin(position)
        if end is not None and offset >= end:
            return
        fields = _RECORD.fullmatch(line.rstrip(b"\r\n"))
        if fields is None:
            fail("no ARC record starts here: the file is cut short or damaged", offset)
        url = fields["url"].decode("utf-8", "replace")
        block = _Block(lines, int(fields["length"]), fail, offset)
        yield Record(
            kind="response" if url[:5].lower() in ("http:", "https") else "other",
            url=url,
            date=fields["date"].decode()[:14],
            length=int(fields["length"]),
            offset=offset,
            read=block.read,
        )
        block.finish()


class _Lines:
    """Lines and blocks of bytes out of one stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = b""
        self._at = 0
        self.position = stream.tell()

    def line(self) -> bytes:
        """A line with its end, or what there is of one longer than 64 KiB; b"" at the end of the stream."""
        while (end := self._buffer.find(b"\n", self._at)) < 0 and len(self._buffer) - self._at < _MAX_LINE:
            if not (more := self._stream.read(_READ)):
                break
            self._buffer, self._at = self._buffer[self._at :] + more, 0
        stop = end + 1 if end >= 0 else len(self._buffer)
        found = self._buffer[self._at : stop]
        self._at = stop
        self.position += len(found)
        return found

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, at least one unless the stream ends."""
        if self._at == len(self._buffer):
            self._buffer, self._at = self._stream.read(min(size, _READ) or 1), 0
        found = self._buffer[self._at : self._at + size]
        self._at += len(found)
        self.position += len(found)
        return found


class _Block:
    """What follows the line of one record."""

    def __init__(self, lines: _Lines, length: int, fail: Fail, offset: int) -> None:
        self._lines, self._length, self._fail, self._offset = lines, length, fail, offset
        self._left = length

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end of the block."""
        parts = []
        size = min(size, self._left)
        while size:
            part = self._lines.read(size)
            if not part:
                got = self._length - self._left
                self._fail(f"a record has {got:,} of its {self._length:,} bytes: the file is cut short", self._offset)
            parts.append(part)
            size -= len(part)
            self._left -= len(part)
        return b"".join(parts)

    def finish(self) -> None:
        """Read what is left."""
        while self._left:
            self.read(_READ)
