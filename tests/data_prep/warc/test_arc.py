from __future__ import annotations

from pathlib import Path

import pytest
from front_chain import html, write_arc

from data_prep.errors import CorruptFile, UserError
from data_prep.warc import Response, byte_ranges, read_responses

PAGES = [(f"http://a.com/{i}", html(i)) for i in range(20)]


def read(path: Path, start: int = 0, end: int | None = None) -> list[Response]:
    return list(read_responses(str(path), 1 << 20, lambda _: True, start, end))


@pytest.mark.parametrize("name", ["a.arc", "a.arc.gz"])
def test_pages(tmp_path: Path, name: str) -> None:
    pages = read(write_arc(tmp_path / name, PAGES))
    assert [(page.url, page.body) for page in pages] == PAGES
    assert {(page.status, page.content_type, page.date) for page in pages} == {(200, "text/html", "20100101000000")}


def test_version_2_spaces_and_records_that_are_no_pages(tmp_path: Path) -> None:
    path = tmp_path / "a.arc"
    path.write_bytes(
        b"filedesc://a.arc 0.0.0.0 20100101000000 text/plain 200 - - 0 a.arc 9\n2 0 test\n\n"
        b"dns:a.com 1.2.3.4 20100101000000 text/dns 200 - - 80 a.arc 4\n1234\n"
        b"http://a.com/a b?c d 1.2.3.4 20100102030405 text/html; charset=x 200 AB - 99 a.arc 23\n"
        b"HTTP/1.1 200 OK\r\n\r\npage\n"
        b"http://a.com/v6 2001:db8::1 20100101000000 no-type 0\n\n"
    )
    first, second = read(path)
    assert (first.url, first.body, first.date) == ("http://a.com/a b?c d", b"page", "20100102030405")
    assert (second.url, second.status) == ("http://a.com/v6", 0)


@pytest.mark.parametrize("target", [300, 2000, 10**9])
def test_ranges_give_every_record_once(tmp_path: Path, target: int) -> None:
    path = write_arc(tmp_path / "a.arc.gz", PAGES)
    ranges = byte_ranges(str(path), path.stat().st_size, target)
    assert [page for start, end in ranges for page in read(path, start, end)] == read(path)
    assert len(read(path)) == len(PAGES)


@pytest.mark.parametrize("name", ["a.arc", "a.arc.gz"])
def test_cut_anywhere_is_an_error_or_leaves_whole_records(tmp_path: Path, name: str) -> None:
    whole = write_arc(tmp_path / name, [("http://a.com/", b"<p>a page</p>")] * 2).read_bytes()
    path = tmp_path / f"cut-{name}"
    allowed = 0
    for cut in range(1, len(whole)):
        path.write_bytes(whole[:cut])
        try:
            read(path)
        except UserError as error:
            assert str(path) in str(error)
        else:
            assert whole[cut:].lstrip(b"\n").startswith((b"http", b"\x1f\x8b")) or not whole[cut:].strip()
            allowed += 1
    assert allowed < 8


@pytest.mark.parametrize("length", [b"-1", b"abc", b"", b"9" * 30])
def test_a_length_that_is_none(tmp_path: Path, length: bytes) -> None:
    path = tmp_path / "a.arc"
    path.write_bytes(
        b"filedesc://a 0.0.0.0 20100101000000 text/plain 0\n\nhttp://a.com/ 1.1.1.1 20100101000000 text/html "
        + length
        + b"\n"
    )
    with pytest.raises(CorruptFile, match="byte 50: no ARC record"):
        read(path)
