"""Tiny dumps and archives made on the spot, and the stages from dump to filtered documents run over them.

`python front_chain.py FOLDER` runs the stages over the input in FOLDER/input into FOLDER/out.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import zstandard
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from data_prep.dedup.exact import NoSettings
from data_prep.filter import FilterSettings, FilterStage
from data_prep.links import LinksSettings, LinksStage
from data_prep.manifest import FileRef, StageManifest
from data_prep.page_links.addresses import ADDRESSES, REDIRECTS, AddressesSettings, AddressesStage
from data_prep.page_links.matches import PageLinksStage
from data_prep.page_links.redirects import RedirectsStage
from data_prep.pages import PagesSettings, PagesStage
from data_prep.runner import run_stage
from data_prep.stage import Stage
from data_prep.submissions import SubmissionsStage

PARTITIONS = 3
SENTENCE = "the river of time runs past every house and no one in the town has ever seen where it ends"


def post(url: str | None, score: int | None = 5, **fields: Any) -> dict[str, Any]:
    """A submission in the form of the dumps."""
    row = {"id": "x1", "url": url, "score": score, "created_utc": 1_300_000_000, "subreddit": "test", "is_self": False}
    return {**row, **fields}


def write_dump(path: Path, rows: list[Any]) -> Path:
    """A .zst dump; a row that is bytes is written as it is."""
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zstandard.ZstdCompressor().compress(b"".join(line + b"\n" for line in lines)))
    return path


def html(number: int, paragraphs: int = 6) -> bytes:
    """An English page with a text of its own."""
    body = "".join(f"<p>Part {i} of story {number}: {SENTENCE}.</p>" for i in range(paragraphs))
    page = f"<html><head><title>Story {number}</title></head><body><article>{body}</article></body></html>"
    return page.encode()


def write_warc(path: Path, pages: list[tuple[Any, ...]], gzip: bool = True) -> Path:
    """A WARC of (url, body[, content type[, status[, location]]]) with a request record before each response."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as handle:
        writer = WARCWriter(handle, gzip=gzip)
        for url, body, *rest in pages:
            kind, status, location = (*rest, *("text/html", "200 OK", "")[len(rest) :])
            fixed = {"WARC-Date": "2020-01-01T00:00:00Z", "WARC-Record-ID": f"<urn:test:{hash_of(url)}>"}
            request = StatusAndHeaders("GET / HTTP/1.1", [("Host", "x")], is_http_request=True)
            fields = [("Content-Type", kind), ("Location", location)]
            response = StatusAndHeaders(status, [field for field in fields if field[1]], protocol="HTTP/1.1")
            for name, headers, payload in (("request", request, b""), ("response", response, body)):
                writer.write_record(
                    writer.create_warc_record(
                        url, name, payload=io.BytesIO(payload), http_headers=headers, warc_headers_dict=dict(fixed)
                    )
                )
    return path


def write_arc(path: Path, pages: list[tuple[str, bytes]]) -> Path:
    """An ARC file, version 1; with a name in .gz each record is a member."""
    version = b"1 0 test\nURL IP-address Archive-date Content-type Archive-length\n"
    records = [b"filedesc://%s 0.0.0.0 20100101000000 text/plain %d\n%s" % (path.name.encode(), len(version), version)]
    for url, body in pages:
        block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + body
        records.append(b"%s 1.2.3.4 20100101000000 text/html %d\n%s\n" % (url.encode(), len(block), block))
    path.write_bytes(b"".join(gzip.compress(r, mtime=0) if path.suffix == ".gz" else r for r in records))
    return path


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def refs(*paths: Path) -> list[FileRef]:
    return [FileRef.of(str(path)) for path in paths]


def links_manifest(
    folder: Path, dumps: list[Path], settings: LinksSettings | None = None, workers: int = 1
) -> tuple[LinksStage, StageManifest]:
    """Run the first two stages."""
    settings = settings or LinksSettings()
    submissions = SubmissionsStage(
        str(folder / "submissions"), settings, {"dumps": refs(*dumps)}, {"dumps": "raw"}, partitions=PARTITIONS
    )
    made = _run(submissions, workers)
    links = LinksStage(
        str(folder / "links"),
        settings,
        {"submissions": made.files(submissions.folder, "0")},
        {"submissions": made.digest},
        partitions=PARTITIONS,
    )
    return links, _run(links, workers)


def pages_manifest(
    folder: Path,
    archives: list[FileRef],
    links: list[FileRef],
    settings: PagesSettings | None = None,
    workers: int = 1,
    partitions: int = PARTITIONS,
) -> tuple[PagesStage, StageManifest]:
    """Run the four stages from archives and links to documents."""
    settings = settings or PagesSettings()
    addresses = AddressesStage(
        str(folder / "addresses"),
        AddressesSettings(task_bytes=settings.task_bytes),
        {"archives": archives},
        {"archives": "raw"},
        partitions=partitions,
    )
    seen = _run(addresses, workers)
    redirects = RedirectsStage(
        str(folder / "redirects"),
        NoSettings(),
        {"links": links, "redirects": seen.files(addresses.folder, REDIRECTS)},
        {"addresses": seen.digest},
        partitions=partitions,
    )
    followed = _run(redirects, workers)
    matches = PageLinksStage(
        str(folder / "page-links"),
        NoSettings(),
        {
            "links": links,
            "redirects": followed.files(redirects.folder, "0"),
            "addresses": seen.files(addresses.folder, ADDRESSES),
        },
        {"redirects": followed.digest},
        partitions=partitions,
    )
    matched = _run(matches, workers)
    pages = PagesStage(
        str(folder / "pages"),
        settings,
        {"archives": archives, "links": matched.files(matches.folder, "part-")},
        {"archives": "raw", "links": matched.digest},
        source="test",
    )
    return pages, _run(pages, workers)


def run(folder: Path, workers: int = 2) -> None:
    """All stages."""
    dumps = sorted((folder / "input").glob("RS_*"))
    archives = sorted((folder / "input").glob("*.warc.gz"))
    links, found = links_manifest(folder / "out", dumps, workers=workers)
    pages, documents = pages_manifest(
        folder / "out",
        refs(*archives),
        found.files(links.folder, "part-"),
        PagesSettings(task_bytes=10_000),
        workers,
    )
    stage = FilterStage(
        str(folder / "out" / "filter"),
        FilterSettings.model_validate({"wikipedia": {}, "length": {}, "language": {}, "pii": {}}),
        {"documents": documents.files(pages.folder, "part-")},
        {"documents": documents.digest},
    )
    _run(stage, workers)


def _run(stage: Stage, workers: int) -> StageManifest:
    """One worker is this process: no process is started, and what it imported stays imported."""
    return run_stage(stage, workers, lambda line: None, "inline" if workers == 1 else "local")


if __name__ == "__main__":
    run(Path(sys.argv[1]))
