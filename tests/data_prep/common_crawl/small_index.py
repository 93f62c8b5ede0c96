"""A small collection: archives, and an index of them in each of its forms."""

from __future__ import annotations

import gzip
import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from front_chain import html, write_warc

from data_prep.common_crawl.surt import surt_key
from data_prep.urls import canonical_url
from data_prep.warc import read_records

Row = dict[str, Any]
"""Fields of a line of CDXJ, with its `key` and `timestamp`."""


def make_archive(path: Path, pages: list[tuple[Any, ...]], timestamp: str = "20150601000000") -> list[Row]:
    """Write an archive of `write_warc`'s pages; its captures."""
    write_warc(path, pages)
    records = list(read_records(str(path)))
    edges = [record.offset for record in records] + [path.stat().st_size]
    rows = []
    responses = [
        (record, end - record.offset)
        for record, end in zip(records, edges[1:], strict=True)
        if record.kind == "response"
    ]
    for (record, length), (_, _, *rest) in zip(responses, pages, strict=True):
        mime, status, location = (*rest, *("text/html", "200 OK", "")[len(rest) :])
        row = {
            "key": surt_key(canonical_url(record.url) or ""),
            "timestamp": timestamp,
            "url": record.url,
            "mime": mime,
            "status": status[:3],
            "length": str(length),
            "offset": str(record.offset),
            "filename": f"crawl/{path.name}",
        }
        rows.append({**row, "redirect": location} if location else row)
    return rows


def lines(rows: list[Row]) -> list[bytes]:
    """Sorted lines of CDXJ."""
    found = []
    for row in rows:
        fields = {name: value for name, value in row.items() if name not in ("key", "timestamp")}
        found.append(f"{row['key']} {row['timestamp']} {json.dumps(fields)}\n".encode())
    return sorted(found)


def write_cluster(folder: Path, content: list[bytes], per_block: int = 3, files: int = 2) -> Path:
    """`cdx-*.gz` and `cluster.idx` as Common Crawl publishes them, with small blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    blocks = [content[i : i + per_block] for i in range(0, len(content), per_block)]
    index = []
    for number in range(files):
        name, offset = f"cdx-{number:05d}.gz", 0
        with (folder / name).open("wb") as handle:
            for block in blocks[len(blocks) * number // files : len(blocks) * (number + 1) // files]:
                data = gzip.compress(b"".join(block), mtime=0)
                handle.write(data)
                start = b" ".join(block[0].split(b" ")[:2]).decode()
                index.append(f"{start}\t{name}\t{offset}\t{len(data)}\t{len(index) + 1}\n")
                offset += len(data)
    (folder / "cluster.idx").write_text("".join(index))
    return folder


def write_parquet(folder: Path, rows: list[Row]) -> Path:
    """Two tables of the columnar index, as it is partitioned."""
    folder = folder / "crawl=CC-MAIN-2015-22" / "subset=warc"
    folder.mkdir(parents=True, exist_ok=True)
    rows = sorted(rows, key=lambda row: row["key"])
    for number, part in enumerate((rows[: len(rows) // 2], rows[len(rows) // 2 :])):
        table = pa.table(
            {
                "url_surtkey": [row["key"] for row in part],
                "url": [row["url"] for row in part],
                "fetch_time": pa.array(
                    [datetime.strptime(row["timestamp"], "%Y%m%d%H%M%S").replace(tzinfo=UTC) for row in part],
                    pa.timestamp("ms", "UTC"),
                ),
                "fetch_status": pa.array([int(row["status"]) for row in part], pa.int16()),
                "fetch_redirect": pa.array([row.get("redirect") for row in part], pa.string()),
                "content_mime_type": [row["mime"] for row in part],
                "content_mime_detected": pa.array([None] * len(part), pa.string()),
                "warc_filename": [row["filename"] for row in part],
                "warc_record_offset": pa.array([int(row["offset"]) for row in part], pa.int32()),
                "warc_record_length": pa.array([int(row["length"]) for row in part], pa.int32()),
            }
        )
        pq.write_table(table, folder / f"part-{number:05d}.gz.parquet", row_group_size=4)
    return folder


def small_collection(folder: Path, pages: int = 40) -> list[Row]:
    """`crawl/*.warc.gz` with numbered pages of several sites; all captures."""
    (folder / "crawl").mkdir(parents=True)
    sites = itertools.cycle(["http://a.com", "https://www.b.org", "http://sub.c.co.uk", "http://d.net:8080"])
    urls = [f"{site}/page/{i}" for i, site in zip(range(pages), sites, strict=False)]
    half = len(urls) // 2
    return [
        *make_archive(folder / "crawl" / "0.warc.gz", [(url, html(i)) for i, url in enumerate(urls[:half])]),
        *make_archive(folder / "crawl" / "1.warc.gz", [(url, html(half + i)) for i, url in enumerate(urls[half:])]),
    ]


class Served:
    """A folder behind a local server.

    Attributes:
        url: its address.
        requests: (path, value of the header Range) of each GET.
        failures: path -> statuses still to be answered instead of the file.
        ranges: whether parts of files are given.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, ""
        self.requests: list[tuple[str, str]] = []
        self.failures: dict[str, list[int]] = {}
        self.ranges = True


@contextmanager
def serve(folder: Path) -> Iterator[Served]:
    """Serve a folder on a loopback port, with byte ranges."""
    served = Served(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            asked = self.headers.get("Range", "") if served.ranges else ""
            if body:
                served.requests.append((self.path, asked))
            data, status, more = b"", 200, {}
            path = folder / self.path.lstrip("/")
            if body and served.failures.get(self.path):
                status, more = served.failures[self.path].pop(0), {"Retry-After": "7"}
            elif not path.is_file():
                status = 404
            else:
                data = path.read_bytes()
                if asked:
                    start, end = asked.removeprefix("bytes=").split("-")
                    if int(start) >= len(data):
                        status, data = 416, b""
                    else:
                        status, data = 206, data[int(start) : int(end) + 1]
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Accept-Ranges", "bytes")
            for name, value in more.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
