from __future__ import annotations

import hashlib
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

from data_prep.documents import DOCUMENT, read_rows
from data_prep.errors import UserError
from data_prep.links import LINK
from data_prep.manifest import StageManifest
from data_prep.pages import PagesSettings, PagesStage
from data_prep.runner import run_stage
from data_prep.urls import canonical_url, url_id


def write_links(path: Path, *urls: str) -> Path:
    rows = []
    for url in urls:
        canonical = canonical_url(url)
        assert canonical is not None
        rows.append(
            {
                "id": url_id(canonical),
                "url": canonical,
                "posted_url": url,
                "score": 7,
                "created_utc": 100,
                "subreddit": "r",
                "submissions": 2,
            }
        )
    pq.write_table(pa.Table.from_pylist(rows, schema=LINK), path)
    return path


def run(tmp_path: Path, archives: list[Path], links: Path, **settings: Any) -> tuple[StageManifest, list[Any]]:
    inputs = {"archives": refs(*archives), "links": refs(links)}
    stage = PagesStage(str(tmp_path / "out"), PagesSettings(**settings), inputs, {}, source="corpus")
    manifest = run_stage(stage, workers=1, say=lambda _: None)
    return manifest, [row for ref in manifest.files(stage.folder, "part-") for row in read_rows(ref.path)]


def test_joins_by_canonical_url_and_fills_the_document(tmp_path: Path) -> None:
    links = write_links(tmp_path / "links.parquet", "https://www.a.com/story?utm_source=x#top", "http://gone.com/")
    archive = write_warc(
        tmp_path / "a.warc.gz", [("http://a.com/story", html(1)), ("http://other.com/", html(2)), ("not a url", b"x")]
    )
    manifest, [document] = run(tmp_path, [archive], links)
    assert document["id"] == url_id("https://a.com/story")
    assert document["url"] == "https://a.com/story"
    assert document["text"].startswith("Part 0 of story 1")
    assert [document[k] for k in ("source", "score", "created_utc", "language")] == ["corpus", 7, 100, None]
    assert json.loads(document["metadata"]) == {
        "title": "Story 1",
        "content_type": "text/html",
        "encoding": "utf-8",
        "undecodable": 0,
        "extractor": "trafilatura-fast",
        "page_url": "http://a.com/story",
        "subreddit": "r",
        "submissions": 2,
    }
    assert pq.read_schema(tmp_path / "out" / "part-00000.parquet").equals(DOCUMENT)
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
    links = write_links(tmp_path / "links.parquet", *pages)
    manifest, [document] = run(tmp_path, [archive], links, max_bytes=200_000)
    assert document["url"] == "https://a.com/fine"
    assert manifest.totals.dropped == {"not-200": 1, "not-text": 1, "empty": 1, "too-large": 1}
    removed = {row["url"]: row for row in read_rows(str(tmp_path / "out" / "removed" / "00000.parquet"))}
    assert removed["https://a.com/404"]["detail"] == "404"
    assert removed["https://a.com/json"]["detail"] == "application/json"


def test_a_url_twice_is_given_twice(tmp_path: Path) -> None:
    archive = write_warc(tmp_path / "a.warc.gz", [("http://a.com/", html(1)), ("https://www.a.com/", html(2))])
    _, documents = run(tmp_path, [archive], write_links(tmp_path / "links.parquet", "http://a.com"))
    assert [json.loads(d["metadata"])["title"] for d in documents] == ["Story 1", "Story 2"]


def test_ranges_change_nothing_but_the_cut(tmp_path: Path) -> None:
    pages = [(f"http://a.com/{i}", html(i)) for i in range(30)]
    archive = write_warc(tmp_path / "a.warc.gz", pages)
    links = write_links(tmp_path / "links.parquet", *(url for url, _ in pages[::2]))
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
        run(tmp_path, [archive], write_links(tmp_path / "links.parquet", *(url for url, _ in pages)))
    assert not list((tmp_path / "out").glob("part-*"))


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
    """All four stages, killed with their workers at several moments, against a run left alone, with one worker."""
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
