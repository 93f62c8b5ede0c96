from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import os
from pathlib import Path

import pytest
import zstandard
from front_chain import html, write_arc, write_warc
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from data_prep.errors import CorruptFile, UserError
from data_prep.warc import Response, byte_ranges, read_heads, read_responses
from data_prep.warc.streams import ZstdFrames

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
    heads = [page for start, end in ranges for page in read_heads(str(path), start, end)]
    assert [(page.url, page.offset, page.status) for page in heads] == [(page.url, page.offset, 200) for page in whole]
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


@pytest.mark.parametrize("content", [b"", b"hello " * 100, gzip.compress(b"hello " * 100, mtime=0)])
def test_not_a_warc(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a WARC or ARC file"):
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


def zstd_warc(path: Path, pages: list[tuple[str, bytes]], dictionary: bytes = b"") -> Path:
    """A .warc.zst with a frame per record, as IIPC's format has it."""
    plain = write_warc(path.with_suffix(".plain"), pages, gzip=False).read_bytes()
    starts = [at for at in range(len(plain)) if plain.startswith(b"WARC/1", at)]
    known = zstandard.ZstdCompressionDict(dictionary) if dictionary else None
    pack = zstandard.ZstdCompressor(dict_data=known).compress
    frames = [pack(plain[a:b]) for a, b in zip(starts, [*starts[1:], len(plain)], strict=True)]
    if dictionary:
        stored = zstandard.compress(dictionary)
        frames.insert(0, b"\x5d\x2a\x4d\x18" + len(stored).to_bytes(4, "little") + stored)
    path.write_bytes(b"".join(frames))
    return path


@pytest.mark.parametrize("dictionary", [b"", b"the river of time runs past every house"])
def test_zstd(tmp_path: Path, dictionary: bytes) -> None:
    path = zstd_warc(tmp_path / "a.warc.zst", PAGES, dictionary)
    pages = read(path)
    assert [(page.url, page.body) for page in pages] == PAGES
    assert byte_ranges(str(path), path.stat().st_size, 100) == [(0, path.stat().st_size)]
    data = path.read_bytes()
    # The offset is where the frame stands.
    assert zstandard.get_frame_parameters(data[pages[7].offset :]).content_size > 0
    path.write_bytes(data[: pages[20].offset + 9])
    with pytest.raises(CorruptFile, match=f"byte {pages[20].offset:,}: ends inside a zstd frame"):
        read(path)
    path.write_bytes(data[: len(data) // 2] + b"damaged" + data[len(data) // 2 + 7 :])
    with pytest.raises(CorruptFile):
        read(path)
    path.write_bytes(data[:10])
    with pytest.raises(UserError):
        read(path)


def test_zstd_gives_no_more_than_asked_of_a_bomb(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.zst"
    path.write_bytes(zstandard.compress(b"WARC/1.0\r\n" + bytes(50 << 20)))
    with path.open("rb") as handle:
        stream = ZstdFrames(handle, lambda what, offset: pytest.fail(what))
        assert [len(stream.read(1000)) for _ in range(100)] == [1000] * 100
        assert stream.tell() == 100_000
    with pytest.raises(UserError):
        read(path)


def test_kinds_of_records(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    with path.open("wb") as handle:
        writer = WARCWriter(handle, gzip=True)
        headers = {"WARC-Date": "2020-01-02T03:04:05Z"}
        moved = StatusAndHeaders("301 Moved", [("Location", "/b")], protocol="HTTP/1.1")
        for kind, payload, http, more in (
            ("warcinfo", b"software: x", None, {}),
            ("resource", b"a file", None, {}),
            ("conversion", b"HTTP/1.1 404 the text of a page", None, {"WARC-Identified-Content-Language": "eng"}),
            ("response", b"gone", moved, {}),
            ("revisit", b"", moved, {"WARC-Refers-To-Target-URI": "<http://a.com/0>"}),
        ):
            writer.write_record(
                writer.create_warc_record(
                    "http://a.com/",
                    kind,
                    payload=io.BytesIO(payload),
                    http_headers=http,
                    warc_headers_dict={**headers, **more},
                    warc_content_type="text/plain" if kind == "conversion" else "",
                )
            )
    text, moved_page, again = read(path)
    assert (text.kind, text.status, text.content_type, text.charset) == ("conversion", 200, "text/plain", "utf-8")
    assert (text.body, text.language) == (b"HTTP/1.1 404 the text of a page", "eng")
    assert (moved_page.kind, moved_page.status, moved_page.location, moved_page.body) == (
        "response",
        301,
        "/b",
        b"gone",
    )
    assert (again.kind, again.redirects, again.body, again.refers_to) == ("revisit", True, b"", "http://a.com/0")
    assert {page.date for page in (text, moved_page, again)} == {"20200102030405"}
    assert list(read_heads(str(path))) == [dataclasses.replace(page, body=b"") for page in (text, moved_page, again)]
    assert [page.body for page in read(path, cap=10)] == [None, b"gone", b""]


@pytest.fixture(scope="module")
def valid_archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Small archives of every form."""
    folder = tmp_path_factory.mktemp("valid")
    pages = [("http://a.com/1", html(1, 2)), ("http://a.com/2", html(2, 2))]
    arc = write_arc(folder / "a.arc", pages)
    return {
        "a.warc": write_warc(folder / "a.warc", pages, gzip=False).read_bytes(),
        "a.warc.gz": write_warc(folder / "a.warc.gz", pages).read_bytes(),
        "a.warc.zst": zstd_warc(folder / "a.warc.zst", pages, b"the river of time").read_bytes(),
        "a.arc": arc.read_bytes(),
        "a.arc.gz": write_arc(folder / "a.arc.gz", pages).read_bytes(),
    }


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_fuzz_damaged_archives_give_records_or_one_clear_error(
    valid_archives: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Cut, overwritten, doubled, filled: never another error than `UserError`, never an endless read."""
    name = data.draw(st.sampled_from(sorted(valid_archives)))
    content = bytearray(valid_archives[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        match data.draw(st.sampled_from(["cut", "write", "insert", "remove", "repeat", "flip"])):
            case "cut":
                del content[at:]
            case "write":
                junk = data.draw(st.binary(max_size=40))
                content[at : at + len(junk)] = junk
            case "insert":
                content[at:at] = data.draw(st.binary(max_size=40))
            case "remove":
                del content[at : at + data.draw(st.integers(1, 40))]
            case "repeat":
                content[at:at] = content[at : at + data.draw(st.integers(1, 400))]
            case "flip" if at < len(content):
                content[at] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.mktemp("fuzz") / name
    path.write_bytes(content)
    start, end = data.draw(st.sampled_from([(0, None), *byte_ranges(name, len(content), 200)]))
    for read_all in (
        lambda: list(read_responses(str(path), CAP, lambda _: True, start, end)),
        lambda: list(read_heads(str(path), start, end)),
    ):
        with contextlib.suppress(UserError):
            assert len(read_all()) <= 40


EDGE = {
    "bad.arc": "byte 0: no ARC record starts here",
    "example-bad-non-chunked.warc.gz": [
        ("response", "http://example.com/", 200, 1270),
        ("revisit", "http://example.com/", 200, 0),
    ],
    "example-bad.warc.gz.bad": [
        ("response", "http://example.com?example=1", 200, 1270),
        ("revisit", "http://example.com?example=1", 200, 0),
        ("response", "http://www.iana.org/domains/example", 302, 201),
    ],
    "example-digest.warc": [],
    "example-iana.org-chunked.warc": [("response", "http://www.iana.org/", 200, 7223)],
    "example-resource.warc.gz": [],
    "example-space-in-target-uri.warc.gz": [],
    "example-space-in-url.arc": "byte 151: a record has 1,579 of its 1,591 bytes",
    "example-trunc.warc": "byte 1,197: what follows the record that starts here is no WARC record",
    "example-wget-bad-target-uri.warc.gz": [("response", "http://example.com/", 200, 1270)],
    "example-wrong-chunks.warc.gz": [("response", "http://example.com/", 200, 1270)],
    "example.arc": [("response", "http://example.com/", 200, 1270)],
    "example.arc.gz": [("response", "http://example.com/", 200, 1270)],
    "example.warc": [("response", "http://example.com/", 200, 1270), ("revisit", "http://example.com/", 200, 0)],
    "example.warc.gz": [("response", "http://example.com/", 200, 1270), ("revisit", "http://example.com/", 200, 0)],
    "post-test.warc.gz": [
        ("response", "http://httpbin.org/post", 200, 545),
        ("response", "http://httpbin.org/post", 200, 552),
        ("response", "http://httpbin.org/post?foo=bar", 200, 551),
    ],
}
"""Odd and damaged files of warcio's tests: what they give, or the error. The files that hold only requests or resources
give nothing."""


@pytest.mark.skipif("WEBTEXT_DATA_ROOT" not in os.environ, reason="WEBTEXT_DATA_ROOT is not set")
def test_odd_real_files() -> None:
    root = Path(os.environ["WEBTEXT_DATA_ROOT"]) / "warc_edge"
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    paths = {path.name: path for path in root.glob("*arc*") if path.name != "LICENSE.warcio"}
    assert paths.keys() == EDGE.keys()
    for name, expected in EDGE.items():
        if isinstance(expected, str):
            with pytest.raises(CorruptFile, match=expected):
                read(paths[name])
        else:
            assert [(page.kind, page.url, page.status, len(page.body or b"")) for page in read(paths[name])] == expected
