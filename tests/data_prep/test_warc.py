from __future__ import annotations

import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from fastwarc.stream_io import BrotliWriter
from front_chain import html, write_warc
from hypothesis import given
from hypothesis import strategies as st

from data_prep.errors import CorruptFile, UserError
from data_prep.warc import Response, byte_ranges, parse_http, read_responses

CAP = 1 << 20
PAGES = [(f"http://a.com/{i}", html(i)) for i in range(40)]


def read(path: Path, start: int = 0, end: int | None = None, cap: int = CAP) -> list[Response]:
    return list(read_responses(str(path), cap, lambda _: True, start, end))


@pytest.mark.parametrize("packed", [True, False])
def test_reads_responses(tmp_path: Path, packed: bool) -> None:
    path = write_warc(
        tmp_path / "a.warc.gz",
        [
            ("http://a.com/ü?x=1", b"<p>x</p>", 'Text/HTML; charset="EUC-KR"'),
            ("http://b.com/", b"", "", "404 Not Found"),
        ],
        gzip=packed,
    )
    first, second = read(path)
    assert (first.url, first.status, first.content_type, first.charset) == (
        "http://a.com/ü?x=1",
        200,
        "text/html",
        "EUC-KR",
    )
    assert first.body == b"<p>x</p>"
    assert (second.status, second.content_type, second.body) == (404, "", b"")
    # The offset is where the record can be found again.
    tail = path.read_bytes()[second.offset :]
    assert (gzip.decompress(tail) if packed else tail).startswith(b"WARC/1")


def test_only_wanted_records(tmp_path: Path) -> None:
    path = write_warc(tmp_path / "a.warc.gz", PAGES)
    asked: list[str] = []
    found = list(read_responses(str(path), CAP, lambda url: asked.append(url) or url.endswith("7")))  # type: ignore[func-returns-value]
    assert [page.url for page in found] == [url for url, _ in PAGES if url.endswith("7")]
    assert asked == [url for url, _ in PAGES]


def test_body_over_the_cap(tmp_path: Path) -> None:
    path = write_warc(tmp_path / "a.warc.gz", [("http://a.com/", b"x" * 300_000), ("http://b.com/", b"y")])
    assert [page.body for page in read(path, cap=200_000)] == [None, b"y"]


@pytest.mark.parametrize("target", [300, 1000, 5000, 10**9])
def test_ranges_give_every_record_once(tmp_path: Path, target: int) -> None:
    path = write_warc(tmp_path / "a.warc.gz", PAGES)
    whole = read(path)
    ranges = byte_ranges(str(path), path.stat().st_size, target)
    assert len(ranges) > 1 or target > path.stat().st_size
    assert [page for start, end in ranges for page in read(path, start, end)] == whole
    assert len(whole) == len(PAGES)


def test_plain_file_is_one_range(tmp_path: Path) -> None:
    path = write_warc(tmp_path / "a.warc", PAGES, gzip=False)
    assert byte_ranges(str(path), path.stat().st_size, 100) == [(0, path.stat().st_size)]
    assert len(read(path, 0, path.stat().st_size)) == len(PAGES)


@pytest.mark.parametrize("packed", [True, False])
def test_cut_anywhere_is_an_error_or_leaves_whole_records(tmp_path: Path, packed: bool) -> None:
    whole = write_warc(tmp_path / "a.warc.gz", [("http://a.com/", b"<p>a page</p>")] * 2, gzip=packed).read_bytes()
    path = tmp_path / "cut.warc.gz"
    allowed = 0
    for cut in range(1, len(whole)):
        path.write_bytes(whole[:cut])
        try:
            read(path)
        except UserError as error:
            assert str(path) in str(error)
        else:
            # Only at the end of a record, where nothing shows that more was to come.
            assert whole[cut:].lstrip(b"\r\n").startswith((b"WARC/1", b"\x1f\x8b")) or not whole[cut:].strip(b"\r\n")
            allowed += 1
    assert allowed < 25


def test_cut_in_half_names_file_and_byte(tmp_path: Path) -> None:
    path = write_warc(tmp_path / "a.warc.gz", PAGES)
    offset = read(path)[20].offset
    path.write_bytes(path.read_bytes()[: offset + 50])
    with pytest.raises(CorruptFile, match=f"byte {offset:,}: .*cut short") as error:
        read(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("target", [2000, 10**9])
def test_garbage_between_records_is_found_by_some_range(tmp_path: Path, target: int) -> None:
    path = write_warc(tmp_path / "a.warc.gz", PAGES)
    data = path.read_bytes()
    for page in read(path)[3:30:9]:
        path.write_bytes(data[: page.offset] + b"rubbish" + data[page.offset :])
        ranges = byte_ranges(str(path), path.stat().st_size, target)
        with pytest.raises(CorruptFile):
            for start, end in ranges:
                read(path, start, end)


@pytest.mark.parametrize("content", [b"", b"hello " * 100, gzip.compress(b"hello " * 100)])
def test_not_a_warc(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a WARC file"):
        read(path)


def test_missing_file() -> None:
    with pytest.raises(UserError, match="no such file"):
        read(Path("nowhere.warc.gz"))


@given(st.binary(max_size=300), st.integers(0, 600))
def test_damage_never_gives_a_traceback(tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int) -> None:
    path = write_warc(tmp_path_factory.mktemp("w") / "a.warc", PAGES[:1], gzip=False)
    data = path.read_bytes()
    path.write_bytes(data[:at] + junk + data[at + len(junk) :])
    with contextlib.suppress(UserError):
        read(path)


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


@pytest.mark.skipif("WEBTEXT_DATA_ROOT" not in os.environ, reason="WEBTEXT_DATA_ROOT is not set")
def test_odd_real_files() -> None:
    root = Path(os.environ["WEBTEXT_DATA_ROOT"]) / "warc_edge"
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    found = {}
    for path in sorted(root.glob("*arc*")):
        try:
            found[path.name] = [(page.url, page.status, len(page.body or b"")) for page in read(path)]
        except UserError as error:
            found[path.name] = type(error).__name__
    page = ("http://example.com/", 200, 1270)
    assert found["example.warc.gz"] == found["example.warc"] == found["example-bad-non-chunked.warc.gz"] == [page]
    assert found["example-wget-bad-target-uri.warc.gz"] == found["example-wrong-chunks.warc.gz"] == [page]
    assert found["example-iana.org-chunked.warc"] == [("http://www.iana.org/", 200, 7223)]
    assert found["example-trunc.warc"] == "CorruptFile"
    assert {found[name] for name in ("example.arc", "example.arc.gz", "bad.arc")} == {"UserError"}
