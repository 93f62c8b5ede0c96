"""Records of pages, and that a kill between any two writes loses nothing that was committed."""

from __future__ import annotations

import gzip
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator
from hostile_server import links

from data_prep.errors import CorruptFile
from data_prep.fetch import journal as journal_module
from data_prep.fetch.client import Reply
from data_prep.fetch.failure import Failure
from data_prep.fetch.fetcher import Outcome
from data_prep.fetch.journal import Journal
from data_prep.warc import read_responses

DATE = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)


def reply(body: bytes = b"<p>x</p>", status: int = 200, **headers: str) -> Reply:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Reply(status, "OK", "HTTP/1.1", [(b"Content-Type", b"text/html; charset=utf-8"), *fields], body, date=DATE)


def fetched(*hops: tuple[str, Reply]) -> Outcome:
    return Outcome(hops, None, 0.5)


def records(path: Path) -> list[tuple[str, dict[str, str], bytes]]:
    """All records: type, WARC headers, block."""
    with path.open("rb") as handle:
        return [
            (record.headers["WARC-Type"], dict(record.headers), record.reader.read())
            for record in ArchiveIterator(handle, parse_http=False, verify_digests=False)
        ]


def test_records(tmp_path: Path) -> None:
    first, second, third = links("http://a.test/", "http://b.test/", "http://c.test/")
    moved = Reply(
        301, "Moved", "HTTP/1.1", [(b"Location", b"http://b.test/\xc3\xa9\xff")], b"gone", True, "8.8.8.8", DATE
    )
    with Journal(tmp_path, {"software": "me", "robots": "classic"}) as journal:
        journal.commit([(first, fetched(("http://a.test/", reply(Transfer_Encoding="chunked", Content_Length="9"))))])
        journal.commit([(second, fetched(("http://b.test/", moved), ("http://b.test/é", reply())))])
        journal.commit([(third, Outcome((), Failure("timeout", "slow"), 1.0))])
        assert [(done.outcome, done.redirects) for done in journal.finished()] == [
            ("fetched", 0),
            ("revisit", 1),
            ("timeout", 0),
        ]
        (path,) = journal.segments()
    found = records(path)
    assert [kind for kind, _, _ in found] == ["warcinfo", "response", "response", "revisit"]
    about, page, hop, again = found
    assert b"software: me\r\nrobots: classic" in about[2]
    assert page[1]["WARC-Date"] == "2026-05-04T03:02:01.123456Z"
    # What no longer describes the stored body is kept under another name.
    assert b"X-Crawl-Transfer-Encoding: chunked\r\nX-Crawl-Content-Length: 9\r\nContent-Length: 8\r\n\r\n" in page[2]
    assert hop[2].startswith(b"HTTP/1.1 301 Moved\r\nLocation: http://b.test/\xc3\xa9\xff\r\n") and hop[2].endswith(
        b"gone"
    )
    assert hop[1]["WARC-Truncated"] == "length" and hop[1]["WARC-IP-Address"] == "8.8.8.8"
    assert again[1]["WARC-Refers-To-Target-URI"] == "http://a.test/"
    assert again[1]["WARC-Refers-To-Date"] == page[1]["WARC-Date"]
    assert again[1]["WARC-Payload-Digest"] == page[1]["WARC-Payload-Digest"]
    assert again[1]["WARC-Profile"].endswith("/revisit/identical-payload-digest")
    assert b"<p>" not in again[2]


def test_our_reader_reads_what_was_written_compressed_bodies_too(tmp_path: Path) -> None:
    (one, two) = links("http://a.test/", "http://b.test/")
    with Journal(tmp_path, {}) as journal:
        journal.commit(
            [(one, fetched(("http://a.test/", reply(gzip.compress(b"<p>hi</p>"), Content_Encoding="gzip"))))]
        )
        journal.commit([(two, fetched(("http://b.test/", reply("<p>é</p>".encode()))))])
        (path,) = journal.segments()
    pages = list(read_responses(str(path), 1000, lambda url: True))
    assert [(page.url, page.status, page.body) for page in pages] == [
        ("http://a.test/", 200, b"<p>hi</p>"),
        ("http://b.test/", 200, "<p>é</p>".encode()),
    ]


