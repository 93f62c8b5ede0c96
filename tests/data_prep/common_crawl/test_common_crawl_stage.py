from __future__ import annotations

import hashlib
import re
import socket
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from front_chain import html, pages_manifest, refs, write_warc
from small_index import Row, lines, make_archive, serve, small_collection, write_cluster, write_parquet

from data_prep.common_crawl import ranges as ranges_module
from data_prep.common_crawl.keys import KeysStage
from data_prep.common_crawl.settings import CommonCrawlSettings
from data_prep.common_crawl.stage import CommonCrawlStage
from data_prep.dedup.exact import NoSettings
from data_prep.documents import read_rows
from data_prep.errors import UserError
from data_prep.links import LINK
from data_prep.manifest import StageManifest
from data_prep.runner import run_stage
from data_prep.stage import TaskOutput
from data_prep.urls import canonical_url, partition_of, url_id
from data_prep.warc import Response, read_responses

POSTED = 1_433_116_800  # 2015-06-01
PARTITIONS = 3


def write_links(folder: Path, urls: list[str], created: int = POSTED) -> list[Path]:
    parts: list[list[dict[str, Any]]] = [[] for _ in range(PARTITIONS)]
    for url in urls:
        canonical = canonical_url(url)
        assert canonical is not None
        row = {"id": url_id(canonical), "url": canonical, "posted_url": url, "score": 3, "created_utc": created}
        parts[partition_of(row["id"], PARTITIONS)].append({**row, "subreddit": "r", "submissions": 1})
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"part-{p:05d}.parquet" for p in range(PARTITIONS)]
    for path, rows in zip(paths, parts, strict=True):
        pq.write_table(pa.Table.from_pylist(sorted(rows, key=lambda row: row["id"]), schema=LINK), path)
    return paths


def run(
    folder: Path, links: list[Path], index: list[str], data: str, workers: int = 1, **settings: Any
) -> tuple[CommonCrawlStage, StageManifest]:
    rows = [pq.read_metadata(path).num_rows for path in links]
    inputs = [type(ref)(ref.path, ref.sha256, ref.bytes, n) for ref, n in zip(refs(*links), rows, strict=True)]
    keys = KeysStage(str(folder / "keys"), NoSettings(), {"links": inputs}, {})
    sorted_links = run_stage(keys, workers, say=lambda _: None, executor="inline" if workers == 1 else "local")
    stage = CommonCrawlStage(
        str(folder / "cc"),
        CommonCrawlSettings(index=tuple(index), data=data, **settings),
        {"keys": sorted_links.files(keys.folder, "part-")},
        {},
    )
    return stage, run_stage(stage, workers, say=lambda _: None, executor="inline" if workers == 1 else "local")


def fetched(manifest: StageManifest, stage: CommonCrawlStage) -> list[Response]:
    return [
        page
        for ref in manifest.files(stage.folder, "warc/")
        for page in read_responses(ref.path, 1 << 20, lambda _: True)
    ]


def removed(stage: CommonCrawlStage) -> dict[str, tuple[str, str]]:
    paths = sorted((Path(stage.folder) / "removed").iterdir())
    return {row["url"]: (row["reason"], row["detail"]) for path in paths for row in read_rows(str(path))}


def bodies(pages: list[Response]) -> dict[str, bytes | None]:
    return {page.url: page.body for page in pages}


@pytest.fixture
def collection(tmp_path: Path) -> tuple[Path, list[Row]]:
    folder = tmp_path / "collection"
    rows = small_collection(folder)
    (folder / "index.cdxj").write_bytes(b"".join(lines(rows)))
    write_cluster(folder / "indexes", lines(rows))
    write_parquet(folder / "table", rows)
    return folder, rows


WANTED = [
    "http://www.a.com/page/0",
    "https://b.org/page/21#x",
    "https://sub.c.co.uk/page/38?utm_source=y",
    "http://d.net:8080/page/7",
]
MISSING = ["http://a.com/page/1", "http://nowhere.com/", "http://a.com/PAGE/4"]


@pytest.mark.parametrize("index", ["index.cdxj", "indexes", "indexes/cluster.idx", "table"])
def test_links_get_their_records(tmp_path: Path, collection: tuple[Path, list[Row]], index: str) -> None:
    folder, _ = collection
    stage, manifest = run(
        tmp_path, write_links(tmp_path / "links", WANTED + MISSING), [str(folder / index)], str(folder)
    )
    assert bodies(fetched(manifest, stage)) == {
        "http://a.com/page/0": html(0),
        "https://www.b.org/page/21": html(21),
        "http://sub.c.co.uk/page/38": html(38),
        "http://d.net:8080/page/7": html(7),
    }
    assert (manifest.totals.rows_in, manifest.totals.rows_out) == (7, 4)
    assert manifest.totals.dropped == {"not-in-index": 3}
    # Same key, but another page: the path differs in case.
    assert removed(stage)["https://a.com/PAGE/4"] == ("not-in-index", "")


