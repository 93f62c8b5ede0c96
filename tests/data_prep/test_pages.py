from __future__ import annotations

import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import front_chain
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from front_chain import html, post, refs, write_dump, write_warc
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from data_prep.documents import DOCUMENT, read_rows
from data_prep.errors import UserError
from data_prep.links import LINK
from data_prep.manifest import StageManifest
from data_prep.page_links.redirects import MAX_HOPS
from data_prep.pages import PagesSettings
from data_prep.urls import canonical_url, partition_of, url_id


def write_links(folder: Path, *urls: str) -> list[Path]:
    parts: list[list[dict[str, Any]]] = [[] for _ in range(front_chain.PARTITIONS)]
    for url in urls:
        canonical = canonical_url(url)
        assert canonical is not None
        key = url_id(canonical)
        parts[partition_of(key, front_chain.PARTITIONS)].append(
            {
                "id": key,
                "url": canonical,
                "posted_url": url,
                "score": 7,
                "created_utc": 100,
                "subreddit": "r",
                "submissions": 2,
            }
        )
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"part-{p:05d}.parquet" for p in range(len(parts))]
    for path, rows in zip(paths, parts, strict=True):
        pq.write_table(pa.Table.from_pylist(sorted(rows, key=lambda row: row["id"]), schema=LINK), path)
    return paths


def run(tmp_path: Path, archives: list[Path], links: list[Path], **settings: Any) -> tuple[StageManifest, list[Any]]:
    stage, manifest = front_chain.pages_manifest(
        tmp_path / "out", refs(*archives), refs(*links), PagesSettings(**settings)
    )
    return manifest, [row for ref in manifest.files(stage.folder, "part-") for row in read_rows(ref.path)]


def test_joins_by_canonical_url_and_fills_the_document(tmp_path: Path) -> None:
    links = write_links(tmp_path / "links", "https://www.a.com/story?utm_source=x#top", "http://gone.com/")
    archive = write_warc(
        tmp_path / "a.warc.gz", [("http://a.com/story", html(1)), ("http://other.com/", html(2)), ("not a url", b"x")]
    )
    manifest, [document] = run(tmp_path, [archive], links)
    assert document["id"] == url_id("https://a.com/story")
    assert document["url"] == "https://a.com/story"
    assert document["text"].startswith("Part 0 of story 1")
    assert [document[k] for k in ("source", "score", "created_utc", "language")] == ["test", 7, 100, None]
    metadata = json.loads(document["metadata"])
    assert {key: value for key, value in metadata.items() if key not in ("author", "date", "extracted_by")} == {
        "title": "Story 1",
        "content_type": "text/html",
        "encoding": "utf-8",
        "undecodable": 0,
        "extractor": "trafilatura-fast",
        "page_url": "http://a.com/story",
        "subreddit": "r",
        "submissions": 2,
    }
    assert pq.read_schema(tmp_path / "out" / "pages" / "part-00000.parquet").equals(DOCUMENT)
    assert (manifest.totals.rows_in, manifest.totals.rows_out) == (3, 1)
    assert manifest.totals.dropped == {"not-linked": 1, "bad-url": 1}


def test_every_reason_is_counted_and_logged(tmp_path: Path) -> None:
    pages: dict[str, tuple[Any, ...]] = {
        "http://a.com/404": (html(1), "text/html", "404 Not Found"),
        "http://a.com/json": (b"{}", "application/json"),
        "http://a.com/empty": (b"<html><body></body></html>",),
        "http://a.com/large": (b"x" * 300_000, "text/plain"),
        "http://a.com/fine": (b"plain \xff text", "text/plain; charset=utf-8"),
    }
    archive = write_warc(tmp_path / "a.warc.gz", [(url, *rest) for url, rest in pages.items()])
    links = write_links(tmp_path / "links", *pages)
    manifest, [document] = run(tmp_path, [archive], links, max_bytes=200_000)
    assert document["url"] == "https://a.com/fine"
    assert manifest.totals.dropped == {"not-200": 1, "not-text": 1, "empty": 1, "too-large": 1}
    removed = {row["url"]: row for row in read_rows(str(tmp_path / "out" / "pages" / "removed" / "00000.parquet"))}
    assert removed["https://a.com/404"]["detail"] == "404"
    assert removed["https://a.com/json"]["detail"] == "application/json"


def test_a_url_twice_is_given_twice(tmp_path: Path) -> None:
    archive = write_warc(tmp_path / "a.warc.gz", [("http://a.com/", html(1)), ("https://www.a.com/", html(2))])
    _, documents = run(tmp_path, [archive], write_links(tmp_path / "links", "http://a.com"))
    assert [json.loads(d["metadata"])["title"] for d in documents] == ["Story 1", "Story 2"]


