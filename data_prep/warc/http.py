"""An HTTP response as an archive records it."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Literal

from fastwarc.stream_io import BrotliReader, ChunkedReader, GzipReader, ZstdReader

_READ = 1 << 16
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

Kind = Literal["response", "revisit", "conversion"]
"""The records that tell of pages: WARC and ARC responses; responses with their payload elsewhere; text of WET files."""


@dataclass(frozen=True)
class Response:
    """One page as recorded.

    Attributes:
        url: target URI as recorded, without the angle brackets that wget once wrote around it.
        status: HTTP status, 200 for a conversion; 0 if the record holds no HTTP response or is longer than the cap.
        content_type: media type in lower case without parameters; "" if not given.
        charset: charset parameter of the content type; "" if not given.
        body: transfer and content encodings undone; None if longer than the cap.
        offset: where the record starts: byte of the file, for gzip and zstd of its member.
        kind: of which record.
        location: header `Location`, where a redirect leads; "" if not given.
        date: when it was captured, up to 14 digits YYYYMMDDhhmmss; "" if not given.
        language: ISO 639-3 codes that the archive found in the content, separated by commas; "" if not given.
        refers_to: URI of the record that holds the payload of a revisit; "" if not given.
    """

    url: str
    status: int
    content_type: str
    charset: str
    body: bytes | None
    offset: int
    kind: Kind = "response"
    location: str = ""
    date: str = ""
    language: str = ""
    refers_to: str = ""

    @property
    def redirects(self) -> bool:
        """Whether it sends the reader elsewhere (RFC 9110 15.4: 301, 302, 303, 307 and 308)."""
        return self.status in (301, 302, 303, 307, 308) and bool(self.location)


def parse_head(url: str, block: bytes, offset: int) -> tuple[Response, dict[str, str], bytes]:
    """An HTTP response as recorded: all but its body, its headers (names in lower case), its body as sent.

    Args:
        url: for `Response.url`.
        block: status line, headers, body; what follows the headers may be cut.
        offset: for `Response.offset`.
    """
    # Header lines end with CRLF, of some crawlers with LF; an empty one ends them.
    end = _HEADER_END.search(block)
    head, body = (block[: end.start()], block[end.end() :]) if end else (block, b"")
    first, *lines = head.decode("latin-1").split("\n")
    status = _STATUS_LINE.match(first)
    if status is None:
        return Response(url, 0, "", "", b"", offset), {}, b""
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
    content_type, charset = media_type(headers.get("content-type", ""))
    location = _utf8(headers.get("location", ""))
    return Response(url, int(status[1]), content_type, charset, b"", offset, location=location), headers, body


def parse_http(url: str, block: bytes, offset: int, max_body: int) -> Response:
    """An HTTP response as recorded, its body decoded unless longer than the cap; never raises."""
    page, headers, body = parse_head(url, block, offset)
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = _decoded(ChunkedReader, body, max_body)
    for coding in reversed(headers.get("content-encoding", "").lower().split(",")):
        decoder = _CODINGS.get(coding.strip())
        if decoder is not None:
            body = _decoded(decoder, body, max_body)
    return dataclasses.replace(page, body=body if len(body) <= max_body else None)


def media_type(value: str) -> tuple[str, str]:
    """Media type in lower case, and charset, of a Content-Type header; "" where not given."""
    media, _, parameters = value.partition(";")
    charset = _CHARSET.search(parameters)
    return media.strip().lower(), charset[1] if charset else ""


def _utf8(value: str) -> str:
    """A header that servers write in UTF-8 although RFC 9110 5.5 knows but ASCII."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value


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