def test_the_pages_become_documents(tmp_path: Path, collection: tuple[Path, list[Row]]) -> None:
    folder, _ = collection
    links = write_links(tmp_path / "links", WANTED[:1] + MISSING)
    stage, manifest = run(tmp_path, links, [str(folder / "indexes")], str(folder))
    pages, documents = pages_manifest(
        tmp_path, manifest.files(stage.folder, "warc/"), refs(*links), partitions=PARTITIONS
    )
    (document,) = (row for ref in documents.files(pages.folder, "part-") for row in read_rows(ref.path))
    assert document["url"] == "https://a.com/page/0"


def digests(folder: str) -> dict[str, str]:
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and "logs" not in path.parts and "progress" not in path.parts and path.name != "plan.json":
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def test_same_bytes_for_any_workers_and_connections(tmp_path: Path, collection: tuple[Path, list[Row]]) -> None:
    folder, rows = collection
    links = write_links(tmp_path / "links", [row["url"] for row in rows] + MISSING)
    index = [str(folder / "indexes")]
    one, first = run(tmp_path / "1", links, index, str(folder), connections=4)
    two, second = run(tmp_path / "2", links, index, str(folder), workers=2, connections=4)
    three, third = run(tmp_path / "3", links, index, str(folder), connections=1)
    assert digests(one.folder) == digests(two.folder)
    assert first.digest == second.digest
    assert [ref.sha256 for ref in first.outputs] == [ref.sha256 for ref in third.outputs]
    assert three.rules.connections == 1


def test_tasks_are_ranges_of_keys(tmp_path: Path, collection: tuple[Path, list[Row]]) -> None:
    folder, rows = collection
    links = write_links(tmp_path / "links", [row["url"] for row in rows])
    whole_stage, whole = run(tmp_path / "1", links, [str(folder / "index.cdxj")], str(folder))
    stage, cut = run(tmp_path / "2", links, [str(folder / "index.cdxj")], str(folder), task_links=5)
    assert len(cut.files("", "warc/")) > 1
    assert cut.totals == whole.totals
    assert cut.totals.rows_out == len(rows)
    assert [page.url for page in fetched(cut, stage)] == [page.url for page in fetched(whole, whole_stage)]


def test_the_best_capture_counts(tmp_path: Path) -> None:
    folder = tmp_path / "collection"
    (folder / "crawl").mkdir(parents=True)
    urls = ["http://a.com/", "http://b.com/", "http://c.com/", "http://d.com/"]
    rows = []
    for number, stamp in enumerate(["20100101000000", "20150501000000", "20170101000000"]):
        pages: list[tuple[Any, ...]] = [(url, html(number)) for url in urls[:1]]
        pages += [("http://www.b.com/", html(number), "application/pdf" if number == 1 else "text/html")]
        pages += [("http://c.com/", html(number), "text/html", "200 OK" if number == 2 else "404 Not Found")]
        pages += [
            ("http://d.com/", b"%PDF", "application/pdf") if number else ("http://d.com/", b"", "text/html", "503 Busy")
        ]
        rows += make_archive(folder / "crawl" / f"{number}.warc.gz", pages, stamp)
    (folder / "index.cdxj").write_bytes(b"".join(lines(rows)))
    links = write_links(tmp_path / "links", urls)
    stage, manifest = run(tmp_path / "1", links, [str(folder / "index.cdxj")], str(folder))
    found = bodies(fetched(manifest, stage))
    # The nearest to June 2015; if that is no text, the nearest that is.
    assert found == {"http://a.com/": html(1), "http://www.b.com/": html(2), "http://c.com/": html(2)}
    assert removed(stage) == {"https://d.com/": ("not-200", "503")}
    stage, manifest = run(tmp_path / "2", links, [str(folder / "index.cdxj")], str(folder), before="2015-05-01")
    assert bodies(fetched(manifest, stage)) == {"http://a.com/": html(0), "http://www.b.com/": html(0)}
    assert removed(stage)["https://c.com/"] == ("not-200", "404")


def test_captures_of_several_indexes(tmp_path: Path) -> None:
    folder = tmp_path / "collection"
    (folder / "crawl").mkdir(parents=True)
    old = make_archive(
        folder / "crawl" / "old.warc.gz", [("http://a.com/", html(1)), ("http://b.com/", html(2))], "20120101000000"
    )
    new = make_archive(folder / "crawl" / "new.warc.gz", [("http://a.com/", html(3))], "20150601000000")
    (folder / "old.cdxj").write_bytes(b"".join(lines(old)))
    write_parquet(folder / "new", new * 2)
    links = write_links(tmp_path / "links", ["http://a.com/", "http://b.com/"])
    stage, manifest = run(tmp_path, links, [str(folder / "old.cdxj"), str(folder / "new")], str(folder))
    assert bodies(fetched(manifest, stage)) == {"http://a.com/": html(3), "http://b.com/": html(2)}