def test_headers_cannot_make_other_headers(tmp_path: Path) -> None:
    (one,) = links("http://a.test/")
    with Journal(tmp_path, {}) as journal:
        journal.commit([(one, fetched(("http://a.test/", reply(X="a\r\nContent-Encoding: br\nY: z"))))])
        (path,) = journal.segments()
    assert [page.body for page in read_responses(str(path), 1000, lambda url: True)] == [b"<p>x</p>"]


def test_what_a_kill_left_half_written_is_cut_off(tmp_path: Path) -> None:
    wanted = links(*(f"http://a.test/{i}" for i in range(6)))
    with Journal(tmp_path, {}) as journal:
        for link in wanted[:3]:
            journal.commit([(link, fetched((link.posted_url, reply(link.url.encode()))))])
    (segment,) = tmp_path.glob("*.warc.gz")
    whole = segment.read_bytes()
    segment.write_bytes(whole + whole[:57])  # a record that was being written
    (tmp_path / "00007.warc.gz").write_bytes(b"a segment that was begun")
    with Journal(tmp_path, {}) as journal:
        assert sorted(journal.finished_numbers()) == [0, 1, 2]
        for link in wanted[3:]:
            journal.commit([(link, fetched((link.posted_url, reply(link.url.encode()))))])
        assert [path.name for path in journal.segments()] == ["00000.warc.gz"]
    found = [page.body for page in read_responses(str(segment), 1000, lambda url: True)]
    assert found == [link.url.encode() for link in wanted]


def test_an_error_while_writing_commits_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = links("http://a.test/", "http://b.test/", "http://c.test/")
    with Journal(tmp_path, {}) as journal:
        journal.commit([(one, fetched(("http://a.test/", reply(b"1"))))])
        monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            journal.commit([(two, fetched(("http://b.test/", reply(b"2")))), (three, Outcome((), Failure("x"), 0))])
    monkeypatch.undo()
    with Journal(tmp_path, {}) as journal:
        assert list(journal.finished_numbers()) == [0]
        journal.commit([(two, fetched(("http://b.test/", reply(b"2"))))])
        (path,) = journal.segments()
    assert [page.body for page in read_responses(str(path), 1000, lambda url: True)] == [b"1", b"2"]


def test_large_crawls_have_several_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 500)
    for link in links(*(f"http://a.test/{i}" for i in range(4))):
        with Journal(tmp_path, {}) as journal:  # opened anew each time, as after a kill
            journal.commit([(link, fetched((link.posted_url, reply(link.url.encode()))))])
    with Journal(tmp_path, {}) as journal:
        paths = journal.segments()
    assert len(paths) > 1
    assert all(records(path)[0][0] == "warcinfo" for path in paths)
    found = [page.url for path in paths for page in read_responses(str(path), 1000, lambda url: True)]
    assert found == [f"http://a.test/{i}" for i in range(4)]


def test_a_damaged_folder_is_one_clear_error(tmp_path: Path) -> None:
    (one,) = links("http://a.test/")
    with Journal(tmp_path, {}) as journal:
        journal.commit([(one, fetched(("http://a.test/", reply())))])
    segment = tmp_path / "00000.warc.gz"
    segment.write_bytes(segment.read_bytes()[:-5])
    with pytest.raises(CorruptFile, match=r"is shorter than its .* delete this folder"):
        Journal(tmp_path, {})
    (tmp_path / "journal.sqlite").write_bytes(b"not a database, but long enough to be looked at" * 99)
    with pytest.raises(CorruptFile, match="damaged"):
        Journal(tmp_path, {})


def test_a_number_ends_once(tmp_path: Path) -> None:
    (one,) = links("http://a.test/")
    with Journal(tmp_path, {}) as journal:
        journal.commit([(one, Outcome((), Failure("timeout"), 0))])
        with pytest.raises(sqlite3.IntegrityError):
            journal.commit([(one, Outcome((), Failure("timeout"), 0))])