def location(target: str, status: str = "301 Moved Permanently") -> tuple[bytes, str, str, str]:
    return b"", "text/html", status, target


def by_url(documents: list[Any]) -> dict[str, Any]:
    return {document["url"]: document for document in documents}


def test_a_page_behind_redirects_in_other_archives(tmp_path: Path) -> None:
    links = write_links(tmp_path / "links", "http://short.com/x", "http://a.com/end")
    first = write_warc(tmp_path / "a.warc.gz", [("http://short.com/x", *location("//b.com/y?utm_source=t"))])
    second = write_warc(
        tmp_path / "b.warc.gz",
        [("https://b.com/y", *location("/z#part", "302 Found")), ("https://b.com/z", *location("http://a.com/end"))],
    )
    third = write_warc(tmp_path / "c.warc.gz", [("http://www.a.com/end", html(1))])
    manifest, documents = run(tmp_path, [first, second, third], links)
    through, direct = by_url(documents)["https://short.com/x"], by_url(documents)["https://a.com/end"]
    assert through["id"] == url_id("https://short.com/x")
    assert through["text"] == direct["text"]
    assert json.loads(through["metadata"])["page_url"] == "http://www.a.com/end"
    assert json.loads(through["metadata"])["redirects"] == 3
    assert "redirects" not in json.loads(direct["metadata"])
    # The three redirects, and the page once for each of its links.
    assert (manifest.totals.rows_in, manifest.totals.rows_out) == (5, 2)
    assert manifest.totals.dropped == {"redirect": 3}


def test_redirects_to_itself_and_in_circles_end(tmp_path: Path) -> None:
    links = write_links(tmp_path / "links", "http://a.com/", "http://c.com/1", "http://d.com/")
    archive = write_warc(
        tmp_path / "a.warc.gz",
        [
            ("http://a.com/", *location("https://www.a.com/")),
            ("https://www.a.com/", html(1)),
            ("http://c.com/1", *location("http://c.com/2")),
            ("http://c.com/2", *location("http://c.com/1")),
            ("http://d.com/", *location("http://e.com/")),
            ("http://e.com/", *location("http://f.com/")),
            ("http://f.com/", *location("http://e.com/")),
            ("http://f.com/", html(2)),
        ],
    )
    _, documents = run(tmp_path, [archive], links)
    assert [document["url"] for document in documents] == ["https://a.com/", "https://d.com/"]
    assert json.loads(by_url(documents)["https://d.com/"]["metadata"])["redirects"] == 2


@pytest.mark.parametrize(("hops", "found"), [(MAX_HOPS, 1), (MAX_HOPS + 1, 0)])
def test_a_chain_of_redirects_is_bounded(tmp_path: Path, hops: int, found: int) -> None:
    pages: list[tuple[Any, ...]] = [(f"http://a.com/{i}", *location(f"/{i + 1}")) for i in range(hops)]
    archive = write_warc(tmp_path / "a.warc.gz", [*pages, (f"http://a.com/{hops}", html(1))])
    _, documents = run(tmp_path, [archive], write_links(tmp_path / "links", "http://a.com/0"))
    assert len(documents) == found


def test_of_several_targets_the_earliest_counts(tmp_path: Path) -> None:
    archive = tmp_path / "a.warc.gz"
    with archive.open("wb") as handle:
        writer = WARCWriter(handle, gzip=True)
        for year, target in ((2019, "/late"), (2012, "/early"), (2015, "/between")):
            headers = StatusAndHeaders("302 Found", [("Location", target)], protocol="HTTP/1.1")
            writer.write_record(
                writer.create_warc_record(
                    "http://a.com/",
                    "response",
                    http_headers=headers,
                    warc_headers_dict={"WARC-Date": f"{year}-01-01T00:00:00Z"},
                )
            )
    pages = write_warc(
        tmp_path / "b.warc.gz", [(f"http://a.com/{name}", html(i)) for i, name in enumerate(["late", "early"])]
    )
    _, [document] = run(tmp_path, [archive, pages], write_links(tmp_path / "links", "http://a.com/"))
    assert json.loads(document["metadata"])["page_url"] == "http://a.com/early"


