"""Records and pages out of archive files: WARC, WET and ARC, plain, gzip per record, or zstd.

fastwarc ends quietly where a file is cut short. Here every record is held against its declared length and every gzip
member against its own end, so that a cut or damaged file is an error with the byte offset instead of fewer pages.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import IO, Any, NoReturn

from fastwarc.warc import ArchiveIterator, WarcRecord

from data_prep import store
from data_prep.errors import CorruptFile, UserError
from data_prep.warc.arc import arc_records, begins_arc
from data_prep.warc.http import Kind, Response, media_type, parse_head, parse_http
from data_prep.warc.record import Record
from data_prep.warc.streams import GZIP, ZSTD, Fail, GzipMembers, PlainFile, Stream, ZstdFrames, first_bytes

ENDINGS = tuple(
    f".{kind}{packed}"
    for kind in ("warc", "wet", "arc")
    for packed in (("", ".gz", ".zst") if kind != "arc" else ("", ".gz"))
)
"""Names of archive files end like this."""

_READ = 1 << 16
_HEAD = 1 << 14
_FIX = "fetch or make the file again"
_KINDS: dict[str, Kind] = {"response": "response", "revisit": "revisit", "conversion": "conversion"}


def byte_ranges(path: str, length: int, target: int) -> list[tuple[int, int]]:
    """Ranges (start, end) of about `target` bytes that cover a file of `length` bytes and can be read apart.

    Only gzip members can be found from the middle of a file; another file is one range.
    """
    parts = max(1, round(length / target)) if path.endswith(".gz") else 1
    edges = [length * i // parts for i in range(parts + 1)]
    return list(itertools.pairwise(edges))


def read_responses(
    path: str, max_body: int, wanted: Callable[[str], bool], start: int = 0, end: int | None = None
) -> Iterator[Response]:
    """The pages that start in a range of a file and whose target URI is `wanted`, in order: see `Kind`.

    The body of an unwanted record is checked for completeness, but neither kept nor decoded. A revisit has no body. The
    ranges of `byte_ranges` together give every record once, and check that nothing but records lies between them.

    Args:
        path: an archive file.
        max_body: longest body in bytes, decoded; a longer one is given as None.
        wanted: decides by target URI.
        start: first byte of the range; 0 or from `byte_ranges`.
        end: byte after the range; None for the end of the file.

    Raises:
        UserError: no such file, or not an archive.
        CorruptFile: the file is cut short or damaged; names the byte.
    """
    for record in read_records(path, start, end):
        if record.kind != "other" and wanted(record.url):
            yield _page(record, record.kind, max_body)


def read_heads(path: str, start: int = 0, end: int | None = None) -> Iterator[Response]:
    """All pages that start in a range of a file, as `read_responses`, but with the body empty and hardly read."""
    for record in read_records(path, start, end):
        if record.kind == "conversion":
            yield _described(_empty(record), record, record.kind, b"")
        elif record.kind != "other":
            page, _, _ = parse_head(record.url, record.read(_HEAD), record.offset)
            yield _described(page, record, record.kind, b"")


def read_records(path: str, start: int = 0, end: int | None = None) -> Iterator[Record]:
    """All records that start in a range of a file, in order; arguments and errors as `read_responses`."""
    try:
        handle = store.open_read(path)
    except FileNotFoundError:
        raise UserError("no such file", where=path, fix="check the path") from None
    with handle:
        yield from records_of(handle, path, start, end)


def records_of(handle: IO[bytes], name: str, start: int = 0, end: int | None = None) -> Iterator[Record]:
    """As `read_records`, of an open file; `name` is for errors."""

    def fail(what: str, offset: int) -> NoReturn:
        raise CorruptFile(what, where=f"{name}, byte {offset:,}", fix=_FIX)

    head = handle.read(_READ)
    handle.seek(0)
    stream: Stream = PlainFile(handle)
    if head.startswith(GZIP):
        stream = GzipMembers(handle, fail)
        content = first_bytes(head)
    elif head.startswith(ZSTD) or head[1:4] == b"\x2a\x4d\x18":
        # Looked into through a stream of its own.
        content = ZstdFrames(handle, fail).read(4096)
        handle.seek(0)
        stream = ZstdFrames(handle, fail)
    else:
        content = first_bytes(head)
    is_arc = begins_arc(content)
    if not is_arc and not _begins_warc(content):
        if head.startswith(GZIP) and not content:
            stream.read(1)  # fails, and says what is wrong
        raise UserError("not a WARC or ARC file", where=name, fix="give .warc, .wet or .arc files, plain or .gz")
    if start and not (
        isinstance(stream, GzipMembers) and stream.skip_to(start, end, begins_arc if is_arc else _begins_warc)
    ):
        return
    if is_arc:
        yield from arc_records(stream, fail, end)
    else:
        yield from _warc_records(stream, fail, start, end)


def _begins_warc(content: bytes) -> bool:
    return content.startswith(b"WARC/")


def _warc_records(stream: Stream, fail: Fail, start: int, end: int | None) -> Iterator[Record]:
    offset = start
    source: Any = stream  # fastwarc asks for more in its types than it uses
    try:
        for found in ArchiveIterator(source, parse_http=False, stream_detect=False):
            offset = stream.origin(found.stream_pos)
            if end is not None and offset >= end:
                return
            declared = found.headers.get("Content-Length")
            if declared is None or not (declared.strip().isascii() and declared.strip().isdecimal()):
                fail("a record without a valid Content-Length: the file is cut short or damaged", offset)
            block = _WarcBlock(found, int(declared), fail, offset)
            yield Record(
                kind=_KINDS.get((found.headers.get("WARC-Type") or "").strip().lower(), "other"),
                url=(found.headers.get("WARC-Target-URI") or "").strip("<> "),
                date="".join(filter(str.isdigit, (found.headers.get("WARC-Date") or "")))[:14],
                length=int(declared),
                offset=offset,
                read=block.read,
                content_type=found.headers.get("Content-Type") or "",
                language=found.headers.get("WARC-Identified-Content-Language") or "",
                refers_to=(found.headers.get("WARC-Refers-To-Target-URI") or "").strip("<> "),
            )
            block.finish()
    except CorruptFile:
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        fail(f"what follows the record that starts here is no WARC record ({error})", offset)
    except BaseException as error:
        # A panic of the Rust code behind fastwarc is no `Exception`.
        if type(error).__name__ != "PanicException":
            raise
        fail(f"the record that follows the one that starts here cannot be read ({error})", offset)


class _WarcBlock:
    """The block of one record of fastwarc's."""

    def __init__(self, record: WarcRecord, length: int, fail: Fail, offset: int) -> None:
        self._record, self._length, self._fail, self._offset = record, length, fail, offset
        self._left = length

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end of the block."""
        size = min(size, self._left)
        data: bytes = self._record.reader.read(size)
        self._took(len(data), size)
        return data

    def finish(self) -> None:
        """Read what is left."""
        if self._left:
            self._took(self._record.consume(self._left), self._left)

    def _took(self, got: int, asked: int) -> None:
        self._left -= got
        if got < asked:
            has = self._length - self._left
            self._fail(f"a record has {has:,} of its {self._length:,} bytes: the file is cut short", self._offset)


def _page(record: Record, kind: Kind, max_body: int) -> Response:
    if record.length > max_body + _READ:
        return _described(_empty(record), record, kind, None)
    block = record.read(record.length)
    if kind == "conversion":
        return _described(_empty(record), record, kind, block if len(block) <= max_body else None)
    page = parse_http(record.url, block, record.offset, max_body)
    return _described(page, record, kind, page.body if kind == "response" else b"")


def _empty(record: Record) -> Response:
    return Response(record.url, 0, "", "", b"", record.offset)


def _described(page: Response, record: Record, kind: Kind, body: bytes | None) -> Response:
    """A page with what the record's own header says of it."""
    page = dataclasses.replace(
        page, kind=kind, body=body, date=record.date, language=record.language, refers_to=record.refers_to
    )
    if kind != "conversion" or body is None:
        return page
    content_type, charset = media_type(record.content_type)
    # ISO 28500:2017 leaves the charset of text open; those who write WET files write UTF-8.
    return dataclasses.replace(page, status=200, content_type=content_type or "text/plain", charset=charset or "utf-8")
