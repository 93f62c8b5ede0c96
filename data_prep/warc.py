"""HTTP responses out of WARC files, plain or gzip per record.

fastwarc ends quietly where a file is cut short. Here every record is held against its Content-Length and every gzip
member against its own end, so that a cut or damaged file is an error with the byte offset instead of fewer pages.
"""

from __future__ import annotations

import io
import itertools
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, NoReturn

from fastwarc.stream_io import BrotliReader, ChunkedReader, GzipReader, ZstdReader
from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from data_prep import store
from data_prep.errors import CorruptFile, UserError

_GZIP = b"\x1f\x8b"
_GZIP_MEMBER = b"\x1f\x8b\x08"
_READ = 1 << 16
_SEARCH = 1 << 18


@dataclass(frozen=True)
class Response:
    """One response record.

    Attributes:
        url: target URI as recorded, without the angle brackets that wget once wrote around it.
        status: HTTP status; 0 if the record holds no HTTP response or is longer than the cap.
        content_type: media type in lower case without parameters; "" if not given.
        charset: charset parameter of the content type; "" if not given.
        body: transfer and content encodings undone; None if longer than the cap.
        offset: where the record starts: byte of the file, for gzip of its member.
    """

    url: str
    status: int
    content_type: str
    charset: str
    body: bytes | None
    offset: int


