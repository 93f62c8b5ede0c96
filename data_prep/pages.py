"""Stage 3, pages: WARC files joined to the links -> documents with text.

A page belongs to a link if the canonical form of its recorded address is the link's. A URL that stands twice in the
archives gives two documents; exact deduplication decides between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from data_prep import store
from data_prep.configfile import Count
from data_prep.documents import DOCUMENT
from data_prep.errors import CorruptFile
from data_prep.extract import Extractor, ExtractSettings, Failure
from data_prep.links import LINK
from data_prep.manifest import FileRef
from data_prep.stage import Stage, Task, TaskOutput
from data_prep.urls import canonical_url, url_id
from data_prep.warc import Response, byte_ranges, read_responses


class PagesSettings(ExtractSettings):
    """How pages become documents.

    Attributes:
        max_bytes: longest page in bytes, decompressed; a longer one is left out. 10 MiB: ours.
        task_bytes: about how much of a gzip-compressed archive is one task, in compressed bytes. 16 MiB: ours.
    """

    task_bytes: Count = Field(default=16 << 20, gt=0)
    max_bytes: Count = Field(default=10 << 20, gt=0)


class PagesStage(Stage):
    """WARC files -> documents, one task per file or, of a large compressed file, per range of bytes.

    Reads its range twice: first only the addresses, for the links of just these pages; then the linked pages. Holds in
    memory the ids of the range's records, the links they match and one page: nothing that grows with the corpus.

    Args:
        source: name of the corpus, for `Document.source`.
    """

    name = "pages"

    def __init__(
        self,
        folder: str,
        settings: PagesSettings,
        inputs: dict[str, list[FileRef]],
        upstream: dict[str, str],
        *,
        source: str,
    ) -> None:
        super().__init__(folder, settings, inputs, upstream)
        self.rules = settings
        self.source = source

    def plan(self) -> list[Task]:
        """One task per range of an archive; every task sees all links."""
        ranges = [
            (ref, start, end)
            for ref in self.inputs["archives"]
            for start, end in byte_ranges(ref.path, ref.bytes, self.rules.task_bytes)
        ]
        return [
            Task(
                i,
                {"archives": [ref], "links": self.inputs["links"]},
                {"source": self.source, "start": start, "end": end},
            )
            for i, (ref, start, end) in enumerate(ranges)
        ]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Read one range of an archive.

        Raises:
            CorruptFile: it is cut short or damaged, before anything of it is extracted.
        """
        archive = task.inputs["archives"][0]
        start, end = task.params["start"], task.params["end"]
        seen: set[str] = set()

        def note(uri: str) -> bool:
            out.rows_in += 1
            url = canonical_url(uri)
            if url is not None:
                seen.add(url_id(url))
            return False

        for _ in read_responses(archive.path, 0, note, start, end):
            pass
        links = _links_of(seen, task.inputs["links"])
        writer = out.rows(f"part-{task.index:05d}.parquet", DOCUMENT)
        extract = Extractor(self.rules)

        def linked(uri: str) -> bool:
            url = canonical_url(uri)
            if url is None or url_id(url) not in links:
                out.skip("not-linked" if url is not None else "bad-url")
                return False
            return True

        for page in read_responses(archive.path, self.rules.max_bytes, linked, start, end):
            out.advance(page.offset - start, end - start, "bytes")
            link = links[url_id(canonical_url(page.url) or "")]
            document = self._document(page, link, extract)
            if isinstance(document, Failure):
                out.drop(document.reason, id=link["id"], url=link["url"], detail=document.detail)
            else:
                writer.add(document)
                out.rows_out += 1
                out.extra["characters"] += len(document["text"])
                out.extra["undecodable-characters"] += orjson.loads(document["metadata"]).get("undecodable", 0)

    def _document(self, page: Response, link: dict[str, Any], extract: Extractor) -> dict[str, Any] | Failure:
        if page.body is None:
            return Failure("too-large")
        if page.status != 200:
            return Failure("not-200", str(page.status))
        found = extract(page.body, page.content_type, page.charset)
        if isinstance(found, Failure):
            return found
        metadata = {
            "title": found.title,
            "content_type": page.content_type,
            "encoding": found.encoding,
            "undecodable": found.undecodable,
            "extractor": self.rules.extractor,
            "page_url": page.url,
            "subreddit": link["subreddit"],
            "submissions": link["submissions"],
        }
        return {
            "id": link["id"],
            "url": link["url"],
            "text": found.text,
            "source": self.source,
            "score": link["score"],
            "created_utc": link["created_utc"],
            "language": None,
            "metadata": orjson.dumps(metadata).decode(),
        }


def _links_of(ids: set[str], files: Sequence[FileRef]) -> dict[str, dict[str, Any]]:
    """The links with these ids, by id."""
    wanted = pa.array(sorted(ids), type=pa.string())
    found = {}
    for ref in files:
        try:
            with store.open_read(ref.path) as handle:
                for batch in pq.ParquetFile(handle).iter_batches(columns=LINK.names):
                    for row in batch.filter(pc.is_in(batch["id"], value_set=wanted)).to_pylist():
                        found[row["id"]] = row
        except (pa.ArrowInvalid, OSError) as error:
            raise CorruptFile(
                f"cannot be read as Parquet ({error})", where=ref.path, fix="delete it and run its stage again"
            ) from None
    return found