def test_redirects_that_the_index_names_are_followed(tmp_path: Path) -> None:
    folder = tmp_path / "collection"
    (folder / "crawl").mkdir(parents=True)

    def to(target: str) -> tuple[bytes, str, str, str]:
        return b"", "text/html", "301 Moved", target

    pages: list[tuple[Any, ...]] = [
        ("http://z.com/short", *to("http://a.com/middle")),
        ("http://a.com/middle", *to("/end")),
        ("http://a.com/end", html(1)),
        ("http://b.com/", *to("https://www.b.com/")),
        ("http://c.com/1", *to("http://c.com/2")),
        ("http://c.com/2", *to("http://c.com/1")),
        ("http://d.com/", *to("http://gone.com/")),
    ]
    (folder / "index.cdxj").write_bytes(b"".join(lines(make_archive(folder / "crawl" / "0.warc.gz", pages))))
    links = write_links(tmp_path / "links", ["http://z.com/short", "http://b.com/", "http://c.com/1", "http://d.com/"])
    stage, manifest = run(tmp_path, links, [str(folder / "index.cdxj")], str(folder))
    assert [page.url for page in fetched(manifest, stage)] == [
        "http://z.com/short",
        "http://a.com/middle",
        "http://a.com/end",
    ]
    assert (manifest.totals.rows_out, manifest.totals.extra["records"]) == (1, 3)
    assert removed(stage) == {
        "https://b.com/": ("not-in-index", ""),
        "https://c.com/1": ("redirect-loop", "http://c.com/1"),
        "https://d.com/": ("not-in-index", "redirects to https://gone.com/"),
    }
    documents_stage, documents = pages_manifest(
        tmp_path, manifest.files(stage.folder, "warc/"), refs(*links), partitions=PARTITIONS
    )
    (document,) = (row for ref in documents.files(documents_stage.folder, "part-") for row in read_rows(ref.path))
    assert document["url"] == "https://z.com/short"


def test_what_is_not_the_record_it_should_be(tmp_path: Path, collection: tuple[Path, list[Row]]) -> None:
    folder, rows = collection
    by_url = {row["url"]: row for row in rows}
    offset = int(by_url["http://a.com/page/0"]["offset"])
    by_url["http://a.com/page/0"]["offset"] = str(offset + 3)
    by_url["http://a.com/page/4"]["offset"] = by_url["http://a.com/page/8"]["offset"]
    by_url["http://a.com/page/4"]["length"] = by_url["http://a.com/page/8"]["length"]
    by_url["http://a.com/page/12"]["length"] = str(int(by_url["http://a.com/page/12"]["length"]) - 20)
    by_url["http://a.com/page/16"]["offset"] = str(10**9)
    by_url["http://a.com/page/20"]["length"] = str(10**9)
    by_url["http://a.com/page/24"]["length"] = str(2 * int(by_url["http://a.com/page/24"]["length"]))
    (folder / "index.cdxj").write_bytes(b"".join(lines(rows)))
    links = write_links(tmp_path / "links", [f"http://a.com/page/{i}" for i in range(0, 32, 4)])
    stage, manifest = run(tmp_path, links, [str(folder / "index.cdxj")], str(folder))
    assert sorted(page.url for page in fetched(manifest, stage)) == ["http://a.com/page/28", "http://a.com/page/8"]
    reasons = removed(stage)
    assert {url: reason for url, (reason, _) in reasons.items()} == {
        **{f"https://a.com/page/{i}": "damaged-record" for i in (0, 4, 12, 16, 24)},
        "https://a.com/page/20": "too-large",
    }
    assert re.search(rf"crawl/0\.warc\.gz, byte {offset + 3:,}: not a WARC", reasons["https://a.com/page/0"][1])
    assert "a response record of http://a.com/page/8" in reasons["https://a.com/page/4"][1]
    assert "cut short" in reasons["https://a.com/page/12"][1]
    assert "ends after 0 of its" in reasons["https://a.com/page/16"][1]


def test_a_damaged_line_of_the_index_is_told(tmp_path: Path, collection: tuple[Path, list[Row]]) -> None:
    folder, rows = collection
    content = [line.replace(b"{", b"", 1) if b"http://a.com/page/0" in line else line for line in lines(rows)]
    (folder / "index.cdxj").write_bytes(b"".join(content))
    links = write_links(tmp_path / "links", ["http://a.com/page/0", "http://a.com/page/4"])
    _, manifest = run(tmp_path, links, [str(folder / "index.cdxj")], str(folder))
    assert (manifest.totals.rows_out, manifest.totals.dropped) == (1, {"not-in-index": 1})
    assert manifest.summary["warning"].startswith("1 lines of the index could not be read")