def test_a_redirect_recorded_as_revisit_leads_on_and_a_revisited_page_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "a.warc.gz"
    with archive.open("wb") as handle:
        writer = WARCWriter(handle, gzip=True)
        for url, status, target in (("http://a.com/", "301 Moved", "http://b.com/"), ("http://c.com/", "200 OK", "")):
            record = writer.create_revisit_record(
                url,
                "sha1:3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ",
                "http://b.com/",
                "2020-01-01T00:00:00Z",
                http_headers=StatusAndHeaders(status, [("Location", target)] if target else [], protocol="HTTP/1.1"),
            )
            writer.write_record(record)
    page = write_warc(tmp_path / "b.warc.gz", [("http://b.com/", html(1))])
    links = write_links(tmp_path / "links", "http://a.com/", "http://c.com/")
    manifest, [document] = run(tmp_path, [archive, page], links)
    assert document["url"] == "https://a.com/"
    assert manifest.totals.dropped == {"redirect": 1, "same-payload": 1}
    removed = list(read_rows(str(tmp_path / "out" / "pages" / "removed" / "00000.parquet")))
    assert {(row["reason"], row["url"], row["detail"]) for row in removed} == {
        ("redirect", "https://a.com/", "http://b.com/"),
        ("same-payload", "https://c.com/", "http://b.com/"),
    }


def test_text_of_a_wet_file_is_taken_as_it_is(tmp_path: Path) -> None:
    text = "Erste Zeile\n<b>kein HTML</b>\n  eingerückt\n"
    archive = tmp_path / "a.warc.wet.gz"
    with archive.open("wb") as handle:
        writer = WARCWriter(handle, gzip=True)
        headers = {"WARC-Date": "2020-01-01T00:00:00Z", "WARC-Identified-Content-Language": "deu,eng"}
        writer.write_record(
            writer.create_warc_record(
                "http://a.de/",
                "conversion",
                payload=io.BytesIO(text.encode()),
                warc_content_type="text/plain",
                warc_headers_dict=headers,
            )
        )
    _, [document] = run(tmp_path, [archive], write_links(tmp_path / "links", "http://a.de/"))
    assert document["text"] == text
    metadata = json.loads(document["metadata"])
    assert metadata["identified_languages"] == "deu,eng"
    assert metadata["encoding"] == "utf-8"


def test_ranges_change_nothing_but_the_cut(tmp_path: Path) -> None:
    pages = [(f"http://a.com/{i}", html(i)) for i in range(30)]
    archive = write_warc(tmp_path / "a.warc.gz", pages)
    links = write_links(tmp_path / "links", *(url for url, _ in pages[::2]))
    one, whole = run(tmp_path / "one", [archive], links)
    many, parts = run(tmp_path / "many", [archive], links, task_bytes=2000)
    assert parts == whole
    assert len(whole) == 15
    assert many.totals == one.totals
    assert len(many.files("", "part-")) > 3


def test_archive_cut_in_half_gives_nothing(tmp_path: Path) -> None:
    pages = [(f"http://a.com/{i}", html(i)) for i in range(30)]
    archive = write_warc(tmp_path / "a.warc.gz", pages)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(UserError, match=r"a\.warc\.gz, byte [0-9,]+: .*cut short"):
        run(tmp_path, [archive], write_links(tmp_path / "links", *(url for url, _ in pages)))
    assert not list((tmp_path / "out").rglob("part-*"))


def digests(folder: Path) -> dict[str, str]:
    """sha256 of everything but logs."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "logs" not in path.parts:
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def make_input(folder: Path) -> None:
    """Three dumps with repeated, poor and broken rows, two archives that hold most of the pages and more."""
    draw = random.Random(1)
    for month in range(3):
        rows: list[Any] = [
            post(f"http://{'www.' * (i % 2)}a.com/{draw.randrange(120)}", draw.randrange(6), id=f"{month}{i}")
            for i in range(150)
        ]
        write_dump(folder / "input" / f"RS_{month}.zst", [*rows, b"{broken", post(None), post(None, is_self=True)])
    for half in range(2):
        pages = [(f"https://a.com/{i}", html(i, paragraphs=20)) for i in range(half, 140, 2)]
        write_warc(folder / "input" / f"{half}.warc.gz", pages)


@pytest.mark.slow
def test_killed_anywhere_and_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    """All stages, killed with their workers at several moments, against a run left alone, with one worker."""
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    for folder in (quiet, killed):
        make_input(folder)
    # Manifests hold the digests of the input, not where it lies; plans name paths, so that both run in their folder.
    command = [sys.executable, front_chain.__file__, "."]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    start = time.monotonic()
    subprocess.run(command, cwd=quiet, env=environment, check=True)
    whole = time.monotonic() - start
    kills = 0
    for share in (0.3, 0.55, 0.75):
        process = subprocess.Popen(command, cwd=killed, env=environment, start_new_session=True)
        try:
            process.wait(timeout=share * whole)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    subprocess.run(command, cwd=killed, env=environment, check=True)
    assert kills > 0
    expected = digests(quiet / "out")
    assert sum(name.startswith("filter/part-") for name in expected) > 2
    assert digests(killed / "out") == expected