class _Members:
    """A gzip file of many members as one plain stream; complains where a member is cut short or damaged."""

    def __init__(self, handle: IO[bytes], fail: Callable[[str, int], NoReturn]) -> None:
        self._handle, self._fail = handle, fail
        self._raw, self._raw_at = b"", 0
        self._member: Any = None
        self._produced = 0
        self._starts: deque[tuple[int, int]] = deque()

    def skip_to(self, start: int, end: int | None) -> bool:
        """Go to the first member at or after byte `start` that begins with a record; False if none is before `end`."""
        position, window = start, b""
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
            if _begins_record(self._handle.read(_READ)):
                self._handle.seek(position)
                self._raw_at = position
                return end is None or position < end
            position += 1
        return False

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; b"" at the end of the file."""
        while True:
            if not self._raw:
                self._raw = self._handle.read(_READ)
            if not self._raw:
                if self._member is not None:
                    self._fail("ends inside a gzip member: the file is cut short", self._starts[-1][1])
                return b""
            if self._member is None:
                # Zeros may pad the end of a file.
                padding = len(self._raw) - len(self._raw.lstrip(b"\0"))
                self._raw, self._raw_at = self._raw[padding:], self._raw_at + padding
                if not self._raw:
                    continue
                self._member = zlib.decompressobj(wbits=31)
                self._starts.append((self._produced, self._raw_at))
            before = len(self._raw)
            try:
                data: bytes = self._member.decompress(self._raw, size if size > 0 else _READ)
            except zlib.error as error:
                self._fail(f"gzip data is damaged ({error})", self._starts[-1][1])
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

    def member_at(self, position: int) -> int:
        """Byte of the file where the member starts that holds `position` of the stream; positions must not fall."""
        while len(self._starts) > 1 and self._starts[1][0] <= position:
            self._starts.popleft()
        return self._starts[0][1]


def _begins_record(data: bytes) -> bool:
    """Whether bytes are the start of a gzip member that holds a WARC record."""
    try:
        return zlib.decompressobj(wbits=31).decompress(data, 5) == b"WARC/"
    except zlib.error:
        return False


def byte_ranges(path: str, length: int, target: int) -> list[tuple[int, int]]:
    """Ranges (start, end) of about `target` bytes that cover a file of `length` bytes and can be read apart.

    Only gzip members can be found from the middle of a file; a plain file is one range.
    """
    parts = max(1, round(length / target)) if path.endswith(".gz") else 1
    edges = [length * i // parts for i in range(parts + 1)]
    return list(itertools.pairwise(edges))


def read_responses(
    path: str, max_body: int, wanted: Callable[[str], bool], start: int = 0, end: int | None = None
) -> Iterator[Response]:
    """The response records that start in a range of a file and whose target URI is `wanted`, in order.

    The body of an unwanted record is checked for completeness, but neither kept nor decoded. The ranges of
    `byte_ranges` together give every record once, and check that nothing but records lies between them.

    Args:
        path: a .warc or .warc.gz file.
        max_body: longest body in bytes, decoded; a longer one is given as None.
        wanted: decides by target URI.
        start: first byte of the range; 0 or from `byte_ranges`.
        end: byte after the range; None for the end of the file.

    Raises:
        UserError: no such file, or not a WARC file.
        CorruptFile: the file is cut short or damaged; names the byte.
    """

    def fail(what: str, offset: int) -> NoReturn:
        raise CorruptFile(what, where=f"{path}, byte {offset:,}", fix="fetch or make the file again")

    try:
        handle = store.open_read(path)
    except FileNotFoundError:
        raise UserError("no such file", where=path, fix="check the path") from None
    with handle:
        head = handle.read(8)
        handle.seek(0)
        members = _Members(handle, fail) if head.startswith(_GZIP) else None
        if members is None and not head.startswith(b"WARC/"):
            raise UserError("not a WARC file", where=path, fix="give .warc or .warc.gz files (ARC is not read)")
        if start and (members is None or not members.skip_to(start, end)):
            return
        offset = start
        try:
            stream: Any = members or handle
            for record in ArchiveIterator(stream, parse_http=False, stream_detect=False):
                offset = members.member_at(record.stream_pos) if members else record.stream_pos
                if end is not None and offset >= end:
                    return
                response = _response(record, offset, max_body, wanted, fail)
                if response is not None:
                    yield response
        except CorruptFile:
            raise
        except OSError as error:
            if error.errno is not None:
                raise
            if offset == 0 and members is not None:
                raise UserError(f"not a WARC file ({error})", where=path, fix="give .warc or .warc.gz files") from None
            fail(f"what follows the record that starts here is no WARC record ({error})", offset)
        except BaseException as error:
            # A panic of the Rust code behind fastwarc is no `Exception`.
            if type(error).__name__ != "PanicException":
                raise
            fail(f"the record that follows the one that starts here cannot be read ({error})", offset)


def _response(
    record: WarcRecord, offset: int, max_body: int, wanted: Callable[[str], bool], fail: Callable[[str, int], NoReturn]
) -> Response | None:
    """A wanted response, or None; reads the record to its end either way."""
    declared = record.headers.get("Content-Length")
    if declared is None or not declared.strip().isdecimal():
        fail("a record without a valid Content-Length: the file is cut short or damaged", offset)
    length = int(declared)
    url = (record.headers.get("WARC-Target-URI") or "").strip("<> ")
    take = record.record_type == WarcRecordType.response and wanted(url)
    too_long = length > max_body + _READ
    block = b""
    if take and not too_long:
        block = record.reader.read(length)
        got = len(block)
    else:
        got = record.consume(length)
    if got < length:
        fail(f"a record has {got:,} of its {length:,} bytes: the file is cut short", offset)
    if not take:
        return None
    if too_long:
        return Response(url, 0, "", "", None, offset)
    return parse_http(url, block, offset, max_body)


def parse_http(url: str, block: bytes, offset: int, max_body: int) -> Response:
    """An HTTP response as recorded (status line, headers, body) in its parts; never raises."""
    # Header lines end with CRLF, of some crawlers with LF; an empty one ends them.
    end = _HEADER_END.search(block)
    head, body = (block[: end.start()], block[end.end() :]) if end else (block, b"")
    first, *lines = head.decode("latin-1").splitlines() or [""]
    status = _STATUS_LINE.match(first)
    if status is None:
        return Response(url, 0, "", "", b"", offset)
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = _decoded(ChunkedReader, body, max_body)
    for coding in reversed(headers.get("content-encoding", "").lower().split(",")):
        decoder = _CODINGS.get(coding.strip())
        if decoder is not None:
            body = _decoded(decoder, body, max_body)
    media, _, parameters = headers.get("content-type", "").partition(";")
    charset = _CHARSET.search(parameters)
    return Response(
        url=url,
        status=int(status[1]),
        content_type=media.strip().lower(),
        charset=charset[1] if charset else "",
        body=body if len(body) <= max_body else None,
        offset=offset,
    )


_HEADER_END = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(r"HTTP/[0-9.]+\s+([0-9]{3})\b")
_CHARSET = re.compile(r"""charset\s*=\s*["']?([^\s"';,]+)""", re.IGNORECASE)
_CODINGS: dict[str, Callable[[IO[bytes]], Any]] = {
    "gzip": GzipReader,
    "x-gzip": GzipReader,
    "deflate": lambda inner: GzipReader(inner, zlib=True),
    "br": BrotliReader,
    "zstd": ZstdReader,
}


def _decoded(decoder: Callable[[IO[bytes]], Any], body: bytes, max_body: int) -> bytes:
    """Undo one encoding, at most one byte more than the cap; crawlers that had undone it already left the header."""
    parts, size = [], 0
    try:
        reader = decoder(io.BytesIO(body))
        while size <= max_body and (part := reader.read(min(_READ, max_body + 1 - size))):
            parts.append(part)
            size += len(part)
    except (OSError, ValueError):
        if not parts:
            return body
    return b"".join(parts) if parts else body