def test_nothing_found_is_said_and_leaves_a_valid_archive(tmp_path: Path, collection: tuple[Path, list[Row]]) -> None:
    folder, _ = collection
    stage, manifest = run(tmp_path, write_links(tmp_path / "links", MISSING), [str(folder / "index.cdxj")], str(folder))
    assert manifest.summary["warning"].startswith("none of 3 links was found")
    assert fetched(manifest, stage) == []


def test_plain_archives_and_memory(tmp_path: Path, collection: tuple[Path, list[Row]]) -> None:
    folder, _ = collection
    path = write_warc(tmp_path / "plain.warc", [("http://p.com/", html(5))], gzip=False)
    data = path.read_bytes()
    start = data.index(b"WARC/1", 10)
    row = {"key": "com,p)/", "timestamp": "20150601000000", "url": "http://p.com/", "mime": "unk", "status": "200"}
    place = {"offset": str(start), "length": str(len(data) - start), "filename": "crawl/plain.warc"}
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/cc", recursive=True)
    memory.pipe_file("/cc/crawl/plain.warc", data)
    memory.pipe_file("/cc/index.cdxj", b"".join(lines([{**row, **place}])))
    links = write_links(tmp_path / "links", ["http://p.com/", "http://a.com/page/0"])
    # In this process: no other sees its memory.
    keys = KeysStage(str(tmp_path / "keys"), NoSettings(), {"links": refs(*links)}, {})
    sorted_links = run_stage(keys, 1, say=lambda _: None, executor="inline")
    settings = CommonCrawlSettings(index=("memory://cc/index.cdxj", "memory://cc/indexes"), data="memory://cc/")
    stage = CommonCrawlStage(str(tmp_path / "cc"), settings, {"keys": sorted_links.files(keys.folder, "part-")}, {})
    (task,) = stage.plan()
    with TaskOutput(stage, task) as out:
        stage.run_task(task, out)
    pages = read_responses(str(tmp_path / "cc" / "warc" / "00000.warc.gz"), 1 << 20, lambda _: True)
    assert bodies(list(pages)) == {"http://p.com/": html(5), "http://a.com/page/0": html(0)}
    memory.rm("/cc", recursive=True)


def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    asked: list[float] = []
    monkeypatch.setattr(ranges_module.time, "sleep", asked.append)
    return asked


def test_over_http_only_the_bytes_of_the_records_are_read(tmp_path: Path, collection: tuple[Path, list[Row]]) -> None:
    folder, rows = collection
    with serve(folder) as served:
        links = write_links(tmp_path / "links", WANTED + MISSING)
        stage, manifest = run(tmp_path, links, [f"{served.url}/indexes"], f"{served.url}/")
        assert len(fetched(manifest, stage)) == 4
        spans = {span for path, span in served.requests if path.startswith("/crawl/")}
    wanted = {row["url"]: row for row in rows}
    row = wanted["http://d.net:8080/page/7"]
    assert f"bytes={row['offset']}-{int(row['offset']) + int(row['length']) - 1}" in spans
    assert len(spans) == 4


def read_range(url: str) -> bytes:
    return ranges_module.Ranges(3).read(url, 1, 4)


def test_failures_are_repeated_with_growing_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = waits(monkeypatch)
    (tmp_path / "file").write_bytes(b"0123456789")
    with serve(tmp_path) as served:
        served.failures["/file"] = [503, 429, 500]
        assert read_range(f"{served.url}/file") == b"1234"
        assert asked == [7.0, 7.0, 7.0]  # Retry-After
        served.failures["/file"] = [500] * 9
        with pytest.raises(UserError, match=r"/file: cannot be read, tried 4 times .*500"):
            read_range(f"{served.url}/file")
        served.failures.clear()
        with pytest.raises(UserError, match="no such file"):
            read_range(f"{served.url}/nothing")
        assert ranges_module.Ranges(0).read(f"{served.url}/file", 100, 4) == b""
        served.ranges = False
        with pytest.raises(UserError, match="ignores byte ranges"):
            read_range(f"{served.url}/file")
    asked.clear()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(UserError, match="tried 4 times"):
            read_range(f"http://127.0.0.1:{unused.getsockname()[1]}/file")
    assert asked == [1.0, 2.0, 4.0]


def test_a_wrong_place_of_the_data_is_one_clear_line(tmp_path: Path, collection: tuple[Path, list[Row]]) -> None:
    folder, _ = collection
    links = write_links(tmp_path / "links", WANTED)
    with pytest.raises(UserError, match=r"elsewhere/crawl/.*no such file; check common_crawl\.index and"):
        run(tmp_path, links, [str(folder / "index.cdxj")], str(folder / "elsewhere"))
