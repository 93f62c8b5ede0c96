from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable

import pytest
import zstandard
from fastwarc.stream_io import BrotliWriter
from hypothesis import given
from hypothesis import strategies as st

from data_prep.warc import parse_http

CAP = 1 << 20


def _brotli(data: bytes) -> bytes:
    out = io.BytesIO()
    writer = BrotliWriter(out)
    writer.write(data)
    writer.close()
    return out.getvalue()


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("br", _brotli),
        ("zstd", zstandard.compress),
        ("identity", bytes),
    ],
)
def test_content_encodings(coding: str, encode: Callable[[bytes], bytes]) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\n\r\n".encode()
    assert parse_http("u", head + encode(b"the page " * 99), 0, CAP).body == b"the page " * 99
    # Crawlers that decode and leave the header.
    assert parse_http("u", head + b"the page", 0, CAP).body == b"the page"
    # A bomb stops at the cap.
    if coding != "identity":
        assert parse_http("u", head + encode(b"0" * (CAP + 1)), 0, CAP).body is None


def test_chunked_body() -> None:
    head = b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n"
    assert parse_http("u", head + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", 0, CAP).body == b"hello world"
    assert parse_http("u", head + b"hello world", 0, CAP).body == b"hello world"


@given(st.binary())
def test_no_http_block_raises(block: bytes) -> None:
    assert parse_http("u", block, 0, CAP).status >= 0
    parse_http(
        "u", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip, br\r\n\r\n" + block, 0, CAP
    )


@pytest.mark.parametrize(
    ("status", "location", "redirects"),
    [
        ("301 Moved", "/new", True),
        ("308 X", "https://b.com/", True),
        ("304 Not Modified", "/new", False),
        ("302 Found", "", False),
    ],
)
def test_redirects(status: str, location: str, redirects: bool) -> None:
    page = parse_http("u", f"HTTP/1.1 {status}\r\nLOCATION: {location}\r\n\r\n".encode(), 0, CAP)
    assert (page.redirects, page.location) == (redirects, location)


def test_a_location_in_utf_8_whatever_bytes_look_like_line_ends() -> None:
    block = "HTTP/1.1 301 Moved\r\nLocation: /Åland\r\nContent-Type: text/html\r\n\r\n"
    page = parse_http("u", block.encode(), 0, CAP)
    assert (page.location, page.content_type) == ("/Åland", "text/html")
    assert parse_http("u", block.encode("latin-1"), 0, CAP).location == "/Åland"
